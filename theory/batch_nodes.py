"""Nodes of `theory.spectrum` for many sizes at once."""

import numpy as np

from theory.spectrum import range_nodes

NODES_PER_CLASS = 32


def many_mode_nodes(sizes: np.ndarray, points_per_block: int) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mode numbers that stand for 1..N, one row a size.

    Args:
        sizes: N, whole numbers in [1, 1e15], [U].
        points_per_block: n >= 2, Gauss points in an octave.

    Returns:
        Mode numbers and weights [U, m], m a multiple of 32; spare nodes have weight zero.

    Kind: exact where an octave has at most n modes; else as `theory.spectrum.mode_nodes`.
    Valid: summands smooth in log i.
    Source: derived; all octaves but the last are those of the largest size, the last ones are
        diagonalised together.
    """
    octave = np.frexp(sizes)[1] - 1
    full, full_weights = range_nodes(1, 2 ** int(octave.max()) - 1, points_per_block)
    block = np.frexp(full)[1] - 1
    first = np.exp2(octave)
    last, last_weights = many_gram_rules(sizes - first + 1, points_per_block)
    width = full.size + points_per_block
    spare = -width % NODES_PER_CLASS
    index = np.empty((sizes.size, width + spare))
    weights = np.zeros_like(index)
    index[:, : full.size] = np.minimum(full, sizes[:, None])
    weights[:, : full.size] = np.where(block < octave[:, None], full_weights, 0.0)
    index[:, full.size : width] = (first + sizes)[:, None] / 2 + last
    weights[:, full.size : width] = last_weights
    index[:, width:] = sizes[:, None]
    return index, weights


def many_gram_rules(counts: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss rules for the counting measures on several counts of integers centred on zero.

    Args:
        counts: M >= 1, whole numbers, [U].
        points: n >= 2.

    Returns:
        Nodes and weights, [U, n] each; of n > M nodes the spare ones have weight zero.

    Kind: exact (for polynomials of degree < 2n, and for anything where M <= n).
    Valid: M >= 1.
    Source: as `theory.spectrum.gram_rule`, for all counts together.
    """
    k = np.arange(1, points, dtype=float)
    ratio = np.minimum(k / counts[:, None], 1.0)
    off_diagonal = np.sqrt((1.0 - ratio**2) / (4.0 * (4.0 - 1.0 / k**2)))
    jacobi = np.zeros((counts.size, points, points))
    rows = np.arange(points - 1)
    jacobi[:, rows, rows + 1] = jacobi[:, rows + 1, rows] = off_diagonal
    nodes, vectors = np.linalg.eigh(jacobi)
    nodes = (nodes - nodes[:, ::-1]) / 2
    weights = vectors[:, 0] ** 2
    weights = (weights + weights[:, ::-1]) / 2
    nodes *= counts[:, None]
    weights *= (counts / weights.sum(axis=1))[:, None]
    whole = np.arange(points) - (counts[:, None] - 1) / 2
    small = counts[:, None] <= points
    inside = np.arange(points) < counts[:, None]
    return (
        np.where(small, np.where(inside, whole, 0.0), nodes),
        np.where(small, inside.astype(float), weights),
    )
