"""Spectral methods on an aligned matrix problem, as methods on the vector of its singular values.

Where A, B and W* share singular vectors and W starts at zero, all gradients do too: a method that
transforms singular values, or whitens by second moments of the two sides, keeps them diagonal. The
matrix is then carried by a vector, and problems of any size cost what a vector does.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from theory.euclidean import normalize
from theory.newton_schulz import MUON, polynomial


def aligned_muon(learning_rate: Any) -> optax.GradientTransformation:
    """Muon without momentum: the polynomial of its five iterations on the scaled gradient.

    The polynomial is odd, so that signs of singular values pass through it.

    Args:
        learning_rate: eta, a number or an optax schedule.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        return polynomial(normalize(updates), MUON), state

    direction = optax.GradientTransformation(optax.init_empty_state, update)
    return optax.chain(direction, optax.scale_by_learning_rate(learning_rate))


class _Squares(NamedTuple):
    """Sum of squared gradients."""

    total: jax.Array


def aligned_shampoo(learning_rate: Any, damping: float = 1e-12) -> optax.GradientTransformation:
    """Shampoo with sums: g / sqrt(sum g^2), the fourth roots of both sides together.

    Args:
        learning_rate: eta, a number or an optax schedule.
        damping: added to the sums, relative to the largest, at least machine precision.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        total = state.total + updates**2
        largest = jnp.max(total)
        damped = total + max(damping, float(jnp.finfo(total.dtype).eps)) * largest
        root = jnp.sqrt(jnp.where(largest == 0, jnp.ones_like(damped), damped))
        return updates / root, _Squares(total)

    def init(params: Any) -> _Squares:
        return _Squares(jnp.zeros_like(params))

    direction = optax.GradientTransformation(init, update)
    return optax.chain(direction, optax.scale_by_learning_rate(learning_rate))
