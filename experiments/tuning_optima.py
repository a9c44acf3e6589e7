"""Optima of a criterion on a grid of learning rates, momenta and batch sizes, for every regime.

A minimum is that of a parabola in the logarithms, by least squares over the best grid point and its
neighbours; what else is tuned is read off at the same place.
"""

from dataclasses import dataclass

import numpy as np

QUANTITIES = ("eta", "alpha", "B", "value")
# Neighbours on either side of the best grid point.
NEIGHBOURS = 2


@dataclass(frozen=True)
class Regime:
    """What is tuned, and what counts as the budget.

    Attributes:
        tuned: letters among eta, alpha, B.
        budget: `tokens` or `steps`.
    """

    tuned: tuple[str, ...]
    budget: str = "tokens"

    @property
    def held_batch(self) -> bool:
        """Whether the optimum is a function of B as well."""
        return "B" not in self.tuned


REGIMES = {
    "eta, by steps": Regime(("eta",), "steps"),
    "eta, by tokens": Regime(("eta",)),
    "eta, B": Regime(("eta", "B")),
    "eta, alpha": Regime(("eta", "alpha")),
    "eta, alpha, B": Regime(("eta", "alpha", "B")),
}


@dataclass(frozen=True)
class Grid:
    """Where runs were made.

    Attributes:
        rates: eta relative to sqrt(alpha B), log-spaced, [rate].
        alphas: 1 - momentum, log-spaced from 1 down, [alpha].
        batches: B, log-spaced from 1 up, [batch].
        budgets: T, [budget].
        held_alpha: where momentum is not tuned, one of `alphas`.
    """

    rates: np.ndarray
    alphas: np.ndarray
    batches: np.ndarray
    budgets: np.ndarray
    held_alpha: float

    def log_rates(self) -> np.ndarray:
        """Logarithm of eta, [rate, alpha, batch, 1]."""
        base = self.alphas[:, None] * self.batches
        return (np.log(self.rates)[:, None, None] + np.log(base) / 2)[..., None]


@dataclass(frozen=True)
class Optimum:
    """Logarithms of the optimum of one regime; NaN for what is not tuned.

    Attributes:
        logs: of `QUANTITIES`, [quantity, batch, budget]; one batch where B is tuned.
        known: whether the grid ends nowhere that the optimum is, but at alpha = 1 or B = 1, which
            are limits of the problem, [batch, budget].
        free: whether no tuned variable is at such a limit either, [batch, budget].
    """

    logs: np.ndarray
    known: np.ndarray
    free: np.ndarray


def lowest(values: np.ndarray, neighbours: int = NEIGHBOURS) -> tuple[np.ndarray, np.ndarray]:
    """Weights [n, ...] whose sum with anything on the axis reads it off at the minimum of `values`.

    Args:
        values: [n, ...], n >= 2 neighbours + 1; along the first axis, evenly spaced.
        neighbours: of the best point, on either side, that the parabola goes through.

    Returns:
        The weights, and the place of the minimum in grid points from the first, [...].

    Raises:
        ValueError: if there are too few values.
    """
    count, width = values.shape[0], 2 * neighbours + 1
    if count < width:
        raise ValueError(f"`values` must have at least {width} grid points, got {count}.")
    best = np.argmin(values, axis=0)
    start = np.clip(best - neighbours, 0, count - width)
    places = start + np.arange(width).reshape(-1, *[1] * best.ndim)
    offsets = np.arange(width) - float(neighbours)
    solve = np.linalg.pinv(np.vander(offsets, 3))
    window = np.take_along_axis(values, places, axis=0)
    bend, slope, _ = np.tensordot(solve, window, axes=1)
    curved = bend > 0
    vertex = np.where(curved, -slope / np.where(curved, 2 * bend, 1.0), best - start - neighbours)
    vertex = np.clip(vertex, -neighbours, neighbours)
    reached = start + neighbours + vertex
    powers = np.stack([vertex**2, vertex, np.ones_like(vertex)])
    weights = np.zeros_like(values)
    np.put_along_axis(weights, places, np.tensordot(solve.T, powers, axes=1), axis=0)
    return weights, reached


def optima(means: np.ndarray, grid: Grid, neighbours: int = NEIGHBOURS) -> dict[str, Optimum]:
    """The optimum of every regime.

    Args:
        means: criterion averaged over seeds, [rate, alpha, batch, budget].
        grid: where.
        neighbours: see `lowest`.
    """
    logs = np.log(means)
    weights, place = lowest(logs, neighbours)
    sure = (place > 0) & (place < len(logs) - 1)
    value = np.sum(weights * logs, axis=0)
    eta = np.sum(weights * grid.log_rates(), axis=0)
    held = int(np.argmin(np.abs(np.log(grid.alphas / grid.held_alpha))))
    log_alpha = np.broadcast_to(np.log(grid.alphas)[:, None, None], value.shape)
    nothing = np.full(value.shape[1:], np.nan)
    alone = np.stack([eta[held], nothing, nothing, value[held]])
    fixed = Optimum(alone, sure[held], sure[held])
    across, place = lowest(value, neighbours)
    read = [np.sum(across * x, axis=0) for x in (eta, log_alpha, value)]
    # The rate's grid must hold the optimum wherever the other minimum is read off.
    known = np.all(sure | (across == 0), axis=0) & (place < len(value) - 1)
    momentum = Optimum(np.stack([*read[:2], nothing, read[2]]), known, known & (place > 0))
    return {
        "eta, by steps": fixed,
        "eta, by tokens": fixed,
        "eta, B": _over_batches(fixed, np.log(grid.batches), neighbours),
        "eta, alpha": momentum,
        "eta, alpha, B": _over_batches(momentum, np.log(grid.batches), neighbours),
    }


def _over_batches(at_each: Optimum, log_batch: np.ndarray, neighbours: int) -> Optimum:
    """The optimum over batch sizes too, from that at each batch size."""
    weights, place = lowest(at_each.logs[-1], neighbours)
    read = np.sum(weights * at_each.logs, axis=1)
    read[QUANTITIES.index("B")] = np.sum(weights * log_batch[:, None], axis=0)
    known = np.all(at_each.known | (weights == 0), axis=0) & (place < len(log_batch) - 1)
    free = np.all(at_each.free | (weights == 0), axis=0) & known & (place > 0)
    return Optimum(read[:, None], known[None], free[None])
