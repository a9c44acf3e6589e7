"""Smoothness of quadratics in the norms of LMO methods: |H v|_* <= L |v| with the smallest L.

By Cauchy-Schwarz in the inner product of H the largest |H v|_* over |v| <= 1 is the largest v' H v.
Scion's norms are those of `theory.norms`; a matrix is [d_out, d_in].
"""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import Real, check_choice, check_real, is_traced
from theory.norms import NORMS

# 2^d sign vectors are tried; beyond this an upper bound has to do.
MAX_ENUMERATED = 16
# Rounding of eigenvalues and of the two halves of a symmetric matrix, relative to the largest.
ROUNDING = 1e-10


def euclidean_smoothness(hessian: Real) -> jax.Array:
    """L of a quadratic in the Euclidean norm: the largest eigenvalue.

    Args:
        hessian: [d] (a diagonal) or [d, d], positive semidefinite.

    Returns:
        A scalar.

    Raises:
        ValueError: if it is not positive semidefinite.

    Kind: exact.
    Valid: positive semidefinite Hessians.
    Source: definition of the operator norm.
    """
    curvature = as_hessian(hessian)
    return jnp.max(curvature) if curvature.ndim == 1 else jnp.linalg.eigvalsh(curvature)[-1]


def max_smoothness(hessian: Real) -> jax.Array:
    """L of a quadratic in the max norm: the largest |H v|_1 over |v|_inf <= 1, or a bound on it.

    The largest value is s' H s at a sign vector s: |H v|_1 is convex in v, and t' H s <=
    sqrt(t' H t) sqrt(s' H s). For a diagonal Hessian it is the trace.

    Args:
        hessian: [d] (a diagonal) or [d, d], positive semidefinite.

    Returns:
        A scalar: the trace of a diagonal, all sign vectors tried for d <= 16, else
        min(sum |H_ij|, d lam_1).

    Raises:
        ValueError: if it is not positive semidefinite.

    Kind: exact for diagonal Hessians and d <= 16; upper bound otherwise.
    Valid: positive semidefinite Hessians.
    Source: derived, see above; sum |H_ij| by the triangle inequality, d lam_1 by |s|_2^2 = d.
    """
    curvature = as_hessian(hessian)
    if curvature.ndim == 1:
        return jnp.sum(curvature)
    size = curvature.shape[0]
    if size > MAX_ENUMERATED:
        return _entry_bound(curvature)
    # s and -s give the same: the first sign is fixed.
    signs = jnp.asarray([(1.0, *rest) for rest in product((-1.0, 1.0), repeat=size - 1)])
    return jnp.max(jnp.sum((signs @ curvature) * signs, axis=1))


def spectral_smoothness(left: Real, right: Real) -> jax.Array:
    """L of 1/2 |A^(1/2) (W - W*) B^(1/2)|_F^2 in the spectral norm: largest nuclear norm of A D B.

    sum_k s_k(A D B) <= sum_k s_k(A) s_k(D) s_k(B) with singular values in falling order, at most
    sum_k A_k B_k for |D|_op <= 1, reached by the D that maps the k-th eigenvector of B to the k-th
    of A.

    Args:
        left: A, [m] (a diagonal) or [m, m], positive semidefinite.
        right: B, [n] or [n, n], positive semidefinite.

    Returns:
        A scalar, sum over k <= min(m, n) of products of the k-th largest eigenvalues.

    Raises:
        ValueError: if a factor is not positive semidefinite.

    Kind: exact.
    Valid: positive semidefinite A and B.
    Source: derived; Horn's inequality for products of singular values.
    """
    rows, columns = _falling(left, "left"), _falling(right, "right")
    rank = min(rows.size, columns.size)
    return jnp.sum(rows[:rank] * columns[:rank])


def matrix_smoothness(norm: str, left: Real, right: Real) -> jax.Array:
    """L of 1/2 |A^(1/2) (W - W*) B^(1/2)|_F^2 in any norm of `theory.norms`, or a bound on it.

    With falling eigenvalues A_k and B_k, [m, n] = [d_out, d_in] and S(B) = min(sum |B_jk|, n B_1):
    euclidean A_1 B_1; max min(sum |A_ij| sum |B_kl|, m n A_1 B_1); spectral sum A_k B_k; one_to_rms
    m A_1 S(B); rms_to_rms (m/n) sum A_k B_k; rms_to_inf S(A) B_1 / n.

    Args:
        norm: key of `theory.norms.NORMS`.
        left: A, [m] (a diagonal) or [m, m], positive semidefinite.
        right: B, [n] or [n, n], positive semidefinite.

    Returns:
        A scalar.

    Raises:
        ValueError: if there is no such norm, or a factor is not positive semidefinite.

    Kind: exact for euclidean, spectral and rms_to_rms; for max where A and B are diagonal, for
        one_to_rms where B is, for rms_to_inf where A is; upper bound otherwise.
    Valid: positive semidefinite A and B.
    Source: derived. The Hessian is the Kronecker product of A and B. Columns d_j of one length
        give sum B_jk <d_j, A d_k>, at most A_1 times the sum of |B_jk| or n B_1; rows likewise.
    """
    check_choice("norm", norm, tuple(NORMS))
    rows, columns = as_hessian(left, "left"), as_hessian(right, "right")
    long, wide = float(rows.shape[0]), float(columns.shape[0])
    if norm in ("spectral", "rms_to_rms"):
        scale = 1.0 if norm == "spectral" else long / wide
        return scale * spectral_smoothness(rows, columns)
    largest = euclidean_smoothness(rows), euclidean_smoothness(columns)
    if norm == "one_to_rms":
        return long * largest[0] * _entry_bound(columns)
    if norm == "rms_to_inf":
        return _entry_bound(rows) * largest[1] / wide
    if norm == "euclidean":
        return largest[0] * largest[1]
    whole = largest[0] * largest[1] * long * wide
    return jnp.minimum(jnp.sum(jnp.abs(rows)) * jnp.sum(jnp.abs(columns)), whole)


def _entry_bound(curvature: jax.Array) -> jax.Array:
    """Smaller of the sum of absolute entries and d times the largest eigenvalue."""
    if curvature.ndim == 1:
        return jnp.sum(curvature)
    most = float(curvature.shape[0]) * jnp.linalg.eigvalsh(curvature)[-1]
    return jnp.minimum(jnp.sum(jnp.abs(curvature)), most)


def as_hessian(hessian: Real, name: str = "hessian") -> jax.Array:
    """A diagonal or a matrix as an array, checked to be positive semidefinite.

    Args:
        hessian: [d] (a diagonal) or [d, d].
        name: for the message.

    Returns:
        The array; traced values pass with their shape checked only.

    Raises:
        ValueError: if it is neither, not symmetric or not positive semidefinite.

    Kind: definition.
    Valid: eigenvalues down to -1e-10 of the largest count as zero.
    Source: none needed.
    """
    curvature = jnp.asarray(hessian, float)
    square = curvature.ndim == 2 and curvature.shape[0] == curvature.shape[1]
    if not (curvature.ndim == 1 or square) or curvature.size == 0:
        raise ValueError(f"`{name}` must be [d] or [d, d], got shape {curvature.shape}.")
    check_real(name, curvature)
    if is_traced(curvature):
        return curvature
    if curvature.ndim == 1:
        check_real(name, curvature, at_least=0.0)
        return curvature
    matrix = np.asarray(curvature)
    slack = ROUNDING * np.max(np.abs(matrix))
    if np.max(np.abs(matrix - matrix.T)) > slack:
        raise ValueError(f"`{name}` must be symmetric, got entries that differ across.")
    smallest = float(np.linalg.eigvalsh(matrix)[0])
    if smallest < -slack * matrix.shape[0]:
        raise ValueError(f"`{name}` must be positive semidefinite, got eigenvalue {smallest:g}.")
    return curvature


def _falling(factor: Real, name: str) -> jax.Array:
    matrix = as_hessian(factor, name)
    values = matrix if matrix.ndim == 1 else jnp.linalg.eigvalsh(matrix)
    return jnp.sort(values)[::-1]
