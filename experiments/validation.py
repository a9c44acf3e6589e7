"""The validation table: every claim checked, one row each."""

import uuid
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from experiments.arguments import check_names
from experiments.claims import CLAIMS
from experiments.compare import Verdict
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
            verdicts.extend(CLAIMS[name](quick))
            progress.advance()
    return verdicts


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """The rows as a table for people."""
    failed = sum(not verdict.passed for verdict in verdicts)
    note = f"{len(verdicts)} claims, {failed} failed" if failed else f"all {len(verdicts)} hold"
    rows = tuple(
        (v.claim, v.prediction, v.measurement, v.error, v.basis, "holds" if v.passed else "FAILS")
        for v in verdicts
    )
    columns = "claim", "prediction", "measurement", "allowed", "error estimate", "verdict"
    return Table("Theory against independent computation", columns, rows, note)


def save_verdicts(verdicts: Sequence[Verdict], path: Path) -> None:
    """Writes the rows with all their digits as CSV, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        pd.DataFrame([vars(verdict) for verdict in verdicts]).to_csv(temporary, index=False)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
