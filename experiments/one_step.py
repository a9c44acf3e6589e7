"""Best learning rate of one step against the batch size: formulas beside Monte Carlo.

Every draw of a step is tried on the loss itself, at learning rates 0 and +-e; the mean of those
losses is a parabola whose minimum is the measured rate, with the standard error of a ratio.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from simulate.adaptive import adam
from theory.adam_batch_noise import adam_step
from theory.batch_noise import OneStep, sgd_step, sign_step, spectral_step
from theory.norms import lmo

# Averages of Adam are long beside its memory of gradients: its first-order formula needs both.
ADAM_STEPS = 300
ADAM_SECOND = 0.99
# One draw of Adam takes that many gradients: it gets a tenth of the draws.
ADAM_SHARE = 10

Draw = Callable[[jax.Array], jax.Array]


@dataclass(frozen=True)
class Place:
    """A point on a quadratic loss, and the noise there.

    Attributes:
        gradient: g, [d] or [m, n].
        hessian: H, [d] (a diagonal) or [d, d]; for a matrix of weights the diagonal, all alike.
        noise_std: s of each entry of one sample's gradient, a scalar or shaped like `gradient`.
    """

    gradient: np.ndarray
    hessian: np.ndarray
    noise_std: np.ndarray | float

    def change(self, step: jax.Array) -> jax.Array:
        """Change of the loss by a step."""
        flat, slope = step.ravel(), jnp.asarray(self.gradient).ravel()
        curve = jnp.asarray(self.hessian)
        image = curve * flat if curve.ndim == 1 else curve @ flat
        return slope @ flat + flat @ image / 2.0


def coupled_place(size: int, coupling: float, noise_ratio: float) -> Place:
    """Equal couplings between all coordinates, one signal-to-noise ratio."""
    hessian = coupling * np.ones((size, size)) + (1.0 - coupling) * np.eye(size)
    return Place(np.ones(size), hessian, noise_ratio)


def diagonal_place(size: int, noise_ratio: float) -> Place:
    """No couplings."""
    return Place(np.ones(size), np.ones(size), noise_ratio)


def matrix_place(rows: int, columns: int, noise_ratio: float, key: jax.Array) -> Place:
    """A random matrix gradient with entries of variance one; the Hessian is the identity."""
    gradient = np.asarray(jax.random.normal(key, (rows, columns)))
    return Place(gradient, np.ones(rows * columns), noise_ratio)


def predicted(method: str, place: Place, batches: np.ndarray) -> OneStep:
    """Slope and curvature of a step, by formula.

    Args:
        method: `sgd`, `sign`, `adam` or `muon`.
        place: where.
        batches: [B].

    Returns:
        A `OneStep` of arrays [B].
    """
    if method == "muon":
        std = float(np.asarray(place.noise_std))
        return spectral_step(place.gradient, std, float(place.hessian[0]), batches)
    if method == "sgd":
        variance = np.broadcast_to(np.square(place.noise_std), place.gradient.shape)
        return sgd_step(place.gradient, variance, place.hessian, batches)
    formula = sign_step if method == "sign" else adam_step
    return formula(place.gradient, place.noise_std, place.hessian, batches)


def measured(
    method: str, place: Place, batches: np.ndarray, draws: int, key: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """Best learning rate of a step from losses at draws of it, and its standard error.

    Args:
        method: `sgd`, `sign`, `adam` (long averages at a standing gradient) or `muon`.
        place: where.
        batches: [B].
        draws: at least 2, of each batch size; Adam takes a tenth of them.
        key: of the noise.

    Returns:
        Rate and standard error, [B] each.
    """
    trial = float(predicted(method, place, batches[-1:]).learning_rate[0])
    count = max(2, draws // ADAM_SHARE) if method == "adam" else draws
    keys = jax.random.split(key, count)

    def tried(batch: jax.Array, draw_key: jax.Array) -> jax.Array:
        step = _direction(method, place, batch, draw_key)
        return jnp.stack([place.change(-eta * step) for eta in (trial, -trial)])

    over_draws = jax.vmap(tried, in_axes=(None, 0))
    # One batch size after the other: the draws alone fill memory.
    losses = jax.jit(lambda all_batches: jax.lax.map(lambda b: over_draws(b, keys), all_batches))
    down, up = np.moveaxis(np.asarray(losses(jnp.asarray(batches, float))), -1, 0)
    slope, curve = (up - down) / (2 * trial), (up + down) / trial**2
    rate = slope.mean(axis=1) / curve.mean(axis=1)
    # Linearised error of a ratio of means.
    residual = (slope - rate[:, None] * curve) / curve.mean(axis=1)[:, None]
    return rate, residual.std(axis=1, ddof=1) / np.sqrt(count)


def _direction(method: str, place: Place, batch: jax.Array, key: jax.Array) -> jax.Array:
    """One draw of the step, uphill."""
    gradient = jnp.asarray(place.gradient, float)
    scale = jnp.asarray(place.noise_std, float) / jnp.sqrt(batch)

    def noisy(noise_key: jax.Array) -> jax.Array:
        return gradient + scale * jax.random.normal(noise_key, gradient.shape)

    if method == "adam":
        return _adam_direction(noisy, gradient, key)
    if method == "sgd":
        return noisy(key)
    return -lmo({"sign": "max", "muon": "spectral"}[method], noisy(key))


def _adam_direction(noisy: Draw, gradient: jax.Array, key: jax.Array) -> jax.Array:
    """The last of many steps of Adam without momentum at a standing gradient."""
    transformation = adam(1.0, 0.0, ADAM_SECOND, 0.0)
    start: Any = transformation.init(gradient)

    def step(state: Any, step_key: jax.Array) -> tuple[Any, Any]:
        with jax.numpy_dtype_promotion("standard"):
            updates, state = transformation.update(noisy(step_key), state, gradient)
        return state, updates

    _, steps = jax.lax.scan(step, start, jax.random.split(key, ADAM_STEPS))
    return -steps[-1]
