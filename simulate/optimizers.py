"""Optimizer factories: traced hyperparameters in, an optax transformation out.

A factory is a plain function, so it is hashable and the engine compiles once for each. Choices
that change the computation rather than a number, like Nesterov's step, are factories of their own.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from simulate.elementwise import elementwise

OptimizerFactory = Callable[..., optax.GradientTransformation]


@elementwise
def sgd(
    learning_rate: jax.Array | float, momentum: jax.Array | float | None = None
) -> optax.GradientTransformation:
    """(Stochastic) gradient descent, m <- momentum m + g, x <- x - learning_rate m.

    Args:
        learning_rate: step size.
        momentum: heavy-ball factor; left out, no buffer is kept.
    """
    return optax.sgd(learning_rate, momentum)


@elementwise
def nesterov(
    learning_rate: optax.ScalarOrSchedule, momentum: jax.Array | float
) -> optax.GradientTransformation:
    """Nesterov's descent, m <- momentum m + g, x <- x - learning_rate (momentum m + g).

    Args:
        learning_rate: step size, a number or a schedule.
        momentum: constant extrapolation factor.
    """
    if callable(learning_rate):
        return optax.sgd(learning_rate, momentum, nesterov=True)
    ahead = learning_rate * momentum

    def init(params: Any) -> Any:
        return jax.tree.map(jnp.zeros_like, params)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        average = jax.tree.map(lambda m, g: momentum * m + g, state, updates)
        # XLA makes a step three times slower of `optax.sgd`'s learning_rate (momentum m + g).
        moved = jax.tree.map(lambda m, g: -ahead * m - learning_rate * g, average, updates)
        return moved, average

    return optax.GradientTransformation(init, update)
