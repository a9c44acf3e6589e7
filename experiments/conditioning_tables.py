"""Tables of the study of conditioning."""

import numpy as np
import xarray as xr

from experiments.tables import Table

ENDS = (0.05, 0.95)
SCALES_COMPARED = ("logarithmic", "centred")
REMARKS = {
    "edges": "; half the cells lie at infinity in N or in D, where no centre is near to all",
    "bent": "; size and steps do not add up, so an error stays that no number of cells mends",
}


def spread(dataset: xr.Dataset) -> xr.DataArray:
    """5 and 95 % points of the fitted parameters over draws and optimizers on the smallest design.

    Exponents and E are the same for all optimizers; coefficients are not, and are left out.
    """
    kept = dataset.fitted.isel(cells=0, span=0).sel(parameter=["E", "alpha", "beta"])
    return kept.quantile(ENDS, dim=("repeat", "optimizer"))


def typical_error(dataset: xr.Dataset) -> xr.DataArray:
    """Root mean square of the extrapolation errors, [source, cells, span, form]."""
    return np.sqrt((dataset.extrapolation**2).mean(("repeat", "optimizer")))


def summary(dataset: xr.Dataset) -> list[Table]:
    """Conditioning, spread, extrapolation, and the conclusion in words."""
    return [
        _conditioning_table(dataset),
        _spread_table(dataset),
        _profile_table(dataset),
        _extrapolation_table(dataset),
        _conclusion_table(dataset),
    ]


def _conditioning_table(dataset: xr.Dataset) -> Table:
    columns, cells = ["", ""], []
    for source in dataset.source.values:
        for form in dataset.form.values:
            columns.append(f"{source}, {form}")
            cells.append(dataset.sel(source=source, form=form))
    rows = []
    for scale in dataset.scale.values:
        numbers = [f"{float(cell.condition.sel(scale=scale)):.1e}" for cell in cells]
        rows.append(("condition number", str(scale), *numbers))
    for one, two in (("A", "alpha"), ("E", "alpha"), ("E", "beta"), ("alpha", "beta")):
        for units in dataset.units.values:
            at = {"parameter": one, "other": two, "units": units}
            numbers = [float(cell.correlation.sel(at)) for cell in cells]
            rows.append((f"correlation {one}, {two}", str(units), *numbers))
    for name in ("alpha", "beta"):
        numbers = [float(cell.standard_error.sel(parameter=name)) for cell in cells]
        rows.append((f"standard error {name}", "", *numbers))
    note = (
        "of the reference, smallest design, without noise; logarithmic: log A and log B in the "
        "data's units; standard errors for the noise of the study"
    )
    return Table("Conditioning", tuple(columns), tuple(rows), note)


def _spread_table(dataset: xr.Dataset) -> Table:
    found, rows = spread(dataset), []
    for source in dataset.source.values:
        for form in dataset.form.values:
            here = found.sel(source=source, form=form)
            shown = [
                " to ".join(f"{float(v):.3f}" for v in here.sel(parameter=name))
                for name in here.parameter.values
            ]
            rows.append((str(source), str(form), *shown))
        true = dataset.truth.sel(source=source, parameter=found.parameter)
        rows.append((str(source), "true", *(f"{float(v):.3f}" for v in true)))
    columns = ("losses", "fit", "E", "alpha", "beta")
    note = f"smallest design, noise {dataset.attrs['noise']:g} of log loss"
    return Table("5 to 95 % of the fits over draws and optimizers", columns, tuple(rows), note)


def _profile_table(dataset: xr.Dataset) -> Table:
    rows = []
    for source in dataset.source.values:
        for form in dataset.form.values:
            here = dataset.profile_interval.sel(source=source, form=form)
            ends = [
                " to ".join(f"{float(v):.3f}" for v in here.sel(profiled=name))
                for name in here.profiled.values
            ]
            rows.append((str(source), str(form), *ends))
    note = "one draw on the smallest design; 0 and infinity: the profile never rises to the limit"
    return Table("95 % profile intervals", ("losses", "fit", "E", "alpha"), tuple(rows), note)


def _extrapolation_table(dataset: xr.Dataset) -> Table:
    found, rows = typical_error(dataset), []
    for source in dataset.source.values:
        for count in dataset.cells.values:
            for span in dataset.span.values:
                at = {"source": source, "cells": count, "span": span}
                one, all_ = (float(found.sel(at).sel(form=f)) for f in ("separate", "shared"))
                rows.append((str(source), int(count), f"{span:g}", one, all_, one / all_))
    columns = ("losses", "cells", "range of sizes", "separate", "shared", "ratio")
    least = float(dataset.agreement.min())
    note = (
        "root mean square of log loss at eight times the largest size, over draws and optimizers; "
        f"at least {least:.0%} of the starts agree in every fit"
    )
    return Table("Extrapolation error", columns, tuple(rows), note)


def _conclusion_table(dataset: xr.Dataset) -> Table:
    rows = tuple((str(source), _words(dataset, source)) for source in dataset.source.values)
    return Table("Conclusion", ("losses", "in words"), rows)


def _words(dataset: xr.Dataset, source: str) -> str:
    here, error = dataset.sel(source=source), typical_error(dataset).sel(source=source)
    ratio = error.sel(form="separate") / error.sel(form="shared")
    raw, centred = (
        float(here.condition.sel(form="separate", scale=scale)) for scale in SCALES_COMPARED
    )
    words = (
        f"centring takes the condition number of a separate fit from {raw:.0e} to {centred:.0e}; "
        f"sharing narrows the scatter of alpha {_narrowing(here):.1f} times on the smallest design "
        f"and extrapolates better on {int((ratio > 1).sum())} of {ratio.size} designs, "
        f"{float(ratio.median()):.1f} times in the middle"
    )
    return words + REMARKS.get(source, "")


def _narrowing(here: xr.Dataset) -> float:
    """Standard deviation of alpha over draws, separate over shared."""
    alpha = here.fitted.isel(cells=0, span=0).sel(parameter="alpha")
    variance = alpha.var("repeat", ddof=1).mean("optimizer")
    return float(np.sqrt(variance.sel(form="separate") / variance.sel(form="shared")))
