"""Small noisy matrix quadratics on which tuning laws are measured, and the measurement itself.

Weights have two rows, so that polar factors and nuclear norms are closed forms, and all runs of one
batch size are one array, [row, column, rate, alpha, seed]: the engine steps it as a single problem,
and the noise of a seed is drawn once for all its rates.

The gradient noise is of one variance and one of two kinds. `normal`: white and symmetric, so that
steps of length one point the right way on average however small the batch. `skewed`: rare large
entries of all rarities, as of sparse features. Its median is off its mean, and a step of length one
follows the median: only an average over a batch or over time helps, as the bounds suppose.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp

from simulate.matrix_problems import MatrixQuadratic, matrix_quadratic
from theory.checks import check_choice, check_real
from theory.problem import power_law

ROWS = 2
NOISES = ("skewed", "normal")
# Shapes phi of skewed noise: an entry is felt about once in 1/phi samples.
COMMON, RARE = 1.0, 1e-4

_ARRAYS = ["left", "right", "target", "noise_std", "shape", "batch_size"]


@partial(jax.tree_util.register_dataclass, data_fields=_ARRAYS, meta_fields=["runs"])
@dataclass(frozen=True)
class Ensemble:
    """Runs on 1/2 <W - W*, A (W - W*) B> side by side, with their own rates and shared noise.

    Attributes:
        left: diagonal of A, [row, 1, 1, 1, 1].
        right: diagonal of B, [column, 1, 1, 1].
        target: W*, [row, column, 1, 1, 1].
        noise_std: of each entry of one sample's gradient, a scalar.
        shape: phi of skewed noise, [row, column, 1]; None for normal noise.
        batch_size: B, a scalar.
        runs: numbers of rates, of alphas and of seeds.
    """

    unroll: ClassVar[int] = 1

    left: jax.Array
    right: jax.Array
    target: jax.Array
    noise_std: jax.Array
    shape: jax.Array | None
    batch_size: jax.Array
    runs: tuple[int, int, int]

    def init(self) -> jax.Array:
        """Zeros, [row, column, rate, alpha, seed]."""
        return jnp.zeros((*self.target.shape[:2], *self.runs), self.target.dtype)

    def losses(self, params: jax.Array) -> jax.Array:
        """Population loss of every run, [rate, alpha, seed]."""
        error = params - self.target
        return jnp.sum(error * self._curve(error), axis=(0, 1)) / 2

    def loss(self, params: jax.Array) -> jax.Array:
        """Their mean, a scalar: steps of bounded length do not diverge one by one."""
        return jnp.mean(self.losses(params))

    def exact_gradient(self, params: jax.Array) -> jax.Array:
        """Gradient of every run, shaped like `params`."""
        return self._curve(params - self.target)

    def gradient(self, params: jax.Array, key: jax.Array) -> jax.Array:
        """Gradient plus noise, the same noise for all rates and alphas of a seed."""
        drawn = (*params.shape[:2], self.runs[-1])
        if self.shape is None:
            noise = jax.random.normal(key, drawn, params.dtype) / jnp.sqrt(self.batch_size)
        else:
            shape = jnp.broadcast_to(self.batch_size * self.shape, drawn)
            noise = jnp.sqrt(self.shape) * (inverse_gaussian(key, shape) - 1)
        return self.exact_gradient(params) + self.noise_std * noise[:, :, None, None, :]

    def _curve(self, error: jax.Array) -> jax.Array:
        return self.left * error * self.right


def inverse_gaussian(key: jax.Array, shape: jax.Array) -> jax.Array:
    """Draws of mean 1 and variance 1/shape (Michael, Schucany and Haas 1976), like `shape`.

    The mean of B draws of shape phi is a draw of shape B phi: batches cost no more than samples.
    """
    normal_key, choice_key = jax.random.split(key)
    half = jax.random.normal(normal_key, shape.shape, shape.dtype) ** 2 / (2 * shape)
    # The smaller root, 1 + h - sqrt(h^2 + 2 h), without cancellation.
    root = 1 / (1 + half + jnp.sqrt(half * (half + 2)))
    choice = jax.random.uniform(choice_key, shape.shape, shape.dtype)
    return jnp.where(choice * (1 + root) <= 1, root, 1 / root)


def proxy_quadratic(
    capacity: float, source: float, columns: int, noise_std: float, key: jax.Array
) -> MatrixQuadratic:
    """The quadratic, with a random target of two rows.

    Raises:
        ValueError: if a number is outside its domain.
    """
    check_real("noise_std", noise_std, above=0.0)
    return matrix_quadratic(
        power_law(capacity, source, ROWS),
        rows=ROWS,
        columns=columns,
        alignment="crossed",
        key=key,
        noise_std=noise_std,
    )


def proxy_ensemble(
    quadratic: MatrixQuadratic, noise: str, runs: tuple[int, int, int], key: jax.Array
) -> Ensemble:
    """Runs on the quadratic under one kind of noise, B = 1; `key` deals out the rarities.

    Raises:
        ValueError: if there is no such noise.
    """
    check_choice("noise", noise, NOISES)
    shape = None
    if noise == "skewed":
        phi = jnp.geomspace(COMMON, RARE, quadratic.target.size)
        shape = jax.random.permutation(key, phi).reshape(*quadratic.target.shape, 1)
    return Ensemble(
        quadratic.left[:, None, None, None, None],
        quadratic.right[:, None, None, None],
        quadratic.target[:, :, None, None, None],
        jnp.asarray(quadratic.noise_std),
        shape,
        jnp.asarray(1.0),
        runs,
    )
