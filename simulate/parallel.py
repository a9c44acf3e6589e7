"""One program many times over: compiled for every device, run by a thread each."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params

# On a CPU these wait inside for threads of the pool that runs them (see `simulate.in_turn`), where
# two programs at once could wait for each other.
WAITING = frozenset(
    [
        "cholesky",
        "eig",
        "eigh",
        "geqp3",
        "geqrf",
        "hessenberg",
        "householder_product",
        "lu",
        "ormqr",
        "qr",
        "schur",
        "svd",
        "tridiagonal",
        "tridiagonal_solve",
        "triangular_solve",
    ]
)


def threads_for(program: jax.stages.Traced, devices: Sequence[Any], platform: str) -> int:
    """How many calls of a program may run at once on each of some devices; 0: one on all together.

    Args:
        program: as traced.
        devices: that run it.
        platform: of the devices, e.g. `cpu`.

    Returns:
        One; on a lone CPU as many as it has cores, of which one XLA program of small arrays uses
        one; 0 for matrix factorisations on a CPU.
    """
    if platform != "cpu":
        return 1
    if any(step.primitive.name in WAITING for step in equations(program.jaxpr.jaxpr)):
        return 0
    return cores() if len(devices) == 1 else 1


def cores() -> int:
    """How many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of a traced program, those of inner ones too."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


def compile_all(programs: Mapping[Any, jax.stages.Lowered]) -> dict[Any, jax.stages.Compiled]:
    """Compiles programs side by side.

    The first alone: JAX's compilation cache on disk, if there is one, then serves the others.

    Args:
        programs: the same program for each device.

    Returns:
        The compiled ones by device.
    """
    (first, lowered), *others = programs.items()
    compiled = {first: lowered.compile()}
    with ThreadPoolExecutor(max(1, len(others))) as pool:
        found = pool.map(lambda program: program[1].compile(), others)
        return compiled | dict(zip((device for device, _ in others), found, strict=True))


def run_all(calls: Mapping[Any, tuple[Any, Callable[[], Any]]], threads: int) -> dict[Any, Any]:
    """Runs calls, those of one device by threads of its own.

    Args:
        calls: a device and what to call there, by any name. They must not trace: JAX's settings
            belong to a thread.
        threads: for each device; 0: one for all.

    Returns:
        Results by name.
    """
    with ExitStack() as stack:
        pools: dict[Any, ThreadPoolExecutor] = {}
        futures: dict[Any, Future] = {}
        try:
            for name, (device, call) in calls.items():
                where = device if threads else None
                if where not in pools:
                    pools[where] = stack.enter_context(ThreadPoolExecutor(max(1, threads)))
                futures[name] = pools[where].submit(call)
            return {name: future.result() for name, future in futures.items()}
        finally:
            for future in futures.values():
                future.cancel()
