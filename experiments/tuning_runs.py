"""LMO methods on runs that lie side by side in one array, and what is recorded of them.

The steps are those of `simulate.lmo`; polar factors and nuclear norms of two rows are closed forms.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.tuning_proxies import Ensemble
from simulate.trajectory import simulate

CRITERIA = ("mean gradient", "final loss")
# Recordings in the shortest run, and in every doubling after it.
POINTS = 16
# The final loss is the mean over this many recordings: at 15/16 of the run and at its end.
LAST = 2


def euclidean_dual(gradient: jax.Array) -> jax.Array:
    """Euclidean norm over the first two axes."""
    return jnp.sqrt(jnp.sum(gradient**2, axis=(0, 1)))


def nuclear(gradient: jax.Array) -> jax.Array:
    """Sum of the two singular values over the first two axes, the first of length two."""
    first, second, _, volume = _gram(gradient)
    return jnp.sqrt(first + second + 2 * volume)


def polar(gradient: jax.Array) -> jax.Array:
    """Polar factor (G G^T)^(-1/2) G over the first two axes, of matrices of rank two."""
    first, second, cross, volume = _gram(gradient)
    # With S = G G^T and v = sqrt(det S): S^(1/2) = (S + v)/t, its inverse adj(S + v)/(t v).
    top = (second + volume) * gradient[0] - cross * gradient[1]
    bottom = (first + volume) * gradient[1] - cross * gradient[0]
    return jnp.stack([top, bottom]) / (volume * jnp.sqrt(first + second + 2 * volume))


def _gram(gradient: jax.Array) -> tuple[jax.Array, ...]:
    first, second = jnp.sum(gradient**2, axis=1)
    cross = jnp.sum(gradient[0] * gradient[1], axis=0)
    return first, second, cross, jnp.sqrt(jnp.maximum(first * second - cross**2, 0.0))


@dataclass(frozen=True)
class Method:
    """An LMO method: name, norm of its step, unit steepest direction and dual norm, run by run."""

    label: str
    norm: str
    direction: Callable[[jax.Array], jax.Array]
    dual: Callable[[jax.Array], jax.Array]

    def __call__(self, learning_rate: Any, momentum: Any) -> optax.GradientTransformation:
        """`simulate.lmo.LmoMethod` with one rate and momentum a run, [rate, alpha, seed or 1]."""

        def init(params: Any) -> tuple[jax.Array, jax.Array]:
            return jnp.zeros_like(params), jnp.zeros((), jnp.int32)

        def update(updates: Any, state: Any, params: Any = None) -> tuple[jax.Array, Any]:
            del params
            average, taken = state
            kept = jnp.where(taken == 0, jnp.zeros_like(momentum), momentum)
            average = kept * average + (1 - kept) * updates
            return -learning_rate * self.direction(average), (average, taken + 1)

        return optax.GradientTransformation(init, update)

    def observe(self, problem: Any, params: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Dual norms of the exact gradients, and losses."""
        return self.dual(problem.exact_gradient(params)), problem.losses(params)


METHODS = {
    "normalized_sgd": Method(
        "normalized SGD", "euclidean", lambda g: g / euclidean_dual(g), euclidean_dual
    ),
    "sign": Method("signSGD", "max", jnp.sign, lambda g: jnp.sum(jnp.abs(g), axis=(0, 1))),
    "muon": Method("Muon", "spectral", polar, nuclear),
}
# Made once: the engine compiles anew for every function object.
OBSERVERS = {name: method.observe for name, method in METHODS.items()}


def recording_steps(shortest: int, doublings: int) -> np.ndarray:
    """Evenly spaced steps from 0 to the shortest horizon, and as many in each doubling after it.

    Args:
        shortest: first horizon, a multiple of `POINTS`.
        doublings: number of further horizons.
    """
    parts = [np.arange(POINTS + 1) * (shortest // POINTS)]
    for k in range(doublings):
        parts.append(shortest * 2**k + np.arange(1, POINTS + 1) * (shortest * 2**k // POINTS))
    return np.concatenate(parts)


def run_means(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean over the run up to each horizon by the trapezoidal rule, [..., horizon].

    Args:
        steps: from `recording_steps`.
        values: at those steps, along the last axis.
    """
    pieces = (values[..., 1:] + values[..., :-1]) / 2 * np.diff(steps)
    return np.cumsum(pieces, axis=-1)[..., POINTS - 1 :: POINTS] / steps[POINTS::POINTS]


def last_means(values: np.ndarray) -> np.ndarray:
    """Mean over the last `LAST` recordings up to each horizon, [..., horizon]."""
    return np.mean([values[..., POINTS - k :: POINTS] for k in range(LAST)], axis=0)


def measure(
    ensemble: Ensemble,
    method: str,
    rates: np.ndarray,
    alphas: np.ndarray,
    horizons: tuple[int, int],
    key: jax.Array,
) -> np.ndarray:
    """Both criteria of all runs, [criterion, rate, alpha, seed, horizon].

    Args:
        ensemble: with its batch size.
        method: key of `METHODS`.
        rates: eta, [rate, alpha].
        alphas: 1 - momentum, [alpha].
        horizons: shortest number of steps and how often it is doubled.
        key: of the noise.
    """
    steps = recording_steps(*horizons)
    found = simulate(
        ensemble,
        METHODS[method],
        steps,
        key=key,
        observe=OBSERVERS[method],
        learning_rate=rates[:, :, None],
        momentum=1.0 - alphas[:, None],
    )
    duals, losses = (np.moveaxis(np.asarray(leaf, float), 0, -1) for leaf in found.observed)
    return np.stack([run_means(steps, duals), last_means(losses)])
