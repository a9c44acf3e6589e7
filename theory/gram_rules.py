"""Gauss rules for sums over consecutive integers: a few nodes stand for very many summands."""

import numpy as np

from theory.checks import check_real


def gram_rule(count: int, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss rule for the counting measure on `count` consecutive integers centred on zero.

    Args:
        count: M >= 1, number of integers.
        points: n, 1 <= n <= M.

    Returns:
        Nodes [n] in (-M/2, M/2), ascending, and positive weights [n] that sum to M.

    Raises:
        ValueError: if `points` is not in 1..`count`.

    Kind: exact (for polynomials of degree < 2n).
    Valid: 1 <= n <= M.
    Source: as `gram_rules`.
    """
    check_real("points", points, at_least=1, at_most=count)
    nodes, weights = gram_rules(np.array([count]), points)
    return nodes[0], weights[0]


def gram_rules(counts: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Such rules for several counts, diagonalised together.

    Args:
        counts: M >= 1, whole numbers, [U].
        points: n >= 1.

    Returns:
        Nodes and weights, [U, n] each. For M <= n these are the integers themselves, and spare
        nodes at zero have weight zero.

    Kind: exact (for polynomials of degree < 2n, and for anything where M <= n).
    Valid: M >= 1.
    Source: recurrence of the Gram polynomials, Gautschi 2004, Orthogonal Polynomials, table 1.2;
        nodes and weights by Golub and Welsch 1969.
    """
    size = np.asarray(counts, float)[:, None]
    k = np.arange(1, points, dtype=float)
    # Scaled by M so that nothing overflows or loses digits when M is 1e15.
    ratio = np.minimum(k / size, 1.0)
    off_diagonal = np.sqrt((1.0 - ratio**2) / (4.0 * (4.0 - 1.0 / k**2)))
    jacobi = np.zeros((len(size), points, points))
    rows = np.arange(points - 1)
    jacobi[:, rows, rows + 1] = jacobi[:, rows + 1, rows] = off_diagonal
    nodes, vectors = np.linalg.eigh(jacobi)
    # The measure is symmetric; imposing it removes the solver's rounding.
    nodes = (nodes - nodes[:, ::-1]) / 2
    weights = vectors[:, 0] ** 2
    weights = (weights + weights[:, ::-1]) / 2
    weights = weights / weights.sum(axis=1, keepdims=True) * size
    place = np.arange(points)
    inside = place < size
    whole = np.where(inside, place - (size - 1) / 2, 0.0)
    small = size <= points
    return np.where(small, whole, nodes * size), np.where(small, inside.astype(float), weights)
