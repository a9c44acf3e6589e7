"""Claims about single methods: exact curves against the engine, step by step."""

import jax
import numpy as np

from experiments.compare import Verdict, agree_within, relative_within, z_score
from simulate.least_squares import least_squares
from simulate.lmo import normalized_sgd, signum, spectral_descent
from simulate.matrix_problems import matrix_quadratic
from simulate.optimizers import nesterov as nesterov_optimizer
from simulate.optimizers import sgd as sgd_optimizer
from simulate.problems import diagonal_quadratic
from simulate.schedules import Scheduled, linear
from simulate.sweep import ensemble, sweep
from simulate.trajectory import simulate
from theory.accelerated import heavy_ball, nesterov
from theory.newton_schulz import MUON, newton_schulz, reached_range
from theory.normalized_methods import normalized_gd
from theory.norms import polar_factor
from theory.problem import PowerLawQuadratic, power_law
from theory.scheduled_descent import scheduled_gd
from theory.schedules import linear_decay, schedule_rates
from theory.sgd_momentum import sgd_momentum
from theory.sign_methods import sign_descent
from theory.spectrum import explicit_spectrum

STEPS = np.array([1, 10, 100, 400])
A, B, SIZE = 1.5, 1.8, 500


def _problem() -> PowerLawQuadratic:
    return power_law(A, B, SIZE, 0.02)


def momentum_methods(quick: bool) -> list[Verdict]:
    """Heavy ball and Nesterov with constant momentum, and GD under linear decay."""
    del quick  # seconds in either case
    problem = _problem()
    held = diagonal_quadratic(problem)
    pairs = {
        "heavy ball": (heavy_ball, sgd_optimizer),
        "Nesterov": (nesterov, nesterov_optimizer),
    }
    verdicts = []
    for name, (theory, optimizer) in pairs.items():
        run = simulate(held, optimizer, STEPS, learning_rate=0.3, momentum=0.9)
        verdicts.append(
            relative_within(
                f"{name}: residual polynomial equals simulation, momentum 0.9",
                theory(problem, 0.3, 0.9, STEPS).total,
                np.asarray(run.loss),
                1e-12,
                "rounding",
            )
        )
    horizon = int(STEPS[-1])
    rates = schedule_rates(linear_decay, 0.8, horizon)
    method = Scheduled(sgd_optimizer, linear)
    run = simulate(held, method, STEPS, learning_rate=0.8, horizon=float(horizon))
    exact = scheduled_gd(problem, rates, STEPS)
    verdicts.append(
        relative_within(
            "GD under linear decay: stepped nodes equal simulation",
            exact.total,
            np.asarray(run.loss),
            1e-12,
            "rounding",
        )
    )
    return verdicts


def direction_methods(quick: bool) -> list[Verdict]:
    """Sign, normalized and spectral descent, and the Newton-Schulz polar factor."""
    del quick
    problem = _problem()
    held = diagonal_quadratic(problem)
    spectrum = explicit_spectrum(
        held.eigenvalues,
        held.eigenvalues * held.target**2,
        float(held.floor - problem.irreducible),
        float(problem.noise_variance),
    )
    sign = simulate(held, signum, STEPS, learning_rate=0.0137)
    normalized = simulate(held, normalized_sgd, STEPS, learning_rate=0.0137)
    small = power_law(A, B, 24, 0.02)
    matrix = matrix_quadratic(small, alignment="aligned")
    spectral = simulate(matrix, spectral_descent, STEPS, learning_rate=0.0137)
    rates = np.full(int(STEPS[-1]), 0.0137)
    # Sign steps add 400 rounded multiples of the rate: eps times the steps, relative to a target.
    verdicts = [
        relative_within(
            "sign descent: exact walk equals simulation",
            sign_descent(spectrum, 0.0137, STEPS).total,
            np.asarray(sign.loss),
            1e-11,
            "rounding of 400 steps",
        ),
        relative_within(
            "normalized GD: time change of GD equals simulation",
            np.asarray(normalized_gd(problem, rates).total)[STEPS],
            np.asarray(normalized.loss),
            1e-11,
            "rounding of 400 steps",
        ),
        relative_within(
            "spectral descent, aligned: sign descent on singular values equals simulation",
            sign_descent(small, 0.0137, STEPS).total,
            np.asarray(spectral.loss),
            1e-11,
            "rounding of 400 steps",
        ),
    ]
    return [*verdicts, _polar_claim()]


def _polar_claim() -> Verdict:
    matrix = jax.random.normal(jax.random.key(3), (64, 48))
    singular = np.linalg.svd(np.asarray(matrix), compute_uv=False)
    smallest = float(singular[-1] / np.linalg.norm(np.asarray(matrix)))
    low, high = reached_range(MUON, smallest)
    gap = newton_schulz(matrix, MUON) - polar_factor(matrix)
    measured = float(np.linalg.norm(np.asarray(gap), 2))
    return agree_within(
        "Muon's Newton-Schulz: distance to the polar factor",
        0.0,
        measured,
        max(1 - low, high - 1),
        "range of its polynomial",
    )


def sgd_with_momentum(quick: bool) -> list[Verdict]:
    """SGD with heavy-ball momentum against Monte Carlo."""
    seeds = 1000 if quick else 3000
    problem, steps = power_law(1.2, 1.6, 25, 0.1), np.array([3, 20, 150])
    keys = jax.random.split(jax.random.key(11), seeds)
    grid = {"learning_rate": np.array([0.03]), "momentum": np.array([0.8])}
    drawn = least_squares(problem, 2.0, total_size=40)
    average = ensemble(sweep(drawn, sgd_optimizer, steps, grid, keys))
    return [
        z_score(
            f"SGD with momentum 0.8: {seeds} runs, B = 2, T = 3, 20, 150",
            sgd_momentum(problem, 0.03, 0.8, 2.0, steps).total,
            average.mean[0],
            average.standard_error[0],
        )
    ]
