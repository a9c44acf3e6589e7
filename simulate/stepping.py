"""The inner loop: an optimizer's steps between recording times, and what is recorded there."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from simulate.optimizers import OptimizerFactory
from simulate.problems import Problem

Observer = Callable[[Any, Any], Any]


def stepper(
    problem: Problem, optimizer: OptimizerFactory, key: jax.Array, hyperparameters: dict[str, Any]
) -> tuple[Callable[[jax.Array, tuple], tuple], tuple]:
    """One step, a function of its number and of parameters and state; and those before the first.

    Args:
        problem: what to train on.
        optimizer: factory of the transformation.
        key: randomness of the run.
        hyperparameters: of the factory.

    Returns:
        The function and its first argument but one.
    """
    # A problem may keep its parameters as their distance from some point: only weight decay asks.
    weights = getattr(problem, "weights", lambda params: params)
    params = problem.init()
    dtype = jax.tree.leaves(params)[0].dtype
    cast = {name: jnp.asarray(value, dtype) for name, value in hyperparameters.items()}
    with jax.numpy_dtype_promotion("standard"):  # optax mixes counters with floats
        transformation = optimizer(**cast)
        state = transformation.init(weights(params))

    def one_step(step: jax.Array, carry: tuple) -> tuple:
        params, state = carry
        gradient = problem.gradient(params, jax.random.fold_in(key, step))
        with jax.numpy_dtype_promotion("standard"):
            updates, state = transformation.update(gradient, state, weights(params))
            return optax.apply_updates(params, updates), state

    return one_step, (params, state)


def recorded(
    problem: Problem,
    optimizer: OptimizerFactory,
    steps: jax.Array,
    key: jax.Array,
    hyperparameters: dict[str, Any],
    unroll: int,
    observe: Observer | None = None,
) -> tuple[jax.Array, Any]:
    """Losses at the recording times, whatever they are.

    Args:
        problem: what to train on.
        optimizer: factory of the transformation.
        steps: increasing recording times, [P].
        key: randomness of the run.
        hyperparameters: of the factory.
        unroll: steps fused into one pass over memory.
        observe: function of problem and parameters, called at every recording time.

    Returns:
        Losses [P], and what the observer returned there, leaves [P, ...]; None without one.
    """
    one_step, start = stepper(problem, optimizer, key, hyperparameters)

    def advance(carry: tuple, target: jax.Array) -> tuple:
        reached, now = carry
        # The step count must not depend on the run: in a sweep every configuration would count,
        # and draw its noise, for itself.
        params, state = _repeat(one_step, reached, now, target - now, unroll)
        seen = None if observe is None else observe(problem, params)
        return ((params, state), target), (problem.loss(params), seen)

    return lax.scan(advance, (start, jnp.zeros_like(steps[0])), steps)[1]


def _repeat(body: Any, carry: Any, start: jax.Array, count: jax.Array, unroll: int) -> Any:
    """`count` steps from `start`, `unroll` of them fused into one pass over memory."""
    if unroll == 1:
        return lax.fori_loop(start, start + count, body, carry)
    blocks = count // unroll

    def block(number: jax.Array, carry: Any) -> Any:
        for offset in range(unroll):
            carry = body(start + number * unroll + offset, carry)
        return carry

    carry = lax.fori_loop(0, blocks, block, carry)
    return lax.fori_loop(start + blocks * unroll, start + count, body, carry)
