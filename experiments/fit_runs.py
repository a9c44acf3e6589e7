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
from experiments.fit_tables import FIELDS, allocations, fit_tables, parameter_intervals
from experiments.progress import Progress, progress_for
from experiments.records import manifest, swap_in
from experiments.run_table import RunTable, read_table
from experiments.tables import print_table
from paper_figures.fit_report import draw_fit
from paper_figures.save import save_figure
from theory.fit_uncertainty import (
    Bootstrap,
    Conditioning,
    bootstrap,
    conditioning,
    warnings_of,
)
from theory.fitting import Fit, fit_chinchilla, runs
from theory.objectives import DESCRIPTIONS


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
    _check_varied(options, table)
    data = runs(table.size, table.tokens, table.loss)
    start_key, draw_key = jax.random.split(jax.random.key(options.seed))
    fit = fit_chinchilla(data, delta=options.delta, starts=options.starts, key=start_key)
    draws = _resample(fit, table, options, draw_key, progress_for(console))
    conditions = conditioning(fit)
    said = warnings_of(fit, conditions)
    if draws.converged < 0.99:
        said.append(f"only {draws.converged:.1%} of the bootstrap refits converged.")
    budgets = options.budgets or _default_budgets(table, options.flops_per_parameter_token)
    for shown in fit_tables(
        fit, table, draws, conditions, budgets, options.flops_per_parameter_token
    ):
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


def _check_varied(options: FitOptions, table: RunTable) -> None:
    for column, values in ((options.n, table.size), (options.d, table.tokens)):
        if np.unique(values).size < 2:
            raise UserError(
                f"{options.file.name}: {column} is {values[0]:g} in every row; "
                "it must vary, or its exponent cannot be identified."
            )
    if table.groups is not None and np.unique(table.groups).size < 2:
        raise UserError(
            f"--cluster {options.cluster} names one training run only: nothing to resample."
        )


def _resample(
    fit: Fit, table: RunTable, options: FitOptions, key: jax.Array, progress: Progress
) -> Bootstrap:
    with progress.task("bootstrap refits", options.bootstrap):
        return bootstrap(fit, options.bootstrap, key, table.groups, progress.advance)


def _default_budgets(table: RunTable, cost: float) -> tuple[float, ...]:
    largest = float(np.max(cost * table.size * table.tokens))
    return largest, 10 * largest, 100 * largest


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
        "intervals_95": parameter_intervals(draws),
        "objective": {
            "kind": DESCRIPTIONS[fit.chosen.kind],
            "delta": fit.delta,
            "value": fit.objective,
        },
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
        "allocations": allocations(fit, draws, budgets, options.flops_per_parameter_token),
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
        figure, plotted = draw_fit(
            fit.law, table.size, table.tokens, table.loss, parameter_intervals(draws)
        )
        save_figure(figure, plotted, temporary / "fit")
        swap_in(temporary, out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
