"""Muon, sign and gradient descent on the bigram matrix of real text, and what Zipf's law predicts.

The Hessian is diagonal in the entries, pi_i on row i, so sign descent is exact there as well; an
entry that never occurs in the text starts on its optimum and costs it nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from experiments.chunks import Chunk, over_grid
from experiments.spectral_methods import METHODS, SPACING, TEXT_METHODS, WIDTH, tuned_run
from experiments.spectral_plan import COMPILING, STATE_COPIES, step_cost
from experiments.stated_text import stated
from experiments.tuned_curves import curve_losses, off_exact, rate_grid, tuned_curve
from simulate.bigram import bigram
from simulate.text import BigramCounts, count_bigrams, read_text
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

ROUTES = ("zipf", "text")
STEPS = (
    *(f"{name}_{route}" for name in ("gd_steps", "sign_steps") for route in ROUTES),
    "occupied",
)
FIELDS: dict[str, tuple[str, ...]] = {
    "text_loss": ("text_horizon",),
    "text_exact": ("text_horizon",),
    "text_learning_rate": ("text_horizon",),
    "text_log_rate_error": ("text_horizon",),
    "text_at_edge": ("text_horizon",),
    "text_off": (),
}
# Of a byte of text: its words one by one, numbered, paired and counted in blocks.
COUNT_BYTES = 30
# Cost of a pair that occurs, a rate and horizon of sign descent; about so many occur a word.
SIGN_COST = 6.0
PAIRS = 15


@dataclass(frozen=True)
class TextSource:
    """Which text; fields as in `SpectralConfig`."""

    text: str
    text_digest: str
    max_bytes: int


@lru_cache(maxsize=8)  # the smallest vocabulary's has many chunks, the largest's is planned with
def counted(source: TextSource, vocabulary: int) -> BigramCounts:
    """Pairs of the most frequent tokens.

    Raises:
        ValueError: if the text has fewer tokens, or another hash than stated.
    """
    text = stated(read_text, source.text, source.max_bytes, source.text_digest)
    return count_bigrams(text, vocabulary)


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


def text_chunks(
    source: TextSource, vocabularies: tuple[int, ...], horizons: tuple[int, ...]
) -> list[Chunk]:
    """Each method and exact GD on the smallest vocabulary, then steps to `TARGET` on all."""
    small = vocabularies[0]
    stated = {"source": source, "vocabulary": small}
    grid = {name: (len(horizons),) * len(dims) for name, dims in FIELDS.items()}
    counting = COUNT_BYTES * source.max_bytes
    chunks = []
    for method in TEXT_METHODS:
        runs = rate_grid(*_text_rates(method), SPACING).size
        memory = counting + 8 * STATE_COPIES * runs * small**2
        work = COMPILING + runs * max(horizons) * step_cost(method, small)
        named = stated | {"method": method, "horizons": horizons}
        chunks.append(Chunk(f"text, {method}", tuned_text, named, grid, memory, work))
    shapes = {"curve": (GD_STEPS.size,), "start": ()}
    chunks.append(Chunk("text, exact GD", gd_text, stated, shapes, counting, COMPILING))
    for size in vocabularies:
        work = COMPILING + SIGN_COST * SIGN_STEPS.size * SIGN_DISTANCES.size * PAIRS * size
        named, shapes = {"source": source, "vocabulary": size}, dict.fromkeys(STEPS, ())
        chunks.append(Chunk(f"text, {size} words", steps_to_target, named, shapes, counting, work))
    return chunks


def _text_rates(method: str) -> tuple[float, float]:
    rates = METHODS[method].text_rates
    assert rates is not None
    return rates


def tuned_text(
    *, source: TextSource, vocabulary: int, method: str, horizons: tuple[int, ...]
) -> xr.Dataset:
    """Tuned losses of a method, and the exact ones if they are known."""
    chosen, steps, counts = METHODS[method], np.array(horizons), counted(source, vocabulary)
    whole = bigram(counts)
    problem = replace(whole, floor=jnp.zeros_like(whole.floor))
    rows, pairs = spectra(counts)
    low, high = _text_rates(method)
    unit = 1 / float(rows.eigenvalues.max()) if method == "gd" else 1.0
    run = tuned_run(chosen, problem, steps, (low * unit, high * unit))
    exact, off = np.full(steps.size, np.nan), np.nan
    if "crossed" in chosen.sees:
        assert chosen.curve is not None
        losses = curve_losses(chosen.curve, pairs if method == "sign" else rows, steps, run.rates)
        exact, off = tuned_curve(losses, WIDTH), off_exact(run.losses, losses)
    found = {
        "text_loss": run.loss,
        "text_exact": exact,
        "text_learning_rate": run.learning_rate,
        "text_log_rate_error": run.log_error,
        "text_at_edge": run.at_edge.astype(float),
        "text_off": off,
    }
    return xr.Dataset({name: (dims, found[name]) for name, dims in FIELDS.items()})


def gd_text(*, source: TextSource, vocabulary: int) -> xr.Dataset:
    """Loss of exactly tuned GD over `GD_STEPS`, and that at the start."""
    rows, _ = spectra(counted(source, vocabulary))
    rates = GD_RATES / float(rows.eigenvalues.max())
    tuned = np.min([gd(rows, rate, GD_STEPS).bias for rate in rates], axis=0)
    return xr.Dataset({"curve": ("step", tuned), "start": float(jnp.sum(rows.energies)) / 2})


def assembled_text(
    results: Sequence[xr.Dataset], vocabularies: Sequence[int], steps: np.ndarray
) -> xr.Dataset:
    """Results of all chunks of a text as one Dataset."""
    count = len(TEXT_METHODS)
    variables = over_grid(results[:count], FIELDS, {"text_method": count})
    exact = results[count]
    losses = variables["text_loss"][1]
    # Steps (real numbers) of exactly tuned GD to each loss; NaN beyond its range.
    reached = crossing(GD_STEPS, exact.curve.values, losses)
    variables["text_speedup"] = (("text_method", "text_horizon"), reached / steps)
    parts = results[count + 1 :]
    for name in ("gd_steps", "sign_steps"):
        values = [[float(part[f"{name}_{route}"]) for part in parts] for route in ROUTES]
        variables[name] = (("route", "vocabulary"), np.array(values))
    variables["occupied"] = (("vocabulary",), np.array([float(part.occupied) for part in parts]))
    return xr.Dataset(
        variables,
        coords={
            "text_method": list(TEXT_METHODS),
            "text_horizon": steps.astype(float),
            "vocabulary": np.array(vocabularies, float),
            "route": list(ROUTES),
        },
        attrs={"start": float(exact.start), "target": TARGET},
    )


def crossing(steps: np.ndarray, curve: np.ndarray, level: Any) -> np.ndarray:
    """Where a falling curve reaches a level, log-log between its points."""
    tiny = np.finfo(float).tiny
    x, y = np.log(steps[::-1]), np.log(np.maximum(curve, tiny))[::-1]
    return np.exp(np.interp(np.log(level), np.maximum.accumulate(y), x, left=np.nan, right=np.nan))


def steps_to_target(*, source: TextSource, vocabulary: int) -> xr.Dataset:
    """Steps of GD at 1/pi_1 and of tuned sign descent, by Zipf's law and on the text."""
    part = counted(source, vocabulary)
    rows, pairs = spectra(part)
    level = TARGET * float(jnp.sum(rows.energies)) / 2
    unit = 1 / float(rows.eigenvalues.max())
    plain = np.asarray(gd(rows, unit, GD_STEPS).bias)
    signs = [_tuned_sign(pairs, steps) for steps in SIGN_STEPS]
    ideal = [zipf_sign_tuned(1.0, vocabulary, float(steps)).loss for steps in SIGN_STEPS]
    return xr.Dataset(
        {
            "gd_steps_zipf": float(zipf_gd_steps(1.0, vocabulary, TARGET)),
            "gd_steps_text": float(crossing(GD_STEPS, plain, level)),
            "sign_steps_zipf": float(crossing(SIGN_STEPS, np.array(ideal), TARGET)),
            "sign_steps_text": float(crossing(SIGN_STEPS, np.array(signs), level)),
            "occupied": part.pair.size / vocabulary**2,
        }
    )


def _tuned_sign(pairs: Spectrum, steps: float) -> float:
    at = np.array([steps])
    losses = [np.asarray(sign_descent(pairs, d / steps, at).bias)[0] for d in SIGN_DISTANCES]
    return float(band_mean(np.array(losses), WIDTH).min())
