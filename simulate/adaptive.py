"""Adaptive methods of optax as factories the engine can compile once and sweep.

Names follow the project: `momentum` is optax's b1 or beta, `second_momentum` its b2. Every argument
may be traced. `signum` and the other LMO methods are in `simulate.lmo`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from simulate.elementwise import elementwise
from theory.checks import check_real
from theory.norms import sign

Number = jax.Array | float


@elementwise
def adam(
    learning_rate: Any,
    momentum: Number = 0.9,
    second_momentum: Number = 0.999,
    epsilon: Number = 1e-8,
) -> optax.GradientTransformation:
    """Adam with bias correction.

    Args:
        learning_rate: step size, a number or a schedule.
        momentum: decay of the average gradient, in [0, 1).
        second_momentum: decay of the average squared gradient, in [0, 1).
        epsilon: added to the root of the latter, at least 0.

    Raises:
        ValueError: naming the argument outside its range.
    """
    _check(momentum, second_momentum, epsilon)
    return optax.adam(learning_rate, momentum, second_momentum, epsilon)


@elementwise
def adamw(
    learning_rate: Any,
    momentum: Number = 0.9,
    second_momentum: Number = 0.999,
    epsilon: Number = 1e-8,
    weight_decay: Number = 1e-4,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay.

    Args:
        learning_rate: step size, a number or a schedule.
        momentum: decay of the average gradient, in [0, 1).
        second_momentum: decay of the average squared gradient, in [0, 1).
        epsilon: added to the root of the latter, at least 0.
        weight_decay: at least 0; each step shrinks weights by learning_rate times this.

    Raises:
        ValueError: naming the argument outside its range.
    """
    _check(momentum, second_momentum, epsilon)
    check_real("weight_decay", weight_decay, at_least=0.0)
    return optax.adamw(learning_rate, momentum, second_momentum, epsilon, weight_decay=weight_decay)


@elementwise
def lion(
    learning_rate: Any,
    momentum: Number = 0.9,
    second_momentum: Number = 0.99,
    weight_decay: Number = 0.0,
) -> optax.GradientTransformation:
    """Lion (Chen et al. 2023, arXiv 2302.06675): the sign of an average of gradient and momentum.

    The step of `optax.lion`, written with the new momentum m' instead of the old one,

        sign(b1 m + (1 - b1) g) = sign((b1/b2) m' + (1 - b1/b2) g),   m' = b2 m + (1 - b2) g,

    so that the buffer is updated in place: the other form needs copies of it.

    Args:
        learning_rate: step size, a number or a schedule.
        momentum: b1, weight of the momentum in the direction, in [0, 1).
        second_momentum: b2, decay of the momentum itself, in (0, 1).
        weight_decay: at least 0.

    Raises:
        ValueError: naming the argument outside its range.
    """
    _check(momentum, second_momentum, 0.0)
    check_real("second_momentum", second_momentum, above=0.0)
    check_real("weight_decay", weight_decay, at_least=0.0)
    ratio = momentum / second_momentum

    def init(params: Any) -> Any:
        return jax.tree.map(jnp.zeros_like, params)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        average = optax.tree.update_moment(updates, state, second_momentum, 1)
        direction = jax.tree.map(lambda m, g: sign(ratio * m + (1 - ratio) * g), average, updates)
        return direction, average

    return optax.chain(
        optax.GradientTransformation(init, update),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


def optax_muon(
    learning_rate: Any, momentum: Number = 0.95, weight_decay: Number = 0.0
) -> optax.GradientTransformation:
    """Muon of optax: Nesterov average, bias correction, five Newton-Schulz steps, its own scale.

    Matrices only are orthogonalised (scaled by sqrt(max(1, d_in/d_out))); other arrays take Adam
    steps. See `simulate.lmo.muon` for the plain LMO method.

    Args:
        learning_rate: step size, a number or a schedule.
        momentum: decay of the average gradient, in [0, 1).
        weight_decay: at least 0.

    Raises:
        ValueError: naming the argument outside its range.
    """
    _check(momentum, 0.0, 0.0)
    check_real("weight_decay", weight_decay, at_least=0.0)
    return optax.contrib.muon(learning_rate, beta=momentum, weight_decay=weight_decay)


def _check(momentum: Number, second_momentum: Number, epsilon: Number) -> None:
    check_real("momentum", momentum, at_least=0.0, below=1.0)
    check_real("second_momentum", second_momentum, at_least=0.0, below=1.0)
    check_real("epsilon", epsilon, at_least=0.0)
