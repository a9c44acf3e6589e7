"""Matrix quadratics f(W) = 1/2 |A^(1/2) (W - W*) B^(1/2)|_F^2 and spectral descent on them.

The Hessian is the Kronecker product of A and B, so gradient descent and SGD see the products of
their eigenvalues as an ordinary spectrum. Spectral descent, W <- W - eta U V^T with gradient
U S V^T, is sign descent on the singular values when A, B and W* share singular vectors and W_0 = 0.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import zeta

from theory.checks import Real, check_real
from theory.decomposition import Decomposition
from theory.problem import PowerLawQuadratic, power_law
from theory.sign_methods import sign_descent
from theory.spectrum import Spectrum, explicit_spectrum


def kronecker_spectrum(
    row_eigenvalues: jax.Array | np.ndarray,
    column_eigenvalues: jax.Array | np.ndarray,
    target: jax.Array | np.ndarray,
) -> Spectrum:
    """The matrix quadratic as an ordinary one, for `gd`, `sgd` and every linear method.

    Args:
        row_eigenvalues: of A, [m], positive.
        column_eigenvalues: of B, [n], positive.
        target: W* in the eigenbases of A and B, [m, n].

    Returns:
        A `Spectrum` of m n modes, lam_ij = A_i B_j and energy lam_ij (W*_ij)^2, row by row.

    Raises:
        ValueError: if shapes differ or an eigenvalue is not positive.

    Kind: exact.
    Valid: W_0 = 0.
    Source: derived; vec(A W B) = (B^T kron A) vec(W).
    """
    check_real("row_eigenvalues", row_eigenvalues, above=0.0)
    check_real("column_eigenvalues", column_eigenvalues, above=0.0)
    products = np.multiply.outer(np.asarray(row_eigenvalues), np.asarray(column_eigenvalues))
    goal = np.asarray(target, float)
    if products.shape != goal.shape:
        raise ValueError(f"`target` must have shape {products.shape}, got {goal.shape}.")
    return explicit_spectrum(products.ravel(), (products * goal**2).ravel())


def aligned_spectrum(
    row_eigenvalues: jax.Array | np.ndarray,
    column_eigenvalues: jax.Array | np.ndarray,
    singular_values: jax.Array | np.ndarray,
) -> Spectrum:
    """The modes that a target aligned with A and B excites, lam_k = A_k B_k.

    Args:
        row_eigenvalues: of A, [m], positive.
        column_eigenvalues: of B, [n], positive.
        singular_values: of W*, [r], non-negative, r <= min(m, n); the k-th belongs to the k-th
            eigenvectors of A and of B.

    Returns:
        A `Spectrum` of r modes with energies lam_k s_k^2.

    Raises:
        ValueError: if there are more singular values than eigenvalues, or a sign is wrong.

    Kind: exact.
    Valid: A, B and W* share singular vectors (any W* does when A and B are multiples of one).
    Source: derived; W stays diagonal in the shared bases.
    """
    check_real("row_eigenvalues", row_eigenvalues, above=0.0)
    check_real("column_eigenvalues", column_eigenvalues, above=0.0)
    check_real("singular_values", singular_values, at_least=0.0)
    values = np.asarray(singular_values, float)
    rows, columns = np.asarray(row_eigenvalues, float), np.asarray(column_eigenvalues, float)
    rank = values.size
    if rank > min(rows.size, columns.size):
        raise ValueError(
            f"`singular_values` must have at most {min(rows.size, columns.size)} entries, "
            f"got {rank}."
        )
    products = rows[:rank] * columns[:rank]
    return explicit_spectrum(products, products * values**2)


def spectral_descent(
    row_eigenvalues: jax.Array | np.ndarray,
    column_eigenvalues: jax.Array | np.ndarray,
    singular_values: jax.Array | np.ndarray,
    learning_rate: Real,
    steps: Real,
) -> Decomposition:
    """Loss of spectral descent (Muon without momentum) on an aligned matrix quadratic.

    Args:
        row_eigenvalues: of A, [m], positive.
        column_eigenvalues: of B, [n], positive.
        singular_values: of W*, [r].
        learning_rate: eta > 0, spectral norm of a step.
        steps: T >= 0, whole numbers, any shape.

    Returns:
        A `Decomposition` of arrays shaped like `steps`.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact.
    Valid: aligned, W_0 = 0, polar factor of the gradient with zero on its null space. Once residual
        singular values are below eta the aligned path is unstable: whatever is off the shared
        bases, rounding included, is amplified from step to step, so in rotated bases a run leaves
        this curve's two-cycle after some tens of steps (by 7 % of the floor in a 6 x 9 example).
    Source: derived; the polar factor of a diagonal matrix is its sign, so this is
        `theory.sign_methods.sign_descent` on the singular values.
    """
    spectrum = aligned_spectrum(row_eigenvalues, column_eigenvalues, singular_values)
    return sign_descent(spectrum, learning_rate, steps)


def aligned_problem(
    row_exponent: Real, column_exponent: Real, source_exponent: Real, size: float
) -> PowerLawQuadratic:
    """The power-law quadratic of an aligned matrix problem, lam_k = k^-(p + q).

    Args:
        row_exponent: p >= 0, eigenvalues of A are k^-p.
        column_exponent: q >= 0, eigenvalues of B are k^-q; p + q > 0.
        source_exponent: b > 1, lam_k s_k^2 = k^-b, so singular values s_k = k^((p + q - b)/2).
        size: N, the rank.

    Returns:
        A `PowerLawQuadratic` of capacity exponent p + q.

    Raises:
        ValueError: if an exponent is outside its domain.

    Kind: exact.
    Valid: as `spectral_descent`.
    Source: derived; so `sign_descent_exponents` holds for spectral descent with a = p + q.
    """
    check_real("row_exponent", row_exponent, at_least=0.0)
    check_real("column_exponent", column_exponent, at_least=0.0)
    capacity = jnp.asarray(row_exponent, float) + jnp.asarray(column_exponent, float)
    return power_law(capacity, source_exponent, size)


def kronecker_count(row_exponent: float, column_exponent: float, eigenvalue: float) -> float:
    """Leading number of modes with i^-p j^-q >= `eigenvalue` in an infinite matrix problem.

    zeta(p/q) eigenvalue^(-1/q) for p > q (and with p and q exchanged), and for p = q
    x (log x + 2 gamma - 1) with x = eigenvalue^(-1/p), Dirichlet's divisor sum. The capacity
    exponent of the whole spectrum is therefore min(p, q), not p + q as for aligned descent.

    Args:
        row_exponent: p > 0.
        column_exponent: q > 0.
        eigenvalue: in (0, 1].

    Returns:
        The leading count.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: asymptotic (eigenvalue -> 0); the next order is zeta(q/p) eigenvalue^(-1/p) for p > q, and
        O(sqrt x) for p = q.
    Valid: matrix sizes beyond eigenvalue^(-1/q).
    Source: derived; sum over i of floor((eigenvalue i^p)^(-1/q)).
    """
    check_real("row_exponent", row_exponent, above=0.0)
    check_real("column_exponent", column_exponent, above=0.0)
    check_real("eigenvalue", eigenvalue, above=0.0, at_most=1.0)
    small, large = sorted((row_exponent, column_exponent))
    reach = eigenvalue ** (-1.0 / small)
    if small == large:
        return reach * (math.log(reach) + 2.0 * np.euler_gamma - 1.0)
    return float(zeta(large / small, 1.0)) * reach
