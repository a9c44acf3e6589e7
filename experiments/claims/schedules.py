"""Claims about schedules: decaying rates against the engine, the best schedule against others."""

import jax
import numpy as np

from experiments.compare import Verdict, bound_holds, bound_tight, relative_within, z_score
from simulate import schedules as engine
from simulate.least_squares import least_squares
from simulate.lmo import signum
from simulate.optimizers import sgd as sgd_optimizer
from simulate.problems import diagonal_quadratic
from simulate.schedules import Scheduled
from simulate.sweep import ensemble, sweep
from simulate.trajectory import simulate
from theory.optimal_schedule import optimal_schedule
from theory.problem import power_law
from theory.schedule_bounds import tuned_convex_bound
from theory.scheduled_descent import scheduled_gd, scheduled_sgd
from theory.schedules import cosine, linear_decay, power_decay, schedule_rates, warmup_stable_decay
from theory.sign_methods import scheduled_sign_descent
from theory.spectrum import explicit_spectrum

# Shape, the engine's schedule, and hyperparameters of the latter.
SHAPES = {
    "linear decay": (linear_decay, engine.linear, {}),
    "cosine": (cosine, engine.cosine, {}),
    "square decay": (power_decay(2.0), engine.power, {"exponent": 2.0}),
    "stable, then 30 % decay": (
        warmup_stable_decay(0.3),
        engine.warmup_stable_decay,
        {"decay": 0.3},
    ),
}


def decaying_rates(quick: bool) -> list[Verdict]:
    """GD, sign descent and SGD under schedules, against the engine with its own schedules."""
    problem, steps = power_law(1.5, 1.8, 500 if quick else 5000, 0.02), np.array([1, 10, 100, 400])
    held, horizon, verdicts = diagonal_quadratic(problem), int(steps[-1]), []
    for name, (shape, schedule, numbers) in SHAPES.items():
        rates = schedule_rates(shape, 0.8, horizon)
        options = {"learning_rate": 0.8, "horizon": float(horizon), **numbers}
        run = simulate(held, Scheduled(sgd_optimizer, schedule), steps, **options)
        verdicts.append(
            relative_within(
                f"GD, {name}: stepped nodes equal simulation",
                scheduled_gd(problem, rates, steps).total,
                np.asarray(run.loss),
                1e-12,
                "rounding",
            )
        )
    rates = schedule_rates(linear_decay, 0.0137, horizon)
    method = Scheduled(signum, engine.linear)
    run = simulate(held, method, steps, learning_rate=0.0137, horizon=float(horizon))
    walked = relative_within(
        "sign descent, linear decay: exact walk equals simulation",
        scheduled_sign_descent(problem, rates).total[steps],
        np.asarray(run.loss),
        # Rounded rates add up to eps times the steps, relative to a target.
        1e-11,
        "rounding of 400 steps",
    )
    return [*verdicts, walked, *_stochastic(1000 if quick else 3000)]


def _stochastic(seeds: int) -> list[Verdict]:
    problem, steps = power_law(1.2, 1.6, 25, 0.1), np.array([20, 100, 150])
    drawn = least_squares(problem, 2, total_size=40, sample_rows=True)
    keys, horizon, verdicts = jax.random.split(jax.random.key(13), seeds), int(steps[-1]), []
    for name in ("cosine", "stable, then 30 % decay"):
        shape, schedule, numbers = SHAPES[name]
        options = {"learning_rate": 0.2, "horizon": float(horizon), **numbers}
        grid = {key: np.array([value]) for key, value in options.items()}
        average = ensemble(sweep(drawn, Scheduled(sgd_optimizer, schedule), steps, grid, keys))
        rates = schedule_rates(shape, 0.2, horizon)
        verdicts.append(
            z_score(
                f"SGD, {name}: {seeds} runs, B = 2, T = 20, 100, 150",
                scheduled_sgd(problem, rates, 2.0, steps).total,
                average.mean[0],
                average.standard_error[0],
            )
        )
    return verdicts


def best_schedules(quick: bool) -> list[Verdict]:
    """The optimal schedule against others and its bound, and the convex last-iterate bound."""
    steps, batch, noise = (1000 if quick else 5000), 2.0, 1.0
    lam, energy = np.arange(1, 101) ** -1.5, np.arange(1, 101) ** -2.5
    spectrum = explicit_spectrum(lam, energy, noise_variance=noise)
    rates, bound = optimal_schedule(spectrum, batch, steps)
    passed = np.arange(steps) / steps
    shapes = np.stack(
        [np.ones(steps), 1 - passed, np.cos(np.pi * passed / 2) ** 2, (1 - passed) ** 2]
    )
    peaks = np.geomspace(0.003, 0.6, 40)
    others = (peaks[:, None, None] * shapes).reshape(-1, steps)
    loss = _stepped_sgd(
        lam, energy, noise, batch, np.concatenate([np.asarray(rates)[None], others])
    )
    return [
        bound_holds("optimal schedule: its loss in continuous time is below all runs", loss, bound),
        bound_tight(
            "optimal schedule: its loss in continuous time is within 5 % of its own run",
            loss[0],
            bound,
            1.05,
        ),
        bound_holds(
            "optimal schedule: beats constant, linear, cosine and square decay, tuned",
            np.min(loss[1:]),
            loss[0],
        ),
        *_convex_claims(),
    ]


def _stepped_sgd(
    lam: np.ndarray, energy: np.ndarray, noise: float, batch: float, rates: np.ndarray
) -> np.ndarray:
    """Excess loss of one-pass SGD at the end of each row of rates, second moments mode by mode."""
    second = np.tile(energy / lam, (len(rates), 1))
    for column in rates.T:
        eta = column[:, None]
        risk = np.sum(lam * second, axis=1, keepdims=True) + noise
        contraction = (1 - eta * lam) ** 2 + eta**2 * lam**2 / batch
        second = contraction * second + eta**2 / batch * lam * risk
    return np.sum(lam * second, axis=1) / 2


def _convex_claims() -> list[Verdict]:
    """Subgradient descent on max |x_i| from all ones: one coordinate is never touched."""
    steps = 100
    passed = np.arange(steps) / steps
    bounds, reached = [], []
    for shape in (np.ones(steps), 1 - passed, (1 + np.arange(steps)) ** -0.5):
        base, bound = tuned_convex_bound(shape, 1.0, 10.0)
        x = np.ones(steps)
        # The bound is on the iterate at which the last of the T subgradients is taken.
        for rate in float(base) * shape[:-1]:
            worst = np.argmax(np.abs(x))
            x[worst] -= rate * np.sign(x[worst])
        bounds.append(float(bound))
        reached.append(np.max(np.abs(x)))
    return [
        bound_holds("convex last-iterate bound: holds for three tuned schedules", bounds, reached),
        bound_tight(
            "convex last-iterate bound: within a factor 3.5 for three tuned schedules",
            bounds,
            reached,
            3.5,
        ),
    ]
