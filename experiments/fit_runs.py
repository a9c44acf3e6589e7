"""`quadlaw fit`: a law for a table of runs, with intervals, conditioning and allocations."""

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from experiments.errors import UserError
from experiments.fit_analysis import Analysis, analyse
from experiments.fit_data import (
    check_varied,
    chosen_form,
    data_of,
    reference_of,
    unit_warnings,
    without_duplicates,
)
from experiments.fit_options import FitOptions, check_options
from experiments.fit_page import page
from experiments.fit_record import latex, record_of
from experiments.fit_tables import fit_tables
from experiments.progress import progress_for
from experiments.records import swap_in
from experiments.run_table import RunTable, read_table
from experiments.tables import Table, print_table
from paper_figures.fit_report import draw_fit, draw_profiles, draw_rescalings
from paper_figures.save import save_figure
from theory.fit_uncertainty import percentile_intervals
from theory.shared_fitting import shared_law_of

__all__ = ["FitOptions", "fit_command"]


def fit_command(options: FitOptions, console: Console) -> int:
    """Reads, fits, prints and saves; returns the exit code.

    Raises:
        UserError: if the file cannot be used.
        ValueError: if an option is outside its domain.
    """
    check_options(options)
    form = chosen_form(options)
    read, aside = read_table(
        options.file,
        options.n,
        options.d,
        options.loss,
        drop=options.drop,
        group=options.group,
        optimizer=options.optimizer_column,
        keep=options.keep,
        holdout=options.holdout,
        max_loss=options.max_loss,
    )
    check_varied(read, options, form)
    table, repeated = without_duplicates(read, options)
    data = data_of(table, options, form)
    reference = reference_of(data, options)
    progress = progress_for(console)
    analysis = analyse(data, form, reference, table, aside, options, progress)
    said = [*unit_warnings(table, options), *repeated, *analysis.warnings]
    budgets = options.budgets or _default_budgets(table, options.flops_per_parameter_token)
    tables = fit_tables(analysis, table, budgets, options.flops_per_parameter_token)
    for shown in tables:
        print_table(shown, console)
    for sentence in said:
        console.print(f"warning: {sentence}")
    if not said:
        console.print("warnings: none")
    record = record_of(analysis, table, budgets, options) | {"warnings": said}
    _save(record, analysis, tables, options.report)
    console.print(f"page, record, LaTeX and figures: {options.report}", soft_wrap=True)
    return 0


def _default_budgets(table: RunTable, cost: float) -> tuple[float, ...]:
    largest = float(np.max(cost * table.size * table.tokens))
    return largest, 10 * largest, 100 * largest


def _save(record: dict[str, Any], analysis: Analysis, tables: list[Table], report: Path) -> None:
    """Writes the whole report beside its place, then swaps it in."""
    temporary = report.with_name(f".{report.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        temporary.mkdir(parents=True)
        text = json.dumps(record, indent=1, allow_nan=True)
        (temporary / "fit.json").write_text(text + "\n")
        (temporary / "fit.tex").write_text(latex(tables))
        figures = _figures(analysis, temporary)
        origin = [(name, str(value)) for name, value in record["manifest"].items()]
        title = f"A scaling law for {record['options']['file']}"
        warnings, law = record["warnings"], record["law"]
        html = page(title, law, tables, figures, warnings, origin)
        (temporary / "index.html").write_text(html, encoding="utf-8")
        swap_in(temporary, report)
    except OSError as error:
        raise UserError(f"cannot write {report}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _figures(analysis: Analysis, folder: Path) -> list[tuple[str, Path]]:
    """Draws what there is to draw; captions with the PNG files."""
    fit, found = analysis.fit, []
    data = fit.data
    fitted = data.loss * np.exp(-fit.residuals)
    drawn = draw_fit(data.size, data.tokens, data.loss, fitted, data.group, data.groups)
    save_figure(*drawn, folder / "fit")
    found.append(("Measured against fitted losses, and residuals", folder / "fit.png"))
    if analysis.rescales:
        law, spread = (
            shared_law_of(fit, analysis.reference),
            analysis.draws.law(analysis.reference),
        )
        fields = {"rho_N": "size_rescaling", "rho_D": "tokens_rescaling"}
        rho = {
            symbol: (
                np.asarray(getattr(law, field)),
                percentile_intervals(np.asarray(getattr(spread, field))),
            )
            for symbol, field in fields.items()
        }
        save_figure(*draw_rescalings(law.optimizers, rho), folder / "rescalings")
        caption = f"Rescalings against {analysis.reference}, 95 % intervals"
        found.append((caption, folder / "rescalings.png"))
    if analysis.diagnostics is not None and analysis.diagnostics.profiles:
        profiles = analysis.diagnostics.profiles
        curves = {one.label: (one.values, one.excess) for one in profiles}
        save_figure(*draw_profiles(curves, profiles[0].limit), folder / "profiles")
        caption = "Profiles: all other parameters fitted anew; dashed, the 95 % limit"
        found.append((caption, folder / "profiles.png"))
    return found
