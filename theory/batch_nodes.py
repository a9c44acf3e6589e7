"""Nodes of `theory.spectrum` for many sizes at once."""

import numpy as np

from theory.gram_rules import gram_rules
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
    last, last_weights = gram_rules(sizes - first + 1, points_per_block)
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
