"""Exact curves: what they cost, and what stepping the same recursion would."""

import time
from collections.abc import Callable

import jax
import numpy as np

from theory.linear_methods import gd
from theory.problem import power_law
from theory.sgd import sgd


def seconds(call: Callable[[], object], repeats: int = 5) -> float:
    """Best wall time of a call, after one that compiles."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def stepping_seconds(size: int, steps: int) -> float:
    """NumPy's time for the second-moment recursion, in place."""
    lam = np.arange(1, size + 1) ** -1.5
    v = np.arange(1, size + 1) ** -0.3
    decay = 1 - 0.6 * lam + 0.09 * 1.25 * lam**2
    start = time.perf_counter()
    for _ in range(steps):
        drive = lam @ v
        v *= decay
        v += 0.0225 * drive * lam
    return time.perf_counter() - start


def theory_rows() -> list[dict]:
    """One row a claim about speed; `ratio` is peer over ours, `target` what it must reach."""
    rows = []
    for size in (1e6, 1e9, 1e12, 1e15):
        problem = power_law(1.5, 1.8, size)
        for steps in (1e6, 1e12):
            ours = seconds(lambda: jax.block_until_ready(sgd(problem, 0.3, 4, steps)))  # noqa: B023
            rows.append(
                {
                    "what": f"exact SGD loss, T = {steps:.0e} (peer: the 100 ms allowed)",
                    "size": f"N = {size:.0e}",
                    "ours_seconds": ours,
                    "peer_seconds": 0.1,
                    "ratio": 0.1 / ours,
                    "target": 1.0 if size == 1e12 else None,
                }
            )
    problem, steps = power_law(1.5, 1.8, 1e6), 100
    peer = stepping_seconds(10**6, steps) * 1e6 / steps
    ours = seconds(lambda: jax.block_until_ready(sgd(problem, 0.3, 4, 1e6)))
    rows.append(
        {
            "what": "exact SGD loss, T = 1e6 (peer: NumPy recursion, 100 steps scaled up)",
            "size": "N = 1e6",
            "ours_seconds": ours,
            "peer_seconds": peer,
            "ratio": peer / ours,
            "target": None,
        }
    )
    grid = np.geomspace(1, 1e12, 100)
    problem = power_law(1.5, 1.8, 1e12)
    ours = seconds(lambda: jax.block_until_ready(gd(problem, 0.5, grid)))
    rows.append(
        {
            "what": "exact GD curve, 100 horizons",
            "size": "N = 1e12",
            "ours_seconds": ours,
            "peer_seconds": None,
            "ratio": None,
            "target": None,
        }
    )
    return rows
