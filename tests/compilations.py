"""Which programs of the engine XLA compiled."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"
_ENGINE = ("_simulate", "_simulate_part", "_joined", "_sweep")
_seen: list[str] = []


def _note(event: str, _: float, **about: object) -> None:
    if event == _EVENT:
        _seen.append(str(about["fun_name"]))


jax.monitoring.register_event_duration_secs_listener(_note)


@contextmanager
def engine_compilations() -> Iterator[list[str]]:
    """Names of the engine's functions compiled in the block, one a compilation.

    Counted where XLA is called: caches of `jax.jit` do not know of programs compiled by hand.
    """
    before, found = len(_seen), []
    yield found
    found += [name for name in _seen[before:] if name.removeprefix("jit(").rstrip(")") in _ENGINE]
