"""Hadamard rotations, which spread an outlier over its row before it is rounded."""

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import Real
from theory.rounding import as_floating


def hadamard(size: int) -> jax.Array:
    """Sylvester's matrix over its norm, H_ij = (-1)^popcount(i and j) / sqrt(d).

    Args:
        size: d, a power of two.

    Returns:
        Orthonormal and symmetric, [d, d], so that it is its own inverse.

    Raises:
        ValueError: if the size is no power of two.

    Kind: exact.
    Valid: d a power of two.
    Source: Sylvester 1867.
    """
    if size < 1 or size & (size - 1):
        raise ValueError(f"`size` must be a power of two, got {size}.")
    index = np.arange(size)
    odd = np.bitwise_count(index[:, None] & index) % 2
    return jnp.asarray((1.0 - 2.0 * odd) / np.sqrt(size))


def rotate(values: Real, axis: int = -1) -> jax.Array:
    """Values turned along an axis, block by block, with the largest Hadamard blocks that fit.

    Args:
        values: any shape, of even length d along the axis (or of length one, which stays).
        axis: the axis.

    Returns:
        The same shape; a second call turns it back.

    Raises:
        ValueError: if the length is odd, so that nothing could be turned.

    Kind: exact.
    Valid: d even; blocks have as many entries as the largest power of two that divides d.
    Source: derived; the blocks of QuEST (arXiv 2502.05003) are such with a fixed length.
    """
    array = jnp.moveaxis(as_floating(values), axis, -1)
    length = array.shape[-1]
    if length > 1 and length % 2:
        raise ValueError(f"`values` must have even length along the axis, got {length}.")
    blocks = hadamard(length & -length).astype(array.dtype)
    turned = array.reshape(*array.shape[:-1], -1, len(blocks)) @ blocks
    return jnp.moveaxis(turned.reshape(array.shape), -1, axis)
