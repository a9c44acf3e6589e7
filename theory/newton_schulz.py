"""Newton-Schulz iterations to the polar factor, and exactly how far from it they end.

One step is the odd polynomial X <- a X + b (X X^T) X + c (X X^T)^2 X, which acts on each singular
value alone: s <- a s + b s^3 + c s^5. The coefficients are data, one triple a step.
"""

from collections.abc import Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import check_real
from theory.euclidean import normalize

Coefficients: TypeAlias = tuple[tuple[float, float, float], ...]

# Jordan et al. 2024, tuned for speed: singular values end near one, not at it.
MUON: Coefficients = ((3.4445, -4.7750, 2.0315),) * 5


def cubic(steps: int) -> Coefficients:
    """The classical iteration s <- (3 s - s^3) / 2.

    Args:
        steps: number of steps, at least 1.

    Returns:
        One triple a step.

    Raises:
        ValueError: if `steps` is below 1.

    Kind: definition.
    Valid: singular values in (0, sqrt(3)) converge to one, quadratically.
    Source: Higham, Functions of Matrices (2008), equation 8.20.
    """
    check_real("steps", steps, at_least=1)
    return ((1.5, -0.5, 0.0),) * int(steps)


def quintic(steps: int) -> Coefficients:
    """The classical iteration s <- (15 s - 10 s^3 + 3 s^5) / 8.

    Args:
        steps: number of steps, at least 1.

    Returns:
        One triple a step.

    Raises:
        ValueError: if `steps` is below 1.

    Kind: definition.
    Valid: singular values in (0, 1] converge to one, cubically.
    Source: Pade family, Kenney and Laub 1991, polynomial member of order 5.
    """
    check_real("steps", steps, at_least=1)
    return ((1.875, -1.25, 0.375),) * int(steps)


def check_coefficients(coefficients: Sequence[Sequence[float]]) -> Coefficients:
    """The coefficients as a hashable tuple of triples.

    Args:
        coefficients: at least one triple (a, b, c), a step each.

    Returns:
        A tuple of tuples of floats.

    Raises:
        ValueError: if there is no step, a step is not a triple, or a number is not finite.

    Kind: definition.
    Valid: finite numbers.
    Source: derived: any odd quintic a step.
    """
    check_real("coefficients", coefficients)
    table = np.asarray(coefficients, dtype=float)
    if table.ndim != 2 or table.shape[0] == 0 or table.shape[1] != 3:
        raise ValueError(f"`coefficients` must be triples (a, b, c), got {coefficients!r}.")
    return tuple((float(a), float(b), float(c)) for a, b, c in table)


def newton_schulz(matrix: jax.Array, coefficients: Coefficients = MUON) -> jax.Array:
    """Approximate polar factor of a matrix by matrix products alone.

    Args:
        matrix: [d_out, d_in], scaled by its Frobenius norm first.
        coefficients: a triple a step.

    Returns:
        U p(S) V^T, [d_out, d_in], where p is the composed polynomial and S the singular values of
        the scaled matrix; zero for zero.

    Kind: exact.
    Valid: finite entries; others give NaN. `reached_range` bounds p(S).
    Source: Jordan et al. 2024 (Muon); Bernstein and Newhouse 2024 (arXiv 2409.20325) appendix A.
    """
    wide = matrix.shape[0] <= matrix.shape[1]
    current = normalize(matrix if wide else matrix.T)
    one = jnp.eye(current.shape[0], dtype=matrix.dtype)
    for a, b, c in coefficients:
        gram = current @ current.T  # of the smaller side
        # The linear term too is added there: the larger matrix is touched by products only.
        inner = a * one + (b * gram if c == 0 else b * gram + c * (gram @ gram))
        current = inner @ current
    return current if wide else current.T


def reached_range(coefficients: Coefficients, smallest: float) -> tuple[float, float]:
    """Exact range of the singular values after the iteration, from any in [smallest, 1].

    Args:
        coefficients: a triple a step.
        smallest: in (0, 1], least singular value relative to the Frobenius norm.

    Returns:
        (lowest, highest): the iteration is within max(1 - lowest, highest - 1) of the polar factor
        in spectral norm.

    Raises:
        ValueError: if `smallest` is outside (0, 1].

    Kind: exact.
    Valid: 0 < smallest <= 1.
    Source: derived: a continuous image of an interval is the interval between its extremes, which
        lie at its ends or at real roots of a + 3 b s^2 + 5 c s^4; applied a step at a time.
    """
    check_real("smallest", smallest, above=0.0, at_most=1.0)
    low, high = float(smallest), 1.0
    for a, b, c in coefficients:
        squares = np.asarray(np.roots([5 * c, 3 * b, a]), dtype=complex)
        real = np.real(squares[np.abs(np.imag(squares)) == 0])
        turning = np.sqrt(real[real > 0])
        inside = np.concatenate([turning, -turning])
        points = np.concatenate([[low, high], inside[(inside > low) & (inside < high)]])
        values = a * points + b * points**3 + c * points**5
        low, high = float(values.min()), float(values.max())
    return low, high


def polynomial(singular_values: jax.Array, coefficients: Coefficients) -> jax.Array:
    """What the iteration makes of each singular value, p(s).

    Args:
        singular_values: of the scaled matrix, any shape.
        coefficients: a triple a step.

    Returns:
        Array shaped like `singular_values`.

    Kind: exact.
    Valid: any real values.
    Source: Higham, Functions of Matrices (2008), section 8.3: odd polynomials of a matrix.
    """
    values = jnp.asarray(singular_values)
    for a, b, c in coefficients:
        square = values**2
        values = values * (a + square * (b + c * square))
    return values
