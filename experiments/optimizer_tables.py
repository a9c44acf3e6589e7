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
    rows: list[tuple[object, ...]] = [("derived", *(float(v) for v in dataset.derived), "", "")]
    for case in dataset.case.values:
        here = dataset.sel(case=case)
        misfit = [f"{float(here.misfit[place]):.1e}" for place in (0, -1)]
        rows.append((str(case), *(float(v) for v in here.law), *misfit))
    columns = ("case", *names, "misfit, shared", f"misfit, {dataset.form.values[-1]}")
    note = "the reference's, shared exponents, fitted to losses without noise; misfit of log loss"
    return Table("The law without noise", columns, tuple(rows), note)


def _comparison_table(dataset: xr.Dataset) -> Table:
    rejected, draws = rejections(dataset), dataset.repeat.size
    by_bic, error = preferred(dataset, "bic"), dataset.held_out.median("repeat")
    rows = []
    for case in dataset.case.values:
        at = {"case": case}
        tests = [f"{int(v)} of {draws}" for v in rejected.sel(at).values[1:]]
        choice = str(dataset.form.values[int(by_bic.sel(at).argmax("form"))])
        errors = [float(v) for v in error.sel(at)]
        rows.append((str(case), *tests, f"{choice} ({int(by_bic.sel(at).max())})", *errors))
    freed = [f"rejected for {name}" for name in dataset.form.values[1:]]
    held = [f"held-out, {name}" for name in dataset.form.values]
    columns = ("case", *freed, "BIC prefers", *held)
    note = (
        f"nested test at {dataset.attrs['level']:g}, noise {dataset.attrs['noise']:g} of log loss; "
        "held out: the far end of both edges, or the largest size; median over the draws"
    )
    return Table("Shared exponents against wider laws", columns, tuple(rows), note)


def _conclusion_table(dataset: xr.Dataset) -> Table:
    rows = tuple((str(case), _words(dataset, case)) for case in dataset.case.values)
    return Table("Conclusion", ("case", "in words"), rows)


def _words(dataset: xr.Dataset, case: str) -> str:
    at, draws, widest = {"case": case}, dataset.repeat.size, str(dataset.form.values[-1])
    rejected = rejections(dataset).sel(at)[1:]
    counts = ", ".join(
        f"{int(count)} of {draws} for {name}"
        for name, count in zip(rejected.form.values, rejected, strict=True)
    )
    error = dataset.held_out.sel(at).median("repeat")
    if case == BENT:
        bend = float(dataset.misfit.sel(at)[-1])
        off = float(dataset.law.sel(at).sel(parameter="A") / dataset.derived.sel(parameter="A"))
        return (
            f"size and steps do not add up: {widest} laws still miss the losses by {bend:.1%} "
            f"without noise and A is {off:.2f} of the derived one; a rejection here "
            f"({counts}) would say nothing about exponents"
        )
    if 2 * int(rejected.max()) <= draws:
        ratio = float(error[-1] / error[0])
        off = f"; rho_D within {_worst_rescaling(dataset):.1%} of the derived ratios"
        return (
            f"sharing stands (rejected in {counts}){off if case == CONSTANTS else ''}; "
            f"{widest} laws err {ratio:.2f} times as much on the far end"
        )
    ratio = float(error[0] / error[1:].min())
    return f"sharing is rejected ({counts}); it errs {ratio:.2f} times as much on the far end"


def _worst_rescaling(dataset: xr.Dataset) -> float:
    here = dataset.sel(case=CONSTANTS)
    return float(np.abs(here.tokens_rescaling / here.speed - 1).max())
