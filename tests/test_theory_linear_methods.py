"""Linear deterministic methods: stepping, limits, asymptotes, gradients, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory.linear_methods import (
    gd,
    gd_asymptote,
    gd_asymptote_window,
    log_abs_one_minus,
    loss_exponents,
    power_residual_squared,
    preconditioned_gd,
)
from theory.problem import power_law
from theory.spectrum import approximation_error

from .tolerances import FINITE_DIFFERENCE, REFERENCE, SAME_MATHS


@pytest.mark.parametrize("exponent", [0.0, 0.3, 0.5, 0.9])
def test_preconditioned_gd_matches_stepping_the_iterates(exponent):
    modes = np.arange(1, 2001, dtype=float)
    lam, target = modes**-1.3, modes**0.65 * modes**-0.85
    x = np.zeros_like(modes)
    problem = power_law(1.3, 1.7, 2000)
    for step in range(1, 201):
        x -= 0.8 * lam**-exponent * lam * (x - target)
        if step in (1, 7, 200):
            loss = np.sum(lam * (x - target) ** 2) / 2
            exact = preconditioned_gd(problem, 0.8, step, exponent)
            assert float(exact.bias) == pytest.approx(loss, rel=SAME_MATHS)


def test_residual_is_one_at_zero_steps_even_where_a_mode_dies_at_once():
    assert float(power_residual_squared(jnp.array(1.0), jnp.array(0.0))) == 1.0
    assert float(power_residual_squared(jnp.array(1.0), jnp.array(3.0))) == 0.0
    assert float(power_residual_squared(jnp.array(1.5), jnp.array(1.0))) == 0.25


def test_log_abs_one_minus_keeps_digits_for_small_arguments():
    mpmath = pytest.importorskip("mpmath")
    for x in (1e-300, 1e-12, 0.3, 0.499999, 0.5, 0.7, 1.3, 1.999):
        with mpmath.workdps(40):
            exact = float(mpmath.log(abs(1 - mpmath.mpf(x))))
        assert float(log_abs_one_minus(jnp.array(x))) == pytest.approx(exact, rel=REFERENCE)


@pytest.mark.parametrize(("a", "b", "p"), [(1.5, 1.8, 0.0), (2.0, 1.3, 0.0), (1.5, 1.8, 0.5)])
def test_asymptote_is_reached_at_the_predicted_rate(a, b, p):
    problem = power_law(a, b, 1e15)
    _, slope = loss_exponents(problem, p)
    gaps = []
    for steps in (64.0, 256.0, 1024.0):
        exact = preconditioned_gd(problem, 0.5, steps, p)
        # An infinite model: the asymptote counts the modes beyond N too, fully unlearned here.
        whole = float(exact.bias + exact.approximation)
        gap = 1 - whole / float(gd_asymptote(problem, 0.5, steps, p))
        predicted = float(slope * (slope + 1) / (4 * steps))
        assert gap == pytest.approx(predicted, rel=0.1)
        gaps.append(gap)
    assert gaps[0] > gaps[1] > gaps[2]


def test_asymptote_reproduces_published_constants():
    # Velikanov and Yarotsky's letters (nu, kappa) = (a, b - 1); values at eta = 1, n = 1000.
    for a, b, value in ((1.5, 1.75, 0.0132111), (2.0, 2.0, 0.0099083)):
        assert float(gd_asymptote(power_law(a, b, 10), 1.0, 1000)) == pytest.approx(value, rel=1e-5)


def test_window_brackets_the_one_percent_range():
    problem = power_law(1.5, 1.8, 1e6)
    first, last = (float(edge) for edge in gd_asymptote_window(problem, 0.5, 0.01))
    assert first < last
    for steps in np.geomspace(first, last, 9):
        ratio = gd(problem, 0.5, steps).bias / gd_asymptote(problem, 0.5, steps)
        assert abs(float(ratio) - 1) <= 0.0101  # the early edge is first order in 1/T
    for steps in (first / 2, 10 * last):
        ratio = gd(problem, 0.5, steps).bias / gd_asymptote(problem, 0.5, steps)
        assert abs(float(ratio) - 1) > 0.01


def test_slope_of_the_exact_curve_tends_to_the_exponents():
    alpha, beta = (float(value) for value in loss_exponents(power_law(1.5, 1.8, 10)))
    assert (alpha, beta) == (pytest.approx(0.8), pytest.approx(0.8 / 1.5))
    gaps = []
    for steps in (1e2, 1e4, 1e6):
        pair = gd(power_law(1.5, 1.8, 1e15), 0.5, jnp.array([steps, 2 * steps])).bias
        gaps.append(abs(float(jnp.log2(pair[0] / pair[1])) - beta))
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-6
    sizes = [float(approximation_error(power_law(1.5, 1.8, size))) for size in (1e6, 2e6)]
    assert np.log2(sizes[0] / sizes[1]) == pytest.approx(alpha, abs=1e-5)


def test_derivatives_agree_with_finite_differences():
    def loss(values):
        rate, capacity, source = values
        problem = power_law(capacity, source, 1e6)
        return jnp.log(gd(problem, rate, 300.0).bias)

    point, step = jnp.array([0.4, 1.5, 1.8]), 1e-5
    automatic = jax.jit(jax.grad(loss))(point)
    for i in range(3):
        shift = jnp.zeros(3).at[i].set(step)
        central = (loss(point + shift) - loss(point - shift)) / (2 * step)
        assert float(automatic[i]) == pytest.approx(float(central), rel=FINITE_DIFFERENCE)


@pytest.mark.parametrize("rate", [0.0, -0.1, 2.0, 3.0, np.nan])
def test_learning_rates_outside_the_stable_range_are_refused(rate):
    with pytest.raises(ValueError, match="`learning_rate` must be"):
        gd(power_law(1.5, 1.8, 100), rate, 10)


def test_other_bad_arguments_are_refused():
    problem = power_law(1.5, 1.8, 100)
    with pytest.raises(ValueError, match="`steps`"):
        gd(problem, 0.5, -1)
    with pytest.raises(ValueError, match="`preconditioner_exponent`"):
        preconditioned_gd(problem, 0.5, 1, 1.0)
    with pytest.raises(ValueError, match="`steps`"):
        gd_asymptote(problem, 0.5, 0.0)
    with pytest.raises(ValueError, match="`tolerance`"):
        gd_asymptote_window(problem, 0.5, 0.0)


# Losses of gradient descent on 10^6 modes at eta = 1 and T = 100, 1000, 10000, beside the formula.
@pytest.mark.parametrize(
    ("a", "b", "losses", "formula"),
    [
        (1.5, 1.75, [0.0416779, 0.0131875, 0.00415655], [0.0417771, 0.0132111, 0.0041777]),
        (2.0, 2.0, [0.0312738, 0.0099060, 0.0031327], [0.0313329, 0.0099083, 0.0031333]),
        (1.5, 2.5, [1.65837e-3, 1.66583e-4, 1.66655e-5], [1 / 600, 1 / 6000, 1 / 60_000]),
    ],
)
def test_gd_on_a_million_modes_gives_the_published_losses(a, b, losses, formula):
    problem, steps = power_law(a, b, 1e6), np.array([1e2, 1e3, 1e4])
    np.testing.assert_allclose(gd(problem, 1.0, steps).bias, losses, rtol=2e-5)
    np.testing.assert_allclose(gd_asymptote(problem, 1.0, steps), formula, rtol=2e-5)
