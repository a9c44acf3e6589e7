"""Rows about LMO steps on matrix quadratics: distance budget, exact gradients, small batches."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from experiments.compare import (
    Verdict,
    agree_within,
    bound_holds,
    bound_tight,
    gap_shrinks,
    relative_within,
)
from experiments.norm_optima import cell_optima, norm_law, rate_law
from experiments.norm_quadratic import (
    STEPS,
    QuadraticConfig,
    predicted,
    quadratic,
    quadratic_runs,
)
from experiments.progress import Progress
from simulate.lmo import LmoMethod
from simulate.matrix_problems import MatrixQuadratic, matrix_quadratic
from simulate.sweep import ensemble, sweep
from theory.norm_transfer import ball_loss, diagonal_norm, distance_rate, norm_limit, settled_norm
from theory.norms import norm
from theory.parabola import fit_vertex
from theory.problem import power_law
from theory.small_batch_steps import small_batch_optimum, transfer_exponents


def _watch(problem: MatrixQuadratic, weights: jax.Array) -> jax.Array:
    del problem
    return weights


def budget_rows() -> list[Verdict]:
    """|W_K| <= eta K, and what weight decay makes of it."""
    base = power_law(1.0, 1.3, 4)
    key, keys = jax.random.key(3), jax.random.split(jax.random.key(1), 2)
    problem = matrix_quadratic(base, rows=4, columns=6, alignment="crossed", key=key, noise_std=0.5)
    steps = np.array([1, 3, 10, 30, 100])
    rates, decays = (x.ravel() for x in np.meshgrid([0.002, 0.02, 0.2], [0.0, 2.0]))
    limits = np.asarray(
        norm_limit(rates[:, None, None], steps.astype(float), 0.0, decays[:, None, None])
    )
    numbers = {"learning_rate": rates, "weight_decay": decays, "momentum": np.full(6, 0.5)}
    seen = []
    for name in ("output", "sign"):
        run = sweep(problem, STEPS[name], steps, numbers, keys, _watch)
        measure = jax.vmap(jax.vmap(jax.vmap(lambda w, n=name: norm(STEPS[n].norm, w))))
        seen.append(np.asarray(measure(run.observed)))
    return [
        bound_holds(
            "output and sign steps with momentum and noise, free and with decay: the norm stays in "
            "its budget",
            limits,
            np.array(seen),
        ),
        bound_tight(
            "and the first step uses it up", limits[..., 0], np.array(seen)[..., 0], 1.0 + 1e-9
        ),
        _settled(),
    ]


def _settled() -> Verdict:
    problem = matrix_quadratic(power_law(1.0, 1.3, 4), rows=4, columns=4)
    target = float(norm("max", problem.target))
    decays, rate = np.array([0.25, 0.5, 2.0, 8.0]), 1e-3
    numbers = {"learning_rate": np.full(4, rate), "weight_decay": decays}
    run = sweep(problem, LmoMethod("max"), np.array([20_000]), numbers, observe=_watch)
    return agree_within(
        "sign steps with weight decay: the norm settles at the inverse decay, or at the target's "
        "norm where that is smaller",
        settled_norm(target, decays),
        np.abs(np.asarray(run.observed)).max(axis=(1, 2, 3)),
        2 * rate * (1 + decays),
        "length of a step",
    )


PHASES = 64
GRID = np.linspace(0.9, 1.02, 49)  # rates, relative to the distance over the steps


def _aligned(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Diagonals of a problem whose last mode is farthest, rates, and the loss at each of them.

    The other modes start at all phases of a step, and count with the mean of two losses.
    """
    problem = matrix_quadratic(power_law(2.0, 1.2, 4), rows=4, columns=4)
    lam = np.asarray(problem.left * problem.right)
    size = np.diagonal(np.asarray(problem.target))
    rates = GRID * size[-1] / count
    phase = (np.arange(PHASES)[:, None] + 0.5) / PHASES + np.array([0.0, 0.382, 0.764])
    moved = np.tile(size, (rates.size, PHASES, 1))
    moved[..., :-1] += rates[:, None, None] * (phase % 1.0)
    targets = np.zeros((*moved.shape, 4))
    targets[..., np.arange(4), np.arange(4)] = moved
    numbers = {
        "learning_rate": np.repeat(rates, PHASES),
        "target": targets.reshape(-1, 4, 4),
    }
    steps = np.array([count, count + 1])
    run = sweep(problem, LmoMethod("spectral"), steps, numbers, observe=_watch)
    reached = np.diagonal(np.asarray(run.observed), axis1=2, axis2=3)
    losses = lam * (reached.reshape(rates.size, PHASES, 2, 4) - moved[:, :, None]) ** 2 / 2
    near = losses[..., :-1].sum(axis=-1).mean(axis=(1, 2))
    return lam, size, rates, near + losses[:, 0, 0, -1]


def noiseless_rows() -> list[Verdict]:
    """Exact gradients: the rate is R/K, and the ball costs what is derived."""
    rows, reached = [], []
    for count in (16, 32, 64):
        lam, size, rates, found = _aligned(count)
        best = rates[np.argmin(found)]
        rows.append(
            agree_within(
                f"spectral steps without noise, K = {count}: the tuned rate is the target's norm "
                "over K, with its correction",
                distance_rate(lam, size, float(count)),
                best,
                2 * (rates[1] - rates[0]),
                "two steps of the grid",
            )
        )
        reached.append(float(best * count / size[-1]))
    return [
        *rows,
        gap_shrinks("and the norm there comes to that of the target", 1.0, reached, 0.01),
        *_ball_rows(),
    ]


def _ball_rows() -> list[Verdict]:
    """Losses of runs that cannot reach the target, against the least within their distance."""
    base, count = power_law(2.0, 1.2, 4), 16
    exact, noisy = (
        replace(matrix_quadratic(base, rows=4, columns=4, noise_std=std), floor=jnp.zeros(()))
        for std in (None, 0.5)
    )
    lam, size = np.asarray(exact.left * exact.right), np.diagonal(np.asarray(exact.target))
    rates = np.linspace(0.2, 0.95, 4) * size.min() / count
    steps, keys = np.array([count]), jax.random.split(jax.random.key(9), 64)
    straight = sweep(exact, LmoMethod("spectral"), steps, {"learning_rate": rates})
    numbers = {"learning_rate": rates, "momentum": np.full(rates.size, 0.5)}
    losses = np.asarray(sweep(noisy, LmoMethod("spectral"), steps, numbers, keys).loss)
    floors = np.asarray(ball_loss(lam, size, rates * count / diagonal_norm("spectral", (4, 4))))
    name = "spectral steps, distance below every target"
    return [
        relative_within(
            f"{name}: exact gradients reach the least loss of the ball",
            floors,
            np.asarray(straight.loss).reshape(rates.size),
            1e-12,
            "rounding",
        ),
        bound_holds(
            f"{name}: no run with noise and momentum is below it",
            losses.reshape(rates.size, keys.size),
            floors[:, None],
        ),
    ]


def small_batch_rows(quick: bool) -> list[Verdict]:
    """Losses of runs in noise against SGD of the derived rate and noise."""
    config = QuadraticConfig(size=8, noise_std=2.0)
    problem, steps, batch = quadratic(config), np.array([64, 512, 2048]), 4.0
    keys = jax.random.split(jax.random.key(5), 256 if quick else 2048)
    rows = []
    for name in ("output", "input", "sign"):
        # The same length of a step in every entry.
        rate = 0.002 * float(norm(STEPS[name].norm, jnp.ones((8, 8))))
        numbers = {"learning_rate": np.array([rate]), "batch_size": np.array([batch])}
        runs = ensemble(sweep(problem, STEPS[name], steps, numbers, keys))
        expected, _ = predicted(name, problem, config.noise_std, np.array([rate]), batch, steps)
        rows.append(
            agree_within(
                f"{name} steps in noise: mean loss of runs is that of SGD with the derived rate "
                "and noise",
                expected[0],
                runs.mean[0],
                5 * runs.standard_error[0] + 0.02 * expected[0],
                "5 standard errors and 2 % for higher orders",
            )
        )
    return rows


def tuned_rows(quick: bool) -> list[Verdict]:
    """Exponents of tuned runs, and exact sums against the derived powers."""
    config = QuadraticConfig(
        steps=("output", "sign") if quick else tuple(STEPS),
        size=8,
        noise_std=2.0,
        batches=(16, 64, 256),
        tokens=(2**12, 2**13, 2**14) if quick else (2**13, 2**14, 2**15, 2**16),
        seeds=16 if quick else 32,
    )
    cells = cell_optima(quadratic_runs(config, Progress()), logarithm=True)
    rows = []
    for name in config.steps:
        one = cells.sel({"method": name}).isel({"width": 0})
        laws = {
            "eta* ~ B^(1/2) at given tokens": (0.5, rate_law(one)),
            "the norm at the optimum does not depend on B": (0.0, norm_law(one, "output")),
        }
        for claim, (power, law) in laws.items():
            measured = np.nan if law is None else law.exponents["B"]
            rows.append(
                agree_within(
                    f"{name} steps in noise, tuned: {claim}",
                    power,
                    measured,
                    0.05,
                    "a tenth of the rate's exponent",
                )
            )
    return [*rows, *_power_rows()]


def _exact_clock(capacity: float, source: float, tokens: float) -> float:
    """x* of mode sums with noise one, by a parabola through a grid in log x."""
    modes = np.arange(1.0, 50_001)
    lam, energy = modes**-capacity, modes**-source
    problem = power_law(capacity, source, modes.size)
    centre = float(small_batch_optimum(problem, 1.0, tokens)[0])
    shifts = np.linspace(-0.4, 0.4, 9)
    losses = []
    for x in centre * np.exp(shifts):
        kept = np.exp(2 * tokens * np.log1p(-x * lam))
        losses.append(np.sum(energy * kept + x * (1 - kept) / (2 - x * lam)))
    return centre * float(np.exp(fit_vertex(shifts, np.log(losses)).place))


def _power_rows() -> list[Verdict]:
    rows: list[Verdict] = []
    for capacity, source in ((2.0, 2.0), (2.0, 3.0)):
        clocks = [_exact_clock(capacity, source, 4.0**k) for k in (6, 8, 10, 12)]
        local = np.diff(np.log(clocks)) / np.log(16.0)
        rows.append(
            gap_shrinks(
                f"small batches, a = {capacity:g}, b = {source:g}: eta* ~ D^-(b/(a + b)) in exact "
                "sums",
                transfer_exponents(power_law(capacity, source, 1e6)).rate_tokens,
                local.tolist(),
                0.01,
            )
        )
    return rows
