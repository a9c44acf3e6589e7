"""`quadlaw transfer`: a tuned configuration at another budget, under every regime."""

import json as json_format
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from experiments.errors import UserError
from experiments.tables import print_table
from experiments.transfer_empirical import Empirical, disagreements, empirical_laws
from experiments.transfer_fit import Check, Line, checks, fitted_lines
from experiments.transfer_input import TunedRuns, read_tuned
from experiments.transfer_notes import assumptions, notes
from experiments.transfer_regimes import Moved, exponents, momentum_limit, regimes_of, transfer
from experiments.transfer_tables import transfer_tables


@dataclass(frozen=True)
class TransferOptions:
    """Carry a tuned configuration to another budget of tokens, under every tuning regime.

    The TOML file names optimizer, tokens, batch_size, learning_rate, momentum (beta, the share that
    is kept), and may name batch_unit ("tokens" or "samples", then with sequence_length), parameters
    (model size, for laws that need it) and [[more]] tuned points, from which exponents are fitted.

    Example: quadlaw transfer tuned.toml --tokens 1e12
    """

    file: Annotated[Path, tyro.conf.Positional]
    """TOML file with the tuned configuration."""
    tokens: float
    """The new budget in training tokens."""
    batch_size: float | None = None
    """Batch size at the new budget, in the file's unit, where it is not tuned; default: kept."""
    json: Path | None = None
    """File to save all numbers to."""


@dataclass(frozen=True)
class Transfer:
    """All results of one transfer.

    Attributes:
        runs: what was tuned.
        tokens: the new budget.
        moved: configuration under each regime.
        empirical: published laws.
        lines: fitted power laws, by letter; empty with one budget.
        checks: fitted against derived exponents.
        momentum_limit: batch size in tokens from which tuned momentum is zero, or None.
    """

    runs: TunedRuns
    tokens: float
    moved: tuple[Moved, ...]
    empirical: tuple[Empirical, ...]
    lines: dict[str, Line]
    checks: tuple[Check, ...]
    momentum_limit: float | None


def transfer_command(options: TransferOptions, console: Console) -> int:
    """Reads, transfers, prints and saves; returns the exit code.

    Raises:
        UserError: if the file or an option cannot be used.
    """
    runs = read_tuned(options.file)
    result = transfer_all(runs, options.tokens, options.batch_size)
    for table in transfer_tables(result):
        print_table(table, console)
    for title, lines in notes(result).items():
        console.print(f"{title}:")
        for line in lines:
            console.print(f"  - {line}")
    if options.json is not None:
        _save(transfer_record(result), options.json)
        console.print(f"numbers: {options.json}", soft_wrap=True)
    return 0


def transfer_all(runs: TunedRuns, tokens: float, batch_size: float | None = None) -> Transfer:
    """Everything that is said about one transfer.

    Args:
        runs: tuned points.
        tokens: the new budget.
        batch_size: at the new budget in the runs' unit, for regimes that hold it.

    Returns:
        The results.

    Raises:
        UserError: if the new budget or batch size is impossible.
    """
    if not 0.0 < tokens < float("inf"):
        raise UserError(f"--tokens must be a positive number, got {tokens:g}.")
    chosen = None if batch_size is None else batch_size * runs.tokens_per_unit
    if chosen is not None and not runs.smallest_batch <= chosen <= tokens:
        raise UserError(
            f"--batch-size must be between one sample ({runs.smallest_batch:g} tokens) and "
            f"--tokens ({tokens:g}), got {chosen:g} tokens."
        )
    if (chosen or runs.points[0].batch_size) > tokens:
        raise UserError(
            f"--tokens {tokens:g} is less than one batch of {runs.points[0].batch_size:g} tokens."
        )
    moved = tuple(transfer(runs, regime, tokens, chosen) for regime in regimes_of(runs))
    return Transfer(
        runs,
        tokens,
        moved,
        empirical_laws(runs, moved, tokens),
        fitted_lines(runs, tokens),
        checks(runs, tokens),
        None if runs.geometry == "gradient" else momentum_limit(runs, tokens),
    )


def transfer_record(result: Transfer) -> dict[str, Any]:
    """The results as plain numbers and text; batch sizes in tokens, exponents as fractions."""
    return {
        "input": asdict(result.runs),
        "tokens": result.tokens,
        "regimes": [_regime_record(move) for move in result.moved],
        "momentum_limit_batch_size": result.momentum_limit,
        "empirical": [_finite(asdict(law)) for law in result.empirical],
        "fitted": {name: _finite(asdict(line)) for name, line in result.lines.items()},
        "checks": [_finite(asdict(check)) for check in result.checks],
        "disagreements": disagreements(result.moved, result.empirical, result.runs.points[0]),
        "assumptions": assumptions(result),
    }


def _regime_record(move: Moved) -> dict[str, Any]:
    powers = exponents(move.laws)
    return {
        "regime": move.regime.name,
        "bound": move.regime.bound,
        "learning_rate": move.learning_rate,
        "momentum": 1.0 - move.alpha,
        "batch_size": move.batch_size,
        "steps": move.steps,
        "bound_ratio": move.bound_ratio,
        "exponents_of_tokens": {name: str(power) for name, (power, _) in powers.items()},
        "exponents_of_batch_size": {name: str(power) for name, (_, power) in powers.items()},
        "events": list(move.events),
    }


def _finite(value: Any) -> Any:
    """The same for JSON, which knows neither fractions nor infinity."""
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return value if value is None or isinstance(value, str | int) else str(value)


def _save(record: dict[str, Any], path: Path) -> None:
    """Written whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    text = json_format.dumps(record, indent=2, allow_nan=False) + "\n"
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error
