"""Matrix quadratics: Kronecker spectra and spectral descent against dense matrices."""

import numpy as np
import pytest

from theory.linear_methods import gd
from theory.matrix_methods import (
    aligned_problem,
    aligned_spectrum,
    kronecker_count,
    kronecker_spectrum,
    spectral_descent,
)
from theory.sign_methods import sign_descent

from .tolerances import ROTATION, SAME_MATHS

ROWS, COLUMNS = np.arange(1, 7) ** -0.9, np.arange(1, 10) ** -0.6


def orthogonal(n, rng):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def matrix_loss(w, target, a, b):
    return np.trace((w - target).T @ a @ (w - target) @ b) / 2


def polar(g):
    u, s, vt = np.linalg.svd(g, full_matrices=False)
    return (u * (s > 1e-12 * s[0])) @ vt


def test_gradient_descent_on_a_matrix_is_that_of_its_kronecker_spectrum():
    rng = np.random.default_rng(2)
    q, p = orthogonal(6, rng), orthogonal(9, rng)
    goal = rng.standard_normal((6, 9))
    a, b, target = q * ROWS @ q.T, p * COLUMNS @ p.T, q @ goal @ p.T
    w = np.zeros((6, 9))
    losses = []
    for _ in range(40):
        losses.append(matrix_loss(w, target, a, b))
        w -= 0.7 * a @ (w - target) @ b
    curve = gd(kronecker_spectrum(ROWS, COLUMNS, goal), 0.7, np.arange(40))
    np.testing.assert_allclose(curve.total, losses, rtol=ROTATION)


# In rotated bases rounding leaves the shared singular vectors, and once residuals are below the
# step it grows from one step to the next; in the eigenbases it stays exactly zero.
@pytest.mark.parametrize(("rotated", "horizon"), [(True, 25), (False, 120)])
@pytest.mark.parametrize("rate", [0.013, 0.11, 0.5])
def test_aligned_spectral_descent_is_sign_descent_on_singular_values(rate, rotated, horizon):
    rng = np.random.default_rng(4)
    q, p = (orthogonal(6, rng), orthogonal(9, rng)) if rotated else (np.eye(6), np.eye(9))
    singular = np.array([2.3, 1.13, 0.9, 0.47, 0.31, 0.053])
    a, b = q * ROWS @ q.T, p * COLUMNS @ p.T
    target = q * singular @ p.T[:6]
    w = np.zeros((6, 9))
    losses = []
    for _ in range(horizon):
        losses.append(matrix_loss(w, target, a, b))
        w -= rate * polar(a @ (w - target) @ b)
    curve = spectral_descent(ROWS, COLUMNS, singular, rate, np.arange(horizon))
    np.testing.assert_allclose(curve.total, losses, rtol=ROTATION)


def test_isotropic_problem_is_aligned_with_every_target():
    rng = np.random.default_rng(6)
    target = rng.standard_normal((5, 8))
    singular = np.linalg.svd(target, compute_uv=False)
    w = np.zeros((5, 8))
    losses = []
    for _ in range(60):
        losses.append(np.sum((w - target) ** 2) / 2)
        w -= 0.09 * polar(w - target)
    curve = spectral_descent(np.ones(5), np.ones(8), singular, 0.09, np.arange(60))
    np.testing.assert_allclose(curve.total, losses, rtol=ROTATION)


def test_alignment_is_needed():
    rng = np.random.default_rng(8)
    q, p = orthogonal(6, rng), orthogonal(9, rng)
    target = rng.standard_normal((6, 9))
    a, b = q * ROWS @ q.T, p * COLUMNS @ p.T
    w = np.zeros((6, 9))
    for _ in range(60):
        w -= 0.05 * polar(a @ (w - target) @ b)
    singular = np.linalg.svd(target, compute_uv=False)
    aligned = spectral_descent(ROWS, COLUMNS, singular, 0.05, 60).total
    assert abs(matrix_loss(w, target, a, b) / float(aligned) - 1) > 0.1


def test_aligned_power_laws_are_a_power_law_quadratic():
    k = np.arange(1, 51)
    problem = aligned_problem(0.9, 0.7, 2.0, 50)
    spectrum = aligned_spectrum(k**-0.9, k**-0.7, k ** ((1.6 - 2.0) / 2))
    np.testing.assert_allclose(
        sign_descent(problem, 0.03, np.arange(80)).bias,
        sign_descent(spectrum, 0.03, np.arange(80)).bias,
        rtol=SAME_MATHS * 100,  # rounding of the targets, 30 steps away from the kink
    )


def brute_count(p, q, eigenvalue):
    reach = (1 / eigenvalue) ** (1 / p)
    i = np.arange(1, int(reach) + 1, dtype=float)
    return np.floor((eigenvalue * i**p) ** (-1 / q) * (1 + 1e-12)).sum()


def test_kronecker_count_tends_to_the_brute_force_count():
    for p, q in ((2.0, 1.0), (1.7, 1.1)):
        gaps = [
            abs(kronecker_count(p, q, x) / brute_count(p, q, x) - 1) for x in (1e-4, 1e-6, 1e-8)
        ]
        assert gaps[0] > gaps[1] > gaps[2]
        assert kronecker_count(p, q, 1e-6) == kronecker_count(q, p, 1e-6)
    for x in (1e-3, 1e-5, 1e-7):
        # Dirichlet: the remainder of the divisor sum is below the square root.
        assert abs(kronecker_count(1.0, 1.0, x) - brute_count(1.0, 1.0, x)) < x**-0.5


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`target`"):
        kronecker_spectrum(ROWS, COLUMNS, np.ones((9, 6)))
    with pytest.raises(ValueError, match="`singular_values`"):
        aligned_spectrum(ROWS, COLUMNS, np.ones(7))
    with pytest.raises(ValueError, match="`row_exponent`"):
        aligned_problem(-1.0, 0.5, 2.0, 10)
    with pytest.raises(ValueError, match="`eigenvalue`"):
        kronecker_count(1.0, 1.0, 0.0)
