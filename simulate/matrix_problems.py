"""Matrix quadratics 1/2 |A^(1/2) (W - W*) B^(1/2)|_F^2 with power-law A and B.

The spectrum of the vector problem is laid along the diagonal: A_ii = i^-(a s), B_ii = i^-(a(1-s)),
W*_ii = sqrt(i^-b / i^-a), so that an aligned matrix problem is the vector problem, mode by mode,
for every method that works entry by entry or singular value by singular value.

    aligned  A, B and W* diagonal in the coordinates;
    turned   the same problem in random orthonormal coordinates on both sides: A, B and W* still
             share singular vectors, which a sign step sees and a spectral step does not;
    crossed  A and B diagonal, W* of the same singular values but random singular vectors.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from simulate.problems import block_sum, diagonal_quadratic
from theory.checks import check_choice, check_real, check_whole
from theory.problem import PowerLawQuadratic, mode_index

ALIGNMENTS = ("aligned", "turned", "crossed")
MAX_SIDE = 4096

_ARRAYS = ["left", "right", "target", "floor", "noise_std", "batch_size"]


@partial(jax.tree_util.register_dataclass, data_fields=_ARRAYS, meta_fields=[])
@dataclass(frozen=True)
class MatrixQuadratic:
    """1/2 <W - W*, A (W - W*) B> + floor, exact gradients or with white Gaussian noise.

    Attributes:
        left: A, [d_out, d_out], or its diagonal, [d_out].
        right: B, [d_in, d_in], or its diagonal, [d_in].
        target: W*, [d_out, d_in].
        floor: loss that no step changes, a scalar.
        noise_std: standard deviation of the noise of each entry of one sample's gradient, a scalar;
            None for exact gradients.
        batch_size: B >= 1, the noise variance is divided by it, a scalar.
    """

    unroll: ClassVar[int] = 1

    left: jax.Array
    right: jax.Array
    target: jax.Array
    floor: jax.Array
    noise_std: jax.Array | None
    batch_size: jax.Array

    def init(self) -> jax.Array:
        """Zeros, [d_out, d_in]."""
        return jnp.zeros_like(self.target)

    def loss(self, params: jax.Array) -> jax.Array:
        """Population loss, a scalar."""
        error = params - self.target
        return self.floor + block_sum(error * self._curve(error)) / 2

    def gradient(self, params: jax.Array, key: jax.Array) -> jax.Array:
        """Gradient plus noise, [d_out, d_in]."""
        exact = self._curve(params - self.target)
        if self.noise_std is None:
            return exact
        noise = jax.random.normal(key, params.shape, params.dtype)
        return exact + self.noise_std / jnp.sqrt(self.batch_size) * noise

    def _curve(self, error: jax.Array) -> jax.Array:
        """A error B."""
        return _apply_right(_apply_left(self.left, error), self.right)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["left", "right", "target", "floor", "noise_root", "input_root"],
    meta_fields=["batch_size"],
)
@dataclass(frozen=True)
class MatrixLeastSquares:
    """One-pass regression with the same population loss: gradients of fresh mini-batches.

    Inputs x ~ N(0, B), labels y = W* x + noise, loss 1/2 E |A^(1/2) (W x - y)|^2. The noise is
    white after A^(1/2), with total variance 2 floor.

    Attributes:
        left: A, [d_out, d_out], or its diagonal, [d_out].
        right: B, [d_in, d_in], or its diagonal, [d_in].
        target: W*, [d_out, d_in].
        floor: half the variance of the label noise after A^(1/2), a scalar.
        noise_root: A^(1/2), shaped like `left`.
        input_root: B^(1/2), shaped like `right`.
        batch_size: samples a step.
    """

    unroll: ClassVar[int] = 1

    left: jax.Array
    right: jax.Array
    target: jax.Array
    floor: jax.Array
    noise_root: jax.Array
    input_root: jax.Array
    batch_size: int

    def init(self) -> jax.Array:
        """Zeros, [d_out, d_in]."""
        return jnp.zeros_like(self.target)

    def loss(self, params: jax.Array) -> jax.Array:
        """Population loss, a scalar."""
        error = params - self.target
        curved = _apply_right(_apply_left(self.left, error), self.right)
        return self.floor + block_sum(error * curved) / 2

    def gradient(self, params: jax.Array, key: jax.Array) -> jax.Array:
        """Mean gradient over fresh samples, [d_out, d_in]."""
        input_key, noise_key = jax.random.split(key)
        rows, columns = params.shape
        normal = jax.random.normal(input_key, (self.batch_size, columns), params.dtype)
        inputs = _apply_right(normal, self.input_root)
        noise = jax.random.normal(noise_key, (rows, self.batch_size), params.dtype)
        noise = jnp.sqrt(2 * self.floor / rows) * noise
        residual = _apply_left(self.left, (params - self.target) @ inputs.T)
        residual = residual - _apply_left(self.noise_root, noise)
        return residual @ inputs / self.batch_size


def _apply_left(left: jax.Array, matrix: jax.Array) -> jax.Array:
    return left[:, None] * matrix if left.ndim == 1 else left @ matrix


def _apply_right(matrix: jax.Array, right: jax.Array) -> jax.Array:
    return matrix * right if right.ndim == 1 else matrix @ right


def matrix_quadratic(
    problem: PowerLawQuadratic,
    *,
    left_share: float = 0.5,
    rows: int | None = None,
    columns: int | None = None,
    alignment: str = "aligned",
    key: jax.Array | None = None,
    noise_std: float | None = None,
    batch_size: float = 1.0,
    dtype: DTypeLike = float,
) -> MatrixQuadratic:
    """A matrix quadratic with the modes of a vector problem on its diagonal.

    Args:
        problem: exponents, number of singular values of W* (its size), label noise (in the loss
            only, as in `diagonal_quadratic`).
        left_share: s in [0, 1], part of the capacity exponent that A takes; B takes the rest.
        rows: d_out, at least the size (default: the size). The exponents go on beyond it.
        columns: d_in, at least the size (default: the size).
        alignment: `aligned`, `turned` or `crossed`; see the module.
        key: draws the orthonormal bases of the last two.
        noise_std: standard deviation of additive noise on each entry of one sample's gradient, at
            least 0; left out, gradients are exact and draw nothing.
        batch_size: samples the noise is averaged over, at least 1.
        dtype: of parameters and losses.

    Returns:
        A `MatrixQuadratic`.

    Raises:
        ValueError: if an argument is outside its domain or `key` is missing.
    """
    if noise_std is not None:
        check_real("noise_std", noise_std, at_least=0.0)
    check_real("batch_size", batch_size, at_least=1.0)
    arrays = _matrices(problem, left_share, rows, columns, alignment, key)
    left, right, target, floor = (array.astype(dtype) for array in arrays[:4])
    std = None if noise_std is None else jnp.asarray(noise_std, dtype)
    return MatrixQuadratic(left, right, target, floor, std, jnp.asarray(batch_size, dtype))


def matrix_least_squares(
    problem: PowerLawQuadratic,
    batch_size: int,
    *,
    left_share: float = 0.5,
    rows: int | None = None,
    columns: int | None = None,
    alignment: str = "aligned",
    key: jax.Array | None = None,
    dtype: DTypeLike = float,
) -> MatrixLeastSquares:
    """One-pass matrix regression; its population loss is that of `matrix_quadratic`.

    Args:
        problem: exponents, number of singular values of W*, and label noise; the modes beyond
            those held add to the noise.
        batch_size: samples a step, a whole number, at least 1.
        left_share: s in [0, 1], part of the capacity exponent that A takes; B takes the rest.
        rows: d_out, at least the size (default: the size).
        columns: d_in, at least the size (default: the size).
        alignment: `aligned`, `turned` or `crossed`.
        key: draws the orthonormal bases of the last two.
        dtype: of parameters and losses.

    Returns:
        A `MatrixLeastSquares`.

    Raises:
        ValueError: if an argument is outside its domain or `key` is missing.
    """
    check_whole("batch_size", batch_size, at_least=1)
    arrays = _matrices(problem, left_share, rows, columns, alignment, key)
    left, right, target, floor, *roots = (array.astype(dtype) for array in arrays)
    return MatrixLeastSquares(left, right, target, floor, roots[0], roots[1], int(batch_size))


def _matrices(
    problem: PowerLawQuadratic,
    left_share: float,
    rows: int | None,
    columns: int | None,
    alignment: str,
    key: jax.Array | None,
) -> tuple[jax.Array, ...]:
    """A, B, W*, floor, A^(1/2), B^(1/2)."""
    check_real("left_share", left_share, at_least=0.0, at_most=1.0)
    check_choice("alignment", alignment, ALIGNMENTS)
    if alignment != "aligned" and key is None:
        raise ValueError(f"`key` must be given for `alignment` {alignment}, got None.")
    quadratic = diagonal_quadratic(problem)
    size = quadratic.target.size
    sides = [size if side is None else side for side in (rows, columns)]
    for name, side in zip(("rows", "columns"), sides, strict=True):
        check_real(name, side, at_least=size, at_most=MAX_SIDE)
    exponents = [problem.capacity_exponent * share for share in (left_share, 1 - left_share)]
    left, right = (mode_index(d) ** -e for d, e in zip(sides, exponents, strict=True))
    target = (
        jnp.zeros((left.size, right.size))
        .at[jnp.arange(size), jnp.arange(size)]
        .set(quadratic.target)
    )
    roots = [jnp.sqrt(left), jnp.sqrt(right)]
    if alignment != "aligned":
        left_key, right_key = jax.random.split(key)  # pyright: ignore[reportArgumentType]
        turn_left = jax.random.orthogonal(left_key, left.size)
        turn_right = jax.random.orthogonal(right_key, right.size)
        target = turn_left @ target @ turn_right.T
        if alignment == "turned":
            left, roots[0] = (_turn(turn_left, d) for d in (left, roots[0]))
            right, roots[1] = (_turn(turn_right, d) for d in (right, roots[1]))
    return left, right, target, quadratic.floor, *roots


def _turn(basis: jax.Array, diagonal: jax.Array) -> jax.Array:
    return (basis * diagonal) @ basis.T
