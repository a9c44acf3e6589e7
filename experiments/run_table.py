"""Reads a user's training runs: CSV or Parquet, columns mapped by name."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.errors import UserError


@dataclass(frozen=True)
class RunTable:
    """Checked columns of a run table.

    Attributes:
        size: N, parameters, [n].
        tokens: D, tokens, [n].
        loss: L, [n].
        groups: label of the training run of each row, [n], or None.
        dropped: rows left out by the drop column.
    """

    size: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray
    groups: np.ndarray | None
    dropped: int


def read_table(
    file: Path, n: str, d: str, loss: str, *, drop: str = "", cluster: str = ""
) -> RunTable:
    """Reads and checks the columns a fit needs.

    Args:
        file: CSV (also compressed) or Parquet (.parquet, .pq).
        n: column of model sizes, parameters.
        d: column of training tokens.
        loss: column of final losses.
        drop: column of flags; rows where it is true are left out.
        cluster: column that names the training run a row belongs to.

    Returns:
        A `RunTable`.

    Raises:
        UserError: if the file or a column is missing, or an entry is not a positive number.
    """
    frame = _read(file)
    columns = [name for name in (n, d, loss, drop, cluster) if name]
    for name in columns:
        if name not in frame.columns:
            there = ", ".join(map(str, frame.columns))
            raise UserError(f"{file.name} has no column {name!r}; it has: {there}.")
    # Lines count from 1 and the first holds the names, as an editor shows them.
    frame.index = pd.RangeIndex(2, len(frame) + 2)
    frame = frame.dropna(how="all")  # blank lines
    dropped = _flags(frame, drop, file) if drop else np.zeros(len(frame), dtype=bool)
    kept = frame.loc[~dropped]
    if kept.empty:
        raise UserError(f"{file.name} has no rows left to fit.")
    size, tokens, losses = (_positive(kept, name, file) for name in (n, d, loss))
    groups = _labels(kept, cluster, file) if cluster else None
    return RunTable(size, tokens, losses, groups, int(dropped.sum()))


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


def _labels(frame: pd.DataFrame, name: str, file: Path) -> np.ndarray:
    missing = np.asarray(pd.isna(frame[name].to_numpy()))
    if missing.any():
        line = frame.index[missing][0]
        raise UserError(f"{file.name} line {line}: {name} is empty; every row needs its run.")
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
