"""Exact SGD curves against what one would write by hand, and how cost grows with modes and steps.

    python -m benchmarks.exact_theory cost.png

Peers, in NumPy, float64: the recursion of every mode's second moment; and the Volterra equation of
the loss, whose forcing and kernel are sums over the modes. All give the curve at the same horizons.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from benchmarks.rows import best_seconds, row
from paper_figures.style import BLUE, COLUMN_INCHES, GREY, VERMILION, paper_style
from theory.problem import power_law
from theory.sgd import sgd
from theory.spectrum import approximation_error

CAPACITY_EXPONENT, SOURCE_EXPONENT, NOISE_VARIANCE = 1.5, 1.8, 0.1
LEARNING_RATE, BATCH_SIZE = 0.3, 4.0
HORIZONS, REPEATS = 20, 3
# One axis at a time: what is varied, what is kept, how far the peers go and how far ours does.
MODES, STEPS = "modes", "steps"
KEPT = {MODES: 10_000, STEPS: 1_000}
OF_PEERS = {MODES: np.geomspace(1e2, 1e6, 5), STEPS: np.geomspace(1e1, 1e5, 5)}
OF_OURS = {MODES: np.geomspace(1e2, 1e15, 14), STEPS: np.geomspace(1e1, 1e12, 12)}
# Float64 sums of 1e6 terms and 1e5 steps; quadrature gives 1e-10.
AGREEMENT = 1e-8

Curve = Callable[[float, np.ndarray], np.ndarray]


def horizons(last: float) -> np.ndarray:
    """Whole recording times up to the last."""
    return np.unique(np.round(np.geomspace(1, last, HORIZONS)))


def exact_curve(size: float, steps: np.ndarray) -> np.ndarray:
    """Excess over irreducible and approximation error, by `theory.sgd`."""
    problem = power_law(CAPACITY_EXPONENT, SOURCE_EXPONENT, size, NOISE_VARIANCE)
    found = sgd(problem, LEARNING_RATE, BATCH_SIZE, steps)
    return np.asarray(jax.block_until_ready(found.bias + found.noise))


def _modes(size: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Eigenvalues, second moments at the start, their decay a step, noise with untrained modes."""
    k = np.arange(1, int(size) + 1, dtype=float)
    problem = power_law(CAPACITY_EXPONENT, SOURCE_EXPONENT, size, NOISE_VARIANCE)
    noise = NOISE_VARIANCE + 2 * float(approximation_error(problem))
    eigenvalues = k**-CAPACITY_EXPONENT
    step = LEARNING_RATE * eigenvalues
    decay = 1 - 2 * step + step**2 * (1 + 1 / BATCH_SIZE)
    return eigenvalues, k**-SOURCE_EXPONENT / eigenvalues, decay, noise


def recursion(size: float, steps: np.ndarray) -> np.ndarray:
    """Every mode's second moment, step by step, in place."""
    eigenvalues, moments, decay, noise = _modes(size)
    injected = LEARNING_RATE**2 / BATCH_SIZE * eigenvalues
    work = np.empty_like(moments)
    losses, now = [], 0
    for horizon in steps.astype(int):
        for _ in range(horizon - now):
            total = eigenvalues @ moments + noise
            np.multiply(injected, total, out=work)
            moments *= decay
            moments += work
        now = horizon
        losses.append(eigenvalues @ moments / 2)
    return np.array(losses)


def volterra(size: float, steps: np.ndarray) -> np.ndarray:
    """Loss = forcing + kernel * loss, solved forwards."""
    eigenvalues, moments, decay, noise = _modes(size)
    last = int(steps[-1])
    forcing, kernel = np.empty(last + 1), np.empty(last + 1)
    powers = np.ones_like(decay)
    energies = eigenvalues * moments
    gain = LEARNING_RATE**2 / BATCH_SIZE * eigenvalues**2
    for time_step in range(last + 1):
        forcing[time_step], kernel[time_step] = energies @ powers, gain @ powers
        powers *= decay
    # Twice the loss with its label noise; reversed in place of a new array at every step.
    total, backwards = np.empty(last + 1), kernel[::-1].copy()
    for time_step in range(last + 1):
        heard = backwards[last + 1 - time_step :] @ total[:time_step]
        total[time_step] = forcing[time_step] + noise + heard
    return (total[steps.astype(int)] - noise) / 2


METHODS: dict[str, tuple[Curve, str, str]] = {
    "quadlaw": (exact_curve, BLUE, "o"),
    "recursion, NumPy": (recursion, VERMILION, "s"),
    "Volterra, NumPy": (volterra, GREY, "^"),
}


def exact_theory_rows() -> list[dict[str, Any]]:
    """The largest case of each axis that the peers can do, one row a peer."""
    rows = []
    for size, last in ((1e6, 1e3), (1e4, 1e5)):
        steps = horizons(last)
        check_agreement(size, steps)
        curves = [partial(curve, size, steps) for curve, *_ in METHODS.values()]
        ours, *peers = best_seconds(curves, REPEATS)
        for name, seconds in zip(list(METHODS)[1:], peers, strict=True):
            what = f"exact SGD curve, {HORIZONS} horizons to T = {last:.0e} (peer: {name})"
            rows.append(row(what, f"N = {size:.0e}", ours, seconds))
    return rows


def check_agreement(size: float, steps: np.ndarray) -> None:
    """A fast wrong answer is no answer.

    Raises:
        AssertionError: if the curves differ.
    """
    ours = exact_curve(size, steps)
    for curve in (recursion, volterra):
        np.testing.assert_allclose(ours, curve(size, steps), rtol=AGREEMENT)


def costs() -> pd.DataFrame:
    """Seconds for one curve, one row a case: `axis`, `value`, `method`, `seconds`."""
    rows = []
    for axis in (MODES, STEPS):
        for name, (curve, *_) in METHODS.items():
            ours = curve is exact_curve
            for value in (OF_OURS if ours else OF_PEERS)[axis]:
                size, last = {**KEPT, axis: value}.values()
                (seconds,) = best_seconds([partial(curve, size, horizons(last))], REPEATS)
                rows.append({"axis": axis, "value": value, "method": name, "seconds": seconds})
    return pd.DataFrame(rows)


def draw(measured: pd.DataFrame, path: Path) -> None:
    """Seconds against the number of modes and against the number of steps."""
    with paper_style():
        figure, panels = plt.subplots(1, 2, figsize=(2 * COLUMN_INCHES, 2.4), sharey=True)
        labels = {
            MODES: f"modes $N$  ($T$ = {KEPT[STEPS]:,})",
            STEPS: f"steps $T$  ($N$ = {KEPT[MODES]:,})",
        }
        for axes, (axis, label) in zip(panels, labels.items(), strict=True):
            for name, (_, colour, marker) in METHODS.items():
                chosen = measured[(measured["axis"] == axis) & (measured["method"] == name)]
                axes.plot(
                    chosen["value"], chosen["seconds"], color=colour, marker=marker, label=name
                )
            axes.set(xscale="log", yscale="log", xlabel=label)
        panels[0].set_ylabel(f"time for a curve of {HORIZONS} horizons (s)")
        panels[1].legend(loc="upper right")
        figure.savefig(path, dpi=200)
        plt.close(figure)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    for size, last in ((1e6, 1e3), (1e4, 1e4)):
        check_agreement(size, horizons(last))
    measured = costs()
    print(measured.to_string(index=False))
    if len(sys.argv) > 1:
        draw(measured, Path(sys.argv[1]))
