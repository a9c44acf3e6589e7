"""What a run would do: its chunks, their memory, and the time from rates that were measured."""

from pathlib import Path
from typing import Any

import xarray as xr

from experiments.chunk_store import ChunkStore, Finished
from experiments.chunks import Chunk, Plan
from experiments.memory import format_memory
from experiments.study import Study, checked_plan, chunk_store
from experiments.sweeps import survey
from experiments.tables import Table

COLUMNS = ("chunk", "state", "memory", "work", "seconds")


def dry_run(
    study: Study, config: Any, root: Path, *, force: bool = False, memory: int | None = None
) -> Table:
    """What `run_study` would compute; reads, computes and writes nothing.

    Args:
        study: what would run.
        config: an instance of `study.config`.
        root: results folder.
        force: as of `run_study`.
        memory: as of `run_study`.

    Returns:
        One row a chunk; the note has the sums and says where the time comes from.

    Raises:
        UserError: if `memory` is too small.
        ValueError: if the configuration is refused.
    """
    whole = study.resolve(config)
    path = study.path(whole, root)
    title = f"{study.name}: what a run would compute"
    if path.exists() and not force:
        return Table(title, COLUMNS, (), f"nothing: the record is there, {path}")
    store = chunk_store(study, path, force)
    chosen = checked_plan(study, whole, store, memory)
    if chosen is None:
        row = (study.name, "missing", "unknown", "-", "unknown")
        return Table(title, COLUMNS, (row,), "one piece: neither memory nor time is estimated")
    return _table(title, chosen[0], store, path.parent)


def _table(title: str, plan: Plan, store: ChunkStore, records: Path) -> Table:
    complaints: list[str] = []
    finished, missing = survey(plan, store, complaints.append)
    rate, source = _rate(plan, finished, records, store.version)
    rows = tuple(_row(chunk, store, finished.get(chunk.key), rate) for chunk in plan.chunks)
    left = sum(chunk.work for chunk in missing)
    time = f"about {left / rate:.3g} s" if rate else "time unknown"
    note = (
        f"{len(missing)} of {len(plan.chunks)} chunks to compute, at most "
        f"{format_memory(plan.memory)} of arrays at once, {left:.3g} {plan.unit}, {time} ({source})"
    )
    return Table(title, COLUMNS, rows, "; ".join([note, *complaints]))


def _row(chunk: Chunk, store: ChunkStore, found: Finished | None, rate: float | None) -> tuple:
    memory, work = format_memory(chunk.memory), f"{chunk.work:.3g}"
    if found is not None:
        return chunk.name, "finished", memory, work, f"took {found.seconds:.3g}"
    failure = store.failure(chunk)
    state = "missing" if failure is None else f"failed before: {failure}"
    return chunk.name, state, memory, work, f"about {chunk.work / rate:.3g}" if rate else "unknown"


def _rate(
    plan: Plan, finished: dict[str, Finished], records: Path, version: int
) -> tuple[float | None, str]:
    """Work a second and how it is known; None if nothing was ever measured here."""
    work = sum({c.key: c.work for c in plan.chunks if c.key in finished}.values())
    seconds = sum(found.seconds for found in finished.values())
    if seconds > 0:
        return work / seconds, f"{work / seconds:.3g} {plan.unit}/s in {len(finished)} finished"
    latest = max(_measured(records, version), default=None)
    if latest is None:
        return None, "no chunk of it and no record of this study is there to take a rate from"
    _, rate, name = latest
    return rate, f"{rate:.3g} {plan.unit}/s in the record {name}"


def _measured(records: Path, version: int) -> list[tuple[str, float, str]]:
    """When, work a second and name of the records of the study that say so."""
    found = []
    for path in records.glob("[!.]*"):
        try:
            with xr.open_zarr(path, consolidated=False) as stored:
                attrs = stored.attrs
        except Exception:  # a damaged record is no place to take a rate from
            continue
        if attrs.get("study_version") == version and attrs.get("work"):
            seconds = max(attrs["wall_time_seconds"], 1e-3)
            found.append((attrs["created"], attrs["work"] / seconds, path.name))
    return found
