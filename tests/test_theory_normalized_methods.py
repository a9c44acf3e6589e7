"""Normalized descent against stepping; its edge of stability; normalized SGD against simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from theory.normalized_methods import (
    normalized_gd,
    normalized_gd_floor,
    normalized_gd_steps,
    normalized_sgd,
    normalized_sgd_plateau,
)
from theory.normalized_tuning import (
    normalized_gd_crossover,
    normalized_gd_overshoot,
    normalized_gd_rate_exponent,
    normalized_gd_tuned_loss,
    normalized_gd_tuned_rate,
)
from theory.problem import power_law
from theory.spectrum import compress, explicit_spectrum

from .tolerances import SAME_MATHS, Z_SCORE


def stepped(a, b, size, rates):
    i = np.arange(1, size + 1, dtype=float)
    lam, target = i**-a, i ** ((a - b) / 2)
    x = np.zeros_like(i)
    losses = [np.sum(lam * (x - target) ** 2) / 2]
    for rate in rates:
        gradient = lam * (x - target)
        x = x - rate * gradient / np.linalg.norm(gradient)
        losses.append(np.sum(lam * (x - target) ** 2) / 2)
    return np.array(losses)


@pytest.mark.parametrize(("a", "b"), [(1.5, 1.8), (0.7, 2.5), (2.0, 1.3)])
@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_normalized_gd_matches_stepping(a, b, decay):
    rates = 0.01 * (1 - decay * np.arange(80) / 80)
    losses = stepped(a, b, 5000, rates)
    curve = normalized_gd(power_law(a, b, 5000), rates)
    np.testing.assert_allclose(curve.bias, losses, rtol=SAME_MATHS)
    assert curve.noise.shape == (81,)


def test_step_is_pinned_at_the_edge_of_stability():
    problem = power_law(1.5, 1.8, 1e6)
    steps = np.asarray(normalized_gd_steps(problem, np.full(6000, 0.01)))
    # The step 2/lam_1 of a mode that neither grows nor decays; the slow fall of the other modes'
    # gradient lets mode 1 grow, by a fraction of order 1/T a step.
    assert steps[0] < 0.02
    assert steps[-1000:].mean() == pytest.approx(2.0, rel=1e-3)
    # Without the edge the step would keep growing: the gradient of the other modes keeps falling.
    losses = normalized_gd(problem, np.full(6000, 0.01)).bias
    assert losses[-1] < losses[-1000] < losses[1000]


def test_late_cycle_is_above_the_floor_and_below_twice_it():
    problem = power_law(1.5, 6.0, 1000)
    losses = normalized_gd(problem, np.full(100_000, 0.01)).bias
    ratio = float(losses[-2:].mean() / normalized_gd_floor(problem, 0.01))
    assert 1.0 - 1e-6 <= ratio <= 2.0
    other = stepped(1.5, 6.0, 1000, np.full(100_000, 0.01))[-2:].mean()
    assert 1.0 - 1e-6 <= other / float(normalized_gd_floor(problem, 0.01)) <= 2.0


def test_no_gradient_no_step():
    spectrum = explicit_spectrum(np.array([1.0, 0.5]), np.zeros(2))
    assert np.all(np.asarray(normalized_gd(spectrum, np.full(5, 0.1)).bias) == 0.0)
    assert np.all(np.asarray(normalized_gd_steps(spectrum, np.full(5, 0.1))) == 0.0)


@pytest.mark.parametrize(("exponent", "dimension"), [(0.0, 100), (0.5, 100), (0.5, 400)])
def test_normalized_sgd_matches_simulation(exponent, dimension):
    lam = np.arange(1, dimension + 1) ** -exponent
    energy = lam / lam.sum()
    rate, steps, runs = 0.1, 300, 400
    rng = np.random.default_rng(5)
    error = np.tile(np.sqrt(energy / lam), (runs, 1))
    for _ in range(steps):
        x = rng.standard_normal(error.shape) * np.sqrt(lam)
        residual = (x * error).sum(axis=1) + 0.5 * rng.standard_normal(runs)
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        error = error - rate * np.sign(residual)[:, None] * unit
    losses = (lam * error**2).sum(axis=1) / 2
    curve = normalized_sgd(explicit_spectrum(lam, energy, 0.0, 0.25), np.full(steps, rate))
    gap = losses.mean() - float(curve.optimization[-1])
    dilution = np.sum(lam**2) / np.sum(lam) ** 2
    assert abs(gap) < Z_SCORE * losses.std() / runs**0.5 + dilution * losses.mean()


def test_normalized_sgd_plateau_is_the_fixed_point_and_the_published_number():
    flat = explicit_spectrum(np.ones(500), np.full(500, 1 / 500), 0.0, 0.25)
    assert 2 * float(normalized_sgd_plateau(flat, 0.02)) == pytest.approx(0.18479, abs=5.1e-6)
    j = np.arange(1, 501)
    steep = explicit_spectrum(j**-0.5, j**-2.0, 0.0, 0.25)
    assert 2 * float(normalized_sgd_plateau(steep, 0.02)) == pytest.approx(0.04477, abs=5.1e-6)
    end = normalized_sgd(flat, np.full(40_000, 0.02)).optimization[-1]
    assert float(end) == pytest.approx(float(normalized_sgd_plateau(flat, 0.02)), rel=1e-9)


def test_bad_arguments_are_refused():
    problem = power_law(1.5, 1.8, 100)
    with pytest.raises(ValueError, match="vector"):
        normalized_gd(problem, 0.1)
    with pytest.raises(ValueError, match="`learning_rates`"):
        normalized_sgd(problem, np.array([0.1, -0.1]))
    with pytest.raises(ValueError, match="`learning_rate`"):
        normalized_sgd_plateau(problem, 0.0)


def tuned(problem, steps, rates):
    """Best rate and loss, the mean over the last two steps, among constant rates."""
    path = jax.jit(jax.vmap(lambda rate: normalized_gd(problem, jnp.full(steps, rate)).bias[-2:]))
    losses = np.asarray(path(jnp.asarray(rates))).mean(axis=1)
    return rates[losses.argmin()], losses.min()


@pytest.mark.parametrize("slope", [0.05, 0.2, 0.5333, 0.8])
def test_overshoot_is_where_the_mean_logarithm_returns_to_zero(slope):
    last, power = normalized_gd_overshoot(slope), (1 + slope) / (1 - slope)
    pole = last ** (-1 / power)

    def integrand(u):
        return np.log(abs(1 - last * u**power))

    total = quad(integrand, 0, pole, limit=200)[0] + quad(integrand, pole, 1, limit=200)[0]
    assert abs(total) < 1e-7


def test_regimes_of_the_tuned_rate_join():
    edge = normalized_gd_crossover()
    assert edge == pytest.approx(0.405, abs=5e-4)
    assert (1 - edge) * normalized_gd_overshoot(edge) == pytest.approx(4, rel=1e-9)
    exponents = [normalized_gd_rate_exponent(power_law(1.0, 1 + s, 10)) for s in (0.2, 0.8, 1.5)]
    assert exponents == pytest.approx([0.6, 1.8**2 / 5.6, 2.5 / 3], rel=SAME_MATHS)
    below, above = (normalized_gd_rate_exponent(power_law(1, 2 + d, 10)) for d in (-1e-9, 1e-9))
    assert below == pytest.approx(above, rel=1e-8)
    problem, steps = power_law(2.0, 1.3, 10), np.array([1e3, 1e5])
    rates = np.asarray(normalized_gd_tuned_rate(problem, steps))
    assert np.log(rates[0] / rates[1]) / np.log(100) == pytest.approx(0.575, rel=SAME_MATHS)
    problem = power_law(1.5, 2.2, 10)
    rates = np.asarray(normalized_gd_tuned_rate(problem, steps))
    exponent = normalized_gd_rate_exponent(problem)
    assert np.log(rates[0] / rates[1]) / np.log(100) == pytest.approx(exponent, rel=SAME_MATHS)


@pytest.mark.parametrize(("a", "b"), [(2.0, 1.3), (1.5, 1.3)])
def test_overshooting_rate_and_loss_match_tuned_exact_curves(a, b):
    problem = compress(power_law(a, b, 1e8), 8)
    law, horizons, grid = power_law(a, b, 1e8), [100, 1000], np.geomspace(0.8, 1.25, 46)
    gaps = []
    for steps in horizons:
        rate = float(normalized_gd_tuned_rate(law, steps))
        best, loss = tuned(problem, steps, rate * grid)
        # The asymptote counts the modes beyond the size.
        whole = loss + float(problem.approximation)
        gaps.append(
            (abs(best / rate - 1), abs(whole / float(normalized_gd_tuned_loss(law, steps)) - 1))
        )
    assert gaps[1][0] <= gaps[0][0] + 0.01
    assert gaps[1][0] < 0.04
    assert max(gaps[0][1], gaps[1][1]) < 0.01


def test_rate_at_the_edge_approaches_tuned_exact_curves():
    law = power_law(1.5, 2.2, 1e5)
    problem, gaps = compress(law, 8), []
    for steps in (300, 3000):
        rate = float(normalized_gd_tuned_rate(law, steps))
        best, loss = tuned(problem, steps, rate * np.geomspace(0.3, 1.5, 30))
        gaps.append((1 - best / rate, loss / float(normalized_gd_tuned_loss(law, steps)) - 1))
    assert 0 < gaps[1][0] < gaps[0][0] < 0.6
    assert 0 < gaps[1][1] < gaps[0][1] < 0.1


def test_a_mode_below_the_least_float_comes_back():
    # Steps below the stability limit of mode 1 take it to exp(-2000), larger ones bring it back.
    spectrum = explicit_spectrum(np.array([1.0, 1e-6]), np.array([1.0, 1e6]))
    rates = np.where(np.arange(3000) < 700, 0.95, 4.0)
    sizes = np.asarray(normalized_gd_steps(spectrum, rates))
    logs = np.cumsum(np.log(np.abs(1 - sizes)))
    assert logs[699] < -1000
    assert sizes[700] > 3
    assert logs[-1] > -10


def test_tuned_rate_refuses_bad_arguments():
    with pytest.raises(ValueError, match="`steps`"):
        normalized_gd_tuned_rate(power_law(1.5, 1.8, 10), 0.0)
    with pytest.raises(ValueError, match="slope"):
        normalized_gd_tuned_rate(power_law(1.5, 2.8, 10), 10.0)
    with pytest.raises(ValueError, match="slope"):
        normalized_gd_tuned_loss(power_law(1.5, 2.8, 10), 10.0)
    with pytest.raises(ValueError, match="`slope`"):
        normalized_gd_overshoot(1.0)
