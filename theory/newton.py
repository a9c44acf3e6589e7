"""A damped Newton method for small, possibly kinked objectives; traced, for vmap. Float64."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

# Value, gradient and Hessian at a point.
Evaluation: TypeAlias = tuple[jax.Array, jax.Array, jax.Array]

MAX_STEPS = 200
_FLAT = 1e-12  # gradient norm at rounding level
_LEVEL = 1e-14  # relative change of the value at rounding level
_FIRST_SHIFT, _LEAST_SHIFT, _LAST_SHIFT = 1e-6, 1e-14, 1e3
_EASE, _TIGHTEN = 0.1, 10.0


def newton(evaluate: Callable[[jax.Array], Evaluation], start: jax.Array) -> jax.Array:
    """Goes down from a start until the gradient is at rounding level or no step goes down.

    Each step divides the gradient by the absolute eigenvalues of the Hessian plus a shift, which
    falls tenfold after a success and grows tenfold after a failure: Newton's step near a minimum,
    a short one down the gradient elsewhere, and never toward a saddle or a maximum. At rounding
    level of the value, a smaller gradient decides.

    Args:
        evaluate: value, gradient [p] and Hessian [p, p] at a point, scaled so that a gradient of
            1e-12 is nothing.
        start: finite point, [p].

    Returns:
        The last point, [p]; its value is never above that of `start`.

    Kind: fit.
    Valid: any function finite at `start`.
    Source: Levenberg 1944, Quarterly of Applied Mathematics 2, with absolute eigenvalues.
    """

    def step(state: tuple) -> tuple:
        point, (value, gradient, hessian), shift, count = state
        curvature, axes = jnp.linalg.eigh(hessian)
        damped = jnp.abs(curvature) + shift * jnp.sum(jnp.abs(curvature))
        trial = point - axes @ ((axes.T @ gradient) / damped)
        found = evaluate(trial)
        lower = found[0] < value
        level = found[0] <= value + _LEVEL * jnp.abs(value)
        flatter = jnp.linalg.norm(found[1]) < jnp.linalg.norm(gradient)
        better = lower | (level & flatter)
        point, evaluation = jax.tree.map(
            lambda new, old: jnp.where(better, new, old),
            (trial, found),
            (point, (value, gradient, hessian)),
        )
        shift = jnp.where(better, jnp.maximum(shift * _EASE, _LEAST_SHIFT), shift * _TIGHTEN)
        return point, evaluation, shift, count + 1

    def unfinished(state: tuple) -> jax.Array:
        _, (_, gradient, _), shift, count = state
        return (jnp.linalg.norm(gradient) > _FLAT) & (shift < _LAST_SHIFT) & (count < MAX_STEPS)

    first = (start, evaluate(start), jnp.asarray(_FIRST_SHIFT, start.dtype), jnp.array(0))
    return jax.lax.while_loop(unfinished, step, first)[0]
