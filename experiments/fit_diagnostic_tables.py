"""Tables of what tells whether a law can be trusted."""

import numpy as np

from experiments.fit_analysis import Analysis, Diagnostics
from experiments.run_table import RunTable
from experiments.tables import Table

_MOST_INFLUENTIAL = 5


def diagnostic_tables(analysis: Analysis, found: Diagnostics, table: RunTable) -> list[Table]:
    """Profiles, held-out errors, comparison, sensitivity and influence.

    Args:
        analysis: what was computed.
        found: its diagnostics.
        table: the runs, for their lines in the file.
    """
    shown = []
    if found.profiles:
        shown.append(_profiles(found))
    shown.append(_errors(found))
    if found.candidates:
        shown.append(_comparison(found))
    if found.by_delta is not None:
        shown.append(_deltas(found))
    if found.shifts is not None:
        shown.append(_influence(analysis, found, found.shifts, table))
    if found.group_out is not None and found.group_shifts is not None:
        rows = tuple(
            (name, f"{shift:+.4f}")
            for name, shift in zip(found.group_out.names, found.group_shifts, strict=True)
        )
        columns = ("left out", "change of the exponent of N*")
        shown.append(Table("Leave one optimizer out", columns, rows))
    return shown


def _profiles(found: Diagnostics) -> Table:
    rows = []
    for one in found.profiles:
        low, high = one.interval
        name = one.label
        if one.label.startswith("log "):
            low, high, name = float(np.exp(low)), float(np.exp(high)), one.label[4:]
        rows.append((name, f"{low:.4g}", f"{high:.4g}"))
    note = "the other parameters fitted anew at each value; 0 or inf: no bound on that side"
    return Table("Profile intervals, 95 %", ("", "low", "high"), tuple(rows), note)


def _errors(found: Diagnostics) -> Table:
    rows = (
        ("leave one run out", f"{found.one_out.rmse:.4g}"),
        (f"largest size left out ({found.largest.names[0]})", f"{found.largest.rmse:.4g}"),
    )
    note = "loss units; nan: the rest cannot identify the law"
    return Table("Root mean square error on runs left out", ("", "error"), rows, note)


def _comparison(found: Diagnostics) -> Table:
    rows = tuple(
        (
            one.fit.form.name,
            one.fit.parameters.size,
            f"{one.largest_rmse:.4g}",
            f"{one.one_out_rmse:.4g}",
            f"{one.log_likelihood:.2f}",
            f"{one.aic:.1f}",
            f"{one.bic:.1f}",
        )
        for one in found.candidates
    )
    note = "held-out errors first: lower is better, for AICc and BIC too"
    if found.test is not None:
        test = found.test
        note += (
            f"; drop in dispersion F({test.freed}, {test.left}) = {test.statistic:.2f}, "
            f"p = {test.p_value:.3g}"
        )
    columns = ("law", "parameters", "largest size", "one out", "log-likelihood", "AICc", "BIC")
    return Table("One law or several", columns, rows, note)


def _deltas(found: Diagnostics) -> Table:
    assert found.by_delta is not None
    rows = tuple(
        (f"{delta:g}", f"{exponent:.4f}")
        for delta, exponent in zip(found.by_delta.deltas, found.by_delta.exponents, strict=True)
    )
    columns = ("Huber threshold delta", "exponent of N*")
    return Table("Sensitivity of the compute-optimal exponent", columns, rows)


def _influence(
    analysis: Analysis, found: Diagnostics, shifts: np.ndarray, table: RunTable
) -> Table:
    data, rows = analysis.fit.data, []
    for k in np.argsort(-np.abs(shifts))[:_MOST_INFLUENTIAL]:
        out = np.flatnonzero(found.one_out.left_out[k])
        lines = f"{table.lines[out[0]]}" + ("" if out.size == 1 else f" and {out.size - 1} more")
        first = out[0]
        rows.append(
            (
                lines,
                data.groups[data.group[first]],
                f"{data.size[first]:.4g}",
                f"{data.tokens[first]:.4g}",
                f"{shifts[k]:+.4f}",
            )
        )
    columns = ("line", "", "N", "D", "change of the exponent of N*")
    return Table("Most influential runs", columns, tuple(rows))
