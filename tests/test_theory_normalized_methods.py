"""Normalized descent against stepping; its edge of stability; normalized SGD against simulation."""

import numpy as np
import pytest

from theory.normalized_methods import (
    normalized_gd,
    normalized_gd_floor,
    normalized_gd_steps,
    normalized_sgd,
    normalized_sgd_plateau,
)
from theory.problem import power_law
from theory.spectrum import explicit_spectrum

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
