"""The tables that `quadlaw fit` prints, and the numbers in them."""

from typing import Any

import numpy as np

from experiments.run_table import RunTable
from experiments.tables import Table
from theory.fit_uncertainty import Bootstrap, Conditioning, percentile_intervals
from theory.fitting import Fit
from theory.laws import Chinchilla, compute_exponents, compute_optimal
from theory.objectives import DESCRIPTIONS

FIELDS = {
    "E": "irreducible",
    "A": "size_coefficient",
    "B": "tokens_coefficient",
    "alpha": "size_exponent",
    "beta": "tokens_exponent",
}


def parameter_intervals(draws: Bootstrap) -> dict[str, list[float]]:
    """95 % intervals of the plain parameters by name."""
    return {
        name: percentile_intervals(np.asarray(getattr(draws.law, field))).tolist()
        for name, field in FIELDS.items()
    }


def fit_tables(
    fit: Fit,
    table: RunTable,
    draws: Bootstrap,
    conditions: Conditioning,
    budgets: tuple[float, ...],
    cost: float,
) -> list[Table]:
    """Parameters, certificate, correlations and allocations of a fit.

    Args:
        fit: the fit.
        table: the runs it was fitted to.
        draws: refits for the intervals.
        conditions: conditioning of the fit.
        budgets: compute budgets, FLOP.
        cost: FLOP a parameter and token cost.
    """
    intervals = parameter_intervals(draws)
    rows = tuple(
        (name, _digits(getattr(fit.law, field)), *map(_digits, intervals[name]))
        for name, field in FIELDS.items()
    )
    how = "whole runs" if table.groups is not None else "rows"
    note = (
        f"{table.loss.size} rows, {table.dropped} dropped; 95 % intervals from "
        f"{draws.parameters.shape[0]} of {draws.draws} bootstrap refits on resampled {how}"
    )
    names = ("log E", "log A'", "alpha", "log B'", "beta")
    correlation = tuple(
        (name, *(f"{value:+.3f}" for value in row))
        for name, row in zip(names, conditions.correlation, strict=True)
    )
    certificate = (
        (f"objective, {DESCRIPTIONS[fit.chosen.kind]}", f"{fit.objective:.12e}"),
        ("Huber threshold delta", f"{fit.delta:g}"),
        ("gradient norm", f"{fit.gradient_norm:.1e}"),
        ("starts that agree", f"{fit.agreement:.1%} of {fit.starts}"),
        ("condition number, centred logarithms", f"{conditions.centred:.2e}"),
        ("condition number, logarithms", f"{conditions.logarithmic:.2e}"),
        ("condition number, plain parameters", f"{conditions.plain:.2e}"),
        ("exponent of N* in compute", _digits(compute_exponents(fit.law)[0])),
    )
    return [
        Table("L = E + A N^-alpha + B D^-beta", ("", "value", "low", "high"), rows, note),
        Table("Convergence and conditioning", ("", "value"), certificate),
        Table("Correlation, centred parameters", ("", *names), correlation),
        _allocation_table(fit, draws, budgets, cost),
    ]


def _allocation_table(fit: Fit, draws: Bootstrap, budgets: tuple[float, ...], cost: float) -> Table:
    rows = []
    for entry in allocations(fit, draws, budgets, cost):
        cells = [f"{entry['flops']:.3g}"]
        for name in ("size", "tokens", "loss"):
            low, high = entry[f"{name}_interval"]
            cells.append(f"{entry[name]:.4g} [{low:.3g}, {high:.3g}]")
        rows.append(tuple(cells))
    return Table(
        "Compute-optimal allocation, 95 % intervals",
        ("budget, FLOP", "N*, parameters", "D*, tokens", "loss"),
        tuple(rows),
        f"C = {cost:g} N D; beyond the data's range the intervals are the law's own",
    )


def allocations(
    fit: Fit, draws: Bootstrap, budgets: tuple[float, ...], cost: float
) -> list[dict[str, Any]]:
    """Compute-optimal size, tokens and loss at each budget, with 95 % intervals."""
    # Refits whose exponents are not positive have no optimum.
    fields = {name: np.asarray(value) for name, value in vars(draws.law).items()}
    usable = (fields["size_exponent"] > 0) & (fields["tokens_exponent"] > 0)
    spread = Chinchilla(**{name: value[usable] for name, value in fields.items()})
    entries = []
    for flops in budgets:
        best, around = (compute_optimal(law, flops, cost) for law in (fit.law, spread))
        entry: dict[str, Any] = {"flops": float(flops)}
        for name in ("size", "tokens", "loss"):
            entry[name] = float(getattr(best, name))
            samples = np.asarray(getattr(around, name))
            entry[f"{name}_interval"] = percentile_intervals(samples).tolist()
        entries.append(entry)
    return entries


def _digits(value: Any) -> str:
    return f"{float(value):.8g}"
