"""What every comparison of speed is made of: a row of the table, and the times in it."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def row(
    what: str,
    size: object,
    ours: float,
    peer: float | None = None,
    target: float | None = None,
    *,
    is_roofline: bool = False,
) -> dict[str, Any]:
    """One comparison.

    Args:
        what: what is compared.
        size: of the problem.
        ours: seconds.
        peer: seconds of the peer, if there is one.
        target: what the ratio must reach.
        is_roofline: whether the peer is the least that the hardware could take.
    """
    ratio = None if peer is None else peer / ours
    return {
        "what": what,
        "size": size,
        "ours_seconds": ours,
        "peer_seconds": peer,
        "ratio": ratio,
        "target": target,
        "roofline": ratio if is_roofline else None,
    }


def best_seconds(calls: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Least wall time of each call, taken in turn; a first round compiles."""
    best = [np.inf] * len(calls)
    for repeat in range(repeats + 1):
        for which, call in enumerate(calls):
            start = time.perf_counter()
            call()
            if repeat > 0:
                best[which] = min(best[which], time.perf_counter() - start)
    return best
