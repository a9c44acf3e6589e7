"""Sweeps in chunks: killed, damaged, failed, crowded or out of room, nothing finished is lost."""

import errno
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from experiments import cli, studies
from experiments.chunk_store import ChunkStore
from experiments.chunks import Chunk, DamagedChunkError, pack, unpack
from experiments.dry_run import dry_run
from experiments.errors import UserError
from experiments.lock import locked
from experiments.memory import format_memory, parse_memory
from experiments.progress import Progress
from experiments.records import digest
from experiments.studies import bounds
from experiments.study import run_study
from experiments.sweeps import SweepError

from . import toy_sweep
from .presets import tiny_config
from .toy_sweep import STUDY, SweepConfig, Trouble

CONFIG = SweepConfig()
EXPECTED = digest(toy_sweep.compute(CONFIG, Progress()))


@pytest.fixture(autouse=True)
def _no_trouble():
    Trouble.reset()
    yield
    Trouble.reset()


class Notes(Progress):
    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)


def run(root, config=CONFIG, progress=None, **options):
    return run_study(STUDY, config, root, progress or Progress(), **options)


def chunk_files(root):
    return sorted(Path(root).rglob("*.chunk"))


def hidden(root):
    return [path.name for path in Path(root).rglob(".*")]


def interrupt(root, at, config=CONFIG, **options):
    """A run that is stopped in the chunk at place `at`."""
    Trouble.raises = {at: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        run(root, config, **options)
    Trouble.reset()


def test_a_sweep_in_chunks_makes_the_record_of_its_plain_computation(tmp_path):
    dataset, path, computed = run(tmp_path)
    assert computed
    assert digest(dataset) == EXPECTED
    assert dataset.attrs["work"] == 40.0
    assert Trouble.computed == [0, 1, 2, 3]
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert not run(tmp_path)[2]


def test_an_interrupted_sweep_resumes_and_computes_only_what_is_missing(tmp_path):
    interrupt(tmp_path, 2)
    assert len(chunk_files(tmp_path)) == 2
    notes = Notes()
    assert digest(run(tmp_path, progress=notes)[0]) == EXPECTED
    assert Trouble.computed == [2, 3]
    assert "2 finished before" in notes.lines[0]
    assert hidden(tmp_path) == []


def test_an_interrupt_before_the_first_chunk_leaves_nothing(tmp_path):
    interrupt(tmp_path, 0)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("harm", ["emptied", "cut short", "one bit", "version", "shape"])
def test_a_chunk_that_cannot_be_trusted_is_computed_again_and_says_why(tmp_path, harm, monkeypatch):
    interrupt(tmp_path, 3)
    file = ChunkStore(chunk_files(tmp_path)[0].parent, "", 1)._file(
        toy_sweep.plan(CONFIG).chunks[1]
    )
    content = file.read_bytes()
    dataset, header = unpack(content)
    word = "damaged or cut short"
    if harm == "emptied":
        file.write_bytes(b"")
    elif harm == "cut short":
        file.write_bytes(content[:-1])
    elif harm == "one bit":
        file.write_bytes(content[:-40] + bytes([content[-40] ^ 1]) + content[-39:])
    elif harm == "version":
        file.write_bytes(pack(dataset, header | {"study_version": 0}))
        word = "study_version 0"
    else:
        file.write_bytes(pack(dataset[["word"]], header))
        word = "has the shapes"
    notes = Notes()
    assert digest(run(tmp_path, progress=notes)[0]) == EXPECTED
    assert Trouble.computed == [1, 3]
    assert "numbers 1 .. 1" in notes.lines[0]
    assert word in notes.lines[0]


def test_every_byte_of_a_chunk_matters():
    content = pack(xr.Dataset({"a": ("x", [1.0, np.nan])}, {"x": ["p", "q"]}), {"seconds": 1.0})
    xr.testing.assert_identical(
        unpack(content)[0], xr.Dataset({"a": ("x", [1.0, np.nan])}, {"x": ["p", "q"]})
    )
    for place in range(0, len(content), 7):
        with pytest.raises(DamagedChunkError):
            unpack(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])


def test_a_failing_chunk_is_recorded_the_rest_go_on_and_it_is_tried_again(tmp_path):
    Trouble.raises = {1: RuntimeError("no such\nnumber")}
    with pytest.raises(SweepError, match="1 of 4 chunks failed, no record") as complaint:
        run(tmp_path)
    assert complaint.value.details == ("numbers 1 .. 1: RuntimeError: no such",)
    assert Trouble.computed == [0, 1, 2, 3]
    (failure,) = tmp_path.rglob("*.failed")
    assert "Traceback" in failure.read_text()
    states = [row[1] for row in dry_run(STUDY, CONFIG, tmp_path).rows]
    assert states == ["finished", "failed before: RuntimeError: no such", "finished", "finished"]
    Trouble.reset()
    assert digest(run(tmp_path)[0]) == EXPECTED
    assert Trouble.computed == [1]
    assert hidden(tmp_path) == []


def test_the_command_lists_failures_and_ends_with_two(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(studies.STUDIES, "roots", STUDY)
    monkeypatch.chdir(tmp_path)
    Trouble.shape, Trouble.raises = {0: 1}, {2: ValueError("odd")}
    assert cli.run_command(["run", "roots"]) == 2
    lines = capsys.readouterr().err.splitlines()[-3:]
    assert lines[0].startswith("quadlaw: 2 of 4 chunks failed")
    assert lines[1] == (
        "  numbers 0 .. 0: ValueError: `root` must have the shape (1, 3), got (1, 4)."
    )
    assert lines[2] == "  numbers 2 .. 2: ValueError: odd"
    assert len(chunk_files(tmp_path)) == 2


def test_force_begins_anew_and_an_interrupted_force_resumes_under_force(tmp_path):
    before = run(tmp_path)[0]
    Trouble.reset()
    interrupt(tmp_path, 2, force=True)
    assert digest(run(tmp_path)[0]) == digest(before)  # the old record still answers
    assert Trouble.computed == []
    run(tmp_path, force=True)
    assert Trouble.computed == [2, 3]
    run(tmp_path, force=True)
    assert Trouble.computed == [2, 3, 0, 1, 2, 3]
    assert hidden(tmp_path) == []


def test_a_memory_budget_cuts_chunks_and_a_resumed_run_keeps_the_cut(tmp_path):
    interrupt(tmp_path, 2, memory=48)
    notes = Notes()
    run(tmp_path, progress=notes)  # without a budget: cut as before
    assert Trouble.computed == [2, 3]
    assert "2 chunks of at most 48 B, budget 48 B, 1 finished before" in notes.lines[0]
    interrupt(tmp_path, 2, SweepConfig(count=5), memory=48)
    dataset, _, _ = run(tmp_path, SweepConfig(count=5), memory=24)  # too small for that cut
    assert Trouble.computed == [0, 1, 2, 3, 4]
    assert digest(dataset) == digest(toy_sweep.compute(SweepConfig(count=5), Progress()))


def test_a_budget_below_one_configuration_names_what_is_needed(tmp_path):
    with pytest.raises(UserError, match=r"23 B is too small .* numbers 0 .. 0 needs 24 B"):
        run(tmp_path, memory=23)
    assert list(tmp_path.rglob("*")) == []


def test_dry_run_computes_and_writes_nothing_and_invents_no_time(tmp_path):
    table = dry_run(STUDY, CONFIG, tmp_path)
    assert [row[4] for row in table.rows] == ["unknown"] * 4
    assert table.note is not None
    assert "4 of 4 chunks to compute, at most 24 B" in table.note
    assert "time unknown" in table.note
    assert Trouble.computed == []
    assert list(tmp_path.rglob("*")) == []
    interrupt(tmp_path, 1)
    table = dry_run(STUDY, CONFIG, tmp_path)
    assert "3 of 4" in (table.note or "")
    assert "in 1 finished" in (table.note or "")
    run(tmp_path)
    assert "record is there" in (dry_run(STUDY, CONFIG, tmp_path).note or "")
    other = dry_run(STUDY, replace(CONFIG, count=5), tmp_path)
    assert "in the record" in (other.note or "")


def test_bad_budgets_are_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(studies.STUDIES, "roots", STUDY)
    monkeypatch.chdir(tmp_path)
    for text in ("8", "GB", "-1GB", "0GB", "8 apples"):
        assert cli.run_command(["run", "roots", f"--memory={text}"]) == 2
        err = capsys.readouterr().err
        assert err.startswith("quadlaw: --memory must be")
        assert err.count("\n") == 1
    assert cli.run_command(["run", "decomposition", "--memory", "1GB"]) == 2
    assert "one piece" in capsys.readouterr().err
    assert cli.run_command(["run", "roots", "--dry-run", "--memory", "1kB"]) == 0
    assert "numbers 0 .. 1" in capsys.readouterr().out
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    ("text", "size"), [("8GB", 8 * 10**9), ("1.5 kB", 1500), ("2GiB", 2**31), ("3b", 3)]
)
def test_memory_as_typed(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 23456789, 999_999_999, 10**13 + 1])
def test_memory_as_printed_suffices_when_typed(size):
    assert size <= parse_memory(format_memory(size)) <= 1.01 * size + 1


def test_a_second_run_waits_and_then_answers_from_the_record(tmp_path):
    notes, done = Notes(), []
    path = STUDY.path(CONFIG, tmp_path)
    lock = path.with_name(f".{path.name}.lock")
    with locked(lock, notes.note):
        second = threading.Thread(target=lambda: done.append(run(tmp_path, progress=notes)))
        second.start()
        while not notes.lines:
            time.sleep(0.01)
        assert f"process {os.getpid()}, holds {lock}" in notes.lines[0]
        assert Trouble.computed == []
        record = run(tmp_path / "other")[1]
        record.rename(path)
    second.join()
    assert done[0][2] is False
    assert Trouble.computed == [0, 1, 2, 3]
    assert hidden(tmp_path / "roots") == []


def fail_to_write(monkeypatch, after, error):
    """From the chunk `after` on, writing stops half way."""
    written = []
    sync = os.fsync

    def failing(handle):
        written.append(handle)
        if len(written) > after:
            raise error
        sync(handle)

    monkeypatch.setattr(os, "fsync", failing)


def test_a_disk_that_fills_up_stops_the_sweep_and_loses_nothing(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        fail_to_write(patch, 3, OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(UserError, match=r"the disk is full. 2 finished chunks are kept"):
            run(tmp_path)
    assert len(list(tmp_path.rglob("*.part"))) == 0
    Trouble.reset()
    assert digest(run(tmp_path)[0]) == EXPECTED
    assert Trouble.computed == [2, 3]


def test_chunks_survive_a_record_that_cannot_be_written(tmp_path, monkeypatch):
    def full(*arguments, **keywords):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(xr.Dataset, "to_zarr", full)
        with pytest.raises(UserError, match="the disk is full"):
            run(tmp_path)
    Trouble.reset()
    assert digest(run(tmp_path)[0]) == EXPECTED
    assert Trouble.computed == []


def test_an_identity_is_what_is_computed_and_nothing_else():
    chunks = toy_sweep.plan(CONFIG).chunks
    assert len({chunk.key for chunk in chunks}) == len(chunks)
    assert toy_sweep.plan(SweepConfig(count=7)).chunks[2].key == chunks[2].key
    assert toy_sweep.plan(SweepConfig(width=2)).chunks[2].key != chunks[2].key
    with pytest.raises(TypeError, match="must be plain"):
        _ = Chunk("c", toy_sweep.roots, {"a": np.ones(2)}, {}).key


PROGRAM = """
import sys
from pathlib import Path
from experiments.progress import LineProgress
from experiments.study import run_study
from tests.toy_sweep import STUDY, SweepConfig
run_study(STUDY, SweepConfig(), Path(sys.argv[1]), LineProgress())
"""
CHECKOUT = Path(__file__).resolve().parent.parent


def child(program, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=CHECKOUT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_sigkill_leaves_finished_chunks_and_no_stale_lock(tmp_path):
    killed = child(PROGRAM, tmp_path, TOY_KILL="2")
    assert killed.returncode == -signal.SIGKILL
    assert any(name.endswith(".lock") for name in hidden(tmp_path))
    chunks = len(chunk_files(tmp_path))
    assert chunks == 2
    done = child(PROGRAM, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 finished before" in done.stderr
    assert hidden(tmp_path) == []
    assert digest(run(tmp_path)[0]) == EXPECTED


TINY = replace(tiny_config(bounds.BoundsConfig), rates=(0.02, 0.05, 0.1, 0.2))


def test_bounds_cut_by_memory_are_the_same_bits_and_its_chunks_can_be_pickled():
    plans = [bounds.plan(TINY), bounds.plan(TINY, 23_000)]
    assert [len(plan.chunks) for plan in plans] == [3, 12]
    assert plans[1].memory < plans[0].memory
    found = [
        plan.assemble([pickle.loads(pickle.dumps(chunk)).compute() for chunk in plan.chunks])
        for plan in plans
    ]
    xr.testing.assert_identical(*found)


KILLED = """
import sys
from experiments.cli import run_command
sys.exit(run_command(["run", "bounds", "--size", "3", "--columns", "4", "--seeds", "2", "--memory",
    "23kB", "--horizons", "1", "4", "40", "--alphas", "1", "0.3", "--batches", "1", "64", "--rates",
    "0.02", "0.05", "0.1", "0.2", "--results", sys.argv[1]]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_killed_at_fifty_random_moments_a_sweep_ends_in_the_same_bits(tmp_path):
    start = time.monotonic()
    assert child(KILLED, tmp_path / "whole").returncode == 0
    length = time.monotonic() - start
    whole = run_study(bounds.STUDY, TINY, tmp_path / "whole", Progress())[0]
    moments, kills, number = random.Random(0), 0, 0
    while kills < 50:
        number += 1
        root = tmp_path / str(number)
        # On a busy machine a sweep may never be done before the kill: the last one is left alone.
        while kills < 50 and killed(root, moments.uniform(0.2, 1.0) * length):
            kills += 1
        assert child(KILLED, root).returncode == 0
        found, path, computed = run_study(bounds.STUDY, TINY, root, Progress())
        assert not computed
        assert digest(found) == digest(whole)
        assert [file.name for file in path.parent.iterdir()] == [path.name]


def killed(root, seconds):
    """Whether a run had to be killed after so long; finished chunks outlive that."""
    before = {file: file.stat().st_mtime_ns for file in chunk_files(root)}
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(root)],
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.wait(timeout=seconds) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        if not any(root.glob("bounds/[!.]*")):  # else all are in the record
            after = {file: file.stat().st_mtime_ns for file in chunk_files(root)}
            assert before.items() <= after.items()
        return True
    return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a tiny disk")
def test_a_truly_full_disk_stops_a_sweep_which_resumes_when_there_is_room(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount")
    try:
        config = SweepConfig(width=4000)
        with pytest.raises(UserError, match=r"the disk is full. [1-3] finished chunks are kept"):
            run(disk, config)
        kept = len(chunk_files(disk))
        Trouble.reset()
        room = ["mount", "-o", "remount,size=4m", str(disk)]
        subprocess.run(room, check=True)
        assert digest(run(disk, config)[0]) == digest(toy_sweep.compute(config, Progress()))
        assert Trouble.computed[: 4 - kept] == list(range(kept, 4))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
