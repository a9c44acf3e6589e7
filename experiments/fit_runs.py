"""`quadlaw fit`: a law for a table of runs, with intervals, conditioning and allocations."""

import json
import shutil
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro
from rich.console import Console

from experiments.errors import UserError
from experiments.progress import Progress, progress_for
from experiments.records import manifest, swap_in
from experiments.run_table import RunTable, read_table
from experiments.tables import Table, print_table
from paper_figures.fit_report import draw_fit
from paper_figures.save import save_figure
from theory.fit_uncertainty import (
    Bootstrap,
    Conditioning,
    bootstrap,
    conditioning,
    percentile_intervals,
    warnings_of,
)
from theory.fitting import Fit, fit_chinchilla, runs
from theory.laws import Chinchilla, compute_exponents, compute_optimal

FIELDS = {
    "E": "irreducible",
    "A": "size_coefficient",
    "B": "tokens_coefficient",
    "alpha": "size_exponent",
    "beta": "tokens_exponent",
}


@dataclass(frozen=True)
class FitOptions:
    """Fit L = E + A N^-alpha + B D^-beta to a CSV or Parquet file of training runs.

    Example: quadlaw fit runs.csv --n params --d tokens --loss final_loss --budgets 1e23 1e25
    """

    file: Annotated[Path, tyro.conf.Positional]
    """CSV or Parquet file, one row a run."""
    n: str = "N"
    """Column of model sizes, in parameters."""
    d: str = "D"
    """Column of training tokens."""
    loss: str = "loss"
    """Column of final losses."""
    drop: str = ""
    """Column of flags; rows where it is true are left out."""
    cluster: str = ""
    """Column naming the training run of a row: the bootstrap then draws whole runs."""
    delta: float = 1e-3
    """Huber threshold on log loss; 1e-6 and below is the L1 limit."""
    starts: int = 256
    """Random starts of the optimiser."""
    bootstrap: int = 1000
    """Refits on resampled runs, for the intervals."""
    seed: int = 0
    """Seed of starts and bootstrap."""
    budgets: tuple[float, ...] = ()
    """Compute budgets in FLOP for the allocation table; default: the data's largest, x10, x100."""
    flops_per_parameter_token: float = 6.0
    """FLOP a parameter and token cost."""
    out: Path = Path("fit_report")
    """Folder for the JSON record and the figure; replaced when the new one is whole."""


def fit_command(options: FitOptions, console: Console) -> int:
    """Reads, fits, prints and saves; returns the exit code.

    Raises:
        UserError: if the file cannot be used.
        ValueError: if an option is outside its domain.
    """
    _check(options)
    table = read_table(
        options.file,
        options.n,
        options.d,
        options.loss,
        drop=options.drop,
        cluster=options.cluster,
    )
    data = runs(table.size, table.tokens, table.loss)
    start_key, draw_key = jax.random.split(jax.random.key(options.seed))
    fit = fit_chinchilla(data, delta=options.delta, starts=options.starts, key=start_key)
    draws = _resample(fit, table, options, draw_key, progress_for(console))
    conditions = conditioning(fit)
    said = warnings_of(fit, conditions)
    if draws.converged < 0.99:
        said.append(f"only {draws.converged:.1%} of the bootstrap refits converged.")
    budgets = options.budgets or _default_budgets(table, options.flops_per_parameter_token)
    for shown in _tables(fit, table, draws, conditions, budgets, options):
        print_table(shown, console)
    for sentence in said or ["none"]:
        console.print(f"warning: {sentence}" if said else "warnings: none")
    record = _record(fit, table, draws, conditions, budgets, said, options)
    _save(record, fit, table, draws, options.out)
    console.print(f"record and figure: {options.out}")
    return 0


def _check(options: FitOptions) -> None:
    for name, low in (("starts", 1), ("bootstrap", 2)):
        value = getattr(options, name)
        if value < low:
            raise UserError(f"--{name} must be at least {low}, got {value}.")
    if not options.delta > 0:
        raise UserError(f"--delta must be positive, got {options.delta:g}.")
    if any(not budget > 0 for budget in options.budgets):
        raise UserError(f"--budgets must be positive, got {options.budgets}.")
    if not options.flops_per_parameter_token > 0:
        value = options.flops_per_parameter_token
        raise UserError(f"--flops-per-parameter-token must be positive, got {value:g}.")
    if (
        options.out.exists()
        and not (options.out / "fit.json").is_file()
        and any(options.out.iterdir() if options.out.is_dir() else [options.out])
    ):
        raise UserError(
            f"--out {options.out} exists and holds no earlier fit; it is left untouched."
        )


def _resample(
    fit: Fit, table: RunTable, options: FitOptions, key: jax.Array, progress: Progress
) -> Bootstrap:
    with progress.task("bootstrap refits", options.bootstrap):
        return bootstrap(fit, options.bootstrap, key, table.groups, progress.advance)


def _default_budgets(table: RunTable, cost: float) -> tuple[float, ...]:
    largest = float(np.max(cost * table.size * table.tokens))
    return largest, 10 * largest, 100 * largest


def _intervals(draws: Bootstrap) -> dict[str, list[float]]:
    return {
        name: percentile_intervals(np.asarray(getattr(draws.law, field))).tolist()
        for name, field in FIELDS.items()
    }


def _tables(
    fit: Fit,
    table: RunTable,
    draws: Bootstrap,
    conditions: Conditioning,
    budgets: tuple[float, ...],
    options: FitOptions,
) -> list[Table]:
    intervals = _intervals(draws)
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
        ("objective, sum-Huber", f"{fit.objective:.12e}"),
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
        _allocation_table(fit, draws, budgets, options.flops_per_parameter_token),
    ]


def _allocation_table(fit: Fit, draws: Bootstrap, budgets: tuple[float, ...], cost: float) -> Table:
    rows = []
    for entry in _allocations(fit, draws, budgets, cost):
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


def _allocations(
    fit: Fit, draws: Bootstrap, budgets: tuple[float, ...], cost: float
) -> list[dict[str, Any]]:
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


def _record(
    fit: Fit,
    table: RunTable,
    draws: Bootstrap,
    conditions: Conditioning,
    budgets: tuple[float, ...],
    said: list[str],
    options: FitOptions,
) -> dict[str, Any]:
    origin = manifest("fit", 1, _Stated(options.file.name), 0.0)
    kept = ("package_version", "commit", "dirty", "python", "versions", "created", "command")
    return {
        "law": "L = E + A N^-alpha + B D^-beta",
        "parameters": {name: float(getattr(fit.law, field)) for name, field in FIELDS.items()},
        "intervals_95": _intervals(draws),
        "objective": {"kind": "sum-Huber on log loss", "delta": fit.delta, "value": fit.objective},
        "gradient_norm": fit.gradient_norm,
        "starts": fit.starts,
        "starts_agreeing": fit.agreement,
        "rows": int(table.loss.size),
        "rows_dropped": table.dropped,
        "bootstrap": {
            "draws": draws.draws,
            "converged": draws.converged,
            "by": options.cluster or "row",
        },
        "condition_number": {
            "centred": conditions.centred,
            "logarithms": conditions.logarithmic,
            "plain": conditions.plain,
        },
        "correlation_centred": conditions.correlation.tolist(),
        "standard_errors_centred": conditions.standard_errors.tolist(),
        "allocations": _allocations(fit, draws, budgets, options.flops_per_parameter_token),
        "warnings": said,
        "options": {name: _plain(value) for name, value in asdict(options).items()},
        "manifest": {name: origin[name] for name in kept},
    }


@dataclass(frozen=True)
class _Stated:
    file: str


def _plain(value: Any) -> Any:
    return value.name if isinstance(value, Path) else value


def _save(record: dict, fit: Fit, table: RunTable, draws: Bootstrap, out: Path) -> None:
    """Writes the whole report beside its place, then swaps it in."""
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        temporary.mkdir(parents=True)
        text = json.dumps(record, indent=1, allow_nan=True)
        (temporary / "fit.json").write_text(text + "\n")
        figure, plotted = draw_fit(fit.law, table.size, table.tokens, table.loss, _intervals(draws))
        save_figure(figure, plotted, temporary / "fit")
        swap_in(temporary, out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _digits(value: Any) -> str:
    return f"{float(value):.8g}"
