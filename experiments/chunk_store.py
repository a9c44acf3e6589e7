"""Finished chunks on disk: one file each, whole or not there, beside the record they will make.

A file, unlike a region of a zarr record, is committed by one rename; the record itself stays what
it was, there as a whole or not at all.
"""

import contextlib
import errno
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import xarray as xr

from experiments.chunks import Chunk, DamagedChunkError, pack, unpack
from experiments.errors import UserError
from experiments.records import versions

CUT = "cut.json"


@dataclass(frozen=True)
class Finished:
    """A finished chunk.

    Attributes:
        dataset: its result.
        seconds: that it took.
        commit: of the code that made it; ends in `+` if that had uncommitted changes.
    """

    dataset: xr.Dataset
    seconds: float
    commit: str


@dataclass(frozen=True)
class ChunkStore:
    """The folder of the chunks of one record; only the holder of the record's lock writes.

    Attributes:
        folder: made when the first chunk is kept.
        study: name of the study.
        version: of the study.
        commit: of the code that computes; ends in `+` if that has uncommitted changes.
    """

    folder: Path
    study: str
    version: int
    commit: str = "unknown"

    def _file(self, chunk: Chunk) -> Path:
        return self.folder / f"{chunk.key}.chunk"

    def _made_by(self, chunk: Chunk) -> dict[str, Any]:
        """What must be the same for a kept chunk to stand for one computed now."""
        return {
            "study": self.study,
            "study_version": self.version,
            "chunk": chunk.identity,
            "versions": versions(),
            "device": jax.devices()[0].device_kind,
            "float64": bool(jax.config.jax_enable_x64),  # pyright: ignore[reportAttributeAccessIssue]
        }

    def load(self, chunk: Chunk) -> Finished | None:
        """The finished chunk; None if there is none.

        Raises:
            DamagedChunkError: if what is there cannot be used, with the reason in a clause.
        """
        try:
            content = self._file(chunk).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamagedChunkError(f"cannot be read ({error.strerror})") from error
        dataset, header = unpack(content)
        for name, wanted in self._made_by(chunk).items():
            if header.get(name) != wanted:
                raise DamagedChunkError(
                    f"was made with {name} {header.get(name)!r}, here is {wanted!r}"
                )
        found = {str(name): variable.shape for name, variable in dataset.data_vars.items()}
        if found != dict(chunk.shapes):
            raise DamagedChunkError(f"has the shapes {found}, not {dict(chunk.shapes)}")
        return Finished(dataset, header["seconds"], header["commit"])

    def packed(self, chunk: Chunk, dataset: xr.Dataset, seconds: float) -> bytes:
        """A result in the form that is kept.

        Raises:
            TypeError: if its attributes are no JSON values.
        """
        stamp = {"seconds": seconds, "commit": self.commit}
        return pack(dataset, self._made_by(chunk) | stamp)

    def keep(self, chunk: Chunk, content: bytes) -> None:
        """Commits a finished chunk: it is there as a whole, or not.

        Raises:
            UserError: if the disk is full or refuses.
        """
        self.write(self._file(chunk).name, content)
        with contextlib.suppress(OSError):
            self._failure(chunk).unlink(missing_ok=True)

    def write(self, name: str, content: bytes) -> None:
        """Writes one file of the folder under a temporary name and renames it when whole.

        Raises:
            UserError: if the disk is full or refuses.
        """
        temporary = self.folder / f"{name}.{uuid.uuid4().hex[:8]}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.folder / name)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = "the disk is full" if full else (error.strerror or str(error))
            raise UserError(
                f"cannot keep a chunk in {self.folder}: {reason}. {self.count()} finished chunks "
                "are kept; mend that and run the same command again."
            ) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _failure(self, chunk: Chunk) -> Path:
        return self.folder / f"{chunk.key}.failed"

    def keep_failure(self, chunk: Chunk, reason: str, details: str) -> None:
        """Notes why a chunk failed; it is tried again in the next run."""
        text = f"{chunk.name}: {reason}\n{chunk.identity}\n\n{details}"
        self.write(self._failure(chunk).name, text.encode())

    def failure(self, chunk: Chunk) -> str | None:
        """Why the chunk failed in the last run; None if it did not."""
        with contextlib.suppress(OSError):
            first = self._failure(chunk).read_text().splitlines()[0]
            return first.removeprefix(f"{chunk.name}: ")
        return None

    def count(self) -> int:
        """Number of chunks kept."""
        return sum(1 for _ in self.folder.glob("*.chunk"))

    def budget(self) -> tuple[bool, int | None]:
        """Whether a cut is kept, and the memory budget that it was made for."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return True, json.loads((self.folder / CUT).read_text())["memory"]
        return False, None

    def keep_budget(self, memory: int | None) -> None:
        """Notes the budget of the cut, so that a later run without one cuts alike.

        Raises:
            UserError: if the disk is full or refuses.
        """
        if self.budget() != (True, memory):
            self.write(CUT, json.dumps({"memory": memory}).encode())

    def sweep_up(self) -> None:
        """Removes half-written files of a killed run."""
        for left in self.folder.glob("*.part"):
            left.unlink(missing_ok=True)

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove_if_idle(self) -> None:
        """Removes the folder if it holds neither chunks nor failures."""
        if not any(file.name != CUT for file in self.folder.glob("*")):
            self.remove()
