"""Claims about constant momentum: exact curves, and where its noise comes to rest."""

import jax
import numpy as np
from scipy.linalg import solve_discrete_lyapunov

from experiments.compare import Verdict, relative_within, z_score
from simulate.least_squares import least_squares
from simulate.optimizers import nesterov as nesterov_optimizer
from simulate.optimizers import sgd as sgd_optimizer
from simulate.problems import diagonal_quadratic
from simulate.sweep import ensemble, sweep
from simulate.trajectory import simulate
from theory.accelerated import heavy_ball, nesterov
from theory.momentum_noise import momentum_noise_floor, momentum_stability_sum, stationary_loss
from theory.problem import power_law
from theory.sgd_momentum import sgd_momentum
from theory.spectrum import explicit_spectrum

OPTIMIZERS = {"heavy ball": sgd_optimizer, "Nesterov": nesterov_optimizer}
SAME_MATHS = 1e-12


def constant_momentum(quick: bool) -> list[Verdict]:
    """Heavy ball and Nesterov with momentum 0.9 against the engine."""
    problem = power_law(1.5, 1.8, 500 if quick else 20_000, 0.02)
    held, steps = diagonal_quadratic(problem), np.array([1, 10, 100, 400])
    curves = {"heavy ball": heavy_ball, "Nesterov": nesterov}
    verdicts = []
    for name, optimizer in OPTIMIZERS.items():
        run = simulate(held, optimizer, steps, learning_rate=0.3, momentum=0.9)
        verdicts.append(
            relative_within(
                f"{name}: residual polynomial equals simulation, momentum 0.9",
                curves[name](problem, 0.3, 0.9, steps).total,
                np.asarray(run.loss),
                SAME_MATHS,
                "rounding",
            )
        )
    return verdicts


def stochastic_momentum(quick: bool) -> list[Verdict]:
    """One-pass SGD with momentum against thousands of runs."""
    seeds = 1000 if quick else 3000
    problem, steps = power_law(1.2, 1.6, 25, 0.1), np.array([3, 20, 150])
    keys = jax.random.split(jax.random.key(11), seeds)
    grid = {"learning_rate": np.array([0.03]), "momentum": np.array([0.8])}
    drawn = least_squares(problem, 2, total_size=40, sample_rows=True)
    verdicts = []
    for name, optimizer in OPTIMIZERS.items():
        average = ensemble(sweep(drawn, optimizer, steps, grid, keys))
        exact = sgd_momentum(problem, 0.03, 0.8, 2.0, steps, nesterov=name == "Nesterov")
        verdicts.append(
            z_score(
                f"SGD, {name}, momentum 0.8: {seeds} runs, B = 2, T = 3, 20, 150",
                exact.total,
                average.mean[0],
                average.standard_error[0],
            )
        )
    return verdicts


def momentum_noise(quick: bool) -> list[Verdict]:
    """Noise floors of momentum and the sum that decides its stability, by Lyapunov equations."""
    del quick  # eight modes
    return [verdict for name in OPTIMIZERS for verdict in _at_rest(name)]


def _at_rest(name: str) -> list[Verdict]:
    lam, noise, untrained, batch = np.arange(1, 9) ** -1.2, 0.1, 0.03, 3.0
    spectrum = explicit_spectrum(lam, np.arange(1, 9) ** -1.6, untrained, noise)
    arguments, form = (spectrum, 0.2, 0.8, batch), {"nesterov": name == "Nesterov"}
    at_x, at_gradient = (lam * part / batch for part in _resting_covariances(lam, 0.2, 0.8, **form))
    # lam v = loud (S + lam v) at rest, with S = sum lam v + s^2.
    share = np.sum(at_gradient / (1.0 - at_gradient))
    rest = (noise / 2 + untrained) * share / (1.0 - share)
    rows = {
        "floor of additive noise": (
            momentum_noise_floor(*arguments, noise, **form),
            noise / 2 * np.sum(at_x),
        ),
        "stability sum": (momentum_stability_sum(*arguments, **form), share),
        "stationary loss of least squares": (stationary_loss(*arguments, **form), rest),
        "loss after 10^4 steps": (sgd_momentum(*arguments, 1e4, **form).optimization, rest),
    }
    return [
        relative_within(
            f"{name}: {what} equals that of the Lyapunov equations",
            stated,
            solved,
            SAME_MATHS,
            "rounding",
        )
        for what, (stated, solved) in rows.items()
    ]


def _resting_covariances(
    lam: np.ndarray, rate: float, momentum: float, nesterov: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Variance of each mode at rest under gradient noise of variance lam.

    At the textbook's iterate x, and at the point y where the gradient is taken.
    """
    at_x, at_y = [], []
    for curvature in lam:
        # y = x + nu (x - x_old), x_new = x + mu (x - x_old) - rate (curvature y + noise).
        ahead = momentum if nesterov else 0.0
        look = np.array([1.0 + ahead, -ahead])
        push = np.array([1.0 + momentum, -momentum])
        matrix = np.array([push - rate * curvature * look, [1.0, 0.0]])
        kick = np.array([[rate**2 * curvature, 0.0], [0.0, 0.0]])
        covariance = solve_discrete_lyapunov(matrix, kick)
        at_x.append(covariance[0, 0])
        at_y.append(look @ covariance @ look)
    return np.array(at_x), np.array(at_y)
