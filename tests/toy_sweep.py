"""A sweep of a few numbers in chunks, for tests of the machinery around sweeps."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from experiments.chunks import Chunk, Plan, computed
from experiments.study import Study
from experiments.tables import Table


@dataclass(frozen=True)
class SweepConfig:
    """Roots of numbers."""

    count: int = 4
    """How many numbers."""
    width: int = 3
    """How many roots of each."""


class Trouble:
    """What the next chunks do besides computing; the places computed so far."""

    computed: list[int] = []  # noqa: RUF012
    raises: dict[int, BaseException] = {}  # noqa: RUF012
    shape: dict[int, int] = {}  # noqa: RUF012

    @classmethod
    def reset(cls):
        cls.computed, cls.raises, cls.shape = [], {}, {}


def trouble_of_a_worker(place):
    """Files of a folder say what happens to a place, in whatever process it is computed."""
    folder = Path(os.environ.get("TOY_FOLDER", os.devnull))
    if not folder.is_dir():
        return
    with (folder / "log").open("a") as log:
        log.write(f"{place} {os.getpid()}\n")
    while (folder / f"wait {place}").exists():
        time.sleep(0.01)
    time.sleep(0.5 * (folder / "slowly").exists())
    if (folder / f"raise {place}").exists():
        raise RuntimeError(f"no number {place}")
    if (folder / f"end job {place}").exists():
        (folder / f"end job {place}").unlink()
        os.killpg(os.getpgid(0), signal.SIGKILL)
    once = folder / f"kill once {place}"
    if once.exists() or (folder / f"kill {place}").exists():
        once.unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGKILL)


def roots(config, places):
    trouble_of_a_worker(places[0])
    kill = os.environ.get("TOY_KILL")
    if kill is not None and places[0] == int(kill):
        os.kill(os.getpid(), signal.SIGKILL)
    Trouble.computed.extend(places)
    if places[0] in Trouble.raises:
        raise Trouble.raises[places[0]]
    wait = os.environ.get("TOY_WAIT")
    while wait is not None and not Path(wait).exists():
        pass
    width = config.width + Trouble.shape.get(places[0], 0)
    power = 1.0 / np.arange(1, width + 1)
    values = np.array(places, float)[:, None] ** power + 0.1
    words = np.array([f"number {place}" for place in places])
    return xr.Dataset({"root": (("place", "power"), values), "word": ("place", words)})


def assembled(config, results: Sequence[xr.Dataset]):
    whole = xr.concat(results, "place").assign_coords(place=np.arange(config.count))
    return whole.assign_attrs(width=config.width)


def plan(config, memory=None):
    if config.count < 1:
        raise ValueError(f"`count` must be at least 1, got {config.count}.")
    one = 8 * config.width
    at_once = 1 if memory is None else max(1, min(2, memory // one))
    chunks = []
    for first in range(0, config.count, at_once):
        places = tuple(range(first, min(first + at_once, config.count)))
        shapes = {"root": (len(places), config.width), "word": (len(places),)}
        arguments = {"config": replace(config, count=0), "places": places}
        name = f"numbers {places[0]} .. {places[-1]}"
        size = len(places)
        chunks.append(Chunk(name, roots, arguments, shapes, one * size, 10.0 * size))
    return Plan("roots", tuple(chunks), partial(assembled, config), "numbers")


def compute(config, progress):
    return computed(plan(config), progress)


def summary(dataset):
    return [Table("Roots", ("place", "root"), tuple(enumerate(dataset.root.values[:, -1])))]


STUDY = Study("roots", "roots of numbers", SweepConfig, compute, summary, plan=plan)
