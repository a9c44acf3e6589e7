"""Running a plan: what is finished is read, what is missing computed, what fails noted."""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import xarray as xr

from experiments.chunk_store import ChunkStore, Finished
from experiments.chunks import Chunk, DamagedChunkError, Plan
from experiments.errors import UserError
from experiments.memory import format_memory
from experiments.progress import Progress

Note = Callable[[str], None]


class SweepError(UserError):
    """Chunks failed; the others are kept.

    Attributes:
        details: one line a failure.
    """

    def __init__(self, message: str, details: tuple[str, ...]) -> None:
        super().__init__(message)
        self.details = details


@dataclass(frozen=True)
class Outcome:
    """A whole sweep.

    Attributes:
        dataset: as the study states it.
        seconds: of computing, over all runs it took.
        commits: of the code that made the chunks, sorted.
    """

    dataset: xr.Dataset
    seconds: float
    commits: list[str]


def chosen_plan(
    make: Callable[[int | None], Plan], store: ChunkStore, memory: int | None
) -> tuple[Plan, int | None]:
    """The plan for a memory budget, cut as the kept chunks are if that fits it.

    Args:
        make: budget in bytes to a plan.
        store: with or without kept chunks.
        memory: budget in bytes; None for any.

    Returns:
        The plan, and the budget that it was cut for.

    Raises:
        UserError: if the budget is too small for the smallest chunk.
    """
    known, earlier = store.budget()
    if known:
        plan = make(earlier)
        if memory is None or plan.memory <= memory:
            return plan, earlier
    plan = make(memory)
    if memory is not None and plan.memory > memory:
        largest = max(plan.chunks, key=lambda chunk: chunk.memory)
        raise UserError(
            f"--memory {format_memory(memory)} is too small for one configuration: "
            f"{largest.name} needs {format_memory(largest.memory)}."
        )
    return plan, memory


def survey(plan: Plan, store: ChunkStore, note: Note) -> tuple[dict[str, Finished], list[Chunk]]:
    """Finished chunks by key, and those to compute; says which kept ones cannot be used."""
    finished, missing = {}, {}
    for chunk in plan.chunks:
        try:
            found = store.load(chunk)
        except DamagedChunkError as error:
            note(f"the kept chunk {chunk.name} {error}; it is computed again.")
            found = None
        if found is None:
            missing[chunk.key] = chunk
        else:
            finished[chunk.key] = found
    return finished, list(missing.values())


def run_sweep(plan: Plan, budget: int | None, store: ChunkStore, progress: Progress) -> Outcome:
    """Computes what is missing of a plan and assembles the whole.

    Args:
        plan: what to compute.
        budget: that the plan was cut for.
        store: where finished chunks are kept; left as it is for the caller to remove.
        progress: where to show progress.

    Raises:
        SweepError: if chunks failed, after all others were computed and kept.
        UserError: if the disk is full.
    """
    store.sweep_up()
    finished, missing = survey(plan, store, progress.note)
    progress.note(_announced(plan, budget, len(missing)))
    failures = []
    try:
        with progress.task(plan.label, len(missing)):
            for chunk in missing:
                store.keep_budget(budget)
                found = _attempt(chunk, store)
                if isinstance(found, Finished):
                    finished[chunk.key] = found
                else:
                    progress.note(f"{chunk.name} failed: {found}")
                    failures.append(f"{chunk.name}: {found}")
                progress.advance()
    finally:
        store.remove_if_idle()
    if failures:
        raise SweepError(_failed(plan, store, len(failures)), tuple(failures))
    return _whole(plan, finished)


def _announced(plan: Plan, budget: int | None, missing: int) -> str:
    before = len({chunk.key for chunk in plan.chunks}) - missing
    limit = "" if budget is None else f", budget {format_memory(budget)}"
    resumed = f", {before} finished before" if before else ""
    memory = format_memory(plan.memory)
    return f"{plan.label}: {len(plan.chunks)} chunks of at most {memory}{limit}{resumed}"


def _attempt(chunk: Chunk, store: ChunkStore) -> Finished | str:
    """The finished chunk, or why it failed."""
    start = time.perf_counter()
    try:
        dataset = chunk.compute()
        seconds = time.perf_counter() - start
        content = store.packed(chunk, dataset, seconds)
    except Exception as error:  # whatever a study raises: the other chunks do not depend on it
        first = (str(error).strip().splitlines() or [""])[0]
        reason = f"{type(error).__name__}: {first}"
        store.keep_failure(chunk, reason, traceback.format_exc())
        return reason
    store.keep(chunk, content)
    return Finished(dataset, seconds, store.commit)


def _failed(plan: Plan, store: ChunkStore, failures: int) -> str:
    total = len({chunk.key for chunk in plan.chunks})
    return (
        f"{failures} of {total} chunks failed, no record was written; the other "
        f"{total - failures} are kept in {store.folder}, and the next run computes only these:"
    )


def _whole(plan: Plan, finished: dict[str, Finished]) -> Outcome:
    start = time.perf_counter()
    dataset = plan.assemble([finished[chunk.key].dataset for chunk in plan.chunks])
    seconds = sum(found.seconds for found in finished.values())
    commits = sorted({found.commit for found in finished.values()})
    return Outcome(dataset, seconds + time.perf_counter() - start, commits)
