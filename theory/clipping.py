"""Quantization that clips: 2^bits equal levels on both sides of zero, as far as serves best.

Levels are (k + 1/2) u for whole k, the last at the clip c = (2^bits - 1) u / 2; there is no zero
among them. Of Gaussian values the best c balances what the grid loses inside and the clip outside.
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial.legendre import leggauss
from scipy.optimize import root_scalar
from scipy.special import ndtr

from theory.checks import Real, check_real, check_whole, is_traced
from theory.rounding import MAX_BITS, as_floating, round_whole, whole_or_nan

POINTS = 16  # of a Gauss rule on each cell, wide ones included


def gaussian_clip(bits: Real) -> jax.Array:
    """The clip c, in standard deviations, that minimises E (z - Q_c(z))^2 of a standard normal z.

    Args:
        bits: width b, a whole number in 1..16.

    Returns:
        The shape of the bits. One bit: sqrt(2 / pi), the mean of |z|.

    Raises:
        ValueError: if the width is outside its range.

    Kind: exact.
    Valid: the grid of this module.
    Source: Max 1960 for uniform quantizers; QuEST (arXiv 2502.05003) uses the same optimum. Here
        the root of the derivative in c, in which the moving thresholds drop out.
    """
    check_whole("bits", bits, 1, MAX_BITS)
    if not is_traced(bits):
        found = [_best_clip(int(width)) for width in np.ravel(np.asarray(bits))]
        return jnp.asarray(np.reshape(found, np.shape(bits)))
    table = np.array([_best_clip(width) for width in range(1, MAX_BITS + 1)])
    width, table = whole_or_nan(bits, 1, MAX_BITS, jnp.asarray(table))
    return table[width - 1]


@lru_cache(maxsize=MAX_BITS)
def _best_clip(bits: int) -> float:
    """Root of the derivative of the mean squared error over -2c, divided by the clip."""
    ratio = (2 * np.arange(2 ** (bits - 1)) + 1) / (2**bits - 1)  # positive levels over the clip
    nodes, weights = leggauss(POINTS)

    def slope(clip: float) -> float:
        edges = clip * np.append(2 * np.arange(len(ratio)) / (2**bits - 1), 1.0)
        half = np.diff(edges)[:, None] / 2
        z = edges[:-1, None] + half * (1 + nodes)
        density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        inside = np.sum(ratio[:, None] * (z - clip * ratio[:, None]) * density * half * weights)
        outside = np.exp(-(clip**2) / 2) / np.sqrt(2 * np.pi) - clip * ndtr(-clip)
        return float(inside + outside)

    return root_scalar(slope, bracket=(0.1, 8.0), xtol=1e-13).root


def round_clipped(
    values: Real, bits: Real, clip: Real, *, key: jax.Array | None = None
) -> jax.Array:
    """The nearest of 2^bits levels (k + 1/2) u, the last at the clip.

    Args:
        values: any shape.
        bits: width b, a whole number in 1..16.
        clip: c >= 0, broadcast against the values; zero makes all of them zero.
        key: makes the rounding inside the clip stochastic.

    Returns:
        The same shape. Zero is no level: it becomes u/2.

    Raises:
        ValueError: if the width or the clip is outside its range.

    Kind: definition.
    Valid: always.
    Source: QuEST (arXiv 2502.05003).
    """
    check_whole("bits", bits, 1, MAX_BITS)
    check_real("clip", clip, at_least=0.0)
    array = as_floating(values)
    width, array = whole_or_nan(bits, 1, MAX_BITS, array)
    edge = jnp.asarray(clip).astype(array.dtype)
    spacing = 2 * edge / (jnp.left_shift(1, width) - 1).astype(array.dtype)
    safe = jnp.where(spacing > 0, spacing, jnp.ones_like(spacing))
    inside = jnp.clip(array, -edge, edge) / safe
    rounded = safe * (round_whole(inside - 0.5, key=key) + 0.5)
    # A value on the clip is a whole number of spacings from the last level, up to a rounding error.
    rounded = jnp.where(spacing > 0, jnp.clip(rounded, -edge, edge), jnp.zeros_like(array))
    return jnp.where(jnp.isnan(array), array, rounded)
