"""A damped Newton method for small, possibly kinked objectives; traced, for vmap. Float64."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

# Value, gradient and Hessian at a point.
Evaluation: TypeAlias = tuple[jax.Array, jax.Array, jax.Array]

MAX_STEPS = 300
_FLAT = 1e-12  # gradient norm at rounding level
_LEVEL = 1e-14  # relative change of the value at rounding level
# Every step tries all of these dampings, of the sum of the curvatures, and all of these lengths: a
# kink or a bent valley asks for another pair each time, and values are cheap.
_SHIFTS = (1e-14, 1e-7, 1e-5, 1e-4, 1e-3, 1e-2, 1.0, 1e2)
_LENGTHS = (1.0, 0.6, 0.3, 0.1, 0.02)
_LARGEST_LOSS = -0.9  # an amount falls at most tenfold in a step


def newton(
    evaluate: Callable[[jax.Array], Evaluation],
    start: jax.Array,
    logarithms: jax.Array | None = None,
) -> jax.Array:
    """Goes down from a start until the gradient is at rounding level or no step goes down.

    Each step divides the gradient by the absolute eigenvalues of the Hessian plus a shift: Newton's
    step near a minimum, a short one down the gradient elsewhere, and never toward a saddle or a
    maximum. Of several shifts and lengths the lowest value is taken. At rounding level of the
    value, a smaller gradient decides.

    Parameters that are logarithms of amounts that a model adds up take Newton's step in the
    amounts: a trade of one amount for another is a straight line there and a bent valley in the
    logarithms.

    Args:
        evaluate: value, gradient [p] and Hessian [p, p] at a point, scaled so that a gradient of
            1e-12 is nothing.
        start: finite point, [p].
        logarithms: which parameters are logarithms of amounts, [p], boolean; none if left out.

    Returns:
        The last point, [p]; its value is never above that of `start`, but for rounding.

    Kind: fit.
    Valid: any function finite at `start`.
    Source: Levenberg 1944, Quarterly of Applied Mathematics 2, with absolute eigenvalues; the
        Hessian by an amount x = exp(u) is (H - diag g) / (x x^T) with H and g by u.
    """
    chosen = jnp.zeros(start.shape, dtype=bool) if logarithms is None else logarithms

    def moved(point: jax.Array, step: jax.Array) -> jax.Array:
        return point + jnp.where(chosen, jnp.log1p(jnp.maximum(step, _LARGEST_LOSS)), step)

    def held(step: jax.Array, damped: jax.Array, axes: jax.Array) -> jax.Array:
        """The best step for the others where the fastest falling amount falls tenfold only."""
        lost = jnp.where(chosen, step, 0.0)
        worst = jnp.argmin(lost)
        column = (axes / damped) @ axes[worst]
        return step - column * jnp.minimum(lost[worst] - _LARGEST_LOSS, 0.0) / column[worst]

    def trials(point: jax.Array, gradient: jax.Array, hessian: jax.Array) -> jax.Array:
        bent = hessian - jnp.diag(jnp.where(chosen, gradient, 0.0))
        curvature, axes = jnp.linalg.eigh(bent)
        size = jnp.abs(curvature)
        damped = size + jnp.array(_SHIFTS)[:, None] * jnp.sum(size)
        steps = -((axes.T @ gradient) / damped) @ axes.T
        steps = jax.vmap(held, in_axes=(0, 0, None))(steps, damped, axes)
        scaled = jnp.array(_LENGTHS)[:, None, None] * steps[None]
        return jax.vmap(moved, in_axes=(None, 0))(point, scaled.reshape(-1, point.size))

    def step(state: tuple) -> tuple:
        point, (value, gradient, hessian), _, count = state
        tried = trials(point, gradient, hessian)
        values = jax.vmap(lambda trial: evaluate(trial)[0])(tried)
        values = jnp.where(jnp.isfinite(values), values, jnp.inf)
        best = jnp.argmin(values)
        rounding = _LEVEL * jnp.abs(value)
        # The first trial is Newton's own step.
        trial = jnp.where(values[best] < value - rounding, tried[best], tried[0])
        found = evaluate(trial)
        flatter = jnp.linalg.norm(found[1]) < jnp.linalg.norm(gradient) / 2
        better = (found[0] < value - rounding) | ((found[0] <= value + rounding) & flatter)
        point, evaluation = jax.tree.map(
            lambda new, old: jnp.where(better, new, old),
            (trial, found),
            (point, (value, gradient, hessian)),
        )
        return point, evaluation, better, count + 1

    def unfinished(state: tuple) -> jax.Array:
        _, (_, gradient, _), better, count = state
        return better & (jnp.linalg.norm(gradient) > _FLAT) & (count < MAX_STEPS)

    first = (start, evaluate(start), jnp.array(True), jnp.array(0))
    return jax.lax.while_loop(unfinished, step, first)[0]
