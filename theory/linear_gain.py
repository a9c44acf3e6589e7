"""Gain of quantization errors in a linear layer: spectral norms times alignments. Float64."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from theory.checks import Real
from theory.outliers import check_batch


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["gain", "spectral", "alignment"],
    meta_fields=[],
)
@dataclass(frozen=True)
class LinearGain:
    """Gain of a linear stage; gain = spectral * alignment.

    Attributes:
        gain: G.
        spectral: G_1 = (|W + E/2|_2 / |W|_2)^2, with E the weights' rounding error.
        alignment: G_2 = (cos phi / cos psi)^2: how well the error and the values themselves meet
            the largest singular value.
    """

    gain: jax.Array
    spectral: jax.Array
    alignment: jax.Array


def linear_gain(
    weight: Real, quantized_weight: Real, hidden: Real, hidden_error: Real
) -> LinearGain:
    """Gain of h -> h W^T, whose quantized version is h -> h (W + E)^T + constant, and its factors.

    The carried part is then exactly a = d (W + E/2)^T with d the error of the input. A layer that
    also rounds its input is two stages: the rounding, f = identity, and the product; its gain is
    taken with the rounded input's error. All lengths are sums over rows.

    Args:
        weight: W, [d_out, d_in].
        quantized_weight: W + E, [d_out, d_in].
        hidden: h, rows [n, d_in], not all in the null space of W.
        hidden_error: d, rows [n, d_in], not zero.

    Returns:
        A `LinearGain`.

    Raises:
        ValueError: if the shapes do not match.

    Kind: exact.
    Valid: rounding errors that do not depend on the input of the product.
    Source: arXiv 2509.23500; one line: insert |W + E/2|_2 and |W|_2 into |a|^2 / |h W^T|^2 over
        |d|^2 / |h|^2.
    """
    full, low = check_batch("weight", weight), check_batch("quantized_weight", quantized_weight)
    values, error = check_batch("hidden", hidden), check_batch("hidden_error", hidden_error)
    if full.shape != low.shape:
        raise ValueError(
            f"`quantized_weight` must have the shape of `weight`, {full.shape}, got {low.shape}."
        )
    if values.shape != error.shape or values.shape[1] != full.shape[1]:
        raise ValueError(
            f"`hidden` and `hidden_error` must be rows of length {full.shape[1]}, "
            f"got shapes {values.shape} and {error.shape}."
        )
    middle = (full + low) / 2
    norms = [jnp.linalg.norm(matrix, 2) for matrix in (middle, full)]
    alignments = [
        _length(rows @ matrix.T) / (norm * _length(rows))
        for rows, matrix, norm in zip((error, values), (middle, full), norms, strict=True)
    ]
    carried = _length(error @ middle.T) / _length(values @ full.T)
    return LinearGain(
        gain=(carried * _length(values) / _length(error)) ** 2,
        spectral=(norms[0] / norms[1]) ** 2,
        alignment=(alignments[0] / alignments[1]) ** 2,
    )


def _length(matrix: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(matrix**2))
