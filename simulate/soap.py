"""SOAP: Adam in the eigenbasis of Shampoo's second moments.

Vyas et al. 2024 (arXiv 2409.11321), algorithm 3. At every step the gradient G is turned into the
current bases, G' = Q_L^T G Q_R; M is the average of G, V that of G'^2, and

    W <- W - eta Q_L [ (Q_L^T M Q_R) / (sqrt(V) + epsilon) ] Q_R^T,

both averages corrected for their start as in Adam. The bases are the eigenvectors of G G^T and
G^T G at the first step; afterwards, every `interval` steps and after the update, one step of
orthogonal iteration on the running averages of G G^T and G^T G, with V reordered alongside.
Matrices [d_out, d_in] only.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from simulate.in_turn import after
from simulate.shampoo import check_matrices, square_zeros
from theory.checks import check_real

Number = jax.Array | float


class SoapState(NamedTuple):
    """Steps taken and, shaped like the parameters, one `SoapMatrix` a leaf."""

    taken: jax.Array
    matrices: Any


class SoapMatrix(NamedTuple):
    """Averages and bases of one matrix."""

    average: jax.Array
    square: jax.Array  # in the bases
    left: jax.Array
    right: jax.Array
    left_basis: jax.Array
    right_basis: jax.Array


@dataclass(frozen=True)
class Soap:
    """Factory `soap(learning_rate, momentum, second_momentum, basis_momentum, epsilon)`; hashable.

    Attributes:
        interval: steps between refreshes of the bases, at least 1.
    """

    interval: int = 1

    def __call__(
        self,
        learning_rate: Any,
        momentum: Number = 0.95,
        second_momentum: Number = 0.95,
        basis_momentum: Number = 0.95,
        epsilon: Number = 1e-8,
    ) -> optax.GradientTransformation:
        """The transformation.

        Args:
            learning_rate: eta, a number or an optax schedule.
            momentum: decay of the average gradient, in [0, 1).
            second_momentum: decay of the average square in the bases, in [0, 1).
            basis_momentum: decay of the second moments that give the bases, in [0, 1).
            epsilon: added to the root of the average square, at least 0.

        Returns:
            An optax transformation.

        Raises:
            ValueError: if a number is outside its range or, from `init`, a leaf is no matrix.
        """
        self.check(learning_rate, momentum, second_momentum, basis_momentum, epsilon)
        direction = _scale_by_soap(
            self.interval, momentum, second_momentum, basis_momentum, epsilon
        )
        return optax.chain(direction, optax.scale_by_learning_rate(learning_rate))

    def check(
        self,
        learning_rate: Any = 0.0,
        momentum: Any = 0.0,
        second_momentum: Any = 0.0,
        basis_momentum: Any = 0.0,
        epsilon: Any = 0.0,
        steps: Any = None,
    ) -> None:
        """Refuses numbers outside their range; traced numbers pass.

        Raises:
            ValueError: naming the argument, its value and its range.
        """
        del steps  # only schedules look at the recording grid
        check_real("interval", self.interval, at_least=1)
        check_real("momentum", momentum, at_least=0.0, below=1.0)
        check_real("second_momentum", second_momentum, at_least=0.0, below=1.0)
        check_real("basis_momentum", basis_momentum, at_least=0.0, below=1.0)
        check_real("epsilon", epsilon, at_least=0.0)
        if not callable(learning_rate):
            check_real("learning_rate", learning_rate, at_least=0.0)


def _scale_by_soap(
    interval: int,
    momentum: Number,
    second_momentum: Number,
    basis_momentum: Number,
    epsilon: Number,
) -> optax.GradientTransformation:
    def init(params: Any) -> SoapState:
        check_matrices("SOAP", params)
        zeros = jax.tree.map(jnp.zeros_like, params)
        sides = [square_zeros(params, axis) for axis in (0, 1)]
        matrices = jax.tree.map(SoapMatrix, zeros, zeros, *sides, *sides)
        return SoapState(jnp.zeros((), jnp.int32), matrices)

    def step(gradient: jax.Array, old: SoapMatrix, count: jax.Array) -> tuple:
        first = count == 1
        bases = jax.lax.cond(first, _eigenbases, lambda *_: old[4:], gradient)
        left_basis, right_basis = bases
        turned = left_basis.T @ gradient @ right_basis
        average = momentum * old.average + (1 - momentum) * gradient
        square = second_momentum * old.square + (1 - second_momentum) * turned**2
        direction = _direction(
            left_basis.T @ average @ right_basis / (1 - momentum**count),
            square / (1 - second_momentum**count),
            epsilon,
        )
        # The first moment is taken whole: a common factor does not change its eigenvectors.
        weight = jnp.where(first, jnp.ones_like(average[0, 0]), 1 - basis_momentum)
        left = (1 - weight) * old.left + weight * (gradient @ gradient.T)
        right = (1 - weight) * old.right + weight * (gradient.T @ gradient)
        moved = SoapMatrix(average, square, left, right, left_basis, right_basis)
        # A first refresh at step one would leave the eigenvectors as they are.
        due = (count % interval == 0) & ~first
        new = jax.lax.cond(due, _refresh, lambda same: same, moved)
        return left_basis @ direction @ right_basis.T, new

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, SoapState]:
        del params
        count = state.taken + 1
        leaves, tree = jax.tree.flatten(updates)
        matrices = tree.flatten_up_to(state.matrices)
        directions, new = [], []
        for gradient, old in zip(leaves, matrices, strict=True):
            held = after(gradient, new[-1].right_basis) if new else gradient
            direction, moved = step(held, old, count)
            directions.append(direction)
            new.append(moved)
        return tree.unflatten(directions), SoapState(count, tree.unflatten(new))

    return optax.GradientTransformation(init, update)


def _direction(average: jax.Array, square: jax.Array, epsilon: Number) -> jax.Array:
    """Adam's direction; where both moments vanish it is zero, for any epsilon."""
    length = jnp.sqrt(square) + epsilon
    return average / jnp.where(length == 0, jnp.ones_like(length), length)


def _eigenbases(gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eigenvectors of both second moments, largest eigenvalue first."""
    left = jnp.linalg.eigh(gradient @ gradient.T)[1][:, ::-1]
    right = jnp.linalg.eigh(after(gradient.T @ gradient, left))[1][:, ::-1]
    return left, right


def _refresh(old: SoapMatrix) -> SoapMatrix:
    """One step of orthogonal iteration on either side, the square reordered with the bases."""
    left_basis, left_order = _iterate(old.left, old.left_basis)
    right_basis, right_order = _iterate(after(old.right, left_basis), old.right_basis)
    square = old.square[left_order][:, right_order]
    return old._replace(square=square, left_basis=left_basis, right_basis=right_basis)


def _iterate(moment: jax.Array, basis: jax.Array) -> tuple[jax.Array, jax.Array]:
    estimates = jnp.sum(basis * (moment @ basis), axis=0)
    order = jnp.argsort(-estimates)
    ordered = basis[:, order]
    return jnp.linalg.qr(moment @ ordered)[0], order


soap = Soap()
