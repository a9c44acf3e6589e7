"""Laws through the optima of norm-transfer runs: exponents, and whether the norm is constant."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from experiments.batch_curves import critical_batches
from experiments.norm_optima import (
    cell_optima,
    joint_optima,
    norm_constancy,
    norm_law,
    rate_law,
    tokens_law,
)
from theory.parabola import fit_vertex
from theory.plane_fit import Constancy, PowerFit, fit_power

# p, q of eta* ~ B^p D^q; r of B* ~ D^r; eta* ~ D^s at B*; powers of the norm where the rate is
# tuned, and its power of D at B*.
LAWS = ("p", "q", "r", "s", "norm B", "norm D", "norm D at B*")
# Of a derived norm: modes that have been learned, and those that still walk at random.
PARTS = ("learned", "walk")
NUMBERS = ("mean", "error", "scatter", "chi_square", "p_value", "slope", "slope_error", "points")
EXPONENTS = ("exponent", "exponent_error", "exponent_points")
OUTPUT = "output"


def fitted_laws(cells: xr.Dataset, joint: xr.Dataset) -> xr.Dataset:
    """Exponents of every method and width.

    Args:
        cells: from `experiments.norm_optima.cell_optima`.
        joint: from `experiments.norm_optima.joint_optima`.

    Returns:
        `exponent`, `exponent_error`, `exponent_points` [method, width, law]; NaN where there are
        too few optima.
    """

    def one(at: dict[str, object]) -> np.ndarray:
        own, best = cells.sel(at), joint.sel(at)
        best = best.assign(log2_output=best.log2_norm.sel(layer=OUTPUT))
        best = best.assign(output_error=best.norm_error.sel(layer=OUTPUT))
        rate, norm = rate_law(own), norm_law(own, OUTPUT)
        rows = [(rate, "B"), (rate, "D"), (tokens_law(best, "log2_batch", "batch_error"), "D")]
        rows += [(tokens_law(best, "log2_rate", "rate_error"), "D"), (norm, "B"), (norm, "D")]
        rows += [(tokens_law(best, "log2_output", "output_error"), "D")]
        return np.array([_numbers(*row) for row in rows])

    return _over_methods(cells, one, "law", LAWS, EXPONENTS)


def expected_laws(quad: xr.Dataset) -> xr.Dataset:
    """Exponents that the small-batch prediction itself has at this size, by the analysis of runs.

    Args:
        quad: from `experiments.norm_quadratic.quadratic_runs`.

    Returns:
        `expected_exponent` [method, width, law]; NaN where there is no prediction or no best batch.
    """
    runs = xr.Dataset(
        {"loss": quad.predicted_loss, "norm": quad.predicted_norm.expand_dims(layer=[OUTPUT])}
    )
    cells = cell_optima(runs, logarithm=True)
    laws = fitted_laws(cells, joint_optima(cells))
    return laws[["exponent"]].rename(exponent="expected_exponent")


def pinned_laws(runs: xr.Dataset, cells: xr.Dataset) -> xr.Dataset:
    """The output's norm at the best rate by the source's parabola, and its laws.

    Loss against log2 norm through seven points, exactly through the start: the initial loss at
    log2 norm zero. The best rates and batches are those of `cells`.

    Args:
        runs: with `initial_loss` [width].
        cells: of these, from `experiments.norm_optima.cell_optima`.

    Returns:
        `pinned_log2_norm` [method, width, batch, tokens], NaN where the optimum is not inside, the
        norm does not grow with the rate around it, or the parabola has no minimum there;
        `pinned_exponent` and `pinned_exponent_error` [method, width, law].
    """
    norms = cells.log2_norm.sel(layer=OUTPUT, drop=True).copy(deep=True)
    sizes = runs["norm"].sel(layer=OUTPUT, drop=True)
    for at in np.ndindex(*norms.shape):
        if np.isfinite(norms.values[at]):
            place = dict(zip(norms.dims, at, strict=True))
            own = runs[["loss", "initial_loss"]].isel(place, missing_dims="ignore")
            logs = np.log2(sizes.isel(place).values)
            norms.values[at] = _pinned(logs, own.loss.values, float(own.initial_loss))
    pinned = cells.copy(deep=True)
    pinned.log2_norm.loc[{"layer": OUTPUT}] = norms
    laws = fitted_laws(pinned, joint_optima(pinned))[["exponent", "exponent_error"]]
    laws = laws.rename({name: f"pinned_{name}" for name in laws.data_vars})
    return laws.assign(pinned_log2_norm=norms)


def _pinned(logs: np.ndarray, losses: np.ndarray, start: float) -> float:
    """Log2 norm of the least loss by seven points or those there are; NaN where there is none."""
    known = np.isfinite(losses) & np.isfinite(logs)
    logs, losses = logs[known], losses[known]
    best = int(np.argmin(losses))
    near = slice(max(best - 3, 0), best + 4)
    logs, losses = logs[near], losses[near]
    if logs.size < 5 or np.any(np.diff(logs) <= 0):
        return np.nan
    found = fit_vertex(logs, losses, pinned=(0.0, start)).place
    return found if logs[0] <= found <= logs[-1] else np.nan


def _numbers(fit: PowerFit | None, name: str) -> tuple[float, float, float]:
    if fit is None:
        return np.nan, np.nan, 0.0
    return fit.exponents[name], fit.errors[name], float(fit.points)


def _over_methods(
    data: xr.Dataset,
    one: Callable[[dict[str, object]], np.ndarray],
    dim: str,
    labels: tuple[str, ...],
    names: tuple[str, ...],
) -> xr.Dataset:
    """One table [label, name] for every method and width."""
    methods, widths = data["method"].values, data.width.values
    table = np.array([[one({"method": m, "width": w}) for w in widths] for m in methods])
    arrays = {name: (("method", "width", dim), table[..., k]) for k, name in enumerate(names)}
    return xr.Dataset(arrays, coords={"method": methods, "width": widths, dim: list(labels)})


def constancies(joint: xr.Dataset) -> xr.Dataset:
    """Whether the norms at the best rate and batch are the same for all budgets.

    Returns:
        `constancy` [method, width, layer, number]; NaN with fewer than three optima.
    """
    parts = []
    for layer in joint.layer.values:

        def one(at: dict[str, object], layer: object = layer) -> np.ndarray:
            best = joint.sel(at | {"layer": layer})
            found = norm_constancy(best.log2_norm, best.norm_error, best.tokens.values)
            return np.array([[_constancy(found, name)] for name in NUMBERS])

        parts.append(_over_methods(joint, one, "number", NUMBERS, ("constancy",)))
    return xr.concat(parts, "layer").assign_coords(layer=joint.layer.values)


def _constancy(found: Constancy | None, name: str) -> float:
    return np.nan if found is None else float(getattr(found, name))


def as_constancy(numbers: xr.DataArray) -> Constancy | None:
    """The record's numbers as what they were; None where there are none."""
    values = dict(zip(NUMBERS, map(float, numbers.values), strict=True))
    if not np.isfinite(values["mean"]):
        return None
    points = int(values.pop("points"))
    return Constancy(**values, points=points)


# Norm of a step of rate one in the output's norm, as a power of the width.
STEP_POWER = {"adamw": 1, "signsgd": 1}


def budget_share(cells: xr.Dataset, start: float) -> xr.DataArray:
    """(|W| - |W_0|) / (eta K) of the output layer at the best rate, dims of the cells.

    Args:
        cells: from `experiments.norm_optima.cell_optima`.
        start: |W_0|.
    """
    power = [STEP_POWER.get(str(name), 0) for name in cells["method"].values]
    step = np.asarray(cells.width.values, float) ** np.array(power)[:, None]
    length = xr.DataArray(step, dims=("method", "width"))
    budget = 2.0**cells.log2_rate * length * cells.tokens / cells.batch
    return (2.0 ** cells.log2_norm.sel(layer=OUTPUT, drop=True) - start) / budget


def critical(cells: xr.Dataset) -> xr.Dataset:
    """Batch from which a larger one costs loss, and how it grows.

    Returns:
        `critical_batch` [method, width, tokens], where the tuned loss passes 1.2 times its least,
        and its power of the tokens, `critical_law` and `critical_error` [method, width].
    """
    values = cells["value"].transpose("method", "width", "tokens", "batch")
    batches = np.asarray(cells.batch.values, float)
    found = np.full(values.shape[:-1], np.nan)
    for at in np.ndindex(*found.shape):
        row = values.values[at]
        known = np.isfinite(row)
        if known.sum() >= 2:
            found[at] = critical_batches(batches[known], row[known][None])[0]
    tokens = np.asarray(cells.tokens.values, float)
    laws = np.full((*found.shape[:-1], 2), np.nan)
    for at in np.ndindex(*laws.shape[:-1]):
        known = np.isfinite(found[at])
        if known.sum() >= 3:
            fit = fit_power(found[at][known], {"D": tokens[known]})
            laws[at] = fit.exponents["D"], fit.errors["D"]
    pair = ("method", "width")
    return xr.Dataset(
        {
            "critical_batch": ((*pair, "tokens"), found),
            "critical_law": (pair, laws[..., 0]),
            "critical_error": (pair, laws[..., 1]),
        },
        coords={name: cells[name].values for name in (*pair, "tokens")},
    )
