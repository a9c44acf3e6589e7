"""The tables that `quadlaw transfer` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experiments.tables import Table
from experiments.transfer_empirical import Predicted
from experiments.transfer_fit import LEVEL, Line
from experiments.transfer_regimes import BOTH, Moved, exponents

if TYPE_CHECKING:
    from experiments.transfer import Transfer

_BOUNDS = {
    "sign": "LMO bound in the max norm",
    "spectral": "LMO bound in the spectral norm",
    "euclidean": "LMO bound in the Euclidean norm",
    "gradient": "classical SGD bound on the squared gradient norm",
}
_COMPARED = {BOTH: "rate, batch", "learning_rate": "rate"}


def transfer_tables(result: Transfer) -> list[Table]:
    """Tables of regimes, published laws and, with several points, fits."""
    tables = [_regimes(result), _empirical(result)]
    if any(
        p and p.absolute for law in result.empirical for p in (law.learning_rate, law.batch_size)
    ):
        tables.append(_absolute(result))
    if result.lines:
        tables += [_lines(result), _checks(result)]
    return tables


def _regimes(result: Transfer) -> Table:
    runs, start = result.runs, result.runs.points[0]
    scale = runs.tokens_per_unit
    first = (
        "tuned configuration",
        _number(start.learning_rate),
        _momentum(start.alpha),
        _number(start.batch_size / scale),
        _number(start.tokens / start.batch_size),
        "",
        "1",
    )
    rows = [
        (
            move.regime.name,
            _number(move.learning_rate),
            _momentum(move.alpha),
            _number(move.batch_size / scale),
            _number(move.steps),
            _laws(move),
            "" if move.bound_ratio is None else _number(move.bound_ratio),
        )
        for move in result.moved
    ]
    title = (
        f"{runs.optimizer}: {start.tokens:g} to {result.tokens:g} tokens, {_BOUNDS[runs.geometry]}"
    )
    columns = "tuned", "learning rate", "momentum", f"batch ({runs.unit})", "steps", "laws", "bound"
    note = "bound: its leading term over that of the tuned configuration; T tokens, B held batch"
    return Table(title, columns, (first, *rows), note)


def _laws(move: Moved) -> str:
    words = {"eta": "eta", "alpha": "1-momentum", "B": "B"}
    parts = []
    for name, (of_budget, of_batch) in exponents(move.laws).items():
        if name in words:
            held = f" B^{of_batch}" if of_batch and move.regime.free_batch else ""
            parts.append(f"{words[name]} T^{of_budget}{held}")
    if move.regime.batch_power:
        parts.append(f"B T^{move.regime.batch_power} held")
    return ", ".join(parts)


def _empirical(result: Transfer) -> Table:
    scale = result.runs.tokens_per_unit
    rows = tuple(
        (
            law.name,
            *_predicted(law.learning_rate, 1.0),
            *_predicted(law.batch_size, scale),
            _COMPARED[law.compared],
            (law.learning_rate or law.batch_size).law.known,  # pyright: ignore[reportOptionalMemberAccess]
        )
        for law in result.empirical
    )
    columns = (
        "published law",
        "learning rate",
        "~ D^",
        "/ derived",
        f"batch ({result.runs.unit})",
        "~ D^",
        "/ derived",
        "derived, tuned",
        "known from",
    )
    note = "their ratios applied to the tuned configuration, model size fixed; x/ standard error"
    return Table("Published laws for the same step", columns, rows, note)


def _predicted(found: Predicted | None, scale: float) -> tuple[str, str, str]:
    if found is None:
        return "", "", ""
    error = f" x/ {np.exp(found.error):.2g}" if found.error else ""
    power = f"{found.of_tokens:+.3g}"
    return f"{found.value / scale:.4g}{error}", power, _number(found.over_derived)


def _absolute(result: Transfer) -> Table:
    rows = []
    for law in result.empirical:
        both = (law.learning_rate, 1.0), (law.batch_size, result.runs.tokens_per_unit)
        cells = [
            "" if p is None or p.absolute is None else _number(p.absolute / s) for p, s in both
        ]
        constants = [p.law.constant_known for p, _ in both if p and p.absolute is not None]
        if constants:
            rows.append((law.name, *cells, constants[0]))
    columns = "published law", "learning rate", f"batch ({result.runs.unit})", "constant known from"
    note = "from their own constants, not from the tuned configuration; AdamW, their schedules"
    return Table("Published laws, absolute", columns, tuple(rows), note)


def _lines(result: Transfer) -> Table:
    scale = result.runs.tokens_per_unit
    words = {"eta": "learning rate", "alpha": "1 - momentum", "B": f"batch ({result.runs.unit})"}
    rows = tuple(
        (
            words[name],
            _interval(line),
            _power(line.value - (np.log(scale) if name == "B" else 0.0)),
            f"x/ {_power(line.value_half_width)}" if np.isfinite(line.half_width) else "none",
        )
        for name, line in result.lines.items()
    )
    columns = (
        "variable",
        "exponent of tokens",
        f"at {result.tokens:g} tokens",
        f"{LEVEL:.0%} factor",
    )
    title = f"Power laws through your {len(result.runs.points)} points"
    return Table(title, columns, rows, "least squares in logarithms, Student's intervals")


def _checks(result: Transfer) -> Table:
    rows = tuple(
        (
            check.regime,
            {"eta": "learning rate", "alpha": "1 - momentum", "B": "batch"}[check.variable],
            str(check.derived),
            "" if check.fitted is None else _interval(check.fitted),
            check.verdict,
        )
        for check in result.checks
    )
    columns = "tuned", "variable", "derived", "fitted", "verdict"
    note = "fitted after dividing out the regime's own power of the batch size"
    return Table("Your points against the regimes", columns, rows, note)


def _interval(line: Line) -> str:
    if not np.isfinite(line.half_width):
        return f"{line.slope:.4g}, no interval"
    return f"{line.slope:.4g} +- {line.half_width:.2g}"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _power(log: float) -> str:
    """exp(log), also where that is no float."""
    return f"{np.exp(log):.4g}" if abs(log) < 700.0 else f"10^{log / np.log(10.0):.0f}"


def _momentum(alpha: float) -> str:
    """1 - alpha with so many digits that alpha is seen to three."""
    digits = 2 - int(np.floor(np.log10(alpha)))
    return f"{1.0 - alpha:.{digits}f}".rstrip("0").rstrip(".")
