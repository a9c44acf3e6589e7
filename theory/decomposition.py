"""The loss split into its parts."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from theory.spectrum import Spectrum


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["irreducible", "approximation", "bias", "noise"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Decomposition:
    """Loss = irreducible + approximation + optimization, and optimization = bias + noise.

    Attributes:
        irreducible: loss that no size and no training removes, sigma^2/2.
        approximation: loss of the modes that a model of this size cannot train.
        bias: loss of the mean iterate on the trained modes.
        noise: loss added by the fluctuation of the iterates (zero for deterministic methods).
    """

    irreducible: jax.Array
    approximation: jax.Array
    bias: jax.Array
    noise: jax.Array

    @property
    def optimization(self) -> jax.Array:
        """Optimization error, bias + noise."""
        return self.bias + self.noise

    @property
    def total(self) -> jax.Array:
        """The whole loss."""
        return self.irreducible + self.approximation + self.optimization


def decompose(spectrum: Spectrum, bias: jax.Array, noise: jax.Array | None = None) -> Decomposition:
    """The decomposition of a loss on `spectrum`: its constant parts beside bias and noise.

    Args:
        spectrum: whose irreducible loss and approximation error belong to the loss.
        bias: loss of the mean iterate on the trained modes, any shape.
        noise: loss of the fluctuations, shaped like `bias`; left out, zero.

    Returns:
        A `Decomposition` of arrays shaped like `bias`.

    Kind: definition.
    Valid: any bias and noise of that spectrum.
    Source: none needed.
    """
    return Decomposition(
        jnp.broadcast_to(spectrum.irreducible, bias.shape),
        jnp.broadcast_to(spectrum.approximation, bias.shape),
        bias,
        jnp.zeros_like(bias) if noise is None else noise,
    )
