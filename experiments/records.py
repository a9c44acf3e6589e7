"""Records: labelled arrays on disk under the content key of the configuration that made them.

A record is written under a temporary name beside its final one and renamed when whole, so an
interrupted or failed write leaves nothing under the final name and harms nothing already there.
"""

import contextlib
import errno
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
        manifest(study, version, config, seconds) | inventory(dataset) | dataset.attrs
    )
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        labelled.to_zarr(temporary, mode="w", consolidated=False, zarr_format=3)
        swap_in(temporary, path)
    except OSError as error:
        raise UserError(_write_failure(path, error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _with_plain_strings(dataset: xr.Dataset) -> xr.Dataset:
    """Text as variable-length strings; fixed-length ones have no place in the zarr standard."""
    text = [name for name, variable in dataset.variables.items() if variable.dtype.kind == "U"]
    return dataset.assign({name: dataset[name].astype(object) for name in text})


def swap_in(new: Path, final: Path) -> None:
    """Renames `new` to `final`, which may exist; the old one goes only after the new one stands."""
    retired = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.old")
    if final.exists():
        final.rename(retired)
    try:
        new.rename(final)
    except OSError:
        if retired.exists():
            retired.rename(final)
        raise
    if retired.is_dir():
        shutil.rmtree(retired, ignore_errors=True)
    else:
        retired.unlink(missing_ok=True)


def _write_failure(path: Path, error: OSError) -> str:
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
    if dataset.attrs.get("variables") != sorted(map(str, dataset.variables)):
        raise UserError(f"the record {path} is incomplete. {advice}")
    return dataset


def manifest(study: str, version: int, config: Any, seconds: float) -> dict[str, Any]:
    """Where a record comes from; everything needed to make it again."""
    commit, dirty = _commit()
    packages = ("jax", "jaxlib", "optax", "optimistix", "numpy", "xarray", "zarr")
    return {
        "study": study,
        "study_version": version,
        "config": canonical(config),
        "package_version": _version("quadlaw"),
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
        "device": jax.devices()[0].device_kind,
        "wall_time_seconds": round(seconds, 3),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> tuple[str, bool]:
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


def inventory(dataset: xr.Dataset) -> dict[str, list[str]]:
    """Names and number types of what a record holds, checked when it is read again."""
    dtypes = {str(np.asarray(dataset[name]).dtype) for name in dataset.data_vars}
    return {"variables": sorted(map(str, dataset.variables)), "dtypes": sorted(dtypes)}


def with_units(dataset: xr.Dataset, **units: str) -> xr.Dataset:
    """The dataset with a `units` attribute on each named variable.

    Raises:
        KeyError: if a named variable is not there.
    """
    for name, unit in units.items():
        dataset[name].attrs["units"] = unit
    return dataset
