"""Euclidean norms and directions that neither overflow nor underflow."""

import jax
import jax.numpy as jnp
from jax import lax


def _scale_and_length(values: jax.Array, axis: int | None) -> tuple[jax.Array, jax.Array]:
    """Two factors of the Euclidean norm, the first chosen so that no square leaves the range."""
    largest = jnp.max(jnp.abs(values), axis=axis, keepdims=True)
    # Written with ==, so that NaN is not taken for zero.
    scale = jnp.where(largest == 0, jnp.ones_like(largest), largest)
    return scale, jnp.sqrt(jnp.sum((values / scale) ** 2, axis=axis, keepdims=True))


def _whole_scale_and_length(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same over all entries, in one pass over memory unless the plain sum leaves the range."""
    limits = jnp.finfo(values.dtype)
    square = jnp.sum(values**2, keepdims=True)
    safe = (square > limits.tiny / limits.eps) & (square < limits.max)
    return lax.cond(
        jnp.squeeze(safe),
        lambda: (jnp.ones_like(square), jnp.sqrt(square)),
        lambda: _scale_and_length(values, None),
    )


def scaled_norm(values: jax.Array, axis: int | None = None) -> jax.Array:
    """Euclidean norm `sqrt(sum values^2)` that neither overflows nor underflows.

    Args:
        values: any shape; over one axis (kept, of length one) or over all of them (kept too).
        axis: the axis, or None for all.

    Returns:
        The norm, broadcastable against `values`.

    Kind: definition.
    Valid: any real values; NaN and infinite entries give NaN.
    Source: derived: s |values / s| with s the largest magnitude.
    """
    scale, length = (
        _whole_scale_and_length(values) if axis is None else _scale_and_length(values, axis)
    )
    return scale * length


def normalize(values: jax.Array, axis: int | None = None) -> jax.Array:
    """`values / |values|` along an axis, or as a whole; zero stays zero.

    Args:
        values: any shape.
        axis: over which the Euclidean norm is taken, or None for all.

    Returns:
        Array shaped like `values`.

    Kind: definition.
    Valid: any real values; NaN and infinite entries give NaN.
    Source: duality map of the Euclidean norm.
    """
    scale, length = (
        _whole_scale_and_length(values) if axis is None else _scale_and_length(values, axis)
    )
    return values / scale / jnp.where(length == 0, jnp.ones_like(length), length)
