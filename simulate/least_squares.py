"""One-pass Gaussian least squares: fresh mini-batches, label noise, untrained modes as noise.

Inputs x ~ N(0, diag lam), labels y = <x, x*> + noise. Two samplers of the same gradient:
`DataLeastSquares` draws the batch row by row and is the reference; `LeastSquares` draws only what
the gradient depends on, at the cost of one row whatever the batch size.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from simulate.problems import block_sum, diagonal_quadratic, first_modes
from theory.checks import check_real
from theory.problem import PowerLawQuadratic


@dataclass(frozen=True)
class _Regression:
    """What both samplers share: parameters and population loss."""

    unroll: ClassVar[int] = 1

    root_eigenvalues: jax.Array
    trained: jax.Array
    target: jax.Array
    noise_std: jax.Array
    floor: jax.Array

    def with_size(self, size: jax.Array | float) -> Self:
        """The same problem training its first `size` modes (may be traced) of those held."""
        trained = first_modes(size, self.target.size).astype(self.trained.dtype)
        return replace(self, trained=trained)

    def init(self) -> jax.Array:
        """Zeros, [n]."""
        return jnp.zeros_like(self.target)

    def loss(self, params: jax.Array) -> jax.Array:
        """Population loss, a scalar."""
        return self.floor + block_sum((self.root_eigenvalues * (params - self.target)) ** 2) / 2


_ARRAYS = ["root_eigenvalues", "trained", "target", "noise_std", "floor"]


@partial(jax.tree_util.register_dataclass, data_fields=_ARRAYS, meta_fields=["batch_size"])
@dataclass(frozen=True)
class DataLeastSquares(_Regression):
    """Least squares whose gradient draws `batch_size` fresh rows (static batch size).

    Attributes:
        root_eigenvalues: sqrt(lam), [n].
        trained: one on trained modes, zero on the others, [n].
        target: x*, [n].
        noise_std: standard deviation of the labels given the held modes, a scalar.
        floor: noise_std^2 / 2, a scalar.
        batch_size: B, rows a step.
    """

    batch_size: int

    def gradient(self, params: jax.Array, key: jax.Array) -> jax.Array:
        """Mean gradient over `batch_size` fresh samples, [n]."""
        design_key, noise_key = jax.random.split(key)
        dtype = params.dtype
        design = jax.random.normal(design_key, (self.batch_size, params.size), dtype)
        rows = design * self.root_eigenvalues
        noise = self.noise_std * jax.random.normal(noise_key, (self.batch_size,), dtype)
        residual = rows @ (params - self.target) - noise
        return self.trained * (residual @ rows) / self.batch_size


@partial(jax.tree_util.register_dataclass, data_fields=[*_ARRAYS, "batch_size"], meta_fields=[])
@dataclass(frozen=True)
class LeastSquares(_Regression):
    """Least squares whose gradient has the exact law of a mini-batch, at the cost of one row.

    With u = sqrt(lam) (x - x*), design Z (B rows of standard normals) and residual
    r = Z u - noise, the gradient is sqrt(lam) Z^T r / B. Split Z^T r along u and across it: along
    u it is (Z u . r) / |u|, and across it is |r| times a standard normal, since Z across u is
    independent of r. The pair (Z u / |u|, noise) enters through its 2 x 2 Gram matrix, a Wishart
    with B degrees of freedom drawn by Bartlett's decomposition. B may be traced.

    Attributes:
        root_eigenvalues: sqrt(lam), [n].
        trained: one on trained modes, zero on the others, [n].
        target: x*, [n].
        noise_std: standard deviation of the labels given the held modes, a scalar.
        floor: noise_std^2 / 2, a scalar.
        batch_size: B >= 1, a scalar.
    """

    batch_size: jax.Array

    def gradient(self, params: jax.Array, key: jax.Array) -> jax.Array:
        """A draw from the law of the mean gradient over `batch_size` fresh samples, [n]."""
        across_key, gram_key = jax.random.split(key)
        error = self.root_eigenvalues * (params - self.target)
        length = jnp.sqrt(jnp.sum(error**2))
        # At u = 0 there is no direction along: every component is then across.
        inverse = jnp.where(length > 0, 1 / length, 0.0)
        first, cross, second = _bartlett(gram_key, self.batch_size, error.dtype)
        # In the plane of z = Z u / |u| and the noise: z = (first, 0), noise = (cross, second).
        residual = length * first - self.noise_std * cross
        along = first * residual
        residual_length = jnp.hypot(residual, self.noise_std * second)
        # XLA fuses draws into all that uses them: a step would draw twice, a sweep once for each
        # configuration. What a branch returns is stored, and this one is always taken.
        normal = lax.cond(
            self.noise_std >= 0,
            lambda: jax.random.normal(across_key, error.shape, error.dtype),
            lambda: jnp.zeros_like(error),
        )
        # With d = u / |u|: total = along d + |r| (normal - d (d . normal)), in one pass. Over a
        # sweep the product is one of matrix and vector; as a sum it took four times all the rest.
        shadow = inverse * jnp.dot(error, normal, precision=lax.Precision.HIGHEST)
        on_error = inverse * (along - residual_length * shadow)
        total = on_error * error + residual_length * normal
        return self.trained * self.root_eigenvalues * total / self.batch_size


def _bartlett(
    key: jax.Array, degrees: jax.Array, dtype: DTypeLike
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Two independent standard normal vectors of length `degrees`, as (first, 0), (cross, second).

    The coordinates are those of the plane the two vectors span.
    """
    square_key, cross_key = jax.random.split(key)
    freedom = jnp.asarray(degrees, dtype) - jnp.arange(2).astype(dtype)
    half = jnp.where(freedom > 0, freedom, 1.0) / 2
    chi_squared = 2 * jax.random.gamma(square_key, half, dtype=dtype)
    # With one degree of freedom the second vector lies wholly along the first.
    first, second = jnp.sqrt(jnp.where(freedom > 0, chi_squared, 0.0))
    return first, jax.random.normal(cross_key, (), dtype), second


def least_squares(
    problem: PowerLawQuadratic,
    batch_size: float,
    dtype: DTypeLike = float,
    total_size: float | None = None,
    *,
    sample_rows: bool = False,
) -> LeastSquares | DataLeastSquares:
    """One-pass least squares on a power-law problem.

    Args:
        problem: exponents, trained size and label noise.
        batch_size: B >= 1, fresh samples a step; an integer with `sample_rows`.
        dtype: of parameters and losses.
        total_size: modes held in memory, at least the size (default: the size). Held modes beyond
            the size are sampled but not trained; those beyond `total_size` are label noise.
        sample_rows: draw whole batches row by row, the reference, instead of their summary.

    Returns:
        A `LeastSquares`, or a `DataLeastSquares` with `sample_rows`.

    Raises:
        ValueError: if an argument is outside its domain.
    """
    check_real("batch_size", batch_size, at_least=1.0)
    quadratic = diagonal_quadratic(problem, dtype, total_size)
    fields = (
        jnp.sqrt(quadratic.eigenvalues),
        (quadratic.curvature > 0).astype(dtype),
        quadratic.target,
        jnp.sqrt(2 * quadratic.floor),
        quadratic.floor,
    )
    if sample_rows:
        if int(batch_size) != batch_size:
            raise ValueError(f"`batch_size` must be an integer to sample rows, got {batch_size}.")
        return DataLeastSquares(*fields, int(batch_size))
    return LeastSquares(*fields, jnp.asarray(batch_size, dtype))
