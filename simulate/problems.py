"""Problems as pytrees: parameters to start from, the population loss, a (stochastic) gradient.

Every problem has `init()`, `loss(params)` and `gradient(params, key)`. The loss is the population
loss with the irreducible part and, for the modes beyond those held in memory, their constant
energy; modes that are held but not trained keep a zero in `curvature`. Either float32 or float64.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from scipy.special import zeta

from theory.checks import check_real
from theory.problem import PowerLawQuadratic, eigenvalues, energies, mode_index

MAX_MODES = 2**28


class Problem(Protocol):
    """What the engine asks of a problem.

    One whose gradient couples no two modes and draws nothing may also have `floor` and
    `block(first, width)`, as `DiagonalQuadratic` has: it is then run by cache-sized blocks.
    """

    unroll: ClassVar[int]

    def init(self) -> Any:
        """Parameters before the first step, a pytree."""
        ...

    def loss(self, params: Any) -> jax.Array:
        """Population loss, a scalar."""
        ...

    def gradient(self, params: Any, key: jax.Array) -> Any:
        """A gradient shaped like the parameters; `key` is fresh at every step."""
        ...


def block_sum(values: jax.Array) -> jax.Array:
    """Sum of an array whose rounding error grows like the square root of its size.

    A plain reduction adds one term after the other: at 2^20 float32 terms that costs four digits.
    """
    flat = values.ravel()
    width = 2 ** (int(flat.size - 1).bit_length() // 2) if flat.size > 1 else 1
    padded = jnp.pad(flat, (0, -flat.size % width))
    return jnp.sum(jnp.sum(padded.reshape(-1, width), axis=1))


def first_modes(size: jax.Array | float, held: int) -> jax.Array:
    """True on the first `size` of `held` modes; the size may be traced."""
    return jnp.arange(1, held + 1).astype(float) <= jnp.asarray(size, float)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["eigenvalues", "curvature", "target", "floor"],
    meta_fields=[],
)
@dataclass(frozen=True)
class DiagonalQuadratic:
    """1/2 sum lam (x - x*)^2 + floor, exact gradients.

    Attributes:
        eigenvalues: lam, [n].
        curvature: lam on trained modes, zero on the others, [n].
        target: x*, [n].
        floor: loss that no step changes, a scalar.
    """

    unroll: ClassVar[int] = 8  # element-wise steps, fused in registers

    eigenvalues: jax.Array
    curvature: jax.Array
    target: jax.Array
    floor: jax.Array

    def with_size(self, size: jax.Array | float) -> "DiagonalQuadratic":
        """The same problem training its first `size` modes (may be traced) of those held."""
        curvature = jnp.where(first_modes(size, self.target.size), self.eigenvalues, 0)
        return replace(self, curvature=curvature)

    def block(self, first: jax.Array | int, width: int) -> "CenteredQuadratic":
        """`width` modes from `first` on, as a problem of their own without floor.

        The last block reaches back over modes of the one before; those carry no loss in it, so
        that the losses of blocks at 0, width, 2 width, ... add up.
        """
        first = jnp.asarray(first, jnp.int32)
        start = jnp.minimum(first, self.target.size - width)
        eigenvalues, curvature, target = (
            lax.dynamic_slice(array, (start,), (width,))
            for array in (self.eigenvalues, self.curvature, self.target)
        )
        own = start + jnp.arange(width, dtype=jnp.int32) >= first
        return CenteredQuadratic(jnp.where(own, eigenvalues, 0), curvature, target)

    def init(self) -> jax.Array:
        """Zeros, [n]."""
        return jnp.zeros_like(self.target)

    def loss(self, params: jax.Array) -> jax.Array:
        """Population loss, a scalar."""
        return self.floor + block_sum(self.eigenvalues * (params - self.target) ** 2) / 2

    def gradient(self, params: jax.Array, key: jax.Array) -> jax.Array:
        """Exact gradient on the trained modes, [n]."""
        del key
        return self.curvature * (params - self.target)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["eigenvalues", "curvature", "target"],
    meta_fields=[],
)
@dataclass(frozen=True)
class CenteredQuadratic:
    """1/2 sum lam e^2, the weights x = x* + e seen from their target: a step reads one array less.

    Attributes:
        eigenvalues: lam, [n].
        curvature: lam on trained modes, zero on the others, [n].
        target: x*, [n].
    """

    unroll: ClassVar[int] = 1

    eigenvalues: jax.Array
    curvature: jax.Array
    target: jax.Array

    def init(self) -> jax.Array:
        """Errors of weights at zero, [n]."""
        return -self.target

    def weights(self, params: jax.Array) -> jax.Array:
        """The weights x, [n]."""
        return self.target + params

    def loss(self, params: jax.Array) -> jax.Array:
        """Population loss without floor, a scalar."""
        return block_sum(self.eigenvalues * params**2) / 2

    def gradient(self, params: jax.Array, key: jax.Array) -> jax.Array:
        """Exact gradient on the trained modes, [n]."""
        del key
        return self.curvature * params


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["eigenvalues", "target", "basis", "floor"],
    meta_fields=[],
)
@dataclass(frozen=True)
class RotatedQuadratic:
    """1/2 (x - x*)^T Q diag(lam) Q^T (x - x*) + floor: the same problem in a turned basis.

    Attributes:
        eigenvalues: lam, [n].
        target: x*, [n], in the turned coordinates.
        basis: Q, [n, n], orthogonal; its columns are the eigenvectors.
        floor: loss that no step changes, a scalar.
    """

    unroll: ClassVar[int] = 1

    eigenvalues: jax.Array
    target: jax.Array
    basis: jax.Array
    floor: jax.Array

    def init(self) -> jax.Array:
        """Zeros, [n]."""
        return jnp.zeros_like(self.target)

    def loss(self, params: jax.Array) -> jax.Array:
        """Population loss, a scalar."""
        along = self.basis.T @ (params - self.target)
        return self.floor + block_sum(self.eigenvalues * along**2) / 2

    def gradient(self, params: jax.Array, key: jax.Array) -> jax.Array:
        """Exact gradient, [n]."""
        del key
        return self.basis @ (self.eigenvalues * (self.basis.T @ (params - self.target)))


def diagonal_quadratic(
    problem: PowerLawQuadratic, dtype: DTypeLike = float, total_size: float | None = None
) -> DiagonalQuadratic:
    """The quadratic in its eigenbasis.

    Args:
        problem: exponents, trained size and noise.
        dtype: of parameters and losses.
        total_size: modes held in memory, at least the size (default: the size); those beyond the
            size are not trained, those beyond `total_size` enter the loss as a constant.

    Returns:
        A `DiagonalQuadratic` of floor(total_size) modes.

    Raises:
        ValueError: if `total_size` is below the size or does not fit in memory.
    """
    lam, curvature, target, tail = _modes(problem, total_size)
    floor = problem.irreducible + tail
    return DiagonalQuadratic(*(array.astype(dtype) for array in (lam, curvature, target, floor)))


def rotated_quadratic(
    problem: PowerLawQuadratic, key: jax.Array, dtype: DTypeLike = float
) -> RotatedQuadratic:
    """The quadratic in a uniformly random orthonormal basis; all held modes are trained.

    Args:
        problem: exponents, size (at most a few thousand: the basis is dense) and noise.
        key: draws the basis.
        dtype: of parameters and losses.

    Returns:
        A `RotatedQuadratic`.

    Raises:
        ValueError: if the size is above 8192.
    """
    check_real("size", problem.size, at_most=8192)
    lam, _, target, tail = _modes(problem, None)
    basis = jax.random.orthogonal(key, lam.size)
    turned = basis @ target
    floor = problem.irreducible + tail
    return RotatedQuadratic(*(array.astype(dtype) for array in (lam, turned, basis, floor)))


def _modes(
    problem: PowerLawQuadratic, total_size: float | None
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Eigenvalues, trained eigenvalues, target and the loss of the modes beyond those held."""
    total = problem.size if total_size is None else total_size
    check_real("total_size", total, at_least=problem.size, at_most=MAX_MODES)
    index = mode_index(total)
    lam = eigenvalues(problem, index)
    curvature = jnp.where(index <= problem.size, lam, 0.0)
    target = jnp.sqrt(energies(problem, index) / lam)
    tail = zeta(float(problem.source_exponent), float(int(total)) + 1.0) / 2
    return lam, curvature, target, jnp.asarray(tail)
