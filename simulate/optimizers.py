"""Optimizer factories: traced hyperparameters in, an optax transformation out.

A factory is a plain function, so it is hashable and the engine compiles once for each.
"""

from collections.abc import Callable

import jax
import optax

OptimizerFactory = Callable[..., optax.GradientTransformation]


def sgd(learning_rate: jax.Array | float) -> optax.GradientTransformation:
    """Plain (stochastic) gradient descent, x <- x - learning_rate g."""
    return optax.sgd(learning_rate)
