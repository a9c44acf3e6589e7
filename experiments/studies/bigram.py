"""Gradient descent on real text: simulation, exact curve, and what two exponents can predict."""

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from experiments.progress import Progress
from experiments.records import with_units
from experiments.stated_text import digest_of, stated
from experiments.study import Study
from experiments.tables import Table
from simulate.bigram import ExponentEstimate, bigram, bigram_spectrum, measure_exponents
from simulate.optimizers import sgd as sgd_optimizer
from simulate.text import DEFAULT_MAX_BYTES, count_bigrams, read_text
from simulate.trajectory import record_steps, simulate
from theory.linear_methods import gd
from theory.spectrum import explicit_spectrum


@dataclass(frozen=True)
class BigramConfig:
    """The linear bigram model on a text, trained by gradient descent from zero."""

    text: str = ""
    """File or folder; empty: the standard library of the running Python."""
    text_digest: str = ""
    """Hash of the text read; filled in by itself, so that another text is another record."""
    vocabulary: int = 1000
    """Most frequent tokens kept."""
    max_bytes: int = DEFAULT_MAX_BYTES
    """Text read, about."""
    window_first: int = 10
    """First rank of the exponent fit."""
    window_last: int = 500
    """Last rank of the exponent fit."""
    resamples: int = 200
    """Bootstrap draws of blocks of text."""
    simulated_horizon: int = 3000
    """Steps simulated."""
    exact_horizon: float = 1e5
    """Steps of the exact curve."""
    seed: int = 0
    """Of the bootstrap."""

    @classmethod
    def quick(cls) -> "BigramConfig":
        """A smaller vocabulary."""
        return cls(vocabulary=300, max_bytes=1_000_000, window_last=150, simulated_horizon=1000)


def resolve(config: BigramConfig) -> BigramConfig:
    """The configuration with the hash of its text.

    Raises:
        ValueError: if another hash was asked for than that of the text now there.
    """
    text = stated(read_text, config.text, config.max_bytes, config.text_digest)
    return replace(config, text_digest=digest_of(text))


def compute(config: BigramConfig, progress: Progress) -> xr.Dataset:
    """Counts the text, measures its exponents, trains on it and draws the exact curves."""
    with progress.task("bigram", 4):
        text = stated(read_text, config.text, config.max_bytes, config.text_digest)
        counts = count_bigrams(text, config.vocabulary)
        progress.advance()
        window = (config.window_first, config.window_last)
        capacity, source = measure_exponents(counts, window, config.resamples, config.seed)
        progress.advance()
        problem = bigram(counts)
        eigenvalues, energies = bigram_spectrum(counts)
        rate = 1.0 / float(eigenvalues[0])
        steps = record_steps(config.simulated_horizon, 30)
        run = simulate(problem, sgd_optimizer, steps, learning_rate=rate)
        progress.advance()
        grid = np.geomspace(1, config.exact_horizon, 97)
        floor = float(problem.floor)
        exact = explicit_spectrum(eigenvalues, energies, 0.0, 2 * floor)
        model = _two_exponents(capacity, source, eigenvalues)
        fitted = explicit_spectrum(*model, 0.0, 2 * floor)
        predicted = gd(fitted, rate, grid).bias
        progress.advance()
    at_steps, on_grid = gd(exact, rate, steps), gd(exact, rate, grid)
    dataset = xr.Dataset(
        {
            "simulated_loss": ("steps", np.asarray(run.loss)),
            "exact_at_steps": ("steps", np.asarray(at_steps.total)),
            "exact_excess_at_steps": ("steps", np.asarray(at_steps.bias)),
            "exact_excess": ("exact_steps", np.asarray(on_grid.bias)),
            "predicted_excess": ("exact_steps", np.asarray(predicted)),
            "eigenvalues": ("rank", eigenvalues),
            "energies": ("rank", energies),
            "fitted_eigenvalues": ("rank", model[0]),
            "fitted_energies": ("rank", model[1]),
            "exponent": (("law", "estimate"), [_row(capacity), _row(source)]),
        },
        coords={
            "steps": steps,
            "exact_steps": grid,
            "rank": np.arange(1, eigenvalues.size + 1),
            "law": ["capacity", "source"],
            "estimate": ["exponent", "prefactor", "standard_error", "window_spread"],
        },
        attrs={
            "irreducible": floor,
            "learning_rate": rate,
            "pairs": counts.pairs,
            "window": list(window),
        },
    )
    return with_units(dataset, simulated_loss="loss", exact_excess="loss", steps="steps")


def _two_exponents(
    capacity: ExponentEstimate, source: ExponentEstimate, eigenvalues: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The spectrum that two fitted power laws stand for.

    Text is flatter than Zipf's law at the first ranks, so the power law is cut at the largest
    eigenvalue, which the learning rate presumes known.
    """
    rank = np.arange(1, eigenvalues.size + 1, dtype=float)
    return (
        np.minimum(capacity.prefactor * rank**-capacity.exponent, eigenvalues[0]),
        source.prefactor * rank**-source.exponent,
    )


def _row(estimate: ExponentEstimate) -> list[float]:
    return [
        estimate.exponent,
        estimate.prefactor,
        estimate.standard_error,
        estimate.window_spread,
    ]


def prediction_error(dataset: xr.Dataset, share: float = 0.1) -> float:
    """Largest |log(predicted / exact)| of the excess loss until it has fallen to `share`.

    Later the smallest few eigenvalues decide, exponentially, and no power law can know them.
    """
    inside = dataset.exact_excess >= share * dataset.energies.sum() / 2
    ratio = (dataset.predicted_excess / dataset.exact_excess).where(inside, drop=True)
    return float(abs(np.log(ratio)).max())


def summary(dataset: xr.Dataset) -> list[Table]:
    """Exponents of the text and the quality of the curves."""
    rows = tuple(
        (str(law), *(float(dataset.exponent.sel(law=law, estimate=name)) for name in names))
        for law in dataset.law.values
        for names in (("exponent", "standard_error", "window_spread", "prefactor"),)
    )
    first, last = dataset.attrs["window"]
    a, b = (float(dataset.exponent.sel(law=law, estimate="exponent")) for law in dataset.law.values)
    exponents = Table(
        f"Power laws in ranks {first} to {last}, {dataset.attrs['pairs']} pairs of tokens",
        ("", "exponent", "standard error", "spread over half windows", "prefactor"),
        rows,
        f"beta = (b - 1)/a = {(b - 1) / a:.3f}"
        + (": b <= 1, the loss is no power law of the steps here" if b <= 1 else ""),
    )
    simulated_excess = dataset.simulated_loss - dataset.attrs["irreducible"]
    worst = float(abs(simulated_excess / dataset.exact_excess_at_steps - 1).max())
    curves = Table(
        "Curves",
        ("", "value"),
        (
            ("irreducible loss", float(dataset.attrs["irreducible"])),
            ("simulated against exact excess loss, largest relative difference", worst),
            (
                "two exponents against exact, largest |log ratio| down to a tenth",
                prediction_error(dataset),
            ),
            (
                "two exponents against exact, largest |log ratio| down to a hundredth",
                prediction_error(dataset, 0.01),
            ),
        ),
    )
    return [exponents, curves]


STUDY = Study(
    "bigram",
    "GD on real text: simulation, exact curve, prediction from two exponents",
    BigramConfig,
    compute,
    summary,
    resolve=resolve,
)
