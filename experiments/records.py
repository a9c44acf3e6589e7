"""Records: labelled arrays on disk under the content key of the configuration that made them.

A record is written under a temporary name beside its final one and renamed when whole, so an
interrupted or failed write leaves nothing under the final name and harms nothing already there.
"""

import contextlib
import errno
import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from experiments.config import canonical
from experiments.errors import UserError

DEFAULT_ROOT = "results"
CHECKOUT = Path(__file__).resolve().parent.parent


def results_root(folder: str | None = None) -> Path:
    """The results folder: the given one, else $QUADLAW_RESULTS, else ./results."""
    return Path(folder or os.environ.get("QUADLAW_RESULTS") or DEFAULT_ROOT)


def record_path(root: Path, study: str, key: str) -> Path:
    """Folder of one record."""
    return root / study / key


def save_record(
    dataset: xr.Dataset, path: Path, study: str, version: int, config: Any, seconds: float
) -> None:
    """Writes a record whole or not at all.

    Args:
        dataset: what to save.
        path: final folder; an existing record there is replaced only once the new one is whole.
        study: name of the study.
        version: version of the study.
        config: configuration that made the data.
        seconds: wall time of the computation.

    Raises:
        UserError: if the disk is full or the folder cannot be written.
    """
    labelled = _with_plain_strings(dataset).assign_attrs(
        dataset.attrs | manifest(study, version, config, seconds) | contents(dataset)
    )
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        labelled.to_zarr(temporary, mode="w", consolidated=False, zarr_format=3)
        swap_in(temporary, path)
    except OSError as error:
        raise UserError(write_failure(path, error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _with_plain_strings(dataset: xr.Dataset) -> xr.Dataset:
    """Text as variable-length strings; fixed-length ones have no place in the zarr standard."""
    # Bare variables: a labelled one would bring its coordinates along, not yet converted.
    text = {
        name: (variable.dims, variable.values.astype(object), variable.attrs)
        for name, variable in dataset.variables.items()
        if variable.dtype.kind == "U"
    }
    return dataset.assign(text)


def swap_in(new: Path, final: Path) -> None:
    """Renames `new` to `final`, which may exist; the old one goes only after the new one stands."""
    retired = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.old")
    try:
        if final.exists():
            final.rename(retired)
        new.rename(final)
    except BaseException:  # an interrupt between the two renames as well
        if retired.exists() and not final.exists():
            retired.rename(final)
        raise
    if retired.is_dir():
        shutil.rmtree(retired, ignore_errors=True)
    else:
        retired.unlink(missing_ok=True)


def write_failure(path: Path, error: OSError) -> str:
    """The complaint about a record that cannot be written."""
    reason = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
    return f"cannot write the record {path}: {reason}. Nothing already saved was changed."


def load_record(path: Path, study: str, version: int, config: Any) -> xr.Dataset:
    """Reads a record and checks that it is the one asked for.

    Raises:
        UserError: if it cannot be read, is cut short, or holds another configuration.
    """
    advice = "Delete that folder or run again with --force to compute it anew."
    try:
        with xr.open_zarr(path, consolidated=False) as stored:
            dataset = stored.load()
    except Exception as error:  # zarr and its codecs raise many kinds for damaged files
        raise UserError(f"cannot read the record {path}: {_first_line(error)}. {advice}") from error
    wanted = {"study": study, "study_version": version, "config": canonical(config)}
    for name, value in wanted.items():
        found = dataset.attrs.get(name)
        if found != value:
            raise UserError(
                f"the record {path} holds {name} {found!r}, asked was {value!r}. {advice}"
            )
    if dataset.attrs.get("digest") != digest(dataset):
        raise UserError(f"the record {path} is incomplete or damaged. {advice}")
    return _in_order(dataset)


def _in_order(dataset: xr.Dataset) -> xr.Dataset:
    """The same variables by name: zarr lists them as they arrive, another order at every load."""
    data, coordinates = (
        {name: group[name].variable for name in sorted(map(str, group))}
        for group in (dataset.data_vars, dataset.coords)
    )
    return xr.Dataset(data, coordinates, dataset.attrs)


def manifest(study: str, version: int, config: Any, seconds: float) -> dict[str, Any]:
    """Where a record comes from; everything needed to make it again."""
    commit, dirty = code_state()
    return {
        "study": study,
        "study_version": version,
        "config": canonical(config),
        "package_version": _version("quadlaw"),
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "versions": versions(),
        "device": jax.devices()[0].device_kind,
        "wall_time_seconds": round(seconds, 3),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": " ".join(map(_without_folders, sys.argv)),
    }


def versions() -> dict[str, str]:
    """Of the packages that numbers come from."""
    packages = ("jax", "jaxlib", "optax", "numpy", "xarray", "zarr")
    return {name: _version(name) for name in packages}


def _without_folders(argument: str) -> str:
    """Folders of one machine mean nothing on another."""
    option, equals, value = argument.rpartition("=")
    return f"{option}{equals}{Path(value).name}" if "/" in value else argument


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def code_state() -> tuple[str, bool]:
    """Commit of the checkout the code runs from, and whether it has uncommitted changes."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(CHECKOUT), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    return "unknown", False


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def contents(dataset: xr.Dataset) -> dict[str, Any]:
    """Number types and digest of what a record holds."""
    dtypes = {str(dataset[name].dtype) for name in dataset.data_vars}
    return {"dtypes": sorted(dtypes), "digest": digest(dataset)}


def digest(dataset: xr.Dataset) -> str:
    """Hash of all names, shapes and values; a chunk missing on disk reads as fill values."""
    known = hashlib.sha256()
    for name in sorted(map(str, dataset.variables)):
        values = dataset[name].values
        if values.dtype.kind == "f":
            values = np.where(np.isnan(values), np.nan, values)  # one bit pattern for NaN
        elif values.dtype.kind in "OUT":
            values = np.frombuffer("\0".join(map(str, values.ravel())).encode(), np.uint8)
        known.update(f"{name} {dataset[name].dims} {dataset[name].shape}".encode())
        known.update(np.ascontiguousarray(values).tobytes())
    return known.hexdigest()


def with_units(dataset: xr.Dataset, **units: str) -> xr.Dataset:
    """The dataset with a `units` attribute on each named variable.

    Raises:
        KeyError: if a named variable is not there.
    """
    for name, unit in units.items():
        dataset[name].attrs["units"] = unit
    return dataset
