"""Claims about Shampoo and SOAP: the engine against plain loops written from the papers.

Roots are SciPy's square root taken twice, first bases the singular vectors of the first gradient.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from scipy.linalg import sqrtm

from experiments.claims.adaptive import Matrix, Step, plain_losses
from experiments.compare import Verdict, relative_within
from simulate.matrix_problems import matrix_quadratic
from simulate.optimizers import OptimizerFactory
from simulate.shampoo import shampoo
from simulate.soap import Soap
from simulate.trajectory import simulate
from theory.problem import power_law

STEPS = np.array([1, 2, 3, 5, 10, 30])
RATE, MOMENTUM, SECOND, BASIS = 0.02, 0.85, 0.95, 0.9
# Damping relative to the largest eigenvalue keeps the roots well conditioned. SOAP's first turned
# gradient is diagonal: elsewhere it is rounding errors, which epsilon divides.
DAMPING, EPSILON = 1e-3, 1e-3


def _inverse_fourth_root(moment: Matrix) -> Matrix:
    damped = moment + DAMPING * np.linalg.norm(moment, 2) * np.eye(len(moment))
    return np.linalg.inv(np.real(sqrtm(np.real(sqrtm(damped)))))


def _shampoo(momentum: float, second: float | None) -> Step:
    """Gupta, Koren and Singer's algorithm 1; with `second`, averages instead of sums."""
    keep, add = (1.0, 1.0) if second is None else (second, 1 - second)
    state: dict[str, Any] = {"m": 0.0, "left": 0.0, "right": 0.0, "t": 0}

    def step(weights: Matrix, gradient: Matrix) -> Matrix:
        state["t"] += 1
        state["m"] = momentum * state["m"] + (1 - momentum) * gradient
        state["left"] = keep * state["left"] + add * gradient @ gradient.T
        state["right"] = keep * state["right"] + add * gradient.T @ gradient
        weight = 1.0 if second is None else 1 - second ** state["t"]
        left, right = (_inverse_fourth_root(state[side] / weight) for side in ("left", "right"))
        return weights - RATE * left @ (state["m"] / (1 - momentum ** state["t"])) @ right

    return step


class _Soap:
    """Vyas et al.'s algorithm 3."""

    def __init__(self, interval: int) -> None:
        self.interval, self.taken = interval, 0
        self.average, self.square = 0.0, np.zeros(())
        self.bases, self.moments = [], []

    def __call__(self, weights: Matrix, gradient: Matrix) -> Matrix:
        self.taken += 1
        seen = [gradient @ gradient.T, gradient.T @ gradient]
        if self.taken == 1:
            left, _, right = np.linalg.svd(gradient)
            self.bases, self.moments = [left, right.T], seen
        left, right = self.bases
        self.average = MOMENTUM * self.average + (1 - MOMENTUM) * gradient
        square = (left.T @ gradient @ right) ** 2
        self.square = SECOND * self.square + (1 - SECOND) * square
        first = left.T @ self.average @ right / (1 - MOMENTUM**self.taken)
        second = np.sqrt(self.square / (1 - SECOND**self.taken))
        self.moments = [
            BASIS * m + (1 - BASIS) * s for m, s in zip(self.moments, seen, strict=True)
        ]
        if self.taken > 1 and self.taken % self.interval == 0:
            self._refresh()
        return weights - RATE * left @ (first / (second + EPSILON)) @ right.T

    def _refresh(self) -> None:
        """Orthogonal iteration, largest estimate first; the square follows its directions."""
        orders = []
        for side, (moment, basis) in enumerate(zip(self.moments, self.bases, strict=True)):
            order = np.argsort(-np.diag(basis.T @ moment @ basis))
            self.bases[side] = np.linalg.qr(moment @ basis[:, order])[0]
            orders.append(order)
        self.square = self.square[np.ix_(*orders)]


SHAMPOO = {"learning_rate": RATE, "damping": DAMPING}
SOAP = {
    "learning_rate": RATE,
    "momentum": MOMENTUM,
    "second_momentum": SECOND,
    "basis_momentum": BASIS,
    "epsilon": EPSILON,
}
CASES: dict[str, tuple[OptimizerFactory, dict[str, Any], Callable[[], Step]]] = {
    "Shampoo": (shampoo, SHAMPOO, lambda: _shampoo(0.0, None)),
    "Shampoo with averages": (
        shampoo,
        {**SHAMPOO, "momentum": MOMENTUM, "second_momentum": SECOND},
        lambda: _shampoo(MOMENTUM, SECOND),
    ),
    "SOAP": (Soap(), SOAP, lambda: _Soap(1)),
    "SOAP, bases every third step": (Soap(3), SOAP, lambda: _Soap(3)),
}


def plain_loops(quick: bool) -> list[Verdict]:
    """Shampoo and SOAP on a matrix quadratic without symmetry."""
    del quick  # thirty steps
    problem = matrix_quadratic(
        power_law(1.2, 1.5, 4), rows=4, columns=5, alignment="crossed", key=jax.random.key(9)
    )
    verdicts = []
    for name, (factory, numbers, loop) in CASES.items():
        run = simulate(problem, factory, STEPS, **numbers)
        losses = plain_losses(problem, loop(), int(STEPS[-1]))
        verdicts.append(
            relative_within(
                f"{name}: engine equals a plain loop, 30 steps",
                losses[STEPS],
                np.asarray(run.loss),
                # Eigenvectors of 4 x 5 moments: eps times their condition, a few thousand.
                1e-11,
                "rounding",
            )
        )
    return verdicts
