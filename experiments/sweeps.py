"""Running a plan: what is finished is read, what is missing computed, what fails noted."""

import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import xarray as xr

from experiments.chunk_store import ChunkStore, Finished
from experiments.chunks import Chunk, DamagedChunkError, Plan
from experiments.errors import UserError
from experiments.memory import format_memory
from experiments.progress import Progress

Note = Callable[[str], None]


@dataclass(frozen=True)
class Failure:
    """Why a chunk has no result.

    Attributes:
        reason: one line.
        details: the rest, for the file of the failure.
    """

    reason: str
    details: str


Results = Generator[tuple[Chunk, bytes | Failure]]
Compute = Callable[[Sequence[Chunk], ChunkStore, Note], Results]
"""Computes chunks in any order, each to the bytes that `ChunkStore.keep` takes, or to why not.

It writes nothing; closed early, it stops what it has begun.
"""


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


def here(chunks: Sequence[Chunk], store: ChunkStore, note: Note) -> Results:
    """Computes chunks one after the other in this process."""
    del note
    for chunk in chunks:
        yield chunk, attempt(chunk, store)


def run_sweep(
    plan: Plan,
    budget: int | None,
    store: ChunkStore,
    progress: Progress,
    compute: Compute = here,
) -> Outcome:
    """Computes what is missing of a plan and assembles the whole.

    Args:
        plan: what to compute.
        budget: that the plan was cut for.
        store: where finished chunks are kept; left as it is for the caller to remove.
        progress: where to show progress.
        compute: what computes the chunks; all writing is done here.

    Raises:
        SweepError: if chunks failed, after all others were computed and kept.
        UserError: if the disk is full, or `compute` cannot go on.
    """
    store.sweep_up()
    finished, missing = survey(plan, store, progress.note)
    progress.note(_announced(plan, budget, len(missing)))
    failures = []
    try:
        if missing:
            store.keep_budget(budget)
        with (
            progress.task(plan.label, len(missing)),
            closing(compute(missing, store, progress.note)) as results,
        ):
            for chunk, found in results:
                if isinstance(found, Failure):
                    store.keep_failure(chunk, found.reason, found.details)
                    progress.note(f"{chunk.name} failed: {found.reason}")
                    failures.append(f"{chunk.name}: {found.reason}")
                else:
                    finished[chunk.key] = _kept(chunk, found, store)
                progress.advance()
    finally:
        store.remove_if_idle()
    if failures:
        raise SweepError(_failed(plan, store, len(failures)), tuple(failures))
    return _whole(plan, finished)


def _kept(chunk: Chunk, content: bytes, store: ChunkStore) -> Finished:
    """A result as it will be found by a later run: what does not come back is not finished."""
    store.keep(chunk, content)
    try:
        found = store.load(chunk)
    except DamagedChunkError as error:
        raise UserError(f"the chunk {chunk.name} {error}.") from error
    if found is None:
        raise UserError(f"the chunk {chunk.name} has vanished from {store.folder}.")
    return found


def _announced(plan: Plan, budget: int | None, missing: int) -> str:
    before = len({chunk.key for chunk in plan.chunks}) - missing
    limit = "" if budget is None else f", budget {format_memory(budget)}"
    resumed = f", {before} finished before" if before else ""
    memory = format_memory(plan.memory)
    return f"{plan.label}: {len(plan.chunks)} chunks of at most {memory}{limit}{resumed}"


def attempt(
    chunk: Chunk, store: ChunkStore, caught: type[BaseException] = Exception
) -> bytes | Failure:
    """The finished chunk as bytes, or why it failed; writes nothing.

    Args:
        chunk: what to compute.
        store: that its result is for.
        caught: what counts as a failure of the chunk.
    """
    start = time.perf_counter()
    try:
        dataset = chunk.compute()
        return store.packed(chunk, dataset, time.perf_counter() - start)
    except caught as error:  # whatever a study raises: the other chunks do not depend on it
        first = (str(error).strip().splitlines() or [""])[0]
        return Failure(f"{type(error).__name__}: {first}", traceback.format_exc())


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
