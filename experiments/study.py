"""What a study is, and how one is run: at once from its record, else by computing it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from experiments.config import config_key
from experiments.progress import Progress
from experiments.records import load_record, record_path, save_record
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
    """

    name: str
    title: str
    config: type
    compute: Callable[[Any, Progress], xr.Dataset]
    summary: Callable[[xr.Dataset], list[Table]]
    version: int = 1
    resolve: Callable[[Any], Any] = lambda config: config

    def path(self, config: Any, root: Path) -> Path:
        """Where the record of a resolved `config` lives."""
        return record_path(root, self.name, config_key(self.name, self.version, config))


def run_study(
    study: Study, config: Any, root: Path, progress: Progress, *, force: bool = False
) -> tuple[xr.Dataset, Path, bool]:
    """The record of a study, computed if it is not there.

    Args:
        study: what to run.
        config: an instance of `study.config`.
        root: results folder.
        progress: where to show progress.
        force: compute even if the record is there, and replace it when done.

    Returns:
        The Dataset, its folder, and whether it was computed now.

    Raises:
        UserError: if the record cannot be read or written.
        ValueError: if the configuration is refused by the computation.
    """
    whole = study.resolve(config)
    path = study.path(whole, root)
    computed = force or not path.exists()
    if computed:
        start = time.perf_counter()
        dataset = study.compute(whole, progress)
        seconds = time.perf_counter() - start
        save_record(dataset, path, study.name, study.version, whole, seconds)
    return load_record(path, study.name, study.version, whole), path, computed
