"""Claims about the methods that step along an LMO: the engine against plain NumPy loops.

Duality maps are written out here once more, from their definitions.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments.claims.oracles import length
from experiments.compare import Verdict, bound_holds, bound_tight, relative_within
from simulate.lmo import (
    LmoMethod,
    muon,
    normalized_sgd,
    scion_hidden,
    scion_input,
    scion_output,
    signum,
    spectral_descent,
)
from simulate.matrix_problems import MatrixQuadratic, matrix_quadratic
from simulate.trajectory import simulate
from theory.problem import power_law

Matrix = np.ndarray
# Beyond some 40 steps the free methods oscillate about the optimum, where each Newton-Schulz
# iteration amplifies rounding by its slope at zero, 485.
STEPS = np.array([1, 2, 5, 15, 30])
RATE, MOMENTUM, DECAY = 0.03, 0.7, 4.0


def _rms(vectors: Matrix) -> Matrix:
    """Root mean square of each column."""
    return np.sqrt(np.mean(vectors**2, axis=0))


def _isometry(g: Matrix) -> Matrix:
    """G (G^T G)^(-1/2), or its transpose for a wide matrix."""
    if g.shape[0] < g.shape[1]:
        return _isometry(g.T).T
    values, vectors = np.linalg.eigh(g.T @ g)
    return g @ (vectors / np.sqrt(values)) @ vectors.T


def quintic_iterations(g: Matrix) -> Matrix:
    """Jordan et al.'s five steps, odd polynomials of G over its Frobenius norm."""
    x = g / np.linalg.norm(g)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


def _in_rms(g: Matrix) -> float:
    return np.sqrt(g.shape[0] / g.shape[1])


METHODS: dict[str, tuple[LmoMethod, Callable[[Matrix], Matrix]]] = {
    "normalized SGD": (normalized_sgd, lambda g: g / np.sqrt(np.sum(g**2))),
    "Signum": (signum, np.sign),
    "spectral descent": (spectral_descent, _isometry),
    "spectral descent in RMS norms": (LmoMethod("rms_to_rms"), lambda g: _isometry(g) * _in_rms(g)),
    "Scion's input layer": (scion_input, lambda g: g / _rms(g)),
    "Scion's output layer": (scion_output, lambda g: g / (_rms(g.T)[:, None] * g.shape[1])),
    "Muon": (muon, quintic_iterations),
    "Scion's hidden layer": (scion_hidden, lambda g: quintic_iterations(g) * _in_rms(g)),
}


def _watch(problem: MatrixQuadratic, params: jax.Array) -> jax.Array:
    del problem
    return params


def oracle_methods(quick: bool) -> list[Verdict]:
    """Normalized SGD, Signum, Muon's and Scion's steps with momentum, free and in their balls."""
    del quick  # a second each
    problem = matrix_quadratic(
        power_law(1.2, 1.5, 4), rows=4, columns=5, alignment="crossed", key=jax.random.key(2)
    )
    verdicts, lengths = [], []
    for name, (method, steepest) in METHODS.items():
        stepped, engine = [], []
        for decay in (0.0, DECAY):
            numbers: dict[str, Any] = {
                "learning_rate": RATE,
                "momentum": MOMENTUM,
                "weight_decay": decay,
            }
            run = simulate(problem, method, STEPS, observe=_watch, **numbers)
            losses, path = _stepped(steepest, problem, decay)
            stepped.append(losses[STEPS])
            engine.append(np.asarray(run.loss))
        if method.coefficients is None:
            weights = [*np.asarray(run.observed), *path[1:]]
            lengths.append([length(method.norm, weight) for weight in weights])
        verdicts.append(
            relative_within(
                f"{name}, momentum {MOMENTUM:g}: engine equals a plain loop, free and in a ball",
                stepped,
                engine,
                1e-11,
                "rounding of 30 steps",
            )
        )
    return [*verdicts, *_ball(np.array(lengths))]


def _ball(lengths: np.ndarray) -> list[Verdict]:
    radius = np.full(lengths.shape, 1 / DECAY)
    return [
        bound_holds(
            "LMO steps with weight decay stay in the ball of radius 1/decay", radius, lengths
        ),
        bound_tight(
            "LMO steps with weight decay reach 9/10 of the ball of radius 1/decay",
            1 / DECAY,
            np.max(lengths, axis=1),
            1 / 0.9,
        ),
    ]


def _stepped(
    steepest: Callable[[Matrix], Matrix], problem: MatrixQuadratic, decay: float
) -> tuple[np.ndarray, list[Matrix]]:
    """Losses and weights of W <- (1 - rate decay) W - rate steepest(average), every step."""
    left, right, target = (
        np.asarray(part) for part in (problem.left, problem.right, problem.target)
    )
    weights, average, path, losses = np.zeros_like(target), None, [], []
    for _ in range(int(STEPS[-1]) + 1):
        error = weights - target
        gradient = left[:, None] * error * right
        losses.append(float(problem.floor) + np.sum(error * gradient) / 2)
        path.append(weights)
        average = gradient if average is None else MOMENTUM * average + (1 - MOMENTUM) * gradient
        weights = (1 - RATE * decay) * weights - RATE * steepest(average)
    return np.array(losses), path
