"""Power laws in tuned hyperparameters: exponents, their errors, and verdicts.

Errors are delete-one jackknives over seeds, every optimum and every exponent found anew without one
seed, or those of the fit's residuals where they are larger; added to that is what narrower
parabolas, through three points instead of five, change.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from experiments.tuning_optima import (
    NEIGHBOURS,
    QUANTITIES,
    REGIMES,
    Grid,
    Optimum,
    Regime,
    optima,
)

POWERS = ("budget", "B")
VERDICTS = ("agrees", "near", "differs", "undecided")
# An exponent known no better than this decides nothing; off by no more than the other is near.
WIDE, NEAR = 0.25, 0.05


def counted(optimum: Optimum) -> np.ndarray:
    """Points to fit, [batch, budget]: those at no limit, or all where most are at a limit."""
    return optimum.free if 2 * optimum.free.sum() >= optimum.known.sum() else optimum.known


def regress(
    optimum: Optimum, regime: Regime, grid: Grid, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Exponents of all quantities in the budget and in a held batch size, and their errors.

    Args:
        optimum: logarithms, [quantity, batch, budget].
        regime: which says what the budget is.
        grid: where.
        inside: points to fit, [batch, budget].

    Returns:
        Exponents and standard errors from residuals, [quantity, power], and the number of points;
        NaN where too few points are inside or nothing is tuned.
    """
    exponents = np.full((len(QUANTITIES), len(POWERS)), np.nan)
    errors = np.full_like(exponents, np.nan)
    batches = np.log(grid.batches[:, None] if regime.held_batch else np.ones((1, 1)))
    budgets = np.log(grid.budgets) - (batches if regime.budget == "steps" else 0.0)
    budgets, batches = np.broadcast_arrays(budgets, batches)
    columns = [np.ones(inside.sum()), budgets[inside]]
    if regime.held_batch:
        columns.append(batches[inside])
    design = np.stack(columns, axis=1)
    used = design.shape[1] - 1
    if len(design) < used + 3 or np.linalg.matrix_rank(design) <= used:
        return exponents, errors, len(design)
    inverse = np.linalg.pinv(design)
    for k, logs in enumerate(optimum.logs):
        target = logs[inside]
        found = inverse @ target
        scatter = np.sum((target - design @ found) ** 2) / (len(design) - used - 1)
        exponents[k, :used] = found[1:]
        errors[k, :used] = np.sqrt(scatter * np.sum(inverse**2, axis=1))[1:]
    return exponents, errors, len(design)


@dataclass(frozen=True)
class Law:
    """Measured optima of one regime and the exponents in them.

    Attributes:
        logs: of `QUANTITIES`, [quantity, batch, budget].
        log_errors: their standard errors.
        inside: points fitted, [batch, budget].
        at_limit: share of them where alpha = 1 or B = 1.
        exponents: [quantity, power].
        errors: theirs, see the module, [quantity, power].
        points: that the exponents are fitted to.
    """

    logs: np.ndarray
    log_errors: np.ndarray
    inside: np.ndarray
    at_limit: float
    exponents: np.ndarray
    errors: np.ndarray
    points: int


def laws(runs: np.ndarray, grid: Grid) -> dict[str, Law]:
    """Tuned laws of every regime from single runs.

    Args:
        runs: criterion, [rate, alpha, batch, seed, budget], at least two seeds.
        grid: where.
    """
    whole = optima(runs.mean(axis=3), grid)
    narrow = optima(runs.mean(axis=3), grid, NEIGHBOURS - 1)
    without = [
        optima(np.delete(runs, seed, axis=3).mean(axis=3), grid) for seed in range(runs.shape[3])
    ]
    result = {}
    for name, regime in REGIMES.items():
        found = whole[name]
        inside = counted(found)
        exponents, errors, points = regress(found, regime, grid, inside)
        others = [regress(part[name], regime, grid, inside)[0] for part in without]
        shift = np.abs(regress(narrow[name], regime, grid, inside)[0] - exponents)
        result[name] = Law(
            found.logs,
            _jackknife(np.array([part[name].logs for part in without])),
            inside,
            1.0 - float(found.free[inside].mean()) if points else 0.0,
            exponents,
            np.hypot(np.fmax(errors, _jackknife(np.array(others))), shift),
            points,
        )
    return result


def _jackknife(without: np.ndarray) -> np.ndarray:
    """Standard error from delete-one estimates along the first axis."""
    count = len(without)
    return np.sqrt((count - 1) / count * np.sum((without - without.mean(axis=0)) ** 2, axis=0))


def interval(error: float, points: int, powers: int) -> float:
    """Half width of the 95 % interval of a fitted exponent."""
    return float(student.ppf(0.975, max(points - powers - 1, 1))) * error


def verdict(measured: float, half: float, derived: float) -> str:
    """Whether an exponent is the derived one.

    Args:
        measured: exponent; NaN where too few optima are inside the grid.
        half: half width of its 95 % interval.
        derived: exponent.

    Returns:
        `agrees` within the interval, `near` if off by at most `NEAR`, else `differs`; `undecided`
        if there is no exponent or the interval is wider than `WIDE` on either side.
    """
    if not np.isfinite(measured) or half > WIDE:
        return "undecided"
    off = abs(measured - derived)
    if off <= half:
        return "agrees"
    return "near" if off <= NEAR else "differs"
