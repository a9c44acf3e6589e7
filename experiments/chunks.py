"""A sweep cut into chunks: what a chunk is, what names it, and its form as one file.

A chunk is a function of the top level of a module with plain arguments, so that it can be pickled
and run elsewhere. Its identity is the text of function and arguments, nothing else: no place in a
list, no clock. As bytes it is one line of digest, one line of JSON and the arrays; a single bit
that is missing or turned is seen.
"""

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from experiments.compiled import bound_compiled
from experiments.config import KEY_LENGTH
from experiments.progress import Progress

FORMAT = 1


class DamagedChunkError(Exception):
    """Bytes that are no whole chunk, or another than the one asked for; says why in a clause."""


@dataclass(frozen=True)
class Chunk:
    """A part of a sweep that is computed and kept as a whole.

    Attributes:
        name: in tables and messages.
        function: of the top level of a module; keywords in, small labelled Dataset out.
        arguments: its keywords: numbers, text, tuples of them, dataclasses of them.
        shapes: shape of every data variable of the Dataset.
        memory: bytes of arrays while it runs, an estimate.
        work: cost, in the unit of the plan.
    """

    name: str
    function: Callable[..., xr.Dataset]
    arguments: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    memory: int = 0
    work: float = 1.0

    @property
    def identity(self) -> str:
        """One text a chunk: function and arguments, sorted JSON, floats in shortest exact form.

        Raises:
            TypeError: if an argument is no JSON value and no dataclass.
        """
        stated = {
            "function": f"{self.function.__module__}.{self.function.__qualname__}",
            "arguments": dict(self.arguments),
        }
        return json.dumps(stated, sort_keys=True, separators=(",", ":"), default=_plain)

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits of the identity."""
        return hashlib.sha256(self.identity.encode()).hexdigest()[:KEY_LENGTH]

    def compute(self) -> xr.Dataset:
        """The result, checked.

        Raises:
            ValueError: if it has other variables or shapes than stated, or holds objects.
        """
        bound_compiled()
        result = self.function(**self.arguments)
        if not isinstance(result, xr.Dataset):
            raise ValueError(f"a Dataset must come out, got {type(result).__name__}.")
        found = {str(name): variable.shape for name, variable in result.data_vars.items()}
        for name in sorted({*found, *self.shapes}):
            if found.get(name) != self.shapes.get(name):
                raise ValueError(
                    f"`{name}` must have the shape {self.shapes.get(name)}, got {found.get(name)}."
                )
        for name, variable in result.variables.items():
            if variable.dtype.kind == "O":
                raise ValueError(f"`{name}` must hold numbers or text, got objects.")
        return result


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"an argument of a chunk must be plain, got {value!r}.")


@dataclass(frozen=True)
class Plan:
    """All chunks of a sweep and what makes one Dataset of their results.

    Attributes:
        label: of its progress.
        chunks: in the order of the results that `assemble` takes.
        assemble: results to the Dataset of the study.
        unit: of the work of the chunks.
    """

    label: str
    chunks: tuple[Chunk, ...]
    assemble: Callable[[Sequence[xr.Dataset]], xr.Dataset]
    unit: str = "chunks"

    @property
    def memory(self) -> int:
        """Of the largest chunk, bytes."""
        return max(chunk.memory for chunk in self.chunks)

    @property
    def work(self) -> float:
        """Of all chunks."""
        return sum(chunk.work for chunk in self.chunks)


def computed(plan: Plan, progress: Progress) -> xr.Dataset:
    """The Dataset of a plan, all in memory; the first failure is raised as it is."""
    results = []
    with progress.task(plan.label, len(plan.chunks)):
        for chunk in plan.chunks:
            results.append(chunk.compute())
            progress.advance()
    return plan.assemble(results)


def over_grid(
    results: Sequence[xr.Dataset],
    fields: Mapping[str, Sequence[str]],
    outer: Mapping[str, int],
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Variables of results that fill a grid, the last outer dimension fastest.

    Args:
        results: one for each place of the grid.
        fields: dimensions of every variable of a result.
        outer: sizes of the dimensions of the grid.

    Returns:
        By name, the outer dimensions followed by those of the field, and the values.
    """
    found = {}
    for name, dims in fields.items():
        values = np.stack([result[name].values for result in results])
        found[name] = ((*outer, *dims), values.reshape(*outer.values(), *values.shape[1:]))
    return found


def pack(dataset: xr.Dataset, header: Mapping[str, Any]) -> bytes:
    """A result as bytes.

    Args:
        dataset: numbers, flags and text.
        header: what else to keep, JSON.

    Raises:
        TypeError: if an attribute is no JSON value.
    """
    variables = [
        (str(name), list(map(str, variable.dims)), name in dataset.coords, variable.attrs)
        for name, variable in dataset.variables.items()
    ]
    stated = {**header, "format": FORMAT, "variables": variables, "attributes": dataset.attrs}
    body = io.BytesIO()
    arrays = {f"v{k}": dataset[name].values for k, (name, *_) in enumerate(variables)}
    np.savez(body, allow_pickle=False, **arrays)
    payload = json.dumps(stated, sort_keys=True).encode() + b"\n" + body.getvalue()
    return hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


def unpack(content: bytes) -> tuple[xr.Dataset, dict[str, Any]]:
    """Dataset and header of `pack`.

    Raises:
        DamagedChunkError: unless every byte is as written.
    """
    digest, _, payload = content.partition(b"\n")
    if hashlib.sha256(payload).hexdigest().encode() != digest:
        raise DamagedChunkError("is damaged or cut short")
    line, _, body = payload.partition(b"\n")
    header = json.loads(line)
    if header["format"] != FORMAT:
        raise DamagedChunkError(f"has the format {header['format']}, not {FORMAT}")
    data, coordinates = {}, {}
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        for k, (name, dims, is_coordinate, attrs) in enumerate(header["variables"]):
            kept = coordinates if is_coordinate else data
            kept[name] = (tuple(dims), arrays[f"v{k}"], attrs)
    return xr.Dataset(data, coordinates, header["attributes"]), header
