"""The JSON record and the LaTeX tables of a fit."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.fit_analysis import Analysis, Diagnostics
from experiments.fit_options import FitOptions
from experiments.fit_predictions import Predicted
from experiments.fit_tables import allocations, parameter_intervals
from experiments.records import manifest
from experiments.run_table import RunTable
from experiments.tables import Table, format_cell
from theory.fit_uncertainty import percentile_intervals
from theory.fit_warnings import bounds_hit
from theory.shared_fitting import shared_law_of

VERSION = 2
_ESCAPES = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
}


def record_of(
    analysis: Analysis, table: RunTable, budgets: tuple[float, ...], options: FitOptions
) -> dict[str, Any]:
    """Everything a fit found, as plain numbers and text."""
    fit, draws, conditions = analysis.fit, analysis.draws, analysis.conditions
    form, symbols = fit.form, fit.symbols
    origin = manifest("fit", VERSION, _Stated(options.file.name), 0.0)
    kept = ("package_version", "commit", "dirty", "python", "versions", "created", "command")
    return {
        "law": form.description,
        "form": form.name,
        "parameters": {
            name: symbols[name].tolist() if name in form.grouped else float(symbols[name][0])
            for name in form.symbols
        },
        "intervals_95": parameter_intervals(draws),
        "optimizers": list(fit.data.groups) if form.grouped else [],
        "rescalings": _rescalings(analysis) if analysis.rescales else {},
        "relative_cost": analysis.costs if form.grouped else {},
        "objective": {
            "kind": fit.chosen.description,
            "delta": fit.delta,
            "value": fit.objective,
        },
        "gradient_norm": fit.gradient_norm,
        "starts": fit.starts,
        "starts_agreeing": fit.agreement,
        "on_a_bound": list(bounds_hit(fit)),
        "rows": int(table.loss.size),
        "rows_dropped": table.dropped,
        "rows_diverged": table.diverged,
        "bootstrap": {
            "draws": draws.draws,
            "converged": draws.converged,
            "by": options.group or "row",
        },
        "condition_number": {
            "centred": conditions.centred,
            "logarithms": conditions.logarithmic,
            "plain": conditions.plain,
        },
        "centred_parameters": list(fit.labels),
        "correlation_centred": conditions.correlation.tolist(),
        "covariance_centred": conditions.covariance.tolist(),
        "standard_errors_centred": conditions.standard_errors.tolist(),
        "diagnostics": None if analysis.diagnostics is None else _told(analysis.diagnostics),
        "allocations": allocations(analysis, budgets, options.flops_per_parameter_token),
        "predicted": [_point(one) for one in analysis.predicted],
        "held_out": [_point(one) | {"measured": one.measured} for one in analysis.held_out],
        "warnings": list(analysis.warnings),
        "options": {name: _plain(value) for name, value in asdict(options).items()},
        "manifest": {name: origin[name] for name in kept},
    }


@dataclass(frozen=True)
class _Stated:
    file: str


def _plain(value: Any) -> Any:
    return value.name if isinstance(value, Path) else value


def _rescalings(analysis: Analysis) -> dict[str, Any]:
    law, spread = (
        shared_law_of(analysis.fit, analysis.reference),
        analysis.draws.law(analysis.reference),
    )
    found: dict[str, Any] = {"reference": analysis.reference}
    for name, field in (("rho_N", "size_rescaling"), ("rho_D", "tokens_rescaling")):
        values, samples = np.asarray(getattr(law, field)), np.asarray(getattr(spread, field))
        low, high = percentile_intervals(samples)
        found[name] = dict(zip(law.optimizers, values.tolist(), strict=True))
        ends = np.stack([low, high], axis=1).tolist()
        found[f"{name}_interval"] = dict(zip(law.optimizers, ends, strict=True))
    return found


def _told(found: Diagnostics) -> dict[str, Any]:
    told: dict[str, Any] = {
        "profile_intervals": {one.label: list(one.interval) for one in found.profiles},
        "leave_one_out_rmse": found.one_out.rmse,
        "largest_size_rmse": found.largest.rmse,
    }
    if found.candidates:
        told["comparison"] = [
            {
                "law": one.fit.form.name,
                "parameters": int(one.fit.parameters.size),
                "objective": one.fit.objective,
                "largest_size_rmse": one.largest_rmse,
                "leave_one_out_rmse": one.one_out_rmse,
                "log_likelihood": one.log_likelihood,
                "aicc": one.aic,
                "bic": one.bic,
            }
            for one in found.candidates
        ]
    if found.test is not None:
        told["separate_against_shared"] = vars(found.test)
    if found.by_delta is not None:
        exponents = found.by_delta.exponents.tolist()
        told["exponent_by_delta"] = dict(zip(found.by_delta.deltas, exponents, strict=True))
    if found.shifts is not None:
        told["exponent_influence"] = found.shifts.tolist()
    if found.group_out is not None and found.group_shifts is not None:
        shifts = found.group_shifts.tolist()
        told["exponent_without"] = dict(zip(found.group_out.names, shifts, strict=True))
    return told


def _point(one: Predicted) -> dict[str, Any]:
    return {
        "optimizer": one.group,
        "size": one.size,
        "tokens": one.tokens,
        "loss": one.loss,
        "interval": list(one.interval),
    }


def latex(tables: Sequence[Table]) -> str:
    """The tables as LaTeX with booktabs rules, one after the other."""
    return "\n".join(_latex(table) for table in tables)


def _latex(table: Table) -> str:
    caption = f"{table.title}. {table.note}" if table.note else table.title

    def line(cells: Sequence[object]) -> str:
        return " & ".join(_escaped(format_cell(cell)) for cell in cells) + r" \\"

    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_escaped(caption)}.}}",
            rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}",
            r"\toprule",
            line(table.columns),
            r"\midrule",
            *(line(row) for row in table.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)
