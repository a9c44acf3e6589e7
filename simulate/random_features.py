"""Random features: a model of size N sees the modes through a random projection.

    f(v) = 1/2 (S v - x*)^T diag(lam) (S v - x*) + floor,   S = Z / sqrt(N),  Z [M, N] standard
normal: the power-law random-feature model (Maloney, Roberts and Sully 2022, arXiv 2210.16859;
Paquette et al. 2024, arXiv 2405.15074), in which the best model of size N already makes an error.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from simulate.problems import block_sum, diagonal_quadratic, first_modes
from theory.checks import check_real, check_whole
from theory.problem import PowerLawQuadratic, power_law

MAX_ENTRIES = 2**28


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["eigenvalues", "target", "sketch", "trained", "floor"],
    meta_fields=["batch_size"],
)
@dataclass(frozen=True)
class RandomFeatures:
    """The projected quadratic; exact gradients, or those of one-pass mini-batches.

    Attributes:
        eigenvalues: lam, [M].
        target: x*, [M].
        sketch: Z, [M, N], not yet divided by the square root of the size.
        trained: 1/sqrt(size) on the features of the model, zero on the others, [N].
        floor: loss that no step changes, a scalar.
        batch_size: samples x ~ N(0, diag lam) a step, with label noise of variance 2 floor; None
            for exact gradients.
    """

    unroll: ClassVar[int] = 1

    eigenvalues: jax.Array
    target: jax.Array
    sketch: jax.Array
    trained: jax.Array
    floor: jax.Array
    batch_size: int | None

    def with_size(self, size: jax.Array | float) -> "RandomFeatures":
        """The same problem with its first `size` features (may be traced) of those held."""
        dtype = self.trained.dtype
        mask = first_modes(size, self.trained.size).astype(dtype)
        return replace(self, trained=mask / jnp.sqrt(jnp.asarray(size, dtype)))

    def init(self) -> jax.Array:
        """Zeros, [N]."""
        return jnp.zeros_like(self.trained)

    def loss(self, params: jax.Array) -> jax.Array:
        """Population loss, a scalar."""
        return self.floor + block_sum(self.eigenvalues * self._error(params) ** 2) / 2

    def gradient(self, params: jax.Array, key: jax.Array) -> jax.Array:
        """Gradient, [N]."""
        error = self._error(params)
        if self.batch_size is None:
            return self.trained * ((self.eigenvalues * error) @ self.sketch)
        input_key, noise_key = jax.random.split(key)
        shape = (self.batch_size, error.size)
        inputs = jax.random.normal(input_key, shape, error.dtype) * jnp.sqrt(self.eigenvalues)
        noise = jax.random.normal(noise_key, (self.batch_size,), error.dtype)
        residual = inputs @ error - jnp.sqrt(2 * self.floor) * noise
        return self.trained * ((residual @ inputs) @ self.sketch) / self.batch_size

    def _error(self, params: jax.Array) -> jax.Array:
        return self.sketch @ (self.trained * params) - self.target


def random_features(
    problem: PowerLawQuadratic,
    key: jax.Array,
    *,
    total_size: float,
    batch_size: int | None = None,
    dtype: DTypeLike = float,
) -> RandomFeatures:
    """A random-feature model on a power-law problem.

    Args:
        problem: exponents, number of features N (its size) and label noise.
        key: draws the projection.
        total_size: M, modes held in memory, at least N; those beyond enter as a constant loss and,
            in mini-batches, as label noise.
        batch_size: samples a step, a whole number, at least 1; left out, gradients are exact.
        dtype: of parameters and losses.

    Returns:
        A `RandomFeatures`.

    Raises:
        ValueError: if an argument is outside its domain.
    """
    features = int(problem.size)
    check_real("total_size", total_size, at_least=features, at_most=MAX_ENTRIES / features)
    if batch_size is not None:
        check_whole("batch_size", batch_size, at_least=1)
    modes = power_law(
        problem.capacity_exponent, problem.source_exponent, total_size, problem.noise_variance
    )
    quadratic = diagonal_quadratic(modes)
    sketch = jax.random.normal(key, (quadratic.target.size, features))
    trained = jnp.full(features, features**-0.5)
    arrays = quadratic.eigenvalues, quadratic.target, sketch, trained, quadratic.floor
    lam, target, sketch, trained, floor = (array.astype(dtype) for array in arrays)
    batch = None if batch_size is None else int(batch_size)
    return RandomFeatures(lam, target, sketch, trained, floor, batch)
