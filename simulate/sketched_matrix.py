"""A matrix quadratic whose model sees random projections of both sides.

    f(V) = F(S V R^T),   S [d_out, N], R [d_in, N] with entries normal / sqrt(N),

where F is any matrix problem of `simulate.matrix_problems`: the matrix variant of
`simulate.random_features`. Left alone, A and B give way to S^T A S and R^T B R, which share no
basis with the target, and the best model of size N already makes an error.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp

from simulate.matrix_problems import MatrixLeastSquares, MatrixQuadratic
from theory.checks import check_whole


@partial(jax.tree_util.register_dataclass, data_fields=["whole", "left", "right"], meta_fields=[])
@dataclass(frozen=True)
class SketchedMatrix:
    """The projected matrix problem; gradients are those of the whole one, projected.

    Attributes:
        whole: the problem in full coordinates, with exact, noisy or mini-batch gradients.
        left: S, [d_out, N].
        right: R, [d_in, N].
    """

    unroll: ClassVar[int] = 1

    whole: MatrixQuadratic | MatrixLeastSquares
    left: jax.Array
    right: jax.Array

    @property
    def target(self) -> jax.Array:
        """W* of the whole problem, [d_out, d_in]."""
        return self.whole.target

    def init(self) -> jax.Array:
        """Zeros, [N, N]."""
        return jnp.zeros((self.left.shape[1], self.right.shape[1]), self.left.dtype)

    def loss(self, params: jax.Array) -> jax.Array:
        """Population loss, a scalar."""
        return self.whole.loss(self._expand(params))

    def gradient(self, params: jax.Array, key: jax.Array) -> jax.Array:
        """Gradient, [N, N]."""
        return self.left.T @ self.whole.gradient(self._expand(params), key) @ self.right

    def _expand(self, params: jax.Array) -> jax.Array:
        return self.left @ params @ self.right.T


def sketched_matrix(
    whole: MatrixQuadratic | MatrixLeastSquares, size: int, key: jax.Array
) -> SketchedMatrix:
    """A matrix problem seen through random projections to `size` x `size`.

    Args:
        whole: from `matrix_quadratic` or `matrix_least_squares`.
        size: N, a whole number of at least 1 and at most the shorter side.
        key: draws both projections.

    Returns:
        A `SketchedMatrix` in the number type of `whole`.

    Raises:
        ValueError: if `size` is outside its domain.
    """
    rows, columns = whole.target.shape
    check_whole("size", size, at_least=1, at_most=min(rows, columns))
    left_key, right_key = jax.random.split(key)
    dtype, scale = whole.target.dtype, int(size) ** -0.5
    left = scale * jax.random.normal(left_key, (rows, int(size)), dtype)
    right = scale * jax.random.normal(right_key, (columns, int(size)), dtype)
    return SketchedMatrix(whole, left, right)
