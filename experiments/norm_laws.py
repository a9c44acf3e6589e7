"""Laws through the optima of norm-transfer runs: exponents, and whether the norm is constant."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from experiments.batch_curves import critical_batches
from experiments.norm_optima import norm_constancy, norm_law, rate_law, tokens_law
from theory.plane_fit import Constancy, PowerFit, fit_power

# p, q of eta* ~ B^p D^q; r of B* ~ D^r; eta* ~ D^s at B*; powers of the norm where the rate is
# tuned, and its power of D at B*.
LAWS = ("p", "q", "r", "s", "norm B", "norm D", "norm D at B*")
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
