"""Peak rates tuned for several schedules at once, horizon by horizon, on any loss."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simulate.tuning import MAX_BEND, band_mean

# Rates [S, R] of S schedules to losses [S, R].
Losses = Callable[[np.ndarray], np.ndarray]

COARSE = 0.3
POINTS = 11
MOVES = 6
ZOOM = 4


@dataclass(frozen=True)
class Peaks:
    """Tuned peak rates of S schedules.

    Attributes:
        rate: interpolated optimum, [S].
        loss: least loss, [S].
        log_error: half the bracket of log(rate) that the optimum is known to lie in, [S].
        at_edge: whether the best rate was still the first or last tried, [S].
    """

    rate: np.ndarray
    loss: np.ndarray
    log_error: np.ndarray
    at_edge: np.ndarray


def search(
    losses: Losses, schedules: int, low: float, high: float, spacing: float = COARSE, width: int = 0
) -> np.ndarray:
    """Best rates on one grid over a wide range, judged as in `tune_peaks`, [S]."""
    count = int(np.ceil(np.log(high / low) / np.log1p(spacing))) + 1
    rates = np.tile(np.geomspace(low, high, count), (schedules, 1))
    best = np.argmin(band_mean(losses(rates).T, width), axis=0)
    return rates[np.arange(schedules), best]


def tune_peaks(
    losses: Losses, guess: np.ndarray, spacing: float, width: int, zooms: int = 2
) -> Peaks:
    """Tunes around a guess.

    The grid is centred on its best rate until that lies inside, at most `MOVES` times. Judged alone
    (`width` 0), the best rate's neighbours are searched on ever finer grids; else a rate is judged
    by the mean over its `width` neighbours. A parabola through the best three gives the optimum.

    Args:
        losses: rates [S, R] to losses [S, R], infinite where a run diverges.
        guess: rates to start from, [S].
        spacing: relative spacing of the grid.
        width: neighbours on either side that a rate is judged by.
        zooms: refinements by a factor of `ZOOM`, for `width` 0.
    """
    step, centre = np.log1p(spacing), np.log(guess)
    points = POINTS + 2 * POINTS * width
    row = np.arange(guess.size)
    grid, judged, best, at_edge = _grid(losses, centre, step, points, width)
    for _ in range(MOVES):
        if not at_edge.any():
            break
        centre = np.where(at_edge, grid[row, best], centre)
        grid, judged, best, at_edge = _grid(losses, centre, step, points, width)
    for _ in range(0 if width else zooms):
        step = step / ZOOM
        grid, judged, best, _ = _grid(losses, grid[row, best], step, 2 * ZOOM + 1, 0)
    vertices = [_vertex(*triple) for triple in zip(grid, judged, best, strict=True)]
    rate, loss, error = (np.array(column) for column in zip(*vertices, strict=True))
    return Peaks(np.exp(rate), loss, error, at_edge)


def _grid(
    losses: Losses, centre: np.ndarray, step: float, points: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Log rates around each centre, judged losses, the best place, and if it is at the edge."""
    grid = centre[:, None] + step * (np.arange(points) - points // 2)
    judged = band_mean(losses(np.exp(grid)).T, width).T
    best = np.argmin(judged, axis=1)
    return grid, judged, best, (best <= width) | (best >= points - 1 - width)


def _vertex(log_rate: np.ndarray, loss: np.ndarray, best: int) -> tuple[float, float, float]:
    """Optimum, least loss and error of the log rate; no parabola through a wall of divergence."""
    step = float(log_rate[1] - log_rate[0])
    near = loss[max(best - 1, 0) : best + 2]
    if near.size < 3 or not (np.all(np.isfinite(near)) and np.all(near > 0)):
        return float(log_rate[best]), float(loss[best]), step
    low, middle, high = np.log(near)
    bend = low - 2 * middle + high
    if not 0 < bend <= MAX_BEND:
        return float(log_rate[best]), float(loss[best]), step
    shift = (low - high) / (2 * bend)
    depth = float(np.exp(middle - bend * shift**2 / 2))
    return float(log_rate[best] + shift * step), depth, step * (1 + abs(float(shift)))
