"""Claims about adaptive methods: the engine against plain NumPy loops written from the papers."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments.compare import Verdict, relative_within
from simulate.adaptive import adam, adamw, lion, optax_muon
from simulate.matrix_problems import MatrixQuadratic, matrix_quadratic
from simulate.optimizers import OptimizerFactory
from simulate.trajectory import simulate
from theory.problem import power_law

STEPS = np.array([1, 2, 3, 5, 10, 30])
RATE, MOMENTUM, SECOND, DECAY = 0.02, 0.85, 0.95, 0.3
HYPERPARAMETERS = {"momentum": MOMENTUM, "second_momentum": SECOND, "weight_decay": DECAY}

Matrix = np.ndarray
# Takes weights and gradients to the new weights, keeping what it averages to itself.
Step = Callable[[Matrix, Matrix], Matrix]


def _adam(decay: float) -> Step:
    """Kingma and Ba's algorithm 1; with decay, Loshchilov and Hutter's algorithm 2."""
    state: dict[str, Any] = {"m": 0.0, "v": 0.0, "t": 0}

    def step(weights: Matrix, gradient: Matrix) -> Matrix:
        state["t"] += 1
        state["m"] = MOMENTUM * state["m"] + (1 - MOMENTUM) * gradient
        state["v"] = SECOND * state["v"] + (1 - SECOND) * gradient**2
        first = state["m"] / (1 - MOMENTUM ** state["t"])
        second = state["v"] / (1 - SECOND ** state["t"])
        return weights - RATE * (first / (np.sqrt(second) + 1e-8) + decay * weights)

    return step


def _lion() -> Step:
    """Chen et al.'s algorithm 2."""
    state: dict[str, Any] = {"m": 0.0}

    def step(weights: Matrix, gradient: Matrix) -> Matrix:
        direction = np.sign(MOMENTUM * state["m"] + (1 - MOMENTUM) * gradient)
        state["m"] = SECOND * state["m"] + (1 - SECOND) * gradient
        return weights - RATE * (direction + DECAY * weights)

    return step


def _muon() -> Step:
    """Nesterov average with bias corrections, five quintic iterations, scale sqrt(max(1, d/k))."""
    state: dict[str, Any] = {"m": 0.0, "t": 0}

    def step(weights: Matrix, gradient: Matrix) -> Matrix:
        state["t"] += 1
        t = state["t"]
        state["m"] = MOMENTUM * state["m"] + (1 - MOMENTUM) * gradient
        ahead = MOMENTUM * state["m"] / (1 - MOMENTUM ** (t + 1))
        x = ahead + (1 - MOMENTUM) * gradient / (1 - MOMENTUM**t)
        x = x / (np.linalg.norm(x) + 1e-8)
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        return weights - RATE * (np.sqrt(max(1.0, x.shape[1] / x.shape[0])) * x + DECAY * weights)

    return step


CASES: dict[str, tuple[OptimizerFactory, tuple[str, ...], Callable[[], Step]]] = {
    "Adam": (adam, ("momentum", "second_momentum"), lambda: _adam(0.0)),
    "AdamW": (adamw, ("momentum", "second_momentum", "weight_decay"), lambda: _adam(DECAY)),
    "Lion": (lion, ("momentum", "second_momentum", "weight_decay"), _lion),
    "optax's Muon": (optax_muon, ("momentum", "weight_decay"), _muon),
}


def plain_loops(quick: bool) -> list[Verdict]:
    """Adam, AdamW, Lion and optax's Muon on a matrix quadratic without symmetry."""
    del quick  # thirty steps
    problem = matrix_quadratic(
        power_law(1.2, 1.5, 4), rows=4, columns=5, alignment="crossed", key=jax.random.key(9)
    )
    verdicts = []
    for name, (factory, names, loop) in CASES.items():
        numbers: dict[str, Any] = {key: HYPERPARAMETERS[key] for key in names}
        run = simulate(problem, factory, STEPS, learning_rate=RATE, **numbers)
        verdicts.append(
            relative_within(
                f"{name}: engine equals a plain loop, 30 steps",
                plain_losses(problem, loop(), int(STEPS[-1]))[STEPS],
                np.asarray(run.loss),
                1e-12,
                "rounding",
            )
        )
    return verdicts


def plain_losses(problem: MatrixQuadratic, step: Step, steps: int) -> np.ndarray:
    """Losses before each of `steps` steps from zero, and after the last.

    Args:
        problem: with diagonal curvatures.
        step: takes weights and gradients to the new weights.
        steps: how many.

    Returns:
        Array [steps + 1].
    """
    curvature = np.outer(problem.left, problem.right)
    weights, losses = np.zeros_like(curvature), []
    for _ in range(steps + 1):
        error = weights - np.asarray(problem.target)
        losses.append(float(problem.floor) + float(np.sum(curvature * error**2)) / 2)
        weights = step(weights, curvature * error)
    return np.array(losses)
