"""Tables of the study of shared exponents."""

import numpy as np
import xarray as xr

from experiments.tables import Table

CONSTANTS, BENT = "constants", "bent"


def rejections(dataset: xr.Dataset) -> xr.DataArray:
    """How many draws reject shared exponents against each wider form, [case, form]."""
    return (dataset.p_value < dataset.attrs["level"]).sum("repeat")


def preferred(dataset: xr.Dataset, criterion: str) -> xr.DataArray:
    """How many draws prefer each form by a criterion, `bic`, `aic` or `held_out`, [case, form]."""
    best = dataset[criterion].argmin("form")
    counts = [(best == place).sum("repeat") for place in range(dataset.form.size)]
    return xr.concat(counts, dataset.form).transpose("case", "form")


def summary(dataset: xr.Dataset) -> list[Table]:
    """Rescalings, what the law is without noise, who is caught, and the conclusion in words."""
    return [
        _rescaling_table(dataset),
        _law_table(dataset),
        _comparison_table(dataset),
        _conclusion_table(dataset),
    ]


def _rescaling_table(dataset: xr.Dataset) -> Table:
    exact = dataset.sel(case=CONSTANTS)
    rows = []
    for name in dataset.optimizer.values:
        here = exact.sel(optimizer=name)
        low, middle, high = (float(v) for v in here.tokens_rescaling_interval)
        sizes = [f"{float(v):.4f}" for v in here.size_rescaling_interval[::2]]
        label = "reference again" if name == "preconditioned" else str(name)
        speed, found = float(here.speed), float(here.tokens_rescaling)
        rows.append((label, speed, found, middle, f"{low:.4f} to {high:.4f}", " to ".join(sizes)))
    columns = ("optimizer", "derived", "without noise", "with noise", "95 %", "rho_N, 95 %")
    note = "derived: ratio of eta / (1 - mu); rho_N is 1, all stop at the same modes"
    return Table(
        "Rescaling of the steps, rho_D, where only constants differ", columns, tuple(rows), note
    )


def _law_table(dataset: xr.Dataset) -> Table:
    names = [str(name) for name in dataset.parameter.values]
    rows = [("derived", *(float(v) for v in dataset.derived), "")]
    for case in dataset.case.values:
        here = dataset.sel(case=case)
        misfit = " / ".join(f"{float(v):.1e}" for v in here.misfit)
        rows.append((str(case), *(float(v) for v in here.law), misfit))
    columns = ("case", *names, "misfit of log loss: " + " / ".join(map(str, dataset.form.values)))
    note = "shared law of the reference, fitted to losses without noise"
    return Table("The law without noise", columns, tuple(rows), note)


def _comparison_table(dataset: xr.Dataset) -> Table:
    rejected, draws = rejections(dataset), dataset.repeat.size
    by_bic, error = preferred(dataset, "bic"), dataset.held_out.median("repeat")
    rows = []
    for case in dataset.case.values:
        at = {"case": case}
        tests = [f"{int(v)} of {draws}" for v in rejected.sel(at).values[1:]]
        choice = str(dataset.form.values[int(by_bic.sel(at).argmax())])
        errors = [float(v) for v in error.sel(at).sel(form=["shared", "beta free", "separate"])]
        rows.append((str(case), *tests, f"{choice} ({int(by_bic.sel(at).max())})", *errors))
    freed = [f"rejected for {name}" for name in dataset.form.values[1:]]
    columns = ("case", *freed, "BIC prefers", "held-out, shared", "beta free", "separate")
    note = (
        f"nested test at {dataset.attrs['level']:g}, noise {dataset.attrs['noise']:g} of log loss; "
        "held out: the far end of both edges, or the largest size; median over the draws"
    )
    return Table("Shared exponents against wider laws", columns, tuple(rows), note)


def _conclusion_table(dataset: xr.Dataset) -> Table:
    rows = tuple((str(case), _words(dataset, case)) for case in dataset.case.values)
    return Table("Conclusion", ("case", "in words"), rows)


def _words(dataset: xr.Dataset, case: str) -> str:
    at, draws = {"case": case}, dataset.repeat.size
    rejected = rejections(dataset).sel(at)
    alpha, beta, any_one = (int(v) for v in rejected.values[1:])
    error = dataset.held_out.sel(at).median("repeat")
    ratio = float(error.sel(form="separate") / error.sel(form="shared"))
    if case == BENT:
        bend = float(dataset.misfit.sel(at).sel(form="separate"))
        return (
            f"size and steps do not add up: even separate laws are off by {bend:.1%} without "
            f"noise; a rejection here ({any_one} of {draws}) says nothing about exponents"
        )
    if 2 * any_one <= draws and 2 * beta <= draws:
        off = _worst_rescaling(dataset) if case == CONSTANTS else np.nan
        found = f"; rho_D within {off:.1%} of the derived ratios" if np.isfinite(off) else ""
        held = f"separate laws err {ratio:.2f} times as much on the far end"
        return f"sharing stands ({any_one} of {draws} draws reject it){found}; {held}"
    return (
        f"sharing is rejected in {any_one} of {draws} draws, a beta of its own is asked for in "
        f"{beta}, an alpha in {alpha}; sharing errs {1 / ratio:.2f} times as much on the far end"
    )


def _worst_rescaling(dataset: xr.Dataset) -> float:
    here = dataset.sel(case=CONSTANTS)
    return float(np.abs(here.tokens_rescaling / here.speed - 1).max())
