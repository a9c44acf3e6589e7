"""What tuned losses under schedules say of exponents: fits, verdicts and tables.

Exponents are slopes over the last `FITTED` horizons. A measured one agrees with the derived one if
it is within `AGREES` of it or within the 95 % interval of the fit; it is within the finite-size
correction if the local exponents, between neighbouring horizons, come nearer to the derived one and
the last is within `NEAR` of it; else it differs.
"""

import numpy as np
import xarray as xr
from scipy.stats import t as student

from experiments.criterion import power_law_fit
from experiments.scheduled_curves import METHODS, OPTIMAL, SCHEDULES
from experiments.tables import Table
from theory.problem import power_law

FITTED = 4
AGREES = 0.02
NEAR = 0.15


def exponents(row: xr.Dataset, name: str) -> tuple[float, float, np.ndarray]:
    """Fitted exponent, its standard error and the local exponents of `loss` or `peak`.

    Args:
        row: one method, problem and schedule.
        name: which variable.
    """
    steps, values = row.steps.values, row[name].values
    fit, error, _ = power_law_fit(steps[-FITTED:], values[-FITTED:])
    return fit, error, -np.diff(np.log(values)) / np.diff(np.log(steps))


def verdict(fit: float, error: float, local: np.ndarray, derived: float) -> str:
    """The criterion of this module, in words.

    Args:
        fit: fitted exponent.
        error: its standard error.
        local: exponents between neighbouring horizons.
        derived: exponent derived; NaN if none is.
    """
    if not np.isfinite(derived):
        return "no derived exponent"
    interval = float(student.ppf(0.975, FITTED - 2)) * error
    if abs(fit - derived) <= max(AGREES * abs(derived), interval):
        return "agrees"
    gaps = np.abs(local[-(FITTED - 1) :] - derived)
    course = f"local exponent {local[1 - FITTED]:.3f} to {local[-1]:.3f}"
    if np.all(np.diff(gaps) < 0) and gaps[-1] <= NEAR * abs(derived):
        return f"within finite-size correction: {course}"
    return f"differs: {course}"


def summary(dataset: xr.Dataset) -> list[Table]:
    """One table a problem, and the ranking of schedules at the last horizon."""
    tables = [_problem_table(dataset, str(problem)) for problem in dataset.problem.values]
    return [*tables, _arguments(dataset), _ranking(dataset)]


def _arguments(dataset: xr.Dataset) -> Table:
    """Why the derived exponents are what they are, for a constant and a decaying rate."""
    rows = []
    for a, b in zip(dataset.attrs["capacities"], dataset.attrs["sources"], strict=True):
        problem = power_law(a, b, 1)
        for method in dataset.method.values:
            whys = [METHODS[str(method)].derived(problem, end)[2] for end in (0.0, 1.0)]
            rows.append((f"a = {a:g}, b = {b:g}", METHODS[str(method)].label, *whys))
    columns = ("", "method", "constant rate", "decaying rate")
    return Table("Arguments for the derived exponents", columns, tuple(rows))


def _problem_table(dataset: xr.Dataset, problem: str) -> Table:
    rows = []
    for method in dataset.method.values:
        for schedule in dataset.schedule.values:
            row = dataset.sel({"method": method, "problem": problem, "schedule": schedule})
            if np.isfinite(row.peak.values).all():
                rows.append((METHODS[str(method)].label, label(str(schedule)), *_cells(row)))
    columns = (
        "method",
        "schedule",
        "loss, longest T",
        "peak rate",
        "exponent",
        "derived",
        "rate exponent",
        "derived",
        "off exact",
        "verdict",
    )
    note = (
        f"slopes over the last {FITTED} horizons; rate: interpolated optimum and its bracket; off "
        "exact: simulation against exact curve, same rate, size and steps, SGD in standard errors"
    )
    return Table(f"Exponents under schedules, {problem}", columns, tuple(rows), note)


def _cells(row: xr.Dataset) -> tuple[object, ...]:
    if not np.isfinite(row.loss.values).all():
        diverges = "diverges: its rates come from theory without the noise of the loss itself"
        derived = (_number(float(row.derived_loss)), "-", _number(float(row.derived_rate), ".2f"))
        return "-", f"{float(row.peak[-1]):.4g}", "-", *derived, "-", diverges
    fit, error, local = exponents(row, "loss")
    rate, rate_error, _ = exponents(row, "peak")
    derived = float(row.derived_loss)
    peak, bracket = float(row.peak[-1]), 100 * float(np.expm1(row.log_error[-1]))
    edge = " (edge)" if bool(row.at_edge.values.any()) else ""
    # At the limit the bracket is what the search has not resolved below it.
    edge = " (limit)" if peak > 0.99 * METHODS[str(row.method.values)].limit else edge
    return (
        f"{float(row.loss[-1]):.3e}",
        f"{peak:.4g}" + (f" +- {bracket:.1g} %" if bracket > 0 else "") + edge,
        f"{fit:.3f} +- {error:.3f}",
        _number(derived),
        f"{rate:.2f} +- {rate_error:.2f}",
        _number(float(row.derived_rate), ".2f"),
        _off(row),
        verdict(fit, error, local, derived) + _own_time(row),
    )


def _own_time(row: xr.Dataset) -> str:
    """What GD's law gives in the time that the steps of a normalized method add up to."""
    if np.isfinite(row.derived_loss) or not np.isfinite(row.travelled.values).all():
        return ""
    value = exponents(row, "travelled")[0] * -float(row.gd_exponent)
    return f"; GD's in the sum of its steps: {value:.2f}"


def _off(row: xr.Dataset) -> str:
    off, error = float(row.off_exact), float(row.off_error)
    if not np.isfinite(off):
        return "-"
    return f"{off / error:+.1f} s.e. of {error:.0e}" if error > 0 else f"{off:.0e}"


def _number(value: float, form: str = ".3f") -> str:
    return format(value, form) if np.isfinite(value) else "-"


def label(schedule: str) -> str:
    """What a schedule is called in tables and figures."""
    return "optimal control" if schedule == OPTIMAL else SCHEDULES[schedule]


def _ranking(dataset: xr.Dataset) -> Table:
    rows = []
    for problem in dataset.problem.values:
        for method in dataset.method.values:
            here = dataset.sel({"method": method, "problem": problem})
            for place in (0, -1):
                loss = here.loss.isel(horizon=place)
                known = loss.dropna("schedule").sortby(loss.dropna("schedule"))
                order = " < ".join(str(name) for name in known.schedule.values)
                steps = int(here.steps.values[place])
                rows.append((str(problem), METHODS[str(method)].label, steps, order))
    note = "the order at a horizon in reach need not be that of the exponents"
    return Table(
        "Schedules by tuned loss", ("", "method", "steps", "least loss first"), tuple(rows), note
    )
