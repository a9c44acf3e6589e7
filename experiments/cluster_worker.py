"""What runs in a worker: a chunk, unless the worker would compute it differently."""

import contextlib
import functools
import hashlib
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.chunk_store import ChunkStore
from experiments.chunks import Chunk
from experiments.records import CHECKOUT, versions
from experiments.sweeps import Failure, attempt

PACKAGES = ("theory", "simulate", "experiments")


class OtherConditionsError(Exception):
    """A worker that computes with other code, packages or hardware; says which."""


def work(
    chunk: Chunk, store: ChunkStore, wanted: Mapping[str, Any]
) -> tuple[bytes | Failure, str, str]:
    """Computes a chunk in a worker.

    Args:
        chunk: what to compute.
        store: of the client; nothing is written to it here.
        wanted: `conditions` of the client.

    Returns:
        The finished chunk as bytes or why it failed; `arithmetic` here; the name of the worker.

    Raises:
        OtherConditionsError: if the conditions here differ.
    """
    check(wanted)
    return attempt(chunk, store, BaseException), arithmetic(wanted["float64"]), _name()


def check(wanted: Mapping[str, Any]) -> None:
    """Compares `conditions` here with those of the client, whose number type is taken over.

    Raises:
        OtherConditionsError: if they differ.
    """
    jax.config.update("jax_enable_x64", wanted["float64"])
    found = conditions()
    for name, value in wanted.items():
        if found[name] != value:
            raise OtherConditionsError(
                f"{_name()} has {name} {found[name]}, this process has {value}"
            )


def _name() -> str:
    return f"a worker on {socket.gethostname()} (process {os.getpid()})"


def conditions() -> dict[str, Any]:
    """What must be the same for a chunk computed here to stand for one computed elsewhere."""
    return {
        **{name: version for name, version in versions().items()},
        "code of quadlaw": _code(),
        "device": jax.devices()[0].device_kind,
        "float64": bool(jax.config.jax_enable_x64),  # pyright: ignore[reportAttributeAccessIssue]
    }


@functools.cache
def _code() -> str:
    """Digest of the modules that numbers come from, as this process found them."""
    known = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((Path(CHECKOUT) / package).rglob("*.py")):
            known.update(f"{path.relative_to(CHECKOUT)}\n".encode() + path.read_bytes())
    return known.hexdigest()[:12]


@functools.cache
def arithmetic(float64: bool) -> str:
    """Digest of sums, products, functions and draws whose last bits tell processors apart.

    Processors with other vector units, and other numbers of threads, add in other orders.
    """
    drawn = np.random.default_rng(0).normal(size=(1024, 1024))
    known = hashlib.sha256()
    for values in _probe(jnp.asarray(drawn, jnp.float64 if float64 else jnp.float32)):
        known.update(np.asarray(values).tobytes())
    return known.hexdigest()[:12]


@jax.jit
def _probe(matrix: jax.Array) -> tuple[jax.Array, ...]:
    product = matrix[:256] @ matrix[:256].T
    factor = jnp.linalg.cholesky(product)
    draw = jax.random.uniform(jax.random.key(0), (8,), matrix.dtype)
    return jnp.sum(matrix * matrix, 0), jnp.sum(jnp.exp(matrix)), product, factor, draw


def dask_setup(worker: Any) -> None:
    """Called by Dask in a worker of this machine: Ctrl-C is for the client, who ends it."""
    del worker
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
