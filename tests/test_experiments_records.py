"""Records: whole or not there, never mistaken for another, never harmed."""

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from experiments.errors import UserError
from experiments.progress import Progress
from experiments.records import digest, load_record, manifest, results_root, save_record, swap_in
from experiments.study import run_study

from .toy_study import Toy, ToyConfig

CONFIG = ToyConfig()


@pytest.fixture
def toy():
    return Toy()


def run(toy, root, config=CONFIG, *, force=False):
    dataset, _, computed = run_study(toy.study(), config, root, Progress(), force=force)
    return dataset, computed


def leftovers(root):
    return [p.name for p in Path(root).rglob(".*") if p.name.endswith((".part", ".old"))]


def test_a_record_reads_as_it_was_computed(toy, tmp_path):
    dataset, computed = run(toy, tmp_path)
    expected = toy.compute(CONFIG, Progress())
    xr.testing.assert_equal(dataset, expected)
    assert computed
    assert list(dataset.sign.values) == ["plus", "minus and a longer name"]
    assert dataset.flag.dtype == bool
    assert dataset.attrs["window"] == [1, 2]
    assert leftovers(tmp_path) == []


def test_a_record_lists_its_variables_by_name_whatever_the_order_on_disk(tmp_path):
    size = {"z": 2, "a": 3, "m": 1}
    parts = {name.upper(): (name, np.arange(length)) for name, length in size.items()}
    coordinates = {name: np.arange(length) for name, length in size.items()}
    save_record(xr.Dataset(parts, coordinates), tmp_path / "r", "s", 1, CONFIG, 0.0)
    dataset = load_record(tmp_path / "r", "s", 1, CONFIG)
    assert list(dataset.data_vars) == ["A", "M", "Z"]
    assert list(dataset.coords) == list(dataset.sizes) == ["a", "m", "z"]


def test_asked_again_nothing_is_computed(toy, tmp_path):
    first, _ = run(toy, tmp_path)
    again, computed = run(toy, tmp_path)
    assert (toy.computed, computed) == (1, False)
    xr.testing.assert_identical(first, again)


def test_another_configuration_has_another_record(toy, tmp_path):
    run(toy, tmp_path)
    run(toy, tmp_path, ToyConfig(base=3.0))
    assert toy.computed == 2
    assert len(list((tmp_path / "toy").iterdir())) == 2


def test_force_replaces_the_record(toy, tmp_path):
    run(toy, tmp_path)
    _, computed = run(toy, tmp_path, force=True)
    assert (toy.computed, computed) == (2, True)
    assert len(list((tmp_path / "toy").iterdir())) == 1
    assert leftovers(tmp_path) == []


def test_manifest_says_where_the_record_comes_from(toy, tmp_path):
    attrs = run(toy, tmp_path)[0].attrs
    for name in ("study", "study_version", "config", "package_version", "commit", "dirty"):
        assert name in attrs
    for name in ("python", "versions", "device", "dtypes", "wall_time_seconds", "created"):
        assert name in attrs
    assert json.loads(attrs["config"]) == dataclasses.asdict(CONFIG)
    assert attrs["dtypes"] == ["bool", "float64"]


def test_manifest_wins_over_attributes_of_the_data(toy, tmp_path):
    dataset = toy.compute(CONFIG, Progress()).assign_attrs(study="another")
    save_record(dataset, tmp_path / "r", "toy", 1, CONFIG, 0.0)
    assert load_record(tmp_path / "r", "toy", 1, CONFIG).attrs["study"] == "toy"


def test_command_in_the_manifest_names_no_folder(monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["/some/where/quadlaw", "run", "toy", "--results=/a/b", "/c/d"]
    )
    assert manifest("toy", 1, CONFIG, 0.0)["command"] == "quadlaw run toy --results=b d"


def test_a_record_of_another_configuration_is_refused(toy, tmp_path):
    run(toy, tmp_path)
    study = toy.study()
    other = ToyConfig(base=3.0)
    shutil.copytree(study.path(CONFIG, tmp_path), study.path(other, tmp_path))
    with pytest.raises(UserError, match=r"holds config .*2\.0.*asked was .*3\.0.*--force"):
        run(toy, tmp_path, other)


def test_a_record_of_another_version_is_refused(toy, tmp_path):
    run(toy, tmp_path)
    path = toy.study().path(CONFIG, tmp_path)
    with pytest.raises(UserError, match="study_version"):
        load_record(path, "toy", 2, CONFIG)


def files_of(path):
    return sorted(p.relative_to(path) for p in path.rglob("*") if p.is_file())


@pytest.mark.parametrize("harm", ["removed", "emptied", "garbled"])
def test_any_harm_to_any_file_is_noticed_and_mended_by_force(toy, tmp_path, harm):
    run(toy, tmp_path / "whole")
    whole = toy.study().path(CONFIG, tmp_path / "whole")
    for number, name in enumerate(files_of(whole)):
        root = tmp_path / str(number)
        path = toy.study().path(CONFIG, root)
        shutil.copytree(whole, path)
        inflict(harm, path / name)
        with pytest.raises(UserError, match="--force") as complaint:
            run(toy, root)
        assert str(path) in str(complaint.value)
        run(toy, root, force=True)
        run(toy, root)


def inflict(harm, file):
    if harm == "removed":
        file.unlink()
    elif harm == "emptied":
        file.write_bytes(b"")
    else:
        file.write_bytes(bytes(255 - byte for byte in file.read_bytes()))


def test_a_file_in_the_place_of_a_record_is_refused(toy, tmp_path):
    path = toy.study().path(CONFIG, tmp_path)
    path.parent.mkdir()
    path.write_text("not a record")
    with pytest.raises(UserError, match="cannot read the record"):
        run(toy, tmp_path)
    assert path.read_text() == "not a record"


def fail_after_writing_half(monkeypatch, error):
    written = xr.Dataset.to_zarr

    def to_zarr(self, store, **keywords):
        written(self[["flag"]], store, **keywords)
        raise error

    monkeypatch.setattr(xr.Dataset, "to_zarr", to_zarr)


@pytest.mark.parametrize(
    ("error", "seen", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), UserError, "the disk is full"),
        (OSError(errno.EACCES, "Permission denied"), UserError, "Permission denied"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
        (RuntimeError("a bug"), RuntimeError, "a bug"),
    ],
)
def test_a_failed_write_leaves_what_was_there(toy, tmp_path, monkeypatch, error, seen, message):
    before, _ = run(toy, tmp_path)
    with monkeypatch.context() as patch:
        fail_after_writing_half(patch, error)
        with pytest.raises(seen, match=message):
            run(toy, tmp_path, force=True)
        with pytest.raises(seen, match=message):
            run(toy, tmp_path, ToyConfig(base=5.0))
    assert leftovers(tmp_path) == []
    assert len(list((tmp_path / "toy").iterdir())) == 1
    xr.testing.assert_identical(run(toy, tmp_path)[0], before)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
def test_a_failure_between_the_two_renames_brings_the_old_one_back(tmp_path, monkeypatch, error):
    (tmp_path / "new").write_text("new")
    (tmp_path / "final").write_text("old")
    rename = Path.rename

    def failing(self, target):
        if self.name == "new":
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(type(error)):
        swap_in(tmp_path / "new", tmp_path / "final")
    assert (tmp_path / "final").read_text() == "old"
    assert leftovers(tmp_path) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a tiny disk")
def test_a_truly_full_disk_is_one_line_and_harms_nothing(toy, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount")
    try:
        before, _ = run(toy, disk)
        noise = np.random.default_rng(0).standard_normal(100_000)
        large = xr.Dataset({"value": ("x", noise)})
        path = toy.study().path(ToyConfig(base=9.0), disk)
        with pytest.raises(UserError, match="the disk is full"):
            save_record(large, path, "toy", 1, ToyConfig(base=9.0), 0.0)
        assert not path.exists()
        assert leftovers(disk) == []
        xr.testing.assert_identical(run(toy, disk)[0], before)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_cannot_be_made_is_one_line(toy, tmp_path):
    (tmp_path / "results").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot write the record"):
        run(toy, tmp_path / "results")


def test_digest_sees_values_names_shapes_and_text():
    base = xr.Dataset({"a": ("x", [1.0, np.nan])}, coords={"x": ["p", "q"]})
    others = [
        base.assign(a=("x", [1.0, 2.0])),
        base.rename(a="b"),
        base.rename(x="y"),
        base.assign_coords(x=["p", "r"]),
        base.isel(x=[0]),
        base.assign(c=1.0),
    ]
    assert len({digest(dataset) for dataset in [base, *others]}) == len(others) + 1


def test_digest_is_the_same_for_any_bits_of_nan():
    negative = xr.Dataset({"a": ("x", [1.0, -np.nan])})
    assert digest(negative) == digest(xr.Dataset({"a": ("x", [1.0, np.nan])}))


def test_results_folder_is_the_option_then_the_variable_then_the_default(monkeypatch):
    monkeypatch.delenv("QUADLAW_RESULTS", raising=False)
    assert results_root() == Path("results")
    monkeypatch.setenv("QUADLAW_RESULTS", "elsewhere")
    assert results_root() == Path("elsewhere")
    assert results_root("here") == Path("here")


def test_text_is_kept_as_variables_and_as_labels(tmp_path):
    words = xr.Dataset(
        {"form": (("method", "problem"), np.array([["holds", "fails because of a"]]))},
        coords={"method": ["gd"], "problem": ["a = 1", "a = 2, b"]},
    )
    config = ToyConfig()
    save_record(words, tmp_path / "text", "toy", 1, config, 0.0)
    found = load_record(tmp_path / "text", "toy", 1, config)
    assert found.form.values.tolist() == words.form.values.tolist()
    assert found.problem.values.tolist() == words.problem.values.tolist()
