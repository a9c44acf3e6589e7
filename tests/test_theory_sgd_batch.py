"""Batches of exact curves against one curve at a time, brute force, 60 digits and limits."""

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from theory import sgd_batch
from theory.batch_nodes import many_mode_nodes
from theory.contours import FIRST_STEPS, contours
from theory.curve_chunk import chunk_curves
from theory.linear_methods import gd
from theory.problem import power_law
from theory.sgd import critical_learning_rate, sgd
from theory.sgd_batch import gd_curves, sgd_curves
from theory.spectrum import compress, mode_nodes

from .test_theory_sgd import recursion
from .tolerances import EIGHT_POINTS, REFERENCE, SAME_MATHS

# What `sgd_curves` states: contours checked to 2e-12 of the sum of their terms, fifty losses at
# most. (Measured over 600 random configurations: 2e-11.)
CONTOUR = 1e-10


def random_configurations(count, seed, fractions=(0.01, 0.3, 0.9, 0.9999)):
    """a, b, N, sigma^2, eta, B; rates up to a fraction of each stability limit."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0.6, 3, count), rng.uniform(1.1, 4, count)
    # Two sizes: a single curve compiles for each class of them.
    size, batch = rng.choice([30.0, 1e9], count), 10 ** rng.uniform(0, 4, count)
    noise, fraction = rng.choice([0.0, 0.1], count), rng.choice(fractions, count)
    limits = [
        float(critical_learning_rate(power_law(*row[:3]), row[3]))
        for row in zip(a, b, size, batch, strict=True)
    ]
    return a, b, size, noise, fraction * np.array(limits), batch


def one_by_one(configurations, steps):
    for a, b, size, noise, rate, batch in zip(*configurations, strict=True):
        yield sgd(power_law(a, b, size, noise), rate, batch, steps)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_curves_agree_with_one_diagonalisation_each(seed):
    configurations = random_configurations(24 if seed == 0 else 300, seed)
    steps = np.concatenate([[0], np.unique(np.round(np.geomspace(1, 1e10, 20)))])
    curves = sgd_curves(*configurations, steps)
    for row, single in enumerate(one_by_one(configurations, steps)):
        np.testing.assert_allclose(curves.total[row], single.total, rtol=CONTOUR)
        assert np.all(np.abs(curves.noise[row] - single.noise) <= CONTOUR * single.total)
        assert np.all(np.abs(curves.bias[row] - single.bias) <= EIGHT_POINTS * single.total)
        np.testing.assert_allclose(curves.approximation[row], single.approximation, rtol=REFERENCE)
        np.testing.assert_allclose(curves.irreducible[row], single.irreducible, rtol=REFERENCE)


def test_most_curves_are_as_exact_as_a_single_one():
    configurations = random_configurations(24, 2, (0.01, 0.3))
    steps = np.concatenate([[0], np.unique(np.round(np.geomspace(1, 1e10, 20)))])
    curves = sgd_curves(*configurations, steps)
    errors = [
        np.max(np.abs(curves.total[row] / single.total - 1))
        for row, single in enumerate(one_by_one(configurations, steps))
    ]
    assert np.median(errors) < REFERENCE


def test_steep_spectra_are_as_exact():
    a, b = np.array([5.4, 8.1, 9.7]), np.array([1.25, 1.65, 11.0])
    numbers = a, b, 1e9, np.array([0.12, 0.1, 0.5]), np.array([0.32, 0.3, 0.2]), 4.0
    steps = np.array([32.0, 1e6, 1e11, 1e12])
    curves = sgd_curves(*numbers, steps)
    for row in range(a.size):
        # Half as many points again leave no quadrature error to speak of.
        spectrum = compress(power_law(a[row], b[row], 1e9, numbers[3][row]), 24)
        single = sgd(spectrum, numbers[4][row], 4.0, steps)
        np.testing.assert_allclose(curves.total[row], single.total, rtol=CONTOUR)


@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.99])
def test_curves_match_stepping_every_mode(fraction):
    steps = np.array([0, 1, 2, FIRST_STEPS - 1, FIRST_STEPS, FIRST_STEPS + 1, 3000, 1e10])
    a, b = np.array([1.5, 0.8, 2.5, 1.2, 1.5]), np.array([1.8, 2.5, 1.3, 3.5, 1.8])
    size, batch = np.array([200, 50, 400, 17, 1]), np.array([4, 1, 2, 1000, 3.0])
    noise = np.array([0.0, 0.5, 0.1, 0.0, 0.2])
    limits = [
        float(critical_learning_rate(power_law(*row[:3]), row[3]))
        for row in zip(a, b, size, batch, strict=True)
    ]
    rate = fraction * np.array(limits)
    curves = sgd_curves(a, b, size, noise, rate, batch, steps)
    for row in range(a.size):
        losses = recursion(a[row], b[row], size[row], rate[row], batch[row], noise[row], 3000)
        excess, total = losses[steps[:-1].astype(int)], np.asarray(curves.total[row, :-1])
        constant = np.asarray(curves.irreducible[row, 0] + curves.approximation[row, 0])
        np.testing.assert_allclose(total, excess + constant, rtol=CONTOUR)
        np.testing.assert_allclose(curves.optimization[row][:4], excess[:4], rtol=SAME_MATHS)


def sixty_digits(a, b, size, noise, rate, batch, steps):
    """Total loss by repeated squaring of the affine map of all second moments."""
    with mpmath.workdps(60):
        a, b, noise, rate, batch = (mpmath.mpf(value) for value in (a, b, noise, rate, batch))
        lam = [mpmath.mpf(i) ** -a for i in range(1, size + 1)]
        untrained = mpmath.zeta(b, size + 1)
        step = mpmath.zeros(size + 1)
        step[size, size] = 1
        for i in range(size):
            kick = rate**2 / batch * lam[i]
            for j in range(size):
                step[i, j] = kick * lam[j]
            step[i, i] += 1 - 2 * rate * lam[i] + rate**2 * lam[i] ** 2 * (1 + 1 / batch)
            step[i, size] = kick * (noise + untrained)
        power = mpmath.eye(size + 1)
        while steps:
            power = step * power if steps & 1 else power
            step, steps = step * step, steps >> 1
        start = mpmath.matrix([mpmath.mpf(i) ** (a - b) for i in range(1, size + 1)] + [1])
        moments = power * start
        trained = sum(lam[i] * moments[i] for i in range(size))
        return float((trained + untrained + noise) / 2)


def test_curves_match_sixty_digits():
    configurations = [
        (1.5, 1.8, 6, 0.0, 0.3, 4.0),
        (3.0, 1.2, 8, 0.1, 0.6, 1e6),
        (2.5, 3.5, 8, 0.0, 0.1, 2.0),
        (1.0, 2.0, 5, 1.0, 0.02, 1.0),
    ]
    steps = [1, FIRST_STEPS, 1000, 10**6, 10**10]
    curves = sgd_curves(*np.array(configurations).T, steps)
    exact = [[sixty_digits(*row, horizon) for horizon in steps] for row in configurations]
    np.testing.assert_allclose(curves.total, exact, rtol=CONTOUR)


def test_noise_of_huge_batches_keeps_its_digits():
    steps = np.array([10, FIRST_STEPS, 1e4, 1e10])
    batch = np.array([1e9, 1e10])
    noise = np.asarray(sgd_curves(1.5, 1.8, 1e9, 0.1, 0.3, batch, steps).noise)
    # Corrections are relative 1/B; a difference of losses would leave some five digits.
    np.testing.assert_allclose(10 * noise[1] / noise[0], 1.0, rtol=10 / batch[0])


def test_unsafe_contours_are_replaced(monkeypatch):
    """At N = 672 and 1e6 steps nothing but the small noise of the untrained modes is left."""
    calls = []
    direct = sgd_batch.diagonalised_noise
    monkeypatch.setattr(
        sgd_batch, "diagonalised_noise", lambda *given: calls.append(1) or direct(*given)
    )
    steps = np.array([FIRST_STEPS, 3.17e7, 1e10])
    rate = [0.9 * float(critical_learning_rate(power_law(0.75, 3.2, 4e7), 190.0)), 0.1]
    curves = sgd_curves([0.75, 1.5], [3.2, 1.8], [4e7, 1e9], 0.0, rate, 190.0, steps)
    assert len(calls) == 1
    single = sgd(power_law(0.75, 3.2, 4e7), rate[0], 190.0, steps)
    np.testing.assert_allclose(curves.noise[0], single.noise, rtol=CONTOUR)


def test_divergence_is_a_result():
    limit = float(critical_learning_rate(power_law(1.5, 1.8, 1e9), 4.0))
    rate = limit * np.array([0.5, 0.9999, 1.0001, 3.0, 1e6])
    steps = np.array([0, 1, 31, FIRST_STEPS, 1e10])
    curves = sgd_curves(1.5, 1.8, 1e9, 0.1, rate, 4.0, steps)
    assert np.all(np.isfinite(curves.noise[:2]))
    assert np.all(np.isinf(curves.noise[2:, 1:]))
    assert np.all(np.isinf(curves.total[2:, 1:]))
    np.testing.assert_array_equal(curves.noise[:, 0], 0.0)
    alone = sgd_curves(1.5, 1.8, 1e9, 0.1, rate[:2], 4.0, steps)
    np.testing.assert_array_equal(alone.noise, curves.noise[:2])


def test_rows_of_horizons_are_those_horizons():
    configurations = random_configurations(5, 3)
    rows = np.round(10 ** np.random.default_rng(4).uniform(0, 8, (5, 7)))
    rows[:, :2] = FIRST_STEPS, 1e10
    curves = sgd_curves(*configurations, rows)
    for row, single in enumerate(rows):
        alone = sgd_curves(*(column[row] for column in configurations), single)
        np.testing.assert_allclose(curves.total[row], alone.total[0], rtol=CONTOUR)
        np.testing.assert_allclose(curves.bias[row], alone.bias[0], rtol=SAME_MATHS)


def test_chunks_do_not_show(monkeypatch):
    rng = np.random.default_rng(5)
    rate, batch = 10 ** rng.uniform(-3, -0.5, 100), 2.0 ** rng.integers(0, 10, 100)
    steps = np.array([5, FIRST_STEPS, 1e10])
    whole = sgd_curves(1.5, 1.8, 1e9, 0.1, rate, batch, steps)
    monkeypatch.setattr(sgd_batch, "CHUNK", 32)
    pieces = sgd_curves(1.5, 1.8, 1e9, 0.1, rate, batch, steps)
    np.testing.assert_array_equal(whole.noise, pieces.noise)
    np.testing.assert_array_equal(whole.bias, pieces.bias)


@pytest.mark.parametrize("points", [8, 12])
def test_sizes_may_differ(points):
    size = np.array([1, 2, 15, 16, 17, 31, 32, 40, 1e9, 1e15])
    curves = gd_curves(1.5, 1.8, size, 0.5, [0, 10, 1e6], points)
    for row, one in enumerate(size):
        single = gd(power_law(1.5, 1.8, one), 0.5, np.array([0, 10, 1e6]))
        np.testing.assert_allclose(curves.total[row], single.total, rtol=EIGHT_POINTS)


def test_nodes_of_many_sizes_are_those_of_each():
    sizes = np.array([1, 5, 31, 32, 100, 4095, 4096, 1e9])
    index, weights = many_mode_nodes(sizes, 12)
    for row, size in enumerate(sizes):
        used = weights[row] > 0
        single, single_weights = mode_nodes(size, 12)
        np.testing.assert_allclose(index[row][used], single, rtol=SAME_MATHS)
        np.testing.assert_allclose(weights[row][used], single_weights, rtol=SAME_MATHS)
        assert np.all((index[row] >= 1) & (index[row] <= size))


def test_compiled_code_is_shared_within_a_class():
    sgd_curves(1.5, 1.8, 1e9, 0.1, [0.1, 0.2], 4.0, [10, 40, 1e10])
    before = chunk_curves._cache_size()
    sgd_curves([1.4, 1.6, 2.0], 1.9, 1.02e9, 0.0, 0.3, 8.0, [20, 60, 1.2e10])
    sgd_curves(1.5, [2.0] * 30, 9e8, 0.2, 0.01, 1.0, [3, 32, 9e9, 1e4])
    assert chunk_curves._cache_size() == before


def test_descent_agrees_with_single_curves_and_shows_divergence():
    a, b, rate = np.array([0.7, 1.5, 3.0]), np.array([1.2, 1.8, 4.0]), np.array([1e-3, 1.0, 1.9])
    steps = np.array([0, 1, 7, 1000, 1e12])
    curves = gd_curves(a, b, 1e9, rate, steps)
    for row in range(3):
        single = gd(power_law(a[row], b[row], 1e9), rate[row], steps)
        np.testing.assert_allclose(curves.total[row], single.total, rtol=EIGHT_POINTS)
    np.testing.assert_array_equal(curves.noise, 0.0)
    beyond = gd_curves(1.5, 1.8, 1e6, 2.5, [0, 1, 10, 1e9])
    assert np.isinf(beyond.total[0, 3])
    modes = np.arange(1, 10**6 + 1.0)
    brute = [np.sum(modes**-1.8 * (1 - 2.5 * modes**-1.5) ** (2 * t)) / 2 for t in (0, 1, 10)]
    np.testing.assert_allclose(beyond.bias[0, :3], brute, rtol=EIGHT_POINTS)


@pytest.mark.parametrize("span", [1.0, 30.0, 1e3, 1e5, 1e11])
def test_contours_invert_sums_of_decays(span):
    rng = np.random.default_rng(6)
    rates, weights = 10 ** rng.uniform(-9, -0.1, 40), rng.uniform(0, 1, 40)
    steps = np.unique(np.round(np.geomspace(FIRST_STEPS, FIRST_STEPS * span, 30)))
    path = contours(steps.min(), steps.max())
    transform = np.sum(weights / (rates - np.asarray(path.points)[..., None]), axis=-1)
    own = np.asarray(path.which(jnp.asarray(steps)))
    inverse = np.sum(np.asarray(path.kernel(jnp.asarray(steps))) * transform[own], axis=-1).real
    exact = np.sum(weights * np.exp(steps[:, None] * np.log1p(-rates)), axis=-1)
    scale = np.sum(weights / (1.0 + steps[:, None] * rates), axis=-1)
    assert np.all(np.abs(inverse - exact) <= EIGHT_POINTS * scale)
    assert path.reference.size == max(1, np.ceil(np.log10(span) / 3))


GOOD = {
    "capacity_exponent": 1.5,
    "source_exponent": 1.8,
    "size": 100,
    "noise_variance": 0.1,
    "learning_rate": 0.3,
    "batch_size": 4,
    "steps": [10.0],
}


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"capacity_exponent": 0.0}, "capacity_exponent"),
        ({"source_exponent": [1.8, 1.0]}, "source_exponent"),
        ({"size": 0.5}, "size"),
        ({"size": 2e15}, "size"),
        ({"noise_variance": -0.1}, "noise_variance"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": np.nan}, "learning_rate"),
        ({"batch_size": 0.5}, "batch_size"),
        ({"batch_size": np.inf}, "batch_size"),
        ({"steps": [-1.0]}, "steps"),
        ({"steps": [1.5]}, "steps"),
        ({"steps": 10.0}, "steps"),
        ({"steps": []}, "steps"),
        ({"steps": np.ones((3, 2)), "size": [1, 2]}, "steps"),
        ({"learning_rate": [0.1, 0.2], "size": [1, 2, 3]}, "learning_rate"),
        ({"learning_rate": np.ones((2, 2))}, "learning_rate"),
        ({"learning_rate": []}, "learning_rate"),
        ({"points_per_block": 1}, "points_per_block"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, name):
    with pytest.raises(ValueError, match=f"`{name}` must"):
        sgd_curves(**(GOOD | arguments))


def test_descent_refuses_what_it_cannot_use():
    with pytest.raises(ValueError, match="`learning_rate` must"):
        gd_curves(1.5, 1.8, 100, -0.1, [1])
    with pytest.raises(TypeError, match="`size` must"):
        gd_curves(1.5, 1.8, "large", 0.1, [1])
    with pytest.raises(ValueError, match="`shortest` must"):
        contours(31, 100)
    with pytest.raises(ValueError, match="`longest` must"):
        contours(100, 99)
