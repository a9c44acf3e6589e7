"""Dimension-adapted momentum (DANA; Ferbach et al. 2025, arXiv 2505.16098) as an optimizer.

y <- (1 - D_t) y + g,   x <- x - eta g - kappa_t y,
D_t = delta / (delta + t),   kappa_t = kappa (1 + t)^-q,   t = 0, 1, ...
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from theory.checks import check_real

Number = jax.Array | float


class DanaState(NamedTuple):
    """State of `dana`.

    Attributes:
        steps: steps made, a whole number.
        average: y, shaped like the parameters.
    """

    steps: jax.Array
    average: Any


def dana(
    learning_rate: Number,
    momentum_rate: Number,
    damping: Number,
    decay_exponent: Number = 0.0,
) -> optax.GradientTransformation:
    """DANA: an average over a share of the whole past besides the gradient itself.

    On a power law with eigenvalues i^-a and N modes, DANA-constant has `decay_exponent` 0 and a
    `momentum_rate` of the order of learning_rate / N, DANA-decaying `decay_exponent` 1/a.

    Args:
        learning_rate: eta, step along the gradient, positive.
        momentum_rate: kappa, step along the average at t = 0, at least 0.
        damping: delta, the average reaches over the last 1/delta of the past, positive.
        decay_exponent: q of kappa_t = kappa (1 + t)^-q, at least 0.

    Raises:
        ValueError: naming the argument outside its range.
    """
    check_real("learning_rate", learning_rate, above=0.0)
    check_real("momentum_rate", momentum_rate, at_least=0.0)
    check_real("damping", damping, above=0.0)
    check_real("decay_exponent", decay_exponent, at_least=0.0)

    def init(params: Any) -> DanaState:
        return DanaState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, DanaState]:
        del params
        dtype = jax.tree.leaves(updates)[0].dtype
        now = state.steps.astype(dtype)
        keep = now / (damping + now)
        rate = momentum_rate * (1 + now) ** -decay_exponent
        average = jax.tree.map(lambda y, g: keep * y + g, state.average, updates)
        step = jax.tree.map(lambda g, y: -(learning_rate * g + rate * y), updates, average)
        return step, DanaState(state.steps + 1, average)

    return optax.GradientTransformation(init, update)
