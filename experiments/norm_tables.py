"""Tables of norm transfer: optima found and left out, constancy of the norm, exponents."""

import numpy as np
import xarray as xr

from experiments.norm_exponent_tables import (
    exponent_table,
    groups,
    pinned_table,
    pm,
    reach_table,
)
from experiments.norm_laws import OUTPUT, as_constancy
from experiments.norm_optima import LEAST_ERROR, count_edges
from experiments.norm_published import PRINTED, published_table
from experiments.norm_variant_tables import budget_table, prediction_table, variant_tables
from experiments.tables import Table
from theory.plane_fit import Constancy, constancy


def summary(dataset: xr.Dataset) -> list[Table]:
    """Optima, constancy, exponents, the published table, what is derived, and variants."""
    return [
        _optima_table(dataset),
        _constancy_table(dataset),
        _width_table(dataset),
        pinned_table(dataset),
        exponent_table(dataset),
        published_table(),
        prediction_table(dataset),
        reach_table(dataset),
        budget_table(dataset),
        *variant_tables(dataset),
    ]


def _optima_table(dataset: xr.Dataset) -> Table:
    rows = []
    for prefix, system in (("", "network"), ("quad_", "quadratic")):
        for method, width, at in groups(dataset, prefix):
            own, best = (dataset[f"{prefix}{n}edge"].sel(at) for n in ("", "best_"))
            inside, edge, absent = count_edges(own)
            found, outside, _ = count_edges(best)
            counts = f"{inside} of {inside + edge}", edge, absent
            rows.append((system, method, width, *counts, f"{found} of {found + outside}", outside))
    columns = (
        "system",
        "method",
        "width",
        "rates inside",
        "on an edge",
        "not run",
        "batches inside",
        "on an edge or too few",
    )
    note = (
        "an optimum beside the end of what was run or did not diverge is left out of everything "
        "below; on the quadratic small batches tie, so that most best batches are none"
    )
    return Table("Optima over rates, and over batch sizes", columns, tuple(rows), note)


def verdict(found: Constancy | None) -> tuple[str, str]:
    """Whether a change is seen, and whether within the source's own error of a norm."""
    if found is None:
        return "too few", "-"
    near = "yes" if found.scatter <= PRINTED else f"no ({found.scatter:.2f})"
    return found.verdict, near


def _constancy_table(dataset: xr.Dataset) -> Table:
    rows = []
    for method, width, at in groups(dataset):
        for layer in dataset.layer.values:
            found = as_constancy(dataset.constancy.sel(at | {"layer": layer}))
            rows.append((method, width, str(layer), *_constancy_cells(found)))
    for method, width, at in groups(dataset, "quad_"):
        found = as_constancy(dataset.quad_constancy.sel(at))
        rows.append((f"quadratic, {method}", width, "-", *_constancy_cells(found)))
    columns = (
        "method",
        "width",
        "layer",
        "budgets",
        "mean log2 norm",
        "slope in log2 D",
        "|slope| up to",
        "chi^2 / dof",
        "p",
        "verdict",
        f"within {PRINTED}",
    )
    note = (
        "log2 operator norm of a layer at the best rate and batch over the budgets whose optimum "
        "is inside. A slope beyond 2 errors rises or falls; else chi^2 beyond its 5 % level "
        "scatters; else no change is seen, which leaves a slope up to its 2-error limit. Errors: "
        "parabolas and the scatter of each seed's own optimum, of "
        f"{dataset.attrs['seeds']:.0f} seeds (networks), at least {LEAST_ERROR:g} octaves; budgets "
        "share their runs, so that errors are not independent. Within: the standard deviation of "
        "the norms against the error that the source prints (7.0 +- 0.2)"
    )
    return Table(
        "Norm at the best rate and batch: constant in the tokens?", columns, tuple(rows), note
    )


def _constancy_cells(found: Constancy | None) -> tuple[object, ...]:
    if found is None:
        return 0, "-", "-", "-", "-", "-", *verdict(found)
    ratio = f"{found.chi_square:.1f} / {found.points - 1}"
    return (
        found.points,
        pm(found.mean, found.scatter),
        pm(found.slope, found.slope_error, 3),
        f"{found.slope_limit:.3f}",
        ratio,
        f"{found.p_value:.2g}",
        *verdict(found),
    )


def _width_table(dataset: xr.Dataset) -> Table:
    rows = []
    at = {"layer": OUTPUT}
    for method in dataset["method"].values:
        for tokens in dataset.tokens.values:
            place = {"method": method, "tokens": tokens}
            norms = dataset.best_log2_norm.sel(place | at)
            errors = dataset.best_norm_error.sel(place | at)
            known = np.isfinite(norms.values) & np.isfinite(errors.values)
            if known.sum() < 2:
                continue
            cells = [pm(*pair) for pair in zip(norms.values, errors.values, strict=True)]
            found = None
            if known.sum() >= 3:
                bars = np.maximum(errors.values[known], LEAST_ERROR)
                found = constancy(
                    norms.values[known], bars, np.log2(dataset.width.values[known].astype(float))
                )
            slope = "-" if found is None else pm(found.slope, found.slope_error)
            rows.append((str(method), f"2^{np.log2(tokens):.0f}", *cells, slope, verdict(found)[0]))
    names = tuple(f"width {w}" for w in dataset.width.values)
    columns = ("method", "tokens", *names, "slope in log2 width", "verdict")
    note = "log2 norm of the output layer at the best rate and batch"
    return Table("Norm at the optimum: constant in the width?", columns, tuple(rows), note)
