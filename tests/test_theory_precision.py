"""Weights on a grid: floors against Markov chains and Monte Carlo; mantissa bits; bad input."""

import jax
import numpy as np
import pytest

from theory.precision import (
    PRECISION_EXPONENTS,
    added_mantissa_bits,
    needed_mantissa_bits,
    tolerable_error,
    unit_roundoff,
)
from theory.rounding_floor import (
    cell_position,
    independent_error_floor,
    nearest_stall_risk,
    nearest_stalls,
    stochastic_rounding_floor,
    stochastic_rounding_risk,
    stochastic_rounding_variance,
)

from .tolerances import FINITE_DIFFERENCE, SAME_MATHS

PRODUCTS = (0.3, 0.1, 0.03, 0.01)


def chain_mean_square(position, product, reach=12):
    """Stationary E (x - x*)^2 / u^2 of the chain on -reach..reach by its transition matrix."""
    points = np.arange(-reach, reach + 1)
    wanted = points - product * (points - position)
    low = np.floor(wanted).astype(int)
    moves = np.zeros((points.size, points.size))
    for row, (below, up) in enumerate(zip(low, wanted - low, strict=True)):
        moves[row, below + reach] += 1 - up
        if up > 0:
            moves[row, below + 1 + reach] += up
    values, vectors = np.linalg.eig(moves.T)
    weights = np.real(vectors[:, np.argmin(abs(values - 1))])
    weights /= weights.sum()
    return weights @ (points - position) ** 2, weights @ (points - position)


@pytest.mark.parametrize("position", [0.0, 0.2, 0.5, 0.83])
@pytest.mark.parametrize("product", [1.0, 0.7, *PRODUCTS])
def test_the_stationary_variance_is_that_of_the_whole_chain(position, product):
    square, mean = chain_mean_square(position, product)
    found = float(stochastic_rounding_variance(position, 1.0))
    assert found == pytest.approx(square, abs=1e-12)
    assert mean == pytest.approx(0.0, abs=1e-12)
    assert float(stochastic_rounding_variance(position, 0.1)) == pytest.approx(found / 100)


def test_beyond_the_stated_step_size_the_chain_leaves_the_cell():
    held = float(stochastic_rounding_variance(0.1, 1.0))
    assert chain_mean_square(0.1, 1 / 0.9)[0] == pytest.approx(held, abs=1e-12)
    assert chain_mean_square(0.1, 1.5)[0] > 1.2 * held


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_floor_is_the_mean_loss_of_monte_carlo_chains(product):
    rng = np.random.default_rng(int(1000 * product))
    lam, spacing, chains = 0.7, 0.05, 20_000
    target = rng.uniform(0, 10 * spacing, chains)
    whole = np.floor(target / spacing)
    for _ in range(int(10 / product)):  # the start is forgotten to e^-10
        wanted = whole - product * (whole - target / spacing)
        whole = np.floor(wanted + rng.uniform(size=chains))
    losses = lam * (spacing * whole - target) ** 2 / 2
    error = losses.std(ddof=1) / np.sqrt(chains)
    floor = float(stochastic_rounding_floor(lam, spacing))
    assert abs(losses.mean() - floor) < 3 * error
    assert error < 0.01 * floor


def test_the_risk_of_targets_averages_to_the_floor():
    lam, spacing = np.array([1.0, 0.5, 0.2]), np.array([0.1, 0.2, 0.4])
    target = np.array([0.31, -0.77, 12.5])
    parts = [
        0.5 * a * u**2 * chain_mean_square(t / u - np.floor(t / u), 0.2)[0]
        for a, u, t in zip(lam, spacing, target, strict=True)
    ]
    found = float(stochastic_rounding_risk(lam, target, spacing))
    assert found == pytest.approx(sum(parts), rel=1e-10)
    places = (np.arange(1000) + 0.5) / 1000
    mean = np.mean([float(stochastic_rounding_risk(1.0, p, 1.0)) for p in places[::50]])
    assert mean == pytest.approx(float(stochastic_rounding_floor(1.0, 1.0)), rel=0.02)
    at_nodes = float(np.mean(stochastic_rounding_variance(places, 1.0)))
    assert at_nodes / 2 == pytest.approx(float(stochastic_rounding_floor(1.0, 1.0)), rel=1e-6)
    floor = float(stochastic_rounding_floor(lam, spacing))
    assert floor == pytest.approx(float(np.sum(lam * spacing**2)) / 12, rel=SAME_MATHS)


def test_positions_are_measured_from_the_point_below():
    np.testing.assert_allclose(
        cell_position(np.array([0, 0.3, -0.1]), 0.4), [0, 0.75, 0.75], atol=1e-15
    )


def test_independent_errors_settle_at_another_floor_that_grows_as_steps_shrink():
    lam, variance, rate = np.array([1.0, 0.1]), 0.04, 0.5
    second = np.zeros(2)
    for _ in range(2000):
        second = (1 - rate * lam) ** 2 * second + variance
    found = float(independent_error_floor(lam, variance, rate))
    assert found == pytest.approx(float(np.sum(lam * second)) / 2, rel=1e-10)
    small = float(independent_error_floor(lam, variance, rate / 1000))
    assert small / found == pytest.approx(1000, rel=0.3)


def test_nearest_rounding_stalls_where_it_is_said_to():
    spacing, lam, rate = 0.125, 1.0, 0.1
    whole = np.arange(-40, 41)
    error = whole * spacing - 0.031
    moved = np.round((whole * spacing - rate * lam * error) / spacing) != whole
    np.testing.assert_array_equal(nearest_stalls(lam, error, spacing, rate), ~moved)


@pytest.mark.parametrize("rate", [0.9, 0.3, 0.1, 0.02])
def test_the_stalled_loss_is_bounded_tightly(rate):
    lam, spacing = np.geomspace(1, 0.02, 40), 0.01
    rng = np.random.default_rng(3)
    target = rng.uniform(-1, 1, lam.size)
    start = np.round(rng.uniform(-3, 3, lam.size) / spacing)
    whole = start
    for _ in range(60_000):
        new = np.round(whole - rate * lam * (whole - target / spacing))
        if np.array_equal(new, whole):
            break
        whole = new
    else:
        raise AssertionError("it still moves")
    error = whole * spacing - target
    assert np.all(nearest_stalls(lam, error, spacing, rate))
    loss = np.sum(lam * error**2) / 2
    bound = float(nearest_stall_risk(lam, start * spacing - target, spacing, rate))
    assert loss <= bound * (1 + SAME_MATHS)
    # One grid step inside the radius at most, for modes that moved.
    reach = spacing / (2 * rate * lam)
    inner = np.minimum(np.abs(start * spacing - target), np.maximum(reach - spacing, 0))
    assert loss >= np.sum(lam * inner**2) / 2


def test_roundoff_is_the_largest_error_of_half_precision():
    values = np.linspace(1, 2, 40_001)
    error = np.abs(values.astype(np.float16).astype(float) - values)
    assert error.max() == pytest.approx(float(unit_roundoff(10)), rel=0.1)
    assert error.max() <= float(unit_roundoff(10))


def test_bits_meet_the_tolerable_error_and_differences_know_no_constant():
    for optimizer, parts in PRECISION_EXPONENTS.items():
        for part, exponent in parts.items():
            steps = np.array([1e3, 1e5])
            bits = needed_mantissa_bits(optimizer, part, steps, constant=0.3)
            tolerable = tolerable_error(optimizer, part, steps, constant=0.3)
            np.testing.assert_allclose(unit_roundoff(bits), tolerable, rtol=SAME_MATHS)
            added = float(added_mantissa_bits(optimizer, part, 100.0))
            assert float(bits[1] - bits[0]) == pytest.approx(added, rel=SAME_MATHS)
            assert added == pytest.approx(exponent * np.log2(100), rel=SAME_MATHS)
    # A loose constant asks for no mantissa at all.
    assert float(needed_mantissa_bits("muon", "weights", 4.0, constant=10.0)) == 0.0


@pytest.mark.parametrize(
    ("formula", "places"),
    [
        (unit_roundoff, (0.5, 7.0)),
        (lambda t: tolerable_error("adam", "weights", t, constant=0.3), (2.0, 30.0)),
        (lambda t: needed_mantissa_bits("muon", "momentum", t, constant=0.1), (2.0, 30.0)),
        (lambda ratio: added_mantissa_bits("adam", "gradient", ratio), (0.4, 3.0)),
        (lambda place: stochastic_rounding_variance(place, 0.3), (0.1, 0.7)),
        (lambda u: stochastic_rounding_floor(np.array([1.0, 0.5]), u), (0.1, 0.4)),
        (lambda x: stochastic_rounding_risk(0.7, x, 0.3), (0.1, 0.43)),
        (lambda eta: independent_error_floor(np.array([1.0, 0.2]), 0.1, eta), (0.2, 1.5)),
        (lambda eta: nearest_stall_risk(np.array([1.0, 0.2]), 0.3, 0.1, eta), (0.3, 0.6)),
    ],
)
def test_gradients_are_finite_differences(formula, places):
    for place in places:
        step = 1e-5 * place
        central = (float(formula(place + step)) - float(formula(place - step))) / (2 * step)
        found = float(jax.grad(formula)(place))
        assert found != 0
        assert found == pytest.approx(central, rel=FINITE_DIFFERENCE)


def test_below_no_bits_and_beyond_the_largest_error_nothing_moves():
    bits = lambda steps: needed_mantissa_bits("muon", "weights", steps, constant=10.0)
    assert float(jax.grad(bits)(4.0)) == 0.0
    stalled = lambda rate: nearest_stall_risk(1.0, 0.01, 0.1, rate)
    assert float(jax.grad(stalled)(0.2)) == 0.0  # the start is nearer than the radius


def test_adam_needs_four_times_the_bits_of_muon_for_its_weights():
    adam, muon = (float(added_mantissa_bits(name, "weights", 16.0)) for name in ("adam", "muon"))
    assert (adam, muon) == (8.0, 2.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cell_position(0.1, 0.0), "`spacing` must be a finite number and positive"),
        (lambda: stochastic_rounding_variance(1.2, 1.0), "`position` must be"),
        (lambda: stochastic_rounding_floor(-1.0, 1.0), "`eigenvalues` must be"),
        (lambda: stochastic_rounding_risk(1.0, np.nan, 1.0), "`target` must be"),
        (lambda: independent_error_floor(1.0, 0.1, 2.0), "`learning_rate . eigenvalues` must be"),
        (lambda: independent_error_floor(1.0, -0.1, 0.1), "`variance` must be"),
        (lambda: nearest_stalls(1.0, 1.0, 1.0, 0.0), "`learning_rate` must be"),
        (lambda: nearest_stall_risk(1.0, 1.0, 1.0, 1.1), "`learning_rate . eigenvalues` must be"),
        (lambda: unit_roundoff(-1), "`mantissa_bits` must be"),
        (lambda: tolerable_error("lion", "weights", 10, constant=1), "`optimizer` must be one of"),
        (lambda: tolerable_error("adam", "momentum", 10, constant=1), "`part` must be one of"),
        (lambda: tolerable_error("adam", "weights", 0.5, constant=1), "`steps` must be"),
        (lambda: needed_mantissa_bits("adam", "weights", 9, constant=0), "`constant` must be"),
        (lambda: added_mantissa_bits("adam", "weights", 0.0), "`ratio` must be"),
    ],
)
def test_bad_arguments_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
