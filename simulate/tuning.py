"""Best learning rate at every horizon, interpolated, from one vmapped sweep over rates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from simulate.optimizers import OptimizerFactory
from simulate.problems import Problem
from simulate.sweep import sweep
from theory.checks import check_real

MAX_WIDENINGS = 3
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
    """

    steps: np.ndarray
    learning_rate: np.ndarray
    loss: np.ndarray
    log_error: np.ndarray
    at_edge: np.ndarray
    rates: np.ndarray
    losses: np.ndarray


def tune_learning_rate(
    problem: Problem,
    optimizer: OptimizerFactory,
    steps: Sequence[int] | np.ndarray,
    rates: np.ndarray,
    *,
    floor: float = 0.0,
    keys: jax.Array | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
) -> Tuned:
    """Tunes a constant learning rate for every horizon at once.

    A run with a constant rate passes through all horizons, so one sweep over rates serves them all.
    A grid whose best rate is its first or last at some horizon is widened by its own length on that
    side, up to three times. A second sweep, `REFINEMENT` times finer, covers the two neighbours of
    each horizon's best rate, and a parabola through its best three gives the optimum.

    Args:
        problem: what to train on.
        optimizer: factory from hyperparameters to an optax transformation.
        steps: horizons, increasing, the first at least 1.
        rates: log-spaced learning rates, [R], R >= 5, increasing.
        floor: loss below which nothing can go; the parabola is fitted to log(loss - floor).
        keys: one key a seed, whose losses are averaged; left out, one run each.
        hyperparameters: the same for every rate, e.g. momentum.

    Returns:
        A `Tuned`.

    Raises:
        ValueError: if `rates` are fewer than five, not positive or not log-spaced.
    """
    check_real("rates", rates, above=0.0)
    grid = np.asarray(rates, dtype=float)
    spacing = np.diff(np.log(grid))
    if grid.size < 5 or np.any(spacing <= 0) or np.ptp(spacing) > 1e-6 * spacing.mean():
        raise ValueError(f"`rates` must be at least 5, increasing and log-spaced, got {rates!r}.")
    shared = dict(hyperparameters or {})

    def losses(chosen: np.ndarray) -> np.ndarray:
        same = {name: np.full(chosen.shape, value) for name, value in shared.items()}
        run = sweep(problem, optimizer, steps, {"learning_rate": chosen} | same, keys)
        found = np.asarray(run.loss, dtype=float)
        return found if keys is None else found.mean(axis=1)

    found = losses(grid)
    for _ in range(MAX_WIDENINGS):
        low, high = _touched_edges(found)
        if not (low or high):
            break
        span = np.exp(spacing.mean() * np.arange(1, grid.size + 1))
        if low:
            more = grid[0] / span[::-1]
            grid, found = np.concatenate([more, grid]), np.concatenate([losses(more), found])
        if high:
            more = grid[-1] * span
            grid, found = np.concatenate([grid, more]), np.concatenate([found, losses(more)])
    best = np.argmin(found, axis=0)
    offsets = spacing.mean() * np.arange(-REFINEMENT, REFINEMENT + 1) / REFINEMENT
    fine = np.log(grid[best])[:, None] + offsets
    refined = losses(np.exp(fine).ravel()).reshape(*fine.shape, -1)
    columns = [_vertex(fine[place], refined[place, :, place] - floor) for place in range(best.size)]
    rate, least, error = (np.array(values) for values in zip(*columns, strict=True))
    at_edge = (best == 0) | (best == grid.size - 1)
    least = np.minimum(least, found.min(axis=0) - floor)
    return Tuned(np.asarray(steps), np.exp(rate), least + floor, error, at_edge, grid, found)


def _touched_edges(losses: np.ndarray) -> tuple[bool, bool]:
    """Whether some horizon is best at the first or the last rate."""
    best = np.argmin(losses, axis=0)
    return bool(np.any(best == 0)), bool(np.any(best == len(losses) - 1))


def _vertex(log_rate: np.ndarray, excess: np.ndarray) -> tuple[float, float, float]:
    """Optimum, least excess and error of the log rate, from the best three points."""
    best = int(np.argmin(excess))
    spacing = float(log_rate[1] - log_rate[0])
    near = excess[max(best - 1, 0) : best + 2]
    if near.size < 3 or not (np.all(np.isfinite(near)) and np.all(near > 0)):
        return float(log_rate[best]), float(excess[best]), spacing
    low, middle, high = np.log(near)
    bend = low - 2 * middle + high
    shift = (low - high) / (2 * bend) if bend > 0 else 0.0
    depth = middle - bend * shift**2 / 2
    return float(log_rate[best] + shift * spacing), float(np.exp(depth)), spacing * (1 + abs(shift))
