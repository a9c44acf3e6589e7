"""Claims about limits: exact loss over its leading term tends to one as the horizon grows.

The exact curves are those that other groups check step by step. The size is so large that it does
not end the power law; each gap must fall at every horizon, and overall at the order stated.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from experiments.compare import Verdict, gap_shrinks
from theory.accelerated import accelerated_exponent, heavy_ball, momentum_asymptote, nesterov
from theory.acceleration_schedules import (
    jacobi_constant,
    jacobi_heavy_ball,
    nesterov_growing,
    nesterov_growing_asymptote,
)
from theory.chebyshev import chebyshev, chebyshev_asymptote, chebyshev_edge
from theory.decomposition import Decomposition
from theory.linear_methods import gd_asymptote, preconditioned_gd
from theory.problem import power_law
from theory.schedules import tuned_sgd_exponents
from theory.sgd import sgd

UNENDING = 1e15
# The gap at the last horizon may exceed its order times the gap at the first by this factor: what
# the next order still adds at the first.
SLACK = 1.5


def _excess(curve: Decomposition) -> np.ndarray:
    """Loss without its irreducible part; at this size the asymptote counts the untrained modes."""
    return np.asarray(curve.bias + curve.approximation)


def limit_row(claim: str, limit: float, values: ArrayLike, clock: ArrayLike) -> Verdict:
    """`values` tend to `limit` like 1 / clock.

    Args:
        claim: what is asserted.
        limit: the number they tend to.
        values: measurements, [3 or more].
        clock: what the gap falls inversely with, at each of them.

    Returns:
        The verdict.
    """
    found, time = np.asarray(values, float), np.asarray(clock, float)
    allowed = SLACK * abs(found[0] - limit) * time[0] / time[-1]
    return gap_shrinks(claim, limit, found.tolist(), float(allowed))


def asymptotes(quick: bool) -> list[Verdict]:
    """Deterministic methods with constant coefficients, and the accelerated ones."""
    return [*_fixed_coefficients(quick), *_accelerated(quick)]


def _fixed_coefficients(quick: bool) -> list[Verdict]:
    """Preconditioned GD, heavy ball and Nesterov with constant coefficients."""
    problem = power_law(1.5, 1.8, UNENDING)
    steps = np.array([64.0, 1024.0, 16384.0]) * (1 if quick else 64)
    verdicts = [
        limit_row(
            f"preconditioned GD, p = {p:g}: loss over its asymptote tends to 1 like 1/T",
            1.0,
            _excess(preconditioned_gd(problem, 0.5, steps, p))
            / gd_asymptote(problem, 0.5, steps, p),
            steps,
        )
        for p in (0.25, 0.4)
    ]
    longer = 16 * steps  # (1 - momentum) T counts
    leading = momentum_asymptote(problem, 0.5, 0.9, longer)
    for name, method in (("heavy ball", heavy_ball), ("Nesterov", nesterov)):
        ratio = _excess(method(problem, 0.5, 0.9, longer)) / leading
        claim = f"{name}: loss over that of GD at eta/(1 - mu) tends to 1 like 1/T"
        verdicts.append(limit_row(claim, 1.0, ratio, longer))
    return verdicts


def _accelerated(quick: bool) -> list[Verdict]:
    """Nesterov's t/(t+3), the Jacobi schedule and Chebyshev at the edge of each horizon."""
    problem = power_law(1.5, 1.8, UNENDING)
    horizons = 16.0 * 8.0 ** np.arange(4) * (1 if quick else 4)
    steps, slope = horizons[1:], 0.8 / 1.5
    growing = _excess(nesterov_growing(problem, 0.9, steps))
    jacobi = _excess(jacobi_heavy_ball(problem, 1.0, 1.0, horizons))
    leading = jacobi_constant(problem, 1.0, 1.0) * steps ** (-2 * slope)
    distant = np.array([1e2, 1e4, 1e6])
    edge = chebyshev_edge(problem, 1.0, distant)
    semi = _excess(chebyshev(problem, edge, 1.0, distant))
    local = np.log(jacobi[:-1] / jacobi[1:]) / np.log(8.0)
    return [
        # The part that only the damping ends is smaller by T^(s - 3/2).
        limit_row(
            "Nesterov t/(t+3): loss over its asymptote tends to 1 like T^(s - 3/2)",
            1.0,
            growing / nesterov_growing_asymptote(problem, 0.9, steps),
            steps ** (1.5 - slope),
        ),
        limit_row(
            "Jacobi schedule p = 1: loss over C T^-2s tends to 1 like 1/T",
            1.0,
            jacobi[1:] / leading,
            steps,
        ),
        limit_row(
            "Jacobi schedule: exponent between horizons tends to 2 (b - 1)/a like 1/T",
            float(accelerated_exponent(problem)),
            local,
            steps,
        ),
        limit_row(
            "Chebyshev: loss over (log T)^s T^-2s and ripple tends to 1 like 1/log T",
            1.0,
            semi / chebyshev_asymptote(problem, 1.0, distant),
            np.log(distant),
        ),
    ]


def tuned_sgd(quick: bool) -> list[Verdict]:
    """SGD with a constant rate, tuned for every horizon: exponents of the loss and of the rate."""
    problem, every = power_law(2.0, 2.0, UNENDING, 1.0), 100.0
    exponents = [float(value) for value in tuned_sgd_exponents(problem, 0.0)]
    found, guess = [], 0.005
    for steps in 1e4 * every ** np.arange(4 if quick else 5):

        def log_loss(log_rate: float, steps: float = steps) -> float:
            return float(np.log(sgd(problem, np.exp(log_rate), 1, steps).optimization))

        near = np.log(guess) + np.array([-2.0, 2.0])
        best: Any = minimize_scalar(
            log_loss, bounds=near, method="bounded", options={"xatol": 1e-4}
        )
        found.append((best.fun, best.x))
        guess = np.exp(best.x) / every ** exponents[1]
    slopes = -np.diff(np.array(found).T) / np.log(every)
    return [
        limit_row(
            f"SGD, constant rate, tuned: exponent of the {what} in T tends to 1/3 like T^-1/3",
            exponent,
            slope,
            every ** (np.arange(slope.size) / 3),
        )
        for what, exponent, slope in zip(("loss", "rate"), exponents, slopes, strict=True)
    ]
