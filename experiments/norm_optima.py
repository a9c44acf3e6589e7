"""Optima of runs over rates and batch sizes, and the norm of the weights there.

Runs are arrays over [method, width, batch, rate, tokens]; what was not run is NaN, what diverged
infinite. An optimum beside either end of what is finite lies on the edge: it is counted and left
out, never used.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import xarray as xr

from theory.parabola import HIGH, INSIDE, LOW, WINDOWS, Optimum, find_optimum, read_at
from theory.plane_fit import Constancy, PowerFit, constancy, fit_power

NOT_RUN, FEW = 9, 8
EDGES = {INSIDE: "inside", LOW: "low", HIGH: "high", FEW: "too few", NOT_RUN: "not run"}
# Windows of batch sizes: there are few, an octave or two apart.
BATCH_WINDOWS = (3, 5)
# Octaves, a floor: two seeds agree by chance often enough, and a point whose scatter happens to be
# near zero must not outweigh all others. Norms of two seeds at one rate, means of which alone are
# kept, have standard errors of this size (0.01 to 0.07 measured in small networks).
LEAST_ERROR = 0.05
PLACES = ("method", "width", "tokens")
CELLS = ("method", "width", "batch", "tokens")


def locate(
    places: np.ndarray, losses: np.ndarray, windows: tuple[int, ...] = WINDOWS
) -> tuple[int, Optimum | None]:
    """Where the optimum lies, as in `EDGES`, and the optimum if it is inside."""
    if np.all(np.isnan(losses)):
        return NOT_RUN, None
    if np.isfinite(losses).sum() < 3:
        return FEW, None
    found = find_optimum(places, losses, windows=windows)
    return found.edge, found if found.edge == INSIDE else None


def seed_optima(
    places: np.ndarray, losses: np.ndarray, windows: tuple[int, ...] = WINDOWS
) -> tuple[np.ndarray, np.ndarray]:
    """Optimum of each seed's own losses [n, seed]: place and value, [seed].

    One on an edge counts where its best point is: its distance from the others is then too small.
    """
    found = []
    for own in losses.T:
        edge, optimum = locate(places, own, windows)
        if edge == NOT_RUN:
            found.append((np.nan, np.nan))
        elif optimum is None:
            best = int(np.nanargmin(own))
            found.append((places[best], own[best]))
        else:
            found.append((optimum.place, optimum.value))
    return np.array([pair[0] for pair in found]), np.array([pair[1] for pair in found])


def seed_error(values: np.ndarray) -> float:
    """Standard error of a mean over seeds; zero with fewer than two, which say nothing of it."""
    known = values[np.isfinite(values)]
    return float(np.std(known, ddof=1)) / known.size**0.5 if known.size > 1 else 0.0


def read_near(
    places: np.ndarray, values: np.ndarray, place: float, error: float
) -> tuple[float, float]:
    """A quantity at an optimum, and how far the optimum's error moves it."""
    known = np.isfinite(values)
    if known.sum() < 3:
        return np.nan, np.inf
    first, last = places[known][[0, -1]]
    low, high = np.clip([place - error, place + error], first, last)
    moved = read_at(places, values, float(high)) - read_at(places, values, float(low))
    return read_at(places, values, place), abs(moved) / 2


def _map_cells(
    runs: xr.Dataset, dims: tuple[str, ...], along: str, one: Callable[..., dict[str, np.ndarray]]
) -> xr.Dataset:
    """A Dataset from a function of one cell; what it gives as a vector is one number a layer."""
    ordered = runs.transpose("layer", *dims, along, ...)
    shape = tuple(runs.sizes[name] for name in dims)
    arrays: dict[str, np.ndarray] = {}
    for at in np.ndindex(*shape):
        place = dict(zip(dims, at, strict=True))
        for name, value in one(ordered.isel(place)).items():
            blank = np.full((*np.shape(value), *shape), np.nan)
            arrays.setdefault(name, blank)[(..., *at)] = value
    extra = {name: "seed" if name == "seed_value" else "layer" for name in arrays}
    named = {
        name: (((extra[name], *dims) if values.ndim > len(dims) else dims), values)
        for name, values in arrays.items()
    }
    return xr.Dataset(named, coords={name: runs[name].values for name in (*dims, "layer")})


def _with_seeds(runs: xr.Dataset, names: list[str], seeds: str) -> xr.Dataset:
    """These arrays and, where it was kept, the one of every seed, seeds last; none: no columns."""
    if seeds in runs:
        return runs[[*names, seeds]].transpose(..., "seed")
    like = runs[names[0]]
    return runs[names].assign({seeds: ((*like.dims, "seed"), np.zeros((*like.shape, 0)))})


def cell_optima(runs: xr.Dataset, logarithm: bool = False) -> xr.Dataset:
    """Best rate of every method, width, batch and budget.

    Args:
        runs: `loss` [method, width, batch, rate, tokens], `norm` [layer, and these], and, if they
            were kept, `seed_loss` [these, seed].
        logarithm: parabolas through log loss, for losses that fall to zero.

    Returns:
        `log2_rate`, `rate_error`, `value` (fitted least loss), `value_error`, `edge` (see `EDGES`)
        [method, width, batch, tokens]; `log2_norm`, `norm_error` [layer, and these]; `seed_value`
        [seed, and these]. NaN where the optimum is not inside. Errors of rate and value are those
        of the parabolas, and the scatter of each seed's own optimum over the root of their number;
        that of a norm is how far the rate's error moves it. With one seed, or none kept, they leave
        out what other seeds would change.
    """
    one = partial(_cell_optimum, logarithm=logarithm)
    return _map_cells(_with_seeds(runs, ["loss", "norm"], "seed_loss"), CELLS, "rate", one)


def _cell_optimum(cell: xr.Dataset, logarithm: bool) -> dict[str, np.ndarray]:
    log_rates, loss = np.log2(cell.rate.values), cell.loss.values
    # Seeds are compared at the rates of the mean, where none has diverged.
    own = np.where(np.isfinite(loss)[:, None], cell.seed_loss.values, np.nan)
    if logarithm:
        loss, own = np.log(loss), np.log(own)
    edge, optimum = locate(log_rates, loss)
    numbers, seeds = np.full(4, np.nan), np.full(own.shape[1], np.nan)
    norms = np.full((cell.sizes["layer"], 2), np.nan)
    if optimum is not None:
        places, seeds = seed_optima(log_rates, own)
        error = max(np.hypot(optimum.error, seed_error(places)), LEAST_ERROR)
        value_error = np.hypot(optimum.value_error, seed_error(seeds))
        numbers = np.array([optimum.place, error, optimum.value, value_error])
        if logarithm:
            numbers[2], seeds = np.exp(optimum.value), np.exp(seeds)
            numbers[3] *= numbers[2]
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.where(np.isfinite(loss), np.log2(cell["norm"].values), np.nan)
        norms = np.array([read_near(log_rates, row, optimum.place, error) for row in logs])
    names = ("log2_rate", "rate_error", "value", "value_error")
    found = dict(zip(names, numbers, strict=True)) | {"edge": np.array(edge)}
    found |= {"seed_value": seeds} if seeds.size else {}
    return found | {"log2_norm": norms[:, 0], "norm_error": norms[:, 1]}


def joint_optima(cells: xr.Dataset) -> xr.Dataset:
    """Best batch size, with the rate and the norms there, of every method, width and budget.

    Args:
        cells: from `cell_optima`.

    Returns:
        `log2_batch`, `batch_error`, `edge`, `log2_rate`, `rate_error`, `value`
        [method, width, tokens]; `log2_norm`, `norm_error` [layer, and these]. Errors as there: the
        batch's with the scatter of each seed's own best batch.
    """
    names = ["value", "log2_rate", "rate_error", "log2_norm", "norm_error"]
    return _map_cells(_with_seeds(cells, names, "seed_value"), PLACES, "batch", _joint_optimum)


def _joint_optimum(row: xr.Dataset) -> dict[str, np.ndarray]:
    places, own = np.log2(row.batch.values), row.seed_value.values
    edge, optimum = locate(places, row.value.values, BATCH_WINDOWS)
    numbers = np.full(5, np.nan)
    norms = np.full((row.sizes["layer"], 2), np.nan)
    if optimum is not None:
        scatter = seed_error(seed_optima(places, own, BATCH_WINDOWS)[0])
        error = max(np.hypot(optimum.error, scatter), LEAST_ERROR)
        read = partial(_read_both, places, optimum.place, error)
        rate = read(row.log2_rate.values, row.rate_error.values)
        numbers = np.array([optimum.place, error, optimum.value, *rate])
        pairs = zip(row.log2_norm.values, row.norm_error.values, strict=True)
        norms = np.array([read(*pair) for pair in pairs])
    names = ("log2_batch", "batch_error", "value", "log2_rate", "rate_error")
    found = dict(zip(names, numbers, strict=True)) | {"edge": np.array(edge)}
    return found | {"log2_norm": norms[:, 0], "norm_error": norms[:, 1]}


def _read_both(
    places: np.ndarray, place: float, error: float, values: np.ndarray, errors: np.ndarray
) -> tuple[float, float]:
    """A quantity at the best batch size, with its own error there and the optimum's."""
    value, moved = read_near(places, values, place, error)
    own = float(np.interp(place, places[np.isfinite(errors)], errors[np.isfinite(errors)]))
    return value, float(np.hypot(moved, own))


def rate_law(cells: xr.Dataset) -> PowerFit | None:
    """Rate ~ B^p D^q over the inside optima of one method and width; None with too few."""
    return _law(cells, cells.log2_rate, cells.rate_error)


def norm_law(cells: xr.Dataset, layer: str) -> PowerFit | None:
    """Norm ~ B^p D^q over the same optima: what tuning the rate alone leaves of it."""
    at = {"layer": layer}
    return _law(cells, cells.log2_norm.sel(at), cells.norm_error.sel(at))


def _law(cells: xr.Dataset, logs: xr.DataArray, errors: xr.DataArray) -> PowerFit | None:
    values, bars = (x.transpose("batch", "tokens").values for x in (logs, errors))
    known = np.isfinite(values) & np.isfinite(bars)
    grid = np.broadcast_arrays(cells.batch.values[:, None], cells.tokens.values)
    batch, tokens = (np.asarray(x, float)[known] for x in grid)
    if min(np.unique(batch).size, np.unique(tokens).size) < 2 or known.sum() < 4:
        return None
    bars = np.maximum(bars[known], LEAST_ERROR)
    return fit_power(2.0 ** values[known], {"B": batch, "D": tokens}, bars)


def tokens_law(joint: xr.Dataset, quantity: str, error: str) -> PowerFit | None:
    """A power of the tokens through the joint optima of one method and width."""
    values, bars = joint[quantity].values, joint[error].values
    known = np.isfinite(values) & np.isfinite(bars)
    if known.sum() < 3:
        return None
    tokens = np.asarray(joint.tokens.values, float)[known]
    return fit_power(2.0 ** values[known], {"D": tokens}, np.maximum(bars[known], LEAST_ERROR))


def norm_constancy(
    values: xr.DataArray, errors: xr.DataArray, along: np.ndarray
) -> Constancy | None:
    """Whether log2 norms are constant along log2 of something; None with fewer than three."""
    y, bars, x = values.values, errors.values, np.log2(np.asarray(along, float))
    known = np.isfinite(y) & np.isfinite(bars)
    if known.sum() < 3:
        return None
    return constancy(y[known], np.maximum(bars[known], LEAST_ERROR), x[known])


def count_edges(edge: xr.DataArray) -> tuple[int, int, int]:
    """How many optima are inside, on an edge (or of too few points), and not run at all."""
    codes = edge.values
    inside, absent = int(np.sum(codes == INSIDE)), int(np.sum(codes == NOT_RUN))
    return inside, codes.size - inside - absent, absent
