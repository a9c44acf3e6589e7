"""Tables of the study of exponents."""

import numpy as np
import xarray as xr

from experiments.criterion import power_law_fit
from experiments.tables import Table

# An exponent is gradient descent's if it is within this part of it.
SAME_EXPONENT = 0.1


def summary(dataset: xr.Dataset) -> list[Table]:
    """Two tables a problem: exponents and the verdict on the form, and the checks behind them."""
    tables = []
    for problem in dataset.problem.values:
        rows = dataset.sel({"problem": problem})
        tables += [_verdicts(rows, str(problem)), _checks(rows, str(problem))]
    return tables


def _each(dataset: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    labels = dataset.attrs["labels"]
    return [(label, dataset.isel(method=k)) for k, label in enumerate(labels)]


def _verdicts(dataset: xr.Dataset, problem: str) -> Table:
    rows = []
    for label, row in _each(dataset):
        form, reason = str(row.form.values), str(row.reason.values)
        rows.append(
            (
                label,
                number(row.derived),
                f"{float(row.exponent):.3f} +- {float(row.exponent_error):.3f}"
                if np.isfinite(row.exponent)
                else "-",
                "exact" if np.isfinite(row.curve).any() else "simulated",
                _window(row),
                number(row.correction),
                _shares(row),
                f"{form}: {reason}" if reason else form,
            )
        )
    columns = (
        "method",
        "beta derived",
        "beta found",
        "judged on",
        "fitted window T",
        "size correction",
        "GD's exponent",
        "Chinchilla form",
    )
    note = (
        "exact: exact curves at N = 1e10 .. 1e12; criterion: experiments/criterion.py; learning "
        f"rates judged over +-{100 * dataset.attrs['tolerance']:.0f} %"
    )
    return Table(f"Exponents of the tuned loss, {problem}", columns, tuple(rows), note)


def _checks(dataset: xr.Dataset, problem: str) -> Table:
    rows = []
    for label, row in _each(dataset):
        known = np.isfinite(row.steps.values)
        off, z = float(row.off_exact), float(row.z_score)
        check = f"{off:.1e}" if np.isfinite(off) else f"z = {z:.1f}" if np.isfinite(z) else "-"
        rows.append(
            (
                label,
                float(row.alpha),
                float(row.alpha_exact),
                f"{int(row['sizes'].values[-1])}, {int(row.steps.values[known][-1])}",
                check,
                _rate_exponent(row),
                "yes" if row.at_edge.values[known].any() else "no",
            )
        )
    columns = (
        "method",
        "alpha measured",
        "alpha exact",
        "largest N, T",
        "off exact",
        "eta* exponent",
        "at grid's edge",
    )
    note = (
        "alpha: sizes 4 and 8 after convergence, b - 1 as N grows; off exact: median relative "
        "difference of simulation and theory over all rates and horizons at the largest size (z: "
        "largest over horizons, in standard errors, at a rate fixed beforehand)"
    )
    return Table(f"Simulation, {problem}", columns, tuple(rows), note)


def number(value: xr.DataArray | float, form: str = ".3f") -> str:
    """Formatted, a dash for NaN."""
    plain = float(value)
    return format(plain, form) if np.isfinite(plain) else "-"


def _window(row: xr.Dataset) -> str:
    first, last = row.window.values
    return f"{first:.3g} .. {last:.3g}" if np.isfinite(first) else "-"


def _shares(row: xr.Dataset) -> str:
    """Whether the exponent is gradient descent's, as one law for all optimizers would have it."""
    found, gd = float(row.exponent), float(row.gd_exponent)
    if not np.isfinite(found) or str(row.form.values) in ("fails", "undecided"):
        return "-"
    return "yes" if abs(found - gd) <= SAME_EXPONENT * gd else f"no, {found / gd:.2f} times"


def _rate_exponent(row: xr.Dataset) -> str:
    """Exponent of the tuned rate over the longer horizons, with its standard error."""
    known = np.isfinite(row.steps.values)
    steps, rates = row.steps.values[known][-5:], row.learning_rate.values[known][-5:]
    exponent, error, _ = power_law_fit(steps, rates)
    # What the errors of single rates add to a slope over steps spread this far.
    spread = np.std(np.log(steps)) * np.sqrt(steps.size)
    tuned = row.log_rate_error.values[known][-5:].mean() / spread
    return f"{-exponent:.2f} +- {np.hypot(error, tuned):.2f}"
