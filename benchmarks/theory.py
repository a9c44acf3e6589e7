"""Exact curves: what they cost, and what stepping the same recursion would."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.exact_theory import exact_theory_rows
from benchmarks.rows import best_seconds, row
from theory.linear_methods import gd
from theory.problem import power_law
from theory.sgd import sgd
from theory.sgd_batch import sgd_curves


def theory_rows(repeats: int = 5) -> list[dict[str, Any]]:
    """One row a claim about speed; `ratio` is peer over ours, `target` what it must reach."""

    def seconds(call: Callable[[], object]) -> float:
        return best_seconds([lambda: jax.block_until_ready(call())], repeats)[0]

    rows = []
    for size in (1e6, 1e9, 1e12, 1e15):
        problem = power_law(1.5, 1.8, size)
        for steps in (1e6, 1e12):
            what = f"exact SGD loss, T = {steps:.0e} (peer: the 100 ms allowed)"
            ours = seconds(partial(sgd, problem, 0.3, 4, steps))
            rows.append(row(what, f"N = {size:.0e}", ours, 0.1, 1.0 if size == 1e12 else None))
    grid, problem = np.geomspace(1, 1e12, 100), power_law(1.5, 1.8, 1e12)
    ours = seconds(partial(gd, problem, 0.5, grid))
    rows.append(row("exact GD curve, 100 horizons", "N = 1e12", ours))
    return [*rows, *exact_theory_rows(), _many_curves()]


def _many_curves() -> dict[str, Any]:
    """Curves of random configurations, compiled before; the peer is what a million may take."""
    rng, count = np.random.default_rng(0), 100_000
    capacity, source = rng.uniform(0.6, 2.5, count), rng.uniform(1.05, 3.0, count)
    noise, rate = rng.uniform(0.0, 1.0, count), rng.uniform(0.02, 0.5, count)
    batch, steps = np.exp(rng.uniform(0.0, 4.0, count)), np.round(np.geomspace(1, 1e9, 20))
    call = partial(sgd_curves, capacity, source, 1e9, noise, rate, batch, steps)
    (ours,) = best_seconds([lambda: jax.block_until_ready(call().noise)], 1)
    what = f"{count:,} exact SGD curves, 20 horizons each (peer: the 2 minutes allowed a million)"
    return row(what, "N = 1e9", ours, 120.0 * count / 1e6, 1.0)
