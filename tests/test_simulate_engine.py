"""The engine: against plain loops, compiled once, divergence as data, sweeps and ensembles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from simulate.least_squares import least_squares
from simulate.optimizers import nesterov, sgd
from simulate.problems import diagonal_quadratic, rotated_quadratic
from simulate.sweep import _sweep, ensemble, sweep
from simulate.trajectory import DIVERGENCE_FACTOR, NEVER, record_steps, simulate
from theory.problem import power_law

from .compilations import engine_compilations
from .tolerances import FLOAT32_RUN, ROTATION, SAME_MATHS, Z_SCORE

PROBLEM = power_law(1.5, 1.8, 300, noise_variance=0.1)
STEPS = record_steps(233, 15)  # gaps that the unrolled blocks do not divide


def plain_loop(steps, rate, momentum=0.0, ahead=False, size=300, held=300):
    """Losses of a float64 NumPy loop."""
    modes = np.arange(1.0, held + 1)
    lam, target = modes**-1.5, modes ** ((1.5 - 1.8) / 2)
    params, velocity, losses, now = np.zeros(held), np.zeros(held), [], 0
    floor = float(diagonal_quadratic(power_law(1.5, 1.8, held, 0.1)).floor)
    for recording in steps:
        for _ in range(recording - now):
            gradient = np.where(modes <= size, lam, 0) * (params - target)
            velocity = momentum * velocity + gradient
            params = params - rate * (momentum * velocity + gradient if ahead else velocity)
        now = recording
        losses.append(floor + 0.5 * np.sum(lam * (params - target) ** 2))
    return np.array(losses)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(jnp.float64, SAME_MATHS), (jnp.float32, FLOAT32_RUN)]
)
def test_gradient_descent_is_the_plain_loop(dtype, tolerance):
    run = simulate(diagonal_quadratic(PROBLEM, dtype), sgd, STEPS, learning_rate=0.7)
    assert run.loss.dtype == dtype
    assert int(run.diverged_at) == NEVER
    np.testing.assert_array_equal(run.steps, STEPS)
    np.testing.assert_allclose(run.loss, plain_loop(STEPS, 0.7), rtol=tolerance)


@pytest.mark.parametrize(("optimizer", "ahead"), [(sgd, False), (nesterov, True)])
def test_momentum_is_the_plain_loop(optimizer, ahead):
    run = simulate(diagonal_quadratic(PROBLEM), optimizer, STEPS, learning_rate=0.3, momentum=0.8)
    np.testing.assert_allclose(run.loss, plain_loop(STEPS, 0.3, 0.8, ahead), rtol=SAME_MATHS)


def test_rotation_does_not_change_gradient_descent():
    rotated = simulate(rotated_quadratic(PROBLEM, jax.random.key(5)), sgd, STEPS, learning_rate=0.7)
    np.testing.assert_allclose(rotated.loss, plain_loop(STEPS, 0.7), rtol=ROTATION)


@pytest.mark.parametrize("grid", [pytest.param(3, marks=pytest.mark.slow), 300])
def test_another_horizon_rate_batch_or_seed_does_not_compile_again(grid):
    problem = least_squares(PROBLEM, 2)
    keys = jax.random.split(jax.random.key(0), 3)
    rates = np.linspace(0.1, 0.2, grid)
    with engine_compilations() as first:
        simulate(problem, sgd, [0, 1, 5], key=jax.random.key(0), learning_rate=0.1)
        sweep(problem, sgd, [0, 3, 4], {"learning_rate": rates, "batch_size": rates + 1}, keys)
    assert "jit(_sweep)" in first
    with engine_compilations() as again:
        simulate(problem, sgd, [0, 7, 50], key=jax.random.key(1), learning_rate=np.float32(0.2))
        simulate(least_squares(PROBLEM, 8), sgd, [3, 4, 9], learning_rate=jnp.asarray(0.3))
        ones = np.ones(grid)
        sweep(problem, sgd, [1, 2, 9], {"learning_rate": ones, "batch_size": 3.0 * ones}, keys)
    assert again == []


@pytest.mark.parametrize("horizon", [60, 20_000])
def test_divergence_is_recorded_at_its_step(horizon):
    steps = np.unique(np.concatenate([np.arange(0, 60, 3), [horizon]]))
    run = simulate(diagonal_quadratic(PROBLEM), sgd, steps, learning_rate=3.0)
    plain = plain_loop(steps[:-1], 3.0)
    bad = plain > DIVERGENCE_FACTOR * plain[0]
    assert int(run.diverged_at) == steps[:-1][bad][0]
    np.testing.assert_allclose(run.loss[:-1][~bad], plain[~bad], rtol=SAME_MATHS)
    assert np.all(np.isposinf(np.asarray(run.loss[:-1])[bad]))
    assert np.isposinf(float(run.loss[-1]))


def test_overflow_between_two_recordings_is_infinite_not_nan():
    problem = diagonal_quadratic(PROBLEM, jnp.float32)
    run = simulate(problem, sgd, [0, 10_000, 20_000], learning_rate=3.0)
    assert np.all(np.isposinf(np.asarray(run.loss[1:])))
    assert int(run.diverged_at) == 10_000


def test_a_diverging_lane_leaves_the_others_alone():
    rates = np.array([0.5, 3.0, 0.9])
    grown = sweep(diagonal_quadratic(PROBLEM), sgd, STEPS, {"learning_rate": rates})
    assert grown.loss.shape == (3, STEPS.size)
    assert np.asarray(grown.diverged_at).tolist()[::2] == [NEVER, NEVER]
    assert int(grown.diverged_at[1]) in STEPS
    for lane in (0, 2):
        np.testing.assert_allclose(
            grown.loss[lane], plain_loop(STEPS, rates[lane]), rtol=SAME_MATHS
        )


def test_sizes_are_swept_by_mask():
    sizes = [1, 20, 300]
    grown = sweep(
        diagonal_quadratic(PROBLEM), sgd, STEPS, {"learning_rate": [0.7] * 3, "size": sizes}
    )
    for lane, size in enumerate(sizes):
        expected = plain_loop(STEPS, 0.7, size=size)
        np.testing.assert_allclose(grown.loss[lane], expected, rtol=SAME_MATHS)


def test_runs_are_reproducible_and_sweeps_hold_single_runs():
    problem = least_squares(PROBLEM, 4)
    keys = jax.random.split(jax.random.key(7), 3)
    grid = {"learning_rate": [0.1, 0.3], "batch_size": [1, 4]}
    first, again = (sweep(problem, sgd, [0, 5, 40], grid, keys) for _ in range(2))
    np.testing.assert_array_equal(first.loss, again.loss)
    assert first.loss.shape == (2, 3, 3)
    assert len(np.unique(np.asarray(first.loss[1, :, -1]))) == 3
    alone = simulate(problem, sgd, [0, 5, 40], key=keys[2], learning_rate=0.3)
    np.testing.assert_allclose(first.loss[1, 2], alone.loss, rtol=SAME_MATHS)


def test_recording_elsewhere_does_not_change_a_stochastic_run():
    problem, key = least_squares(PROBLEM, 2), jax.random.key(9)
    early = simulate(problem, sgd, [0, 1, 20], key=key, learning_rate=0.2)
    late = simulate(problem, sgd, [13, 18, 20], key=key, learning_rate=0.2)
    np.testing.assert_allclose(early.loss[-1], late.loss[-1], rtol=SAME_MATHS)


def test_observer_sees_the_parameters():
    problem = diagonal_quadratic(PROBLEM)
    run = simulate(problem, sgd, [0, 1, 9], learning_rate=0.5, observe=first_two)
    modes = np.arange(1.0, 3.0)
    expected = modes**-0.15 * (1 - (1 - 0.5 * modes**-1.5) ** np.array([[0.0], [1.0], [9.0]]))
    np.testing.assert_allclose(run.observed, expected, rtol=SAME_MATHS, atol=1e-15)


def first_two(problem, params):
    return params[:2]


def moment_recursion(rate, batch, noise, horizon):
    """Expected losses 0..horizon of 20 trained modes out of 25, from second moments."""
    modes = np.arange(1.0, 26)
    lam, second = modes**-1.5, modes ** (1.5 - 1.8)
    floor = float(least_squares(power_law(1.5, 1.8, 25, noise), 1).floor)
    losses = []
    for _ in range(horizon + 1):
        losses.append(floor + 0.5 * np.sum(lam * second))
        drive = np.sum(lam * second) + 2 * floor
        moved = (1 - 2 * rate * lam + rate**2 * lam**2 * (1 + 1 / batch)) * second
        second = np.where(modes <= 20, moved + rate**2 / batch * lam * drive, second)
    return np.array(losses)


@pytest.mark.parametrize(
    ("batch", "noise", "sample_rows"), [(1, 0.0, False), (3, 0.5, False), (3, 0.5, True)]
)
def test_mean_of_many_seeds_is_the_moment_recursion(batch, noise, sample_rows):
    problem = least_squares(
        power_law(1.5, 1.8, 20, noise), batch, total_size=25, sample_rows=sample_rows
    )
    steps = np.array([1, 4, 16, 64])
    keys = jax.random.split(jax.random.key(11), 2000)
    mean = ensemble(sweep(problem, sgd, steps, {"learning_rate": [0.2]}, keys))
    expected = moment_recursion(0.2, batch, noise, 64)[steps]
    assert np.all(np.abs(mean.mean[0] - expected) < Z_SCORE * mean.standard_error[0])
    # A standard error that is too wide would pass anything.
    assert np.all(mean.standard_error[0] < 0.03 * expected)


def test_ensemble_mean_error_and_divergence():
    problem = least_squares(PROBLEM, 1)
    keys = jax.random.split(jax.random.key(2), 3)
    grid = {"learning_rate": [0.1, 30.0], "batch_size": [1, 1]}
    grown = sweep(problem, sgd, [0, 9, 30], grid, keys)
    result = ensemble(grown)
    loss = np.asarray(grown.loss)
    np.testing.assert_allclose(result.mean[0], loss[0].sum(axis=0) / 3, rtol=SAME_MATHS)
    spread = np.sqrt(np.sum((loss[0] - loss[0].mean(axis=0)) ** 2, axis=0) / 2 / 3)
    error = result.standard_error[0]
    np.testing.assert_allclose(error, spread, rtol=SAME_MATHS, atol=1e-15)
    assert result.diverged.tolist() == [0, 3]
    assert np.isposinf(result.mean[1, -1])
    assert result.seeds == 3


def test_ensemble_needs_two_seeds():
    run = simulate(diagonal_quadratic(PROBLEM), sgd, [0, 1], learning_rate=0.1)
    with pytest.raises(ValueError, match="2 seeds"):
        ensemble(run)


@pytest.mark.parametrize(
    "steps", [[], [-1, 3], [0, 1.5], [0, 3, 3], [5, 2], [0, float("nan")], [[0, 1]], [0, 2**31]]
)
def test_bad_recording_grids_are_refused(steps):
    with pytest.raises(ValueError, match="steps"):
        simulate(diagonal_quadratic(PROBLEM), sgd, steps, learning_rate=0.1)


def test_recording_grid():
    steps = record_steps(10_000, 9)
    assert steps.tolist() == [0, 1, 4, 14, 52, 193, 720, 2683, 10_000]
    assert record_steps(3, 50).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("horizon", "points"), [(0, 5), (10.5, 5), (10, 1), (float("inf"), 5)])
def test_bad_horizons_are_refused(horizon, points):
    with pytest.raises(ValueError, match=r"horizon|points"):
        record_steps(horizon, points)


@pytest.mark.parametrize(
    ("grid", "named"),
    [
        ({}, "configurations"),
        ({"learning_rate": 0.1}, "configurations"),
        ({"learning_rate": [0.1, 0.2], "size": [3]}, "configurations"),
        ({"learning_rate": [0.1, float("nan")]}, "learning_rate"),
        ({"learning_rate": [0.1], "size": [301]}, "size"),
        ({"learning_rate": [0.1], "size": [0]}, "size"),
    ],
)
def test_bad_sweeps_are_refused(grid, named):
    with pytest.raises(ValueError, match=named):
        sweep(diagonal_quadratic(PROBLEM), sgd, [0, 1], grid)


def test_a_static_batch_size_is_not_swept():
    problem = least_squares(PROBLEM, 2, sample_rows=True)
    with pytest.raises(ValueError, match="batch_size"):
        sweep(problem, sgd, [0, 1], {"learning_rate": [0.1], "batch_size": [4]})


def shapes_drawn(jaxpr):
    """Shapes of all random bits drawn anywhere in a computation."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "random_bits":
            found.append(equation.outvars[0].aval.shape)
        for inner in jaxprs_in_params(equation.params):
            found += shapes_drawn(inner)
    return found


def test_noise_is_drawn_once_a_seed_whatever_the_number_of_configurations():
    problem = least_squares(PROBLEM, 2)
    keys, configurations = jax.random.split(jax.random.key(0), 3), {"learning_rate": jnp.ones(7)}
    traced = _sweep.trace(problem, sgd, jnp.array([0, 4]), configurations, keys, None)
    drawn = shapes_drawn(traced.jaxpr.jaxpr)
    assert drawn
    assert all(3 in shape and 7 not in shape for shape in drawn)
