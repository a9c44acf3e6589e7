"""Muon, sign and gradient descent on the bigram matrix of real text, and what Zipf's law predicts.

The Hessian is diagonal in the entries, pi_i on row i, so sign descent is exact there as well; an
entry that never occurs in the text starts on its optimum and costs it nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from experiments.progress import Progress
from experiments.spectral_methods import (
    METHODS,
    TEXT_METHODS,
    WIDTH,
    tuned_run,
)
from experiments.tables import Table
from experiments.tuned_curves import curve_losses, off_exact, tuned_curve
from simulate.bigram import bigram
from simulate.text import BigramCounts
from simulate.tuning import band_mean
from theory.linear_methods import gd
from theory.sign_methods import sign_descent
from theory.spectrum import Spectrum, explicit_spectrum
from theory.zipf import zipf_gd_steps, zipf_sign_tuned

# Relative loss to which steps are counted.
TARGET = 0.1
GD_STEPS = np.geomspace(0.5, 1e6, 600)
GD_RATES = np.linspace(0.5, 1.99, 60)
SIGN_STEPS = np.unique(np.round(2 ** np.arange(1, 10.1, 0.5)))
# Distance eta T that a sign step covers: no entry is farther than one.
SIGN_DISTANCES = np.exp(np.arange(np.log(0.02), np.log(1.5), np.log1p(0.1)))


def restrict(counts: BigramCounts, vocabulary: int) -> BigramCounts:
    """The counts of a smaller vocabulary: pairs of its tokens only."""
    first, second = np.divmod(counts.pair, counts.vocabulary)
    kept = (first < vocabulary) & (second < vocabulary)
    pair = first[kept] * vocabulary + second[kept]
    return BigramCounts(counts.tokens[:vocabulary], pair, counts.block[:, kept])


def spectra(counts: BigramCounts) -> tuple[Spectrum, Spectrum]:
    """Modes of a text: one a row, all that a linear method needs, and one a pair that occurs."""
    total = counts.block.sum(axis=0).astype(float)
    row = counts.pair // counts.vocabulary
    first = np.bincount(row, weights=total, minlength=counts.vocabulary)
    frequency = first / first.sum()
    energy = frequency[row] * (total / first[row]) ** 2
    rows = np.bincount(row, weights=energy, minlength=counts.vocabulary)
    seen = first > 0
    return explicit_spectrum(frequency[seen], rows[seen]), explicit_spectrum(frequency[row], energy)


def text_part(
    counts: BigramCounts, vocabularies: Sequence[int], steps: np.ndarray, progress: Progress
) -> xr.Dataset:
    """Tuned losses on the smallest vocabulary; steps to `TARGET` on all.

    Args:
        counts: of the largest vocabulary.
        vocabularies: increasing.
        steps: horizons.
        progress: advanced once a method.
    """
    small = restrict(counts, vocabularies[0])
    whole = bigram(small)
    problem = replace(whole, floor=jnp.zeros_like(whole.floor))
    rows, pairs = spectra(small)
    runs, exact, off = [], [], []
    for name in TEXT_METHODS:
        method = METHODS[name]
        assert method.text_rates is not None
        low, high = method.text_rates
        unit = 1 / float(rows.eigenvalues.max()) if name == "gd" else 1.0
        run = tuned_run(method, problem, steps, (low * unit, high * unit))
        known = "crossed" in method.sees
        modes = pairs if name == "sign" else rows
        runs.append(run)
        if known:
            assert method.curve is not None
            losses = curve_losses(method.curve, modes, steps, run.rates)
            off.append(off_exact(run.losses, losses))
            exact.append(tuned_curve(losses, WIDTH))
        else:
            off.append(np.nan)
            exact.append(np.full(steps.size, np.nan))
        progress.advance()
    losses = np.array([run.loss for run in runs])
    grid = ("text_method", "text_horizon")
    return xr.Dataset(
        {
            "text_loss": (grid, losses),
            "text_exact": (grid, exact),
            "text_learning_rate": (grid, [run.learning_rate for run in runs]),
            "text_log_rate_error": (grid, [run.log_error for run in runs]),
            "text_at_edge": (grid, [run.at_edge.astype(float) for run in runs]),
            "text_speedup": (grid, _gd_steps(rows, losses) / steps),
            "text_off": ("text_method", off),
        }
        | _steps_to_target(counts, vocabularies),
        coords={
            "text_method": list(TEXT_METHODS),
            "text_horizon": steps.astype(float),
            "vocabulary": np.array(vocabularies, float),
            "route": ["zipf", "text"],
        },
        attrs={"start": float(jnp.sum(rows.energies)) / 2, "target": TARGET},
    )


def _gd_steps(rows: Spectrum, losses: np.ndarray) -> np.ndarray:
    """Steps (real numbers) of exactly tuned GD to each loss; NaN beyond its range."""
    rates = GD_RATES / float(rows.eigenvalues.max())
    tuned = np.min([gd(rows, rate, GD_STEPS).bias for rate in rates], axis=0)
    return _crossing(GD_STEPS, tuned, losses)


def _crossing(steps: np.ndarray, curve: np.ndarray, level: Any) -> np.ndarray:
    """Where a falling curve reaches a level, log-log between its points."""
    tiny = np.finfo(float).tiny
    x, y = np.log(steps[::-1]), np.log(np.maximum(curve, tiny))[::-1]
    return np.exp(np.interp(np.log(level), np.maximum.accumulate(y), x, left=np.nan, right=np.nan))


def _steps_to_target(counts: BigramCounts, vocabularies: Sequence[int]) -> dict[str, Any]:
    """Steps of GD at 1/pi_1 and of tuned sign descent, by Zipf's law and on the text."""
    found = {"gd_steps": [[], []], "sign_steps": [[], []]}
    occupied = []
    for size in vocabularies:
        part = restrict(counts, size)
        rows, pairs = spectra(part)
        level = TARGET * float(jnp.sum(rows.energies)) / 2
        unit = 1 / float(rows.eigenvalues.max())
        plain = np.asarray(gd(rows, unit, GD_STEPS).bias)
        signs = [_tuned_sign(pairs, steps) for steps in SIGN_STEPS]
        ideal = [zipf_sign_tuned(1.0, size, float(steps)).loss for steps in SIGN_STEPS]
        found["gd_steps"][0].append(zipf_gd_steps(1.0, size, TARGET))
        found["gd_steps"][1].append(float(_crossing(GD_STEPS, plain, level)))
        found["sign_steps"][0].append(float(_crossing(SIGN_STEPS, np.array(ideal), TARGET)))
        found["sign_steps"][1].append(float(_crossing(SIGN_STEPS, np.array(signs), level)))
        occupied.append(part.pair.size / size**2)
    return {name: (("route", "vocabulary"), rows) for name, rows in found.items()} | {
        "occupied": ("vocabulary", occupied)
    }


def _tuned_sign(pairs: Spectrum, steps: float) -> float:
    at = np.array([steps])
    losses = [np.asarray(sign_descent(pairs, d / steps, at).bias)[0] for d in SIGN_DISTANCES]
    return float(band_mean(np.array(losses), WIDTH).min())


def text_tables(dataset: xr.Dataset) -> list[Table]:
    """Tuned losses, and Zipf's law against the text."""
    return [_loss_table(dataset), _zipf_table(dataset)]


def _loss_table(dataset: xr.Dataset) -> Table:
    rows = []
    for method in map(str, dataset.text_method.values):
        row = dataset.sel({"text_method": method})
        off = float(row.text_off)
        rows.append(
            (
                method + (" (edge)" if row.text_at_edge.values.any() else ""),
                *(f"{x:.2g}" for x in row.text_loss.values / dataset.attrs["start"]),
                float(row.text_speedup[-1]),
                f"{off:.1e}" if np.isfinite(off) else "-",
            )
        )
    steps = [f"T = {int(count)}" for count in dataset.text_horizon.values]
    return Table(
        f"Real text, {int(dataset.vocabulary[0])} words: tuned loss over that at the start",
        ("method", *steps, "steps of tuned GD / steps, last T", "off exact"),
        tuple(rows),
    )


def _zipf_table(dataset: xr.Dataset) -> Table:
    rows = []
    for k, size in enumerate(dataset.vocabulary.values):
        cells = [int(size), float(dataset.occupied[k])]
        for name in ("gd_steps", "sign_steps"):
            cells += [float(dataset[name].sel(route=route)[k]) for route in ("zipf", "text")]
        speedup = dataset.gd_steps[:, k] / dataset.sign_steps[:, k]
        rows.append((*cells, *(float(speedup.sel(route=route)) for route in ("zipf", "text"))))
    columns = (
        "words",
        "pairs seen",
        "GD, Zipf",
        "GD, text",
        "sign, Zipf",
        "sign, text",
        "speed-up, Zipf",
        "speed-up, text",
    )
    note = "GD at 1/pi_1, sign descent tuned; Zipf: frequencies and conditionals k^-1, all pairs"
    return Table(f"Steps to {TARGET:g} of the loss at the start", columns, tuple(rows), note)
