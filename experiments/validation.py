"""The validation table: every claim checked, one row each."""

import uuid
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from experiments.arguments import check_names
from experiments.claims import CLAIMS
from experiments.compare import AGREES, DISAGREES, OPEN, Verdict
from experiments.compiled import bound_compiled
from experiments.progress import Progress
from experiments.tables import Table


def validate(names: Sequence[str], quick: bool, progress: Progress) -> list[Verdict]:
    """Checks the named groups of claims, or all of them.

    Args:
        names: keys of `CLAIMS`; none means all.
        quick: smaller sizes and fewer seeds.
        progress: where to show progress.

    Returns:
        The verdicts, in the order of the groups.

    Raises:
        UserError: if a name is unknown.
    """
    check_names("group of claims", names, list(CLAIMS))
    chosen = list(names) or list(CLAIMS)
    verdicts = []
    with progress.task("claims", len(chosen)):
        for name in chosen:
            bound_compiled()
            verdicts.extend(CLAIMS[name](quick))
            progress.advance()
    return verdicts


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """The rows as a table for people."""
    rows = tuple((v.claim, v.prediction, v.measurement, v.error, v.basis, v.word) for v in verdicts)
    columns = "claim", "prediction", "measurement", "allowed", "error estimate", "verdict"
    return Table("Theory against independent computation", columns, rows, _counts(verdicts))


def _counts(verdicts: Sequence[Verdict]) -> str:
    own = [v for v in verdicts if not v.finding or not v.passed]
    failed = sum(not verdict.passed for verdict in own)
    note = f"{len(own)} claims, {failed} failed" if failed else f"all {len(own)} hold"
    found = [v.finding for v in verdicts if v.finding and v.passed]
    if found:
        counts = ", ".join(f"{found.count(word)} {word}" for word in (AGREES, DISAGREES, OPEN))
        note += f"; of {len(found)} published findings tested on systems of ours: {counts}"
    return note


def save_verdicts(verdicts: Sequence[Verdict], path: Path) -> None:
    """Writes the rows with all their digits as CSV, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        pd.DataFrame([vars(verdict) for verdict in verdicts]).to_csv(temporary, index=False)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
