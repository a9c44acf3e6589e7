"""Best learning rate at every horizon, interpolated, from one vmapped sweep over rates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from simulate.optimizers import OptimizerFactory
from simulate.problems import Problem
from simulate.sweep import sweep
from theory.checks import check_real

MAX_WIDENINGS = 3
# Second difference of the log loss up to which a parabola through three points is trusted.
MAX_BEND = 0.5
REFINEMENT = 5


@dataclass(frozen=True)
class Tuned:
    """The optimum over learning rates at each recording time.

    Attributes:
        steps: recording times, [P].
        learning_rate: interpolated optimum, [P].
        loss: interpolated least loss, [P]; never above the best loss of the grid.
        log_error: how far log(learning_rate) can be off if the loss has a single minimum, [P]: that
            minimum lies between the neighbours of the best rate of the refined grid.
        at_edge: whether the best rate is the first or last of the widened grid, [P].
        rates: the widened grid, [R].
        losses: its losses, [R, P].
        errors: their standard errors, [R, P]; None with fewer than two seeds.
    """

    steps: np.ndarray
    learning_rate: np.ndarray
    loss: np.ndarray
    log_error: np.ndarray
    at_edge: np.ndarray
    rates: np.ndarray
    losses: np.ndarray
    errors: np.ndarray | None = None


def tune_learning_rate(
    problem: Problem,
    optimizer: OptimizerFactory,
    steps: Sequence[int] | np.ndarray,
    rates: np.ndarray,
    *,
    floor: float = 0.0,
    keys: jax.Array | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    tolerance: float = 0.0,
) -> Tuned:
    """Tunes a constant learning rate for every horizon at once.

    A run with a constant rate passes through all horizons, so one sweep over rates serves them all.
    A grid whose best rate is its first or last at some horizon is widened by its own length on that
    side, up to three times. A second sweep, `REFINEMENT` times finer, covers the two neighbours of
    each horizon's best rate, and a parabola through its best three gives the optimum.

    Methods with steps of fixed length have needles in loss against rate: a rate at which the last
    step happens to land on the optimum. With a `tolerance` a rate is judged by the mean excess loss
    of all rates within a factor 1 + tolerance, as if it could be set to that precision only; the
    parabola then goes through this smooth curve, and there is no second sweep.

    Args:
        problem: what to train on.
        optimizer: factory from hyperparameters to an optax transformation.
        steps: horizons, increasing, the first at least 1.
        rates: log-spaced learning rates, [R], R >= 5, increasing.
        floor: loss below which nothing can go; the parabola is fitted to log(loss - floor).
        keys: one key a seed, whose losses are averaged; left out, one run each.
        hyperparameters: the same for every rate, e.g. momentum.
        tolerance: relative precision of a rate, 0 for exact; else at least the grid's spacing.

    Returns:
        A `Tuned`; with a tolerance its loss is the mean over the band.

    Raises:
        ValueError: if `rates` are fewer than five, not positive or not log-spaced, or `tolerance`
            is negative, or positive and below the spacing of `rates`.
    """
    check_real("rates", rates, above=0.0)
    grid = np.asarray(rates, dtype=float)
    spacing = np.diff(np.log(grid))
    if grid.size < 5 or np.any(spacing <= 0) or np.ptp(spacing) > 1e-6 * spacing.mean():
        raise ValueError(f"`rates` must be at least 5, increasing and log-spaced, got {rates!r}.")
    check_real("tolerance", tolerance, at_least=0.0)
    width = int(np.log1p(tolerance) / spacing.mean() * (1 + 1e-9))
    if tolerance > 0 and not 1 <= width <= (grid.size - 5) // 2:
        raise ValueError(
            f"`tolerance` must be between the relative spacing of `rates`, "
            f"{np.expm1(spacing.mean()):.3g}, and a quarter of their range, got {tolerance!r}."
        )
    shared = dict(hyperparameters or {})

    def losses(chosen: np.ndarray) -> np.ndarray:
        """Of every run, [R, S, P]."""
        same = {name: np.full(chosen.shape, value) for name, value in shared.items()}
        run = sweep(problem, optimizer, steps, {"learning_rate": chosen} | same, keys)
        found = np.asarray(run.loss, dtype=float)
        return found[:, None] if keys is None else found

    grid, runs = _widened(grid, losses, width)
    found = runs.mean(axis=1)
    judged = band_mean(found, width)
    best = np.argmin(judged, axis=0)
    places = range(best.size)
    if width:
        columns = [_vertex(np.log(grid), judged[:, place] - floor) for place in places]
    else:
        offsets = spacing.mean() * np.arange(-REFINEMENT, REFINEMENT + 1) / REFINEMENT
        fine = np.log(grid[best])[:, None] + offsets
        refined = losses(np.exp(fine).ravel()).mean(axis=1).reshape(*fine.shape, -1)
        columns = [_vertex(fine[p], refined[p, :, p] - floor) for p in places]
    rate, least, error = (np.array(values) for values in zip(*columns, strict=True))
    at_edge = (best <= width) | (best >= grid.size - 1 - width)
    least = np.minimum(least, judged.min(axis=0) - floor)
    errors = _standard_errors(runs) if runs.shape[1] > 1 else None
    return Tuned(
        np.asarray(steps), np.exp(rate), least + floor, error, at_edge, grid, found, errors
    )


def _standard_errors(runs: np.ndarray) -> np.ndarray:
    """Of the mean over seeds, [R, P]; infinite where a run has diverged."""
    finite = np.isfinite(runs).all(axis=1)
    spread = np.where(np.isfinite(runs), runs, 0.0).std(axis=1, ddof=1)
    return np.where(finite, spread / np.sqrt(runs.shape[1]), np.inf)


def band_mean(losses: np.ndarray, width: int) -> np.ndarray:
    """Mean over the `width` neighbours on either side, along the first axis.

    Args:
        losses: [R, ...].
        width: 0 leaves them as they are.

    Returns:
        Means, [R, ...]; infinite where a neighbour is missing or infinite.
    """
    padded = np.pad(losses, [(width, width)] + [(0, 0)] * (losses.ndim - 1), constant_values=np.inf)
    return np.mean([padded[shift : shift + len(losses)] for shift in range(2 * width + 1)], axis=0)


def _widened(
    grid: np.ndarray, losses: Callable[[np.ndarray], np.ndarray], width: int
) -> tuple[np.ndarray, np.ndarray]:
    """The grid, continued until every horizon's best rate is inside it, and its runs, [R, S, P]."""
    found = losses(grid)
    span = (grid[-1] / grid[0]) ** (np.arange(1, grid.size + 1) / (grid.size - 1))
    for _ in range(MAX_WIDENINGS):
        best = np.argmin(band_mean(found.mean(axis=1), width), axis=0)
        low, high = np.any(best <= width), np.any(best >= len(found) - 1 - width)
        if not (low or high):
            break
        if low:
            more = grid[0] / span[::-1]
            grid, found = np.concatenate([more, grid]), np.concatenate([losses(more), found])
        if high:
            more = grid[-1] * span
            grid, found = np.concatenate([grid, more]), np.concatenate([found, losses(more)])
    return grid, found


def _vertex(log_rate: np.ndarray, excess: np.ndarray) -> tuple[float, float, float]:
    """Optimum, least excess and error of the log rate, from the best three points.

    Next to the stability limit the loss jumps by orders of magnitude from one rate to the next; a
    parabola through such a wall dips far below every loss measured. There the best point stays.
    """
    best = int(np.argmin(excess))
    spacing = float(log_rate[1] - log_rate[0])
    near = excess[max(best - 1, 0) : best + 2]
    if near.size < 3 or not (np.all(np.isfinite(near)) and np.all(near > 0)):
        return float(log_rate[best]), float(excess[best]), spacing
    low, middle, high = np.log(near)
    bend = low - 2 * middle + high
    if not 0 < bend <= MAX_BEND:
        return float(log_rate[best]), float(excess[best]), spacing
    shift = (low - high) / (2 * bend)
    depth = middle - bend * shift**2 / 2
    return float(log_rate[best] + shift * spacing), float(np.exp(depth)), spacing * (1 + abs(shift))
