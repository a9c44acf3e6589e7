"""The tables that `quadlaw fit` prints and puts into its page."""

from typing import Any

import numpy as np

from experiments.fit_analysis import Analysis
from experiments.fit_diagnostic_tables import diagnostic_tables
from experiments.run_table import RunTable
from experiments.tables import Table
from theory.fit_resampling import FormBootstrap
from theory.fit_sensitivity import compute_exponent, compute_exponent_names
from theory.fit_uncertainty import percentile_intervals
from theory.fit_warnings import bounds_hit
from theory.laws import Chinchilla, compute_optimal
from theory.shared_fitting import shared_law_of
from theory.shared_law import equal_loss_speedup

_SHOWN_CORRELATIONS = 8


def parameter_intervals(draws: FormBootstrap) -> dict[str, list]:
    """95 % intervals of the plain symbols by name, [2] each or [groups, 2] where they differ."""
    form, symbols = draws.fit.form, draws.symbols
    found = {}
    for name in form.symbols:
        ends = percentile_intervals(symbols[name]).T
        found[name] = (ends if name in form.grouped else ends[0]).tolist()
    return found


def fit_tables(
    analysis: Analysis, table: RunTable, budgets: tuple[float, ...], cost: float
) -> list[Table]:
    """Parameters, rescalings, certificate, diagnostics, allocations and predictions.

    Args:
        analysis: what was computed.
        table: the runs it was fitted to.
        budgets: compute budgets, FLOP.
        cost: FLOP a parameter and token cost.
    """
    shown = [_parameters(analysis, table), *_by_group(analysis), _certificate(analysis)]
    shown.append(_correlations(analysis))
    if analysis.diagnostics is not None:
        shown += diagnostic_tables(analysis, analysis.diagnostics, table)
    entries = allocations(analysis, budgets, cost)
    if entries:
        shown.append(_allocation_table(entries, cost))
    if analysis.predicted:
        shown.append(_predictions(analysis))
    if analysis.held_out:
        shown.append(_held_out(analysis))
    return shown


def _parameters(analysis: Analysis, table: RunTable) -> Table:
    fit, draws = analysis.fit, analysis.draws
    intervals, symbols = parameter_intervals(draws), fit.symbols
    how = "whole runs" if table.groups is not None else "rows"
    note = (
        f"{table.loss.size} rows, {table.dropped} dropped, {table.diverged} diverged; 95 % "
        f"intervals from {draws.parameters.shape[0]} of {draws.draws} bootstrap refits on "
        f"resampled {how}"
    )
    rows = tuple(
        (name, _digits(symbols[name][0]), *map(_digits, intervals[name]))
        for name in fit.form.symbols
        if name not in fit.form.grouped
    )
    return Table(fit.form.description, ("", "value", "low", "high"), rows, note)


def _by_group(analysis: Analysis) -> list[Table]:
    fit = analysis.fit
    if not fit.form.grouped:
        return []
    intervals, symbols = parameter_intervals(analysis.draws), fit.symbols
    names = [name for name in fit.form.symbols if name in fit.form.grouped]
    rows = tuple(
        (
            group,
            int(np.sum(fit.data.group == place)),
            *(_between(symbols[name][place], intervals[name][place]) for name in names),
        )
        for place, group in enumerate(fit.data.groups)
    )
    by_symbol = Table("By optimizer", ("", "runs", *names), rows)
    return [_rescalings(analysis), by_symbol] if analysis.rescales else [by_symbol]


def _rescalings(analysis: Analysis) -> Table:
    fit, reference = analysis.fit, analysis.reference
    law, spread = shared_law_of(fit, reference), analysis.draws.law(reference)
    size = float(np.exp(np.mean(np.log(fit.data.size))))
    tokens = float(np.exp(np.mean(np.log(fit.data.tokens))))
    loss = float(law.of(reference).loss(size, tokens))
    rows = []
    for place, name in enumerate(law.optimizers):
        cells = []
        for field in ("size_rescaling", "tokens_rescaling"):
            samples = np.asarray(getattr(spread, field))[:, place]
            value = float(np.asarray(getattr(law, field))[place])
            cells.append(_between(value, percentile_intervals(samples)))
        gain = float(equal_loss_speedup(law, name, reference, size, loss))
        samples = np.asarray(equal_loss_speedup(spread, name, reference, size, loss))
        cells.append(_between(gain, percentile_intervals(samples[~np.isnan(samples)])))
        cost = analysis.costs[name]
        cells.append(f"{gain / cost:.4g} at cost {cost:g}")
        rows.append((name, *cells))
    note = (
        f"speed-up: the tokens {reference} needs over the optimizer's own, at N = {size:.3g} and "
        f"loss {loss:.4g}, for which {reference} needs {tokens:.3g}; in compute: over its cost a "
        "token"
    )
    columns = ("", "rho_N", "rho_D", "speed-up in tokens", "in compute")
    return Table(f"Rescalings against {reference}, 95 % intervals", columns, tuple(rows), note)


def _certificate(analysis: Analysis) -> Table:
    fit, conditions = analysis.fit, analysis.conditions
    hit = bounds_hit(fit)
    rows = [
        ("objective", fit.chosen.description),
        ("its value, summed over the runs", f"{fit.objective:.12e}"),
        ("gradient norm", f"{fit.gradient_norm:.1e}"),
        ("starts that agree", f"{fit.agreement:.1%} of {fit.starts}"),
        ("parameters on a bound", ", ".join(hit) if hit else "none"),
        ("condition number, centred logarithms", f"{conditions.centred:.2e}"),
        ("condition number, logarithms", f"{conditions.logarithmic:.2e}"),
        ("condition number, plain parameters", f"{conditions.plain:.2e}"),
    ]
    if compute_exponent_names(fit.form) is not None:
        count = len(fit.data.groups)
        value = compute_exponent(fit.form, fit.parameters, count)
        samples = compute_exponent(fit.form, analysis.draws.parameters, count)
        shown = _between(float(value), percentile_intervals(samples))
        rows.append(("exponent of N* in compute", shown))
    return Table("Convergence and conditioning", ("", "value"), tuple(rows))


def _correlations(analysis: Analysis) -> Table:
    """All of a small law; of a large one what the optimizers share, or the first's own."""
    labels, correlation = analysis.fit.labels, analysis.conditions.correlation
    first = analysis.fit.data.groups[0]
    if len(labels) <= _SHOWN_CORRELATIONS:
        chosen = list(range(len(labels)))
    else:
        chosen = [k for k, label in enumerate(labels) if "[" not in label] or [
            k for k, label in enumerate(labels) if label.endswith(f"[{first}]")
        ]
    rows = tuple((labels[k], *(f"{correlation[k, m]:+.3f}" for m in chosen)) for k in chosen)
    columns = ("", *(labels[k] for k in chosen))
    return Table("Correlation, centred parameters", columns, rows)


def _law_of(
    symbols: dict[str, np.ndarray], names: tuple[str, str], place: int
) -> Chinchilla | None:
    """A group's law as a Chinchilla law, if its symbols are those of one."""
    if set(symbols) != {"E", "A", "B", "alpha", "beta"} or names != ("alpha", "beta"):
        return None
    e, a, b, alpha, beta = (symbols[name][..., place] for name in ("E", "A", "B", *names))
    return Chinchilla(e, a, b, alpha, beta)


def allocations(
    analysis: Analysis, budgets: tuple[float, ...], cost: float
) -> list[dict[str, Any]]:
    """Compute-optimal size, tokens and loss by optimizer and budget, with 95 % intervals."""
    names = compute_exponent_names(analysis.fit.form)
    entries = []
    for place, group in enumerate(analysis.fit.data.groups):
        law = None if names is None else _law_of(analysis.fit.symbols, names, place)
        draws = None if names is None else _law_of(analysis.draws.symbols, names, place)
        if law is None or draws is None or not min(law.size_exponent, law.tokens_exponent) > 0:
            continue
        # Refits whose exponents are not positive have no optimum.
        usable = (draws.size_exponent > 0) & (draws.tokens_exponent > 0)
        spread = Chinchilla(**{name: value[usable] for name, value in vars(draws).items()})
        for flops in budgets:
            price = cost * analysis.costs[group]
            best, around = (compute_optimal(one, flops, price) for one in (law, spread))
            entry: dict[str, Any] = {"optimizer": group, "flops": float(flops)}
            for name in ("size", "tokens", "loss"):
                entry[name] = float(getattr(best, name))
                samples = np.asarray(getattr(around, name))
                entry[f"{name}_interval"] = percentile_intervals(samples).tolist()
            entries.append(entry)
    return entries


def _allocation_table(entries: list[dict[str, Any]], cost: float) -> Table:
    several = len({entry["optimizer"] for entry in entries}) > 1
    rows = []
    for entry in entries:
        cells = [entry["optimizer"]] if several else []
        cells.append(f"{entry['flops']:.3g}")
        for name in ("size", "tokens", "loss"):
            low, high = entry[f"{name}_interval"]
            cells.append(f"{entry[name]:.4g} [{low:.3g}, {high:.3g}]")
        rows.append(tuple(cells))
    columns = ("budget, FLOP", "N*, parameters", "D*, tokens", "loss")
    return Table(
        "Compute-optimal allocation, 95 % intervals",
        ("", *columns) if several else columns,
        tuple(rows),
        f"C = {cost:g} N D, times the relative cost; beyond the data's range the intervals are the "
        "law's own",
    )


def _predictions(analysis: Analysis) -> Table:
    rows = tuple(
        (one.group, f"{one.size:.4g}", f"{one.tokens:.4g}", _between(one.loss, one.interval))
        for one in analysis.predicted
    )
    return Table("Predicted losses, 95 % intervals", ("", "N", "D", "loss"), rows)


def _held_out(analysis: Analysis) -> Table:
    rows = tuple(
        (
            one.group,
            f"{one.size:.4g}",
            f"{one.tokens:.4g}",
            f"{one.measured:.5g}",
            _between(one.loss, one.interval),
            f"{one.loss - one.measured:+.4f}",
        )
        for one in analysis.held_out
    )
    errors = np.array([one.loss - one.measured for one in analysis.held_out])
    note = f"root mean square error {np.sqrt(np.mean(errors**2)):.4f} over {errors.size} rows"
    columns = ("", "N", "D", "measured", "predicted", "error")
    return Table("Rows set aside", columns, rows, note)


def _between(value: Any, ends: Any) -> str:
    return f"{float(value):.4g} [{float(ends[0]):.4g}, {float(ends[1]):.4g}]"


def _digits(value: Any) -> str:
    return f"{float(value):.8g}"
