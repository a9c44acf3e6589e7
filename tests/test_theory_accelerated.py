"""Momentum, Chebyshev and Jacobi: stepping, long division of roots, published constants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import eval_jacobi

from theory.accelerated import accelerated_exponent, heavy_ball, momentum_asymptote, nesterov
from theory.acceleration_schedules import (
    jacobi_constant,
    jacobi_heavy_ball,
    nesterov_growing,
    nesterov_growing_asymptote,
)
from theory.chebyshev import chebyshev, chebyshev_asymptote, chebyshev_edge, chebyshev_residual
from theory.linear_methods import gd
from theory.oscillation import resolved_spectrum
from theory.problem import power_law
from theory.second_order import heavy_ball_residual, nesterov_residual
from theory.spectrum import compress, mode_sum

from .tolerances import FINITE_DIFFERENCE, LAST_DIGIT, REFERENCE, SAME_MATHS

STEPS = np.array([0, 1, 2, 3, 10, 100, 1000])
SIZE = 20_000


def modes(a, b, size=SIZE):
    index = np.arange(1, size + 1, dtype=np.longdouble)
    return index ** -np.longdouble(a), index ** -np.longdouble(b)


def stepped(a, b, update, steps=STEPS):
    """Loss of e' = update(t, e, previous e) in extended precision."""
    lam, energy = modes(a, b)
    new = old = np.ones_like(lam)
    losses = {}
    for t in range(max(steps) + 1):
        losses[t] = float(np.sum(energy * new**2) / 2)
        new, old = update(t, lam, new, old), new
    return np.array([losses[t] for t in steps])


@pytest.mark.parametrize(
    ("a", "b", "rate", "momentum"),
    [
        (1.5, 1.75, 1.0, 0.9),
        (1.5, 1.75, 1.0, 0.999),
        (2.0, 2.0, 0.5, 0.0),
        pytest.param(1.5, 1.8, 1.0, 0.0, marks=pytest.mark.slow),
        (1.5, 1.8, 0.25, 0.25),  # the largest mode sits on the double root
        pytest.param(1.2, 1.5, 3.1, 0.7, marks=pytest.mark.slow),
        (1.0, 1.3, 2.9, 0.5),
    ],
)
def test_heavy_ball_matches_stepping_every_mode(a, b, rate, momentum):
    eta, mu = np.longdouble(rate), np.longdouble(momentum)

    def update(t, lam, new, old):
        return new - eta * lam * new + mu * (new - old)

    curve = heavy_ball(power_law(a, b, SIZE), rate, momentum, STEPS)
    np.testing.assert_allclose(curve.bias, stepped(a, b, update), rtol=SAME_MATHS)


@pytest.mark.parametrize(
    ("a", "b", "rate", "momentum"),
    [
        (1.5, 1.75, 1.0, 0.9),
        (1.5, 1.75, 0.9, 0.999),
        (2.0, 2.0, 0.5, 0.0),
        pytest.param(1.2, 1.5, 1.3, 0.99, marks=pytest.mark.slow),
        (1.0, 1.3, 1.4, 0.5),
    ],
)
def test_nesterov_matches_stepping_the_momentum_buffer(a, b, rate, momentum):
    lam, energy = modes(a, b)
    eta, mu = np.longdouble(rate), np.longdouble(momentum)
    point, buffer, losses = np.ones_like(lam), np.zeros_like(lam), {}
    for t in range(1001):
        losses[t] = float(np.sum(energy * point**2) / 2)
        gradient = lam * point
        buffer = mu * buffer + gradient
        point = point - eta * (gradient + mu * buffer)
    curve = nesterov(power_law(a, b, SIZE), rate, momentum, STEPS)
    np.testing.assert_allclose(curve.bias, [losses[t] for t in STEPS], rtol=SAME_MATHS)


def exact_power(mp, total, product, first, steps):
    """e_T by the closed form of the recurrence in 60 digits."""
    root = mp.sqrt(total**2 / 4 - product)
    big, small = total / 2 + root, total / 2 - root
    if root == 0:
        return big**steps + steps * (first - big) * big ** (steps - 1)
    return ((first - small) * big**steps - (first - big) * small**steps) / (big - small)


@pytest.mark.parametrize("momentum", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("method", ["heavy ball", "nesterov"])
def test_residuals_of_single_modes_up_to_a_trillion_steps(method, momentum):
    mp = pytest.importorskip("mpmath")
    double_root = (1 - momentum**0.5) ** 2
    with mp.workdps(60):
        mu = mp.mpf(momentum)
        for step in (1e-12, 1e-9, 1e-5, double_root, double_root * (1 + 1e-9), 0.3, 1.1, 1.3):
            h = mp.mpf(step)
            for steps in (1, 10, 1000, 10**6, 10**9, 10**12):
                if method == "heavy ball":
                    exact = exact_power(mp, 1 + mu - h, mu, 1 - h, steps)
                    value = heavy_ball_residual(*map(jnp.array, (step, momentum, float(steps))))
                else:
                    left = 1 - h
                    exact = exact_power(mp, (1 + mu) * left, mu * left, 1 - h * (1 + mu), steps)
                    value = nesterov_residual(*map(jnp.array, (step, momentum, float(steps))))
                error = abs(float(value) - float(abs(exact)))
                # A phase of some thousand radians is rounded before its cosine is taken.
                assert error <= SAME_MATHS * max(float(abs(exact)), 0.1), (step, steps)


def test_momentum_zero_is_gradient_descent():
    problem, steps = power_law(1.5, 1.8, 1e9), np.array([1, 30, 1e6, 1e12])
    plain = gd(problem, 0.5, steps).bias
    for method in (heavy_ball, nesterov):
        np.testing.assert_allclose(method(problem, 0.5, 0.0, steps).bias, plain, rtol=REFERENCE)


def test_heavy_ball_reproduces_published_losses():
    # a = 1.5 or 2, b = 1 + kappa; 10^6 modes, learning rate 1, momentum 0.9, 1000 steps.
    for a, b, value in ((1.5, 1.75, 4.16064e-3), (2.0, 2.0, 3.13579e-3), (1.5, 2.5, 1.66588e-5)):
        loss = heavy_ball(power_law(a, b, 1e6), 1.0, 0.9, 1000).bias
        assert float(loss) == pytest.approx(value, rel=3e-6)


@pytest.mark.parametrize("method", [heavy_ball, nesterov])
def test_momentum_tends_to_gradient_descent_at_the_effective_rate(method):
    problem, gaps = power_law(1.5, 1.8, 1e15), []
    for steps in (1e3, 1e4, 1e5):
        curve = method(problem, 0.2, 0.9, steps)
        limit = float(momentum_asymptote(problem, 0.2, 0.9, steps))
        gaps.append(abs(float(curve.bias + curve.approximation) / limit - 1))
    assert gaps[0] > 5 * gaps[1] > 25 * gaps[2]
    assert gaps[2] < 1e-4


@pytest.mark.parametrize(("a", "b"), [(1.5, 1.75), (2.0, 2.0), (1.2, 3.0)])
def test_growing_momentum_matches_stepping_every_mode(a, b):
    rate = np.longdouble(0.9)

    def update(t, lam, new, old):
        ahead = new + np.longdouble(t) / (t + 3) * (new - old)
        return ahead - rate * lam * ahead

    curve = nesterov_growing(power_law(a, b, SIZE), 0.9, STEPS)
    np.testing.assert_allclose(curve.bias, stepped(a, b, update), rtol=SAME_MATHS)


@pytest.mark.parametrize(("a", "b"), [(1.5, 1.8), (2.0, 2.0), (1.2, 4.0)])
def test_growing_momentum_reaches_its_asymptote(a, b):
    problem, steps = power_law(a, b, 1e15), np.array([1e2, 1e3, 1e4])
    curve = nesterov_growing(problem, 0.5, steps)
    limit = nesterov_growing_asymptote(problem, 0.5, steps)
    gaps = np.abs(np.asarray((curve.bias + curve.approximation) / limit) - 1)
    assert gaps[0] > 3 * gaps[1] > 9 * gaps[2]
    assert gaps[2] < 1e-3


def test_growing_momentum_obeys_its_worst_case_bound():
    # 2 ||x*||^2 / (eta (T + 1)^2) for eta <= 1/lam_1, finite distance for b > a + 1.
    lam, energy = modes(1.2, 3.0)
    distance = float(np.sum(energy / lam))
    loss = np.asarray(nesterov_growing(power_law(1.2, 3.0, SIZE), 1.0, STEPS).bias)
    assert np.all(loss <= 2 * distance / (STEPS + 1.0) ** 2)


@pytest.mark.parametrize(("a", "b"), [(1.5, 1.75), (2.0, 2.0), (1.2, 3.0)])
def test_jacobi_residual_is_the_jacobi_polynomial(a, b):
    lam, energy = (np.asarray(value, dtype=float) for value in modes(a, b))
    p = (b - 1) / a + 0.5
    curve = jacobi_heavy_ball(power_law(a, b, SIZE), 1.9, p, STEPS)
    for steps, loss in zip(STEPS, curve.bias, strict=True):
        residual = eval_jacobi(steps, p, 0.0, 1 - 1.9 * lam) / eval_jacobi(steps, p, 0.0, 1.0)
        assert float(loss) == pytest.approx(np.sum(energy * residual**2) / 2, rel=SAME_MATHS)


def test_jacobi_reproduces_published_losses_and_their_limit():
    problem = power_law(2.0, 2.0, 1e6)
    losses = jacobi_heavy_ball(problem, 1.9, 1.0, np.array([100, 300, 1000])).bias
    printed = [4.31207e-3, 1.44620e-3, 4.34508e-4]
    np.testing.assert_allclose(losses, printed, rtol=0, atol=LAST_DIGIT * 1e-8)
    limit = float(jacobi_constant(problem, 1.9, 1.0))
    assert limit == pytest.approx(0.435439, rel=2e-6)
    gaps = 1 - np.asarray(losses) * np.array([100, 300, 1000]) / limit
    assert gaps[0] > gaps[1] > gaps[2] > 0


def test_chebyshev_matches_its_polynomial():
    lam, energy = modes(1.5, 1.8)
    lower, upper = np.longdouble(1e-4), np.longdouble(1.0)
    sigma = (upper + lower - 2 * lam) / (upper - lower)
    start = (upper + lower) / (upper - lower)
    curve = chebyshev(power_law(1.5, 1.8, SIZE), 1e-4, 1.0, STEPS)
    old, new, old_start, new_start = np.ones_like(lam), sigma, np.longdouble(1), start
    losses = {0: float(np.sum(energy) / 2)}
    for t in range(1, 1001):
        losses[t] = float(np.sum(energy * (new / new_start) ** 2) / 2)
        old, new = new, 2 * sigma * new - old
        old_start, new_start = new_start, 2 * start * new_start - old_start
    np.testing.assert_allclose(curve.bias, [losses[t] for t in STEPS], rtol=SAME_MATHS)


def test_chebyshev_residual_at_long_horizons():
    mp = pytest.importorskip("mpmath")
    with mp.workdps(60):
        for lam in (1e-12, 1e-7, 9.9e-7):
            for steps in (10**3, 10**6, 10**8):
                width = 1 - mp.mpf(1e-6)
                rates = [mp.acosh(1 + 2 * (mp.mpf(1e-6) - x) / width) for x in (mp.mpf(lam), 0)]
                exact = mp.cosh(steps * rates[0]) / mp.cosh(steps * rates[1])
                value = chebyshev_residual(*map(jnp.array, (lam, 1e-6, 1.0, float(steps))))
                assert abs(float(value) - float(exact)) <= SAME_MATHS * max(float(exact), 1e-3)


@pytest.mark.parametrize(("a", "b"), [(1.5, 1.8), (2.0, 1.3)])
def test_chebyshev_with_an_edge_for_each_horizon_tends_to_its_asymptote(a, b):
    problem, steps = power_law(a, b, 1e15), np.array([1e2, 1e4, 1e6])
    curve = chebyshev(problem, chebyshev_edge(problem, 1.0, steps), 1.0, steps)
    loss = np.asarray(curve.bias + curve.approximation)
    gaps = np.abs(loss / np.asarray(chebyshev_asymptote(problem, 1.0, steps)) - 1)
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.01
    slopes = -np.diff(np.log(loss)) / np.log(100)
    doubled = float(accelerated_exponent(problem))
    assert doubled == pytest.approx(2 * (b - 1) / a)
    # (log T)^s takes its share off the slope, ever less.
    assert slopes[0] < slopes[1] < doubled < slopes[1] + (b - 1) / a / np.log(1e4)


def test_resolved_nodes_integrate_a_fast_oscillation():
    problem = power_law(1.5, 1.8, 3e5)
    turns = 3e4
    index = np.arange(1, 300_001, dtype=np.longdouble)
    brute = float(np.sum(index**-1.8 * np.cos(turns * index**-0.75) ** 2))
    nodes = resolved_spectrum(problem, lambda lam: turns * np.sqrt(lam))
    total = mode_sum(nodes, nodes.energies * jnp.cos(turns * jnp.sqrt(nodes.eigenvalues)) ** 2)
    assert float(total) == pytest.approx(brute, rel=SAME_MATHS)
    assert nodes.eigenvalues.size < 20_000
    plain = compress(problem)
    coarse = mode_sum(plain, plain.energies * jnp.cos(turns * jnp.sqrt(plain.eigenvalues)) ** 2)
    assert abs(float(coarse) / brute - 1) > 1e-5


def test_short_and_long_horizons_asked_together_are_both_resolved():
    problem, steps = power_law(1.2, 1.3, 1e5), np.array([300, 3000, 1e5])
    for method in (
        lambda t: nesterov(problem, 1.0, 1 - 1e-5, t),
        lambda t: heavy_ball(problem, 1.0, 0.999, t),
    ):
        together = method(steps).bias
        alone = [float(method(t).bias) for t in steps]
        np.testing.assert_allclose(together, alone, rtol=SAME_MATHS)


def test_a_hopeless_oscillation_is_refused():
    with pytest.raises(ValueError, match="`steps` must be smaller"):
        chebyshev(power_law(1.1, 1.5, 1e15), 1e-30, 1.0, 1e14)


def test_derivative_in_rate_and_momentum():
    problem = power_law(1.5, 1.8, 1e4)

    def loss(point):
        return jnp.log(heavy_ball(problem, point[0], point[1], 50.0).bias)

    point, shift = jnp.array([0.4, 0.6]), 1e-6
    automatic = jax.jit(jax.grad(loss))(point)
    for i in range(2):
        step = jnp.zeros(2).at[i].set(shift)
        central = (loss(point + step) - loss(point - step)) / (2 * shift)
        assert float(automatic[i]) == pytest.approx(float(central), rel=FINITE_DIFFERENCE)


def test_bad_arguments_are_refused():
    problem = power_law(1.5, 1.8, 100)
    for method, limit in ((heavy_ball, 3.0), (nesterov, 1.5)):
        for rate in (0.0, limit, 10.0):
            with pytest.raises(ValueError, match="`learning_rate`"):
                method(problem, rate, 0.5, 10)
        with pytest.raises(ValueError, match="`momentum`"):
            method(problem, 0.1, 1.0, 10)
        with pytest.raises(ValueError, match="whole numbers"):
            method(problem, 0.1, 0.5, 1.5)
    with pytest.raises(ValueError, match="`upper`"):
        chebyshev(problem, 0.1, 0.9, 10)
    with pytest.raises(ValueError, match="`lower`"):
        chebyshev(problem, 1.0, 1.0, 10)
    with pytest.raises(ValueError, match="`learning_rate`"):
        nesterov_growing(problem, 1.01, 10)
    with pytest.raises(ValueError, match="`learning_rate`"):
        jacobi_heavy_ball(problem, 2.01, 1.0, 10)
    with pytest.raises(ValueError, match="`shape`"):
        jacobi_constant(problem, 1.0, 0.01)
