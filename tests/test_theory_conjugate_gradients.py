"""Conjugate gradients: the algorithm itself, extended precision, a floor under every method."""

import numpy as np
import pytest

from theory.accelerated import heavy_ball, nesterov
from theory.chebyshev import chebyshev
from theory.conjugate_gradients import conjugate_gradients, conjugate_gradients_exponent
from theory.linear_methods import gd
from theory.normalized_methods import normalized_gd
from theory.problem import power_law
from theory.spectrum import compress, explicit_spectrum

from .tolerances import REFERENCE, SAME_MATHS

# Spectra shared with table 5: (nu, kappa) = (a, b - 1).
PUBLISHED = {(1.5, 1.75): [-1.66], (2.0, 2.0): [-1.87, -1.95]}


def hestenes_stiefel(lam, energy, steps):
    """The textbook algorithm in coordinates, residuals orthogonalised against all before."""
    target = np.sqrt(energy / lam)
    x, residual = 0 * lam, lam * target
    direction, past, losses = residual, [], [np.sum(energy) / 2]
    for _ in range(steps):
        past.append(residual / np.linalg.norm(residual))
        length = residual @ residual / np.sum(lam * direction**2)
        x = x + length * direction
        new = residual - length * lam * direction
        for unit in past * 2:
            new = new - unit * (unit @ new)
        direction = new + direction * (new @ new) / (residual @ residual)
        residual = new
        losses.append(np.sum(lam * (x - target) ** 2) / 2)
    return np.array(losses)


@pytest.mark.parametrize(("a", "b"), [(1.5, 1.75), (2.0, 2.0), (1.2, 1.3)])
def test_it_is_the_algorithm_on_every_mode(a, b):
    i = np.arange(1, 5001.0)
    losses = hestenes_stiefel(i**-a, i**-b, 40)
    curve = conjugate_gradients(power_law(a, b, 5000), np.arange(41))
    np.testing.assert_allclose(curve.bias, losses, rtol=1e-9)
    assert np.all(np.asarray(curve.noise) == 0.0)


def test_it_is_the_minimum_over_polynomials_in_extended_precision():
    mp = pytest.importorskip("mpmath")
    lam, energy, degree = np.arange(1, 13.0) ** -2, np.arange(1, 13.0) ** -1.5, 6
    with mp.workdps(60):
        # p = 1 + sum_k c_k lam^k: normal equations of the weighted least squares.
        powers = [[mp.mpf(x) ** k for k in range(degree + 1)] for x in lam]
        gram = mp.matrix(degree, degree)
        side = mp.matrix(degree, 1)
        for row, e in zip(powers, energy, strict=True):
            for j in range(degree):
                side[j] -= mp.mpf(e) * row[j + 1]
                for k in range(degree):
                    gram[j, k] += mp.mpf(e) * row[j + 1] * row[k + 1]
        c = mp.lu_solve(gram, side)
        left = [1 + sum(c[k] * row[k + 1] for k in range(degree)) for row in powers]
        exact = float(sum(mp.mpf(e) * p**2 for e, p in zip(energy, left, strict=True)) / 2)
    curve = conjugate_gradients(explicit_spectrum(lam, energy), degree)
    assert float(curve.bias) == pytest.approx(exact, rel=10 * REFERENCE)


@pytest.mark.parametrize(("a", "b"), [(1.5, 1.75), (2.0, 1.3), (1.2, 2.5)])
def test_no_method_goes_below_it(a, b):
    problem, steps = power_law(a, b, 1e5), np.arange(1, 41)
    floor = np.asarray(conjugate_gradients(problem, steps).bias)
    rivals = {
        "gd": gd(problem, 1.9, steps).bias,
        "heavy ball": heavy_ball(problem, 1.0, 0.8, steps).bias,
        "nesterov": nesterov(problem, 1.0, 0.9, steps).bias,
        "chebyshev": np.array([float(chebyshev(problem, 1e-3, 1.0, t).bias) for t in (5, 20, 40)]),
        "normalized": normalized_gd(problem, np.full(40, 0.1)).bias[1:],
    }
    for name, losses in rivals.items():
        bound = floor[[4, 19, 39]] if name == "chebyshev" else floor
        assert np.all(np.asarray(losses) >= bound), name
    # Tight: the best of two gradient steps is within a few percent of two steps of the method.
    rates = np.linspace(0.9, 4.0, 60)
    lam, energy, weights = (
        np.asarray(getattr(compress(problem), name))
        for name in ("eigenvalues", "energies", "weights")
    )
    left = (1 - rates[:, None, None] * lam) * (1 - rates[None, :, None] * lam)
    best = np.min(np.sum(weights * energy * left**2, axis=-1)) / 2
    assert 1.0 <= best / floor[1] < 1.03


@pytest.mark.parametrize(("a", "b"), list(PUBLISHED))
def test_slopes_of_a_million_modes_approach_the_exponent(a, b):
    problem, steps = power_law(a, b, 1e6), np.array([12, 24, 48, 96])
    losses = np.asarray(conjugate_gradients(problem, np.concatenate([steps - 1, steps + 1])).bias)
    slopes = np.log(losses[4:] / losses[:4]) / np.log((steps + 1) / (steps - 1))
    exponent = float(conjugate_gradients_exponent(problem))
    gaps = exponent + slopes
    assert np.all(gaps[:3] > 0)
    assert np.all(np.diff(gaps) < 0)
    assert abs(gaps[2]) < 0.06
    # The published slopes of n = 12..48 lie on the curve of local slopes.
    for published in PUBLISHED[a, b]:
        assert slopes[2] - 0.005 <= published <= slopes[0] + 0.005


def test_quadrature_and_finite_termination():
    coarse, fine = (
        np.asarray(conjugate_gradients(compress(power_law(2.0, 2.0, 1e6), n), 48).bias)
        for n in (64, 96)
    )
    assert coarse == pytest.approx(fine, rel=1e-8)
    few = explicit_spectrum(np.array([1.0, 0.5, 0.2]), np.array([1.0, 2.0, 3.0]))
    losses = np.asarray(conjugate_gradients(few, np.arange(6)).bias)
    assert losses[0] == pytest.approx(3.0, rel=SAME_MATHS)
    assert np.all(losses[3:] < 1e-25)
    assert losses[2] > 1e-3
    still = explicit_spectrum(np.array([1.0, 0.5]), np.zeros(2))
    assert float(conjugate_gradients(still, 3).bias) == 0.0


@pytest.mark.parametrize("steps", [-1, 1.5, 2000])
def test_bad_steps_are_refused(steps):
    with pytest.raises(ValueError, match="`steps`"):
        conjugate_gradients(power_law(1.5, 1.8, 10), steps)
