"""SGD under piecewise constant and smooth schedules against stepping, one map, and refinement."""

import jax.numpy as jnp
import numpy as np
import pytest

from theory.problem import power_law
from theory.scheduled_descent import scheduled_sgd
from theory.schedules import constant, cosine, linear_decay, schedule_rates, warmup_stable_decay
from theory.secular import rank_one_eigen
from theory.segmented_descent import segmented_sgd
from theory.sgd import sgd
from theory.smooth_schedules import constant_pieces, smooth_sgd
from theory.spectrum import explicit_spectrum

from .tolerances import REFERENCE, SAME_MATHS


@pytest.mark.parametrize(
    ("a", "b", "size", "noise", "largest"),
    [(1.5, 1.8, 1e9, 0.1, 0.4), (2.5, 1.3, 1e9, 0.0, 0.4), (0.9, 2.0, 30, 0.1, 0.2)],
)
def test_pieces_match_stepping(a, b, size, noise, largest):
    rng = np.random.default_rng(0)
    rates, lengths = rng.uniform(0, largest, 24), rng.integers(0, 60, 24)
    rates[[0, 7]], lengths[5] = 0.0, 400
    batch = rng.choice([2.0, 8.0, 1e5], 24)
    end = lengths.sum()
    record = np.array([[end, 0, 1, lengths[0]], [lengths[0] + 1, end // 2, end // 2, end - 1]])
    problem = power_law(a, b, size, noise)
    curve = segmented_sgd(problem, rates, lengths, batch, record)
    steps = scheduled_sgd(problem, np.repeat(rates, lengths), np.repeat(batch, lengths), record)
    np.testing.assert_allclose(curve.total, steps.total, rtol=SAME_MATHS)
    np.testing.assert_allclose(curve.bias, steps.bias, rtol=SAME_MATHS)
    # The difference of loss and bias.
    assert np.all(np.abs(curve.noise - steps.noise) <= SAME_MATHS * steps.total)


def test_cutting_a_constant_rate_changes_nothing():
    problem = power_law(1.5, 1.8, 1e12, 0.0)
    lengths = np.array([1, 10, 1e3, 1e6, 1e9, 1e12])
    record = np.cumsum(lengths)
    curve = segmented_sgd(problem, np.full(6, 0.3), lengths, 4.0, record)
    single = sgd(problem, 0.3, 4.0, record)
    np.testing.assert_allclose(curve.total, single.total, rtol=SAME_MATHS)
    np.testing.assert_allclose(curve.noise, single.noise, rtol=SAME_MATHS)


def test_equal_eigenvalues_and_diverging_pieces_match_stepping():
    spectrum = explicit_spectrum(
        np.array([1, 1, 0.5, 0.5, 0.5, 0.2]), np.arange(1.0, 7.0), 0.1, 0.3
    )
    rates, lengths = np.array([0.2, 2.5, 0.1]), np.array([20, 15, 40])
    curve = segmented_sgd(spectrum, rates, lengths, 3.0, np.array([20, 35, 75]))
    steps = scheduled_sgd(spectrum, np.repeat(rates, lengths), 3.0, np.array([20, 35, 75]))
    assert float(curve.total[1]) > 1e6 * float(curve.total[0])
    np.testing.assert_allclose(curve.total, steps.total, rtol=SAME_MATHS)


def test_a_run_that_never_moves_keeps_its_loss():
    problem = power_law(1.5, 1.8, 100, 0.1)
    start = float(sgd(problem, 0.1, 4.0, 0.0).total)
    for rates, lengths in (([0.0, 0.0], [5, 5]), ([0.3], [0])):
        curve = segmented_sgd(problem, np.array(rates), np.array(lengths), 4.0)
        assert curve.total.shape == ()
        assert float(curve.total) == pytest.approx(start, rel=SAME_MATHS)


def test_combining_undoes_projecting_with_coincident_poles():
    poles = jnp.array([0.1, 0.4, 0.4, 0.5, 0.9, 0.4, 0.2])
    coupling = jnp.array([0.3, 0.2, 0.5, 0.0, 0.7, 0.1, 0.1])
    eigen = rank_one_eigen(poles, coupling, jnp.array(0.25))
    vector = jnp.array([1.0, -2.0, 3.0, 0.5, 1e-6, 0.1, 7.0])
    np.testing.assert_allclose(eigen.combine(eigen.project(vector)), vector, atol=REFERENCE)
    np.testing.assert_allclose(
        eigen.combine(eigen.values * eigen.project(vector)),
        (jnp.diag(poles) - 0.25 * jnp.outer(coupling, coupling)) @ vector,
        atol=REFERENCE,
    )


@pytest.mark.parametrize("halvings", [0, 3])
@pytest.mark.parametrize("steps", [1, 2, 7, 1000, 12_340])
def test_pieces_keep_the_sum_of_the_rates(steps, halvings):
    kinks = (0.1, 0.7)
    schedule = warmup_stable_decay(0.3, 0.1)
    rates, lengths = constant_pieces(schedule, 0.3, steps, halvings, kinks)
    full = np.asarray(schedule_rates(schedule, 0.3, steps))
    ends = np.cumsum(lengths).astype(int)
    assert ends[-1] == steps
    parts = np.add.reduceat(full, np.concatenate([[0], ends[:-1]]))
    np.testing.assert_allclose(rates * lengths, parts, rtol=SAME_MATHS, atol=SAME_MATHS)


def test_pieces_of_a_trillion_steps_are_some_hundreds():
    rates, lengths = constant_pieces(cosine, 0.3, 1e12)
    assert lengths.sum() == 1e12
    assert rates.size < 250
    assert np.sum(rates * lengths) == pytest.approx(0.15 * (1e12 + 1), rel=SAME_MATHS)


@pytest.mark.parametrize(
    ("schedule", "kinks"),
    [(cosine, ()), (linear_decay, ()), (warmup_stable_decay(0.2), (0.8,))],
    ids=["cosine", "linear", "decay"],
)
def test_smooth_schedules_settle_within_their_estimate(schedule, kinks):
    problem, steps = power_law(1.5, 2.5, 50, 0.1), 20_000
    exact = scheduled_sgd(problem, schedule_rates(schedule, 0.3, steps), 4.0)
    curve, estimate = smooth_sgd(problem, schedule, 0.3, 4.0, steps, 1e-3, kinks)
    assert 0 < estimate <= 1e-3
    assert abs(float(curve.optimization / exact.optimization) - 1) < estimate
    assert float(curve.bias) == pytest.approx(float(exact.bias), rel=1e-3)


def test_refinement_goes_on_until_the_tolerance_is_met():
    problem = power_law(1.5, 2.5, 50, 0.1)
    estimates = [smooth_sgd(problem, cosine, 0.3, 4.0, 20_000, tol)[1] for tol in (1e-3, 1e-5)]
    assert estimates[1] <= 1e-5 < estimates[0] <= 1e-3


def test_short_runs_and_constant_rates_are_exact():
    problem = power_law(1.5, 2.5, 50, 0.1)
    for steps in (1, 6):
        curve, estimate = smooth_sgd(problem, linear_decay, 0.3, 4.0, steps)
        exact = scheduled_sgd(problem, schedule_rates(linear_decay, 0.3, steps), 4.0)
        assert estimate == 0.0
        np.testing.assert_allclose(curve.total, exact.total, rtol=SAME_MATHS)
    curve, _ = smooth_sgd(problem, constant, 0.3, 4.0, 1e6)
    np.testing.assert_allclose(curve.total, sgd(problem, 0.3, 4.0, 1e6).total, rtol=SAME_MATHS)


@pytest.mark.slow
def test_a_million_steps_on_a_billion_modes_agree_with_their_pieces():
    problem = power_law(1.5, 1.8, 1e9, 0.1)
    exact = scheduled_sgd(problem, schedule_rates(cosine, 0.3, 1_000_000), 4.0)
    curve, estimate = smooth_sgd(problem, cosine, 0.3, 4.0, 1e6)
    assert estimate <= 1e-4
    assert abs(float(curve.optimization / exact.optimization) - 1) < estimate


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"learning_rates": [0.1, -0.1]}, "learning_rates"),
        ({"learning_rates": 0.1}, "learning_rates"),
        ({"learning_rates": []}, "learning_rates"),
        ({"lengths": [1, -1]}, "lengths"),
        ({"lengths": [1, 1.5]}, "lengths"),
        ({"lengths": [1]}, "lengths"),
        ({"lengths": 3}, "lengths"),
        ({"batch_size": 0.5}, "batch_size"),
        ({"batch_size": [1, 2, 3]}, "batch_size"),
        ({"record": [6]}, "record"),
        ({"record": [-1]}, "record"),
        ({"record": [0.5]}, "record"),
    ],
)
def test_bad_pieces_are_refused_by_name(arguments, name):
    good = {"learning_rates": [0.1, 0.2], "lengths": [2, 3], "batch_size": 4, "record": [5]}
    with pytest.raises(ValueError, match=f"`{name}` must"):
        segmented_sgd(power_law(1.5, 1.8, 100), **(good | arguments))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"steps": 0}, "steps"),
        ({"steps": 10.5}, "steps"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"kinks": (1.5,)}, "kinks"),
        ({"batch_size": 0.0}, "batch_size"),
    ],
)
def test_bad_schedules_are_refused_by_name(arguments, name):
    good = {"learning_rate": 0.3, "batch_size": 4, "steps": 10}
    with pytest.raises(ValueError, match=f"`{name}` must"):
        smooth_sgd(power_law(1.5, 1.8, 100), cosine, **(good | arguments))
