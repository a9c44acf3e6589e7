"""Shampoo: a gradient preconditioned on both sides by fourth roots of its own second moments.

    L <- L + G G^T,  R <- R + G^T G,  W <- W - eta L^(-1/4) M R^(-1/4),

with M the gradient or its running average (Gupta, Koren and Singer 2018, arXiv 1802.09568,
algorithm 1). With `second_momentum` the sums are running averages, corrected for their start.
Matrices [d_out, d_in] only.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simulate.in_turn import after, map_in_turn
from theory.checks import check_real

Number = jax.Array | float


class ShampooState(NamedTuple):
    """Steps taken, average gradient, and second moments of the two sides."""

    taken: jax.Array
    average: Any
    left: Any
    right: Any


def check_matrices(method: str, params: Any) -> None:
    """Refuses parameters that are not matrices.

    Raises:
        ValueError: naming the method and the shape.
    """
    for leaf in jax.tree.leaves(params):
        if leaf.ndim != 2 or 0 in leaf.shape:
            raise ValueError(f"`params` of {method} must be matrices, got shape {leaf.shape}.")


def square_zeros(params: Any, axis: int) -> Any:
    """A zero [d, d] for every leaf, with d its length along `axis`."""
    return jax.tree.map(lambda leaf: jnp.zeros((leaf.shape[axis],) * 2, leaf.dtype), params)


def inverse_fourth_root(matrix: jax.Array, damping: Number) -> jax.Array:
    """`(matrix + damping |matrix|_2 I)^(-1/4)` of a positive semidefinite matrix; zero gives I.

    The damping is at least machine precision: smaller eigenvalues are rounding errors.
    """
    values, vectors = jnp.linalg.eigh(matrix)
    largest = values[-1]
    floor = jnp.maximum(jnp.asarray(damping, matrix.dtype), jnp.finfo(matrix.dtype).eps) * largest
    damped = jnp.where(largest == 0, 1.0, jnp.maximum(values, 0.0) + floor)
    return (vectors * damped**-0.25) @ vectors.T


@dataclass(frozen=True)
class Shampoo:
    """Factory `shampoo(learning_rate, momentum, second_momentum, damping)`; hashable."""

    def __call__(
        self,
        learning_rate: Any,
        momentum: Number | None = None,
        second_momentum: Number | None = None,
        damping: Number = 1e-12,
    ) -> optax.GradientTransformation:
        """The transformation.

        Args:
            learning_rate: eta, a number or an optax schedule.
            momentum: decay of the average gradient, in [0, 1), corrected for its start; left out,
                the gradient itself is used.
            second_momentum: decay of the second moments, in [0, 1); left out, they are sums.
            damping: added to the second moments, relative to their largest eigenvalue, at least 0
                (machine precision is the least used).

        Returns:
            An optax transformation.

        Raises:
            ValueError: if a number is outside its range or, from `init`, a leaf is no matrix.
        """
        self.check(learning_rate, momentum, second_momentum, damping)
        direction = _scale_by_shampoo(
            0.0 if momentum is None else momentum, second_momentum, damping
        )
        return optax.chain(direction, optax.scale_by_learning_rate(learning_rate))

    def check(
        self,
        learning_rate: Any = 0.0,
        momentum: Any = None,
        second_momentum: Any = None,
        damping: Any = 0.0,
        steps: Any = None,
    ) -> None:
        """Refuses numbers outside their range; traced numbers pass.

        Raises:
            ValueError: naming the argument, its value and its range.
        """
        del steps  # only schedules look at the recording grid
        for name, value in (("momentum", momentum), ("second_momentum", second_momentum)):
            if value is not None:
                check_real(name, value, at_least=0.0, below=1.0)
        check_real("damping", damping, at_least=0.0)
        if not callable(learning_rate):
            check_real("learning_rate", learning_rate, at_least=0.0)


def _scale_by_shampoo(
    momentum: Number, second_momentum: Number | None, damping: Number
) -> optax.GradientTransformation:
    # A sum keeps everything and weighs the newest by one.
    keep, add = (1.0, 1.0) if second_momentum is None else (second_momentum, 1 - second_momentum)

    def init(params: Any) -> ShampooState:
        check_matrices("Shampoo", params)
        average = jax.tree.map(jnp.zeros_like, params)
        sides = square_zeros(params, 0), square_zeros(params, 1)
        return ShampooState(jnp.zeros((), jnp.int32), average, *sides)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, ShampooState]:
        del params
        count = state.taken + 1
        average = jax.tree.map(
            lambda m, g: momentum * m + (1 - momentum) * g, state.average, updates
        )
        left = jax.tree.map(lambda s, g: keep * s + add * (g @ g.T), state.left, updates)
        right = jax.tree.map(lambda s, g: keep * s + add * (g.T @ g), state.right, updates)
        weight = 1.0 if second_momentum is None else 1 - second_momentum**count

        def precondition(left: jax.Array, right: jax.Array, m: jax.Array) -> jax.Array:
            centred = m / jnp.asarray(1 - momentum**count, m.dtype)
            scale = jnp.asarray(weight, m.dtype)
            left_root = inverse_fourth_root(left / scale, damping)
            right_root = inverse_fourth_root(after(right, left_root) / scale, damping)
            return left_root @ centred @ right_root

        direction = map_in_turn(precondition, left, right, average)
        return direction, ShampooState(count, average, left, right)

    return optax.GradientTransformation(init, update)


shampoo = Shampoo()
