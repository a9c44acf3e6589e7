"""The loss split into its parts."""

from dataclasses import dataclass
from functools import partial

import jax


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
