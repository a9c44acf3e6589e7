"""Reads a user's training runs: CSV or Parquet, columns mapped by name, rows by condition."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.errors import UserError

_CONDITION = re.compile(r"^\s*([^<>=!]+?)\s*(<=|>=|!=|<|>|=)\s*(.*?)\s*$")


@dataclass(frozen=True)
class RunTable:
    """Checked columns of a run table.

    Attributes:
        size: N, parameters, [n].
        tokens: D, tokens, [n].
        loss: L, [n].
        optimizer: label of the optimizer of each row, [n], or None.
        groups: label of the training run of each row, [n], or None.
        lines: of the file, counted as an editor does, [n].
        dropped: rows left out by the drop column or by a condition.
        diverged: rows left out for their loss.
    """

    size: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray
    optimizer: np.ndarray | None
    groups: np.ndarray | None
    lines: np.ndarray
    dropped: int
    diverged: int


def read_table(
    file: Path,
    n: str,
    d: str,
    loss: str,
    *,
    drop: str = "",
    group: str = "",
    optimizer: str = "",
    keep: Sequence[str] = (),
    holdout: str = "",
    max_loss: float = float("inf"),
) -> tuple[RunTable, RunTable | None]:
    """Reads and checks the columns a fit needs.

    Args:
        file: CSV (also compressed) or Parquet (.parquet, .pq).
        n: column of model sizes, parameters.
        d: column of training tokens.
        loss: column of final losses.
        drop: column of flags; rows where it is true are left out.
        group: column that names the training run a row belongs to.
        optimizer: column that names the optimizer of a row, or several joined by "+" that do so
            together.
        keep: conditions COLUMN OPERATOR VALUE that every row must meet.
        holdout: condition on rows that are set aside.
        max_loss: rows with a loss above, or without one, are left out as diverged; without a finite
            limit a missing loss is refused.

    Returns:
        The rows to fit, and those set aside or None.

    Raises:
        UserError: if the file or a column is missing, or an entry is not a positive number.
    """
    frame = _read(file)
    conditions = [_condition(text, file) for text in keep]
    aside = _condition(holdout, file) if holdout else None
    labels = [optimizer] if optimizer in frame.columns else optimizer.split("+")
    wanted = [name for name in (n, d, loss, drop, group, *labels) if name]
    for name in (*wanted, *(column for column, _, _ in conditions), *((aside or ())[:1])):
        if name not in frame.columns:
            there = ", ".join(map(str, frame.columns))
            raise UserError(f"{file.name} has no column {name!r}; it has: {there}.")
    if len(labels) > 1:
        frame = frame.assign(**{optimizer: _joined(frame, labels)})
    # Lines count from 1 and the first holds the names, as an editor shows them.
    frame.index = pd.RangeIndex(2, len(frame) + 2)
    frame = frame.dropna(how="all")  # blank lines
    kept = frame.loc[~_flags(frame, drop, file)] if drop else frame
    for condition in conditions:
        kept = kept.loc[_meets(kept, condition, file)]
    dropped = len(frame) - len(kept)
    diverged = _diverged(kept, loss, max_loss)
    kept, gone = kept.loc[~diverged], int(diverged.sum())
    away = _meets(kept, aside, file) if aside else np.zeros(len(kept), dtype=bool)
    if kept.loc[~away].empty:
        raise UserError(f"{file.name} has no rows left to fit.")

    def table(rows: pd.DataFrame) -> RunTable:
        size, tokens, losses = (_positive(rows, name, file) for name in (n, d, loss))
        names = _labels(rows, optimizer, file, "its optimizer") if optimizer else None
        groups = _labels(rows, group, file, "its run") if group else None
        lines = np.asarray(rows.index)
        return RunTable(size, tokens, losses, names, groups, lines, dropped, gone)

    return table(kept.loc[~away]), table(kept.loc[away]) if away.any() else None


def _read(file: Path) -> pd.DataFrame:
    if not file.is_file():
        raise UserError(f"there is no file {file}.")
    try:
        if file.suffix.lower() in {".parquet", ".pq"}:
            return pd.read_parquet(file)
        return pd.read_csv(file, skip_blank_lines=False)
    except Exception as error:  # pandas and pyarrow raise many kinds for damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"cannot read {file.name}: {reason}") from error


def _condition(text: str, file: Path) -> tuple[str, str, str]:
    found = _CONDITION.match(text)
    if not found:
        raise UserError(
            f"{file.name}: condition {text!r} must be COLUMN OPERATOR VALUE, "
            "with an operator of <, <=, >, >=, =, !=."
        )
    return found.group(1), found.group(2), found.group(3)


def _meets(frame: pd.DataFrame, condition: tuple[str, str, str], file: Path) -> np.ndarray:
    column, operator, text = condition
    try:
        value = float(text)
    except ValueError:
        if operator not in ("=", "!="):
            raise UserError(
                f"{file.name}: {column} {operator} {text!r} compares with what is no number."
            ) from None
        same = np.asarray(frame[column].astype(str).str.strip() == text)
        return same if operator == "=" else ~same
    numbers = np.asarray(pd.to_numeric(frame[column], errors="coerce"), dtype=float)
    return {
        "<": numbers < value,
        "<=": numbers <= value,
        ">": numbers > value,
        ">=": numbers >= value,
        "=": numbers == value,
        "!=": numbers != value,
    }[operator]


def _diverged(frame: pd.DataFrame, loss: str, max_loss: float) -> np.ndarray:
    if max_loss == float("inf"):
        return np.zeros(len(frame), dtype=bool)
    numbers = np.asarray(pd.to_numeric(frame[loss], errors="coerce"), dtype=float)
    # Text is a mistake to name, not a divergence; an empty entry or NaN is a run without an end.
    text = np.isnan(numbers) & ~np.asarray(frame[loss].isna())
    return ~(numbers <= max_loss) & ~text


def _flags(frame: pd.DataFrame, name: str, file: Path) -> np.ndarray:
    text = frame[name].astype(str).str.strip().str.lower()
    known = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    unknown = ~text.isin(list(known))
    if unknown.any():
        line = text.index[unknown][0]
        raise UserError(
            f"{file.name} line {line}: {name} must be true or false, got {frame[name][line]!r}."
        )
    return np.asarray(text.map(known), dtype=bool)


def _joined(frame: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Labels of several columns joined by "+"; missing where one is."""
    whole = np.all(frame[list(names)].notna().to_numpy(), axis=1)
    texts = frame[list(names)].astype(str).to_numpy()
    return np.array(
        ["+".join(row) if filled else None for row, filled in zip(texts, whole, strict=True)],
        dtype=object,
    )


def _labels(frame: pd.DataFrame, name: str, file: Path, what: str) -> np.ndarray:
    missing = np.asarray(pd.isna(frame[name].to_numpy()))
    if missing.any():
        line = frame.index[missing][0]
        raise UserError(f"{file.name} line {line}: {name} is empty; every row needs {what}.")
    return np.asarray(frame[name].astype(str))


def _positive(frame: pd.DataFrame, name: str, file: Path) -> np.ndarray:
    numbers = np.asarray(pd.to_numeric(frame[name], errors="coerce"), dtype=float)
    bad = ~(np.isfinite(numbers) & (numbers > 0))
    if bad.any():
        line = frame.index[bad][0]
        raise UserError(
            f"{file.name} line {line}: {name} must be a finite positive number, "
            f"got {frame[name][line]!s}."
        )
    return numbers
