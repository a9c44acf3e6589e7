"""What a study is, and how one is run: at once from its record, else by computing it."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr

from experiments.chunk_store import ChunkStore
from experiments.chunks import Plan
from experiments.compiled import bound_compiled
from experiments.config import config_key
from experiments.errors import UserError
from experiments.lock import locked
from experiments.progress import Progress
from experiments.records import code_state, load_record, record_path, save_record, write_failure
from experiments.sweeps import Compute, chosen_plan, here, run_sweep
from experiments.tables import Table


@dataclass(frozen=True)
class Study:
    """A question, the configuration that states it and the computation that answers it.

    Attributes:
        name: as typed on the command line.
        title: one line for the list.
        config: frozen dataclass type; its fields become command-line options.
        compute: configuration and progress in, labelled Dataset out; no files, no printing.
        summary: Dataset in, tables out.
        version: raised when `compute` changes meaning, so that old records are not mistaken.
        resolve: completes a configuration with what it only refers to, e.g. the hash of a file.
        plan: the same computation in chunks, for a memory budget in bytes; None: all at once.
    """

    name: str
    title: str
    config: type
    compute: Callable[[Any, Progress], xr.Dataset]
    summary: Callable[[xr.Dataset], list[Table]]
    version: int = 1
    resolve: Callable[[Any], Any] = lambda config: config
    plan: Callable[[Any, int | None], Plan] | None = None

    def path(self, config: Any, root: Path) -> Path:
        """Where the record of a resolved `config` lives."""
        return record_path(root, self.name, config_key(self.name, self.version, config))


def run_study(
    study: Study,
    config: Any,
    root: Path,
    progress: Progress,
    *,
    force: bool = False,
    memory: int | None = None,
    compute: Compute = here,
) -> tuple[xr.Dataset, Path, bool]:
    """The record of a study, computed if it is not there.

    Args:
        study: what to run.
        config: an instance of `study.config`.
        root: results folder.
        progress: where to show progress.
        force: compute even if the record is there, and replace it when done.
        memory: budget of a chunk in bytes; None for any.
        compute: what computes the chunks of a study that has some.

    Returns:
        The Dataset, its folder, and whether it was computed now.

    Raises:
        UserError: if the record cannot be read or written, chunks fail, or `memory` is too small.
        ValueError: if the configuration is refused by the computation.
    """
    whole = study.resolve(config)
    path = study.path(whole, root)
    computed = force or not path.exists()
    if computed:
        computed = _compute(_Run(study, whole, path, progress, force, memory, compute))
    dataset = load_record(path, study.name, study.version, whole)
    chunk_store(study, path, False).remove()  # of a run killed after it had saved its record
    return dataset, path, computed


def chunk_store(study: Study, path: Path, force: bool) -> ChunkStore:
    """Where chunks of the record at `path` are kept; those of forced runs apart."""
    folder = path.with_name(f".{path.name}{'.force' if force else ''}.chunks")
    return ChunkStore(folder, study.name, study.version)


@dataclass(frozen=True)
class _Run:
    """The arguments of `run_study`, with the configuration completed and its path."""

    study: Study
    config: Any
    path: Path
    progress: Progress
    force: bool
    memory: int | None
    compute: Compute


def _compute(run: _Run) -> bool:
    """Computes and saves the record; False if another run did meanwhile."""
    study, path = run.study, run.path
    store = chunk_store(study, path, run.force)
    checked_plan(study, run.config, store, run.memory)  # before any writing
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path.with_name(f".{path.name}.lock"), run.progress.note))
        except OSError as error:
            raise UserError(write_failure(path, error)) from error
        if path.exists() and not run.force:
            return False
        if study.plan is None:
            _at_once(run)
        else:
            _sweep(run, store)
    return True


def _at_once(run: _Run) -> None:
    if run.compute is not here:
        run.progress.note(
            f"{run.study.name} is computed in one piece; --cluster does not apply to it, "
            "it runs in this process."
        )
    bound_compiled()
    start = time.perf_counter()
    dataset = run.study.compute(run.config, run.progress)
    seconds = time.perf_counter() - start
    save_record(dataset, run.path, run.study.name, run.study.version, run.config, seconds)


def checked_plan(
    study: Study, config: Any, store: ChunkStore, memory: int | None
) -> tuple[Plan, int | None] | None:
    """The plan of a study and the budget that it is cut for; None for a study in one piece.

    Raises:
        UserError: if the budget is too small, or the study in one piece has no estimate.
        ValueError: if the configuration is refused.
    """
    make = study.plan
    if make is not None:
        return chosen_plan(lambda budget: make(config, budget), store, memory)
    if memory is not None:
        raise UserError(f"{study.name} is computed in one piece; --memory does not apply to it.")
    return None


def _sweep(run: _Run, store: ChunkStore) -> None:
    commit, dirty = code_state()
    store = replace(store, commit=commit + "+" * dirty)
    chosen = checked_plan(run.study, run.config, store, run.memory)
    assert chosen is not None
    plan, budget = chosen
    found = run_sweep(plan, budget, store, run.progress, run.compute)
    # Chunks of an interrupted run may be of another commit than the record.
    stated = found.dataset.assign_attrs(chunk_commits=found.commits, work=plan.work)
    save_record(stated, run.path, run.study.name, run.study.version, run.config, found.seconds)
    store.remove()
