"""The TOML file of `quadlaw transfer`: one tuned configuration, or several."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.arguments import check_names, unknown
from experiments.errors import UserError

# Which bound speaks for an optimizer: steps of unit norm (LMO), or gradients as they are.
GEOMETRIES = {
    "adam": "sign",
    "adamw": "sign",
    "lion": "sign",
    "muon": "spectral",
    "normalized_sgd": "euclidean",
    "scion": "spectral",
    "sgd": "gradient",
    "signsgd": "sign",
    "signum": "sign",
}
UNITS = ("tokens", "samples")
_POINT = ("tokens", "batch_size", "learning_rate", "momentum")
_FILE = ("optimizer", *_POINT, "batch_unit", "sequence_length", "parameters", "more")


@dataclass(frozen=True)
class TunedPoint:
    """A configuration that was tuned for its budget.

    Attributes:
        tokens: training tokens T.
        batch_size: B in tokens.
        learning_rate: eta.
        alpha: 1 - momentum, in (0, 1].
    """

    tokens: float
    batch_size: float
    learning_rate: float
    alpha: float


@dataclass(frozen=True)
class TunedRuns:
    """What the file says.

    Attributes:
        optimizer: its name.
        points: tuned configurations, the one to start from first.
        unit: `tokens` or `samples`, in which batch sizes are given and shown.
        sequence_length: tokens of a sample, or None.
        parameters: model size N, or None.
    """

    optimizer: str
    points: tuple[TunedPoint, ...]
    unit: str
    sequence_length: float | None
    parameters: float | None

    @property
    def geometry(self) -> str:
        """Which bound is used."""
        return GEOMETRIES[self.optimizer]

    @property
    def tokens_per_unit(self) -> float:
        """Tokens in one unit of batch size."""
        return (self.sequence_length or 1.0) if self.unit == "samples" else 1.0

    @property
    def smallest_batch(self) -> float:
        """One sample, in tokens; one token where the length of a sample is not known."""
        return self.sequence_length or 1.0


def read_tuned(path: Path) -> TunedRuns:
    """Reads and checks the file.

    Raises:
        UserError: naming the file and what is missing, unknown or wrong.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no TOML: {error}.") from error
    try:
        return tuned_from_mapping(table)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def tuned_from_mapping(table: Mapping[str, Any]) -> TunedRuns:
    """`TunedRuns` from a mapping as a TOML file gives it.

    Raises:
        UserError: naming the entry that is missing, unknown or wrong.
    """
    check_names("entry", list(table), _FILE)
    for name in ("optimizer", *_POINT):
        if name not in table:
            raise UserError(f"`{name}` is missing; needed: {', '.join(('optimizer', *_POINT))}.")
    optimizer, unit = table["optimizer"], table.get("batch_unit", "tokens")
    if optimizer not in GEOMETRIES:
        raise UserError(unknown("optimizer", str(optimizer), list(GEOMETRIES)))
    if unit not in UNITS:
        raise UserError(unknown("`batch_unit`", str(unit), UNITS))
    length = _positive(table, "sequence_length", "") if "sequence_length" in table else None
    if unit == "samples" and length is None:
        raise UserError("`sequence_length` is missing: batch_unit = 'samples' needs it.")
    size = _positive(table, "parameters", "") if "parameters" in table else None
    more = table.get("more", [])
    if not isinstance(more, list) or not all(isinstance(entry, dict) for entry in more):
        raise UserError("`more` must be tables: [[more]], then tokens, batch_size, learning_rate.")
    scale = (length or 1.0) if unit == "samples" else 1.0
    points = [_point(table, scale, length or 1.0, "")]
    for k, entry in enumerate(more, start=1):
        where = f" in [[more]] number {k}"
        check_names(f"entry{where}", list(entry), _POINT)
        full = {"momentum": table["momentum"], **entry}
        points.append(_point(full, scale, length or 1.0, where))
    return TunedRuns(optimizer, tuple(points), unit, length, size)


def _point(table: Mapping[str, Any], scale: float, smallest: float, where: str) -> TunedPoint:
    for name in _POINT:
        if name not in table:
            raise UserError(f"`{name}` is missing{where}.")
    tokens = _positive(table, "tokens", where)
    batch = _positive(table, "batch_size", where) * scale
    rate = _positive(table, "learning_rate", where)
    momentum = _number(table, "momentum", where)
    if not 0.0 <= momentum < 1.0:
        raise UserError(f"`momentum` must be at least 0 and below 1{where}, got {momentum:g}.")
    if batch > tokens:
        raise UserError(f"`tokens` {tokens:g} is less than one batch of {batch:g} tokens{where}.")
    if batch < smallest:
        raise UserError(
            f"`batch_size` of {batch:g} tokens is less than one sample of {smallest:g}{where}."
        )
    return TunedPoint(tokens, batch, rate, 1.0 - momentum)


def _positive(table: Mapping[str, Any], name: str, where: str) -> float:
    number = _number(table, name, where)
    if not number > 0.0:
        raise UserError(f"`{name}` must be positive{where}, got {number:g}.")
    return number


def _number(table: Mapping[str, Any], name: str, where: str) -> float:
    value = table[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"`{name}` must be a finite number{where}, got {value!r}.")
    return float(value)
