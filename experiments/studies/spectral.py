"""Muon, sign and gradient descent on matrices: what each method keeps when the bases turn.

Three problems share their singular values (`simulate.matrix_problems`): aligned with the
coordinates, turned as a whole, and crossed, where W* has singular bases of its own. A fourth is the
bigram matrix of real text. Learning rates are tuned at every horizon; every loss is the error of
the trained modes alone, so that small values are not lost under the constant part.

The Chinchilla form is judged by `experiments.criterion`: on exact curves of large problems where a
method works on a spectrum, else on the simulated sizes. Crossing changes the problem itself: W*
spreads over all N^2 pairs of eigenvectors, its loss falls as N^-(b-1) before the first step (for
a < 2, b < a + 1), and what is left to optimize has no limit in N for any method.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import xarray as xr

from experiments.chunks import Plan, computed
from experiments.progress import Progress
from experiments.records import with_units
from experiments.spectral_methods import METHODS
from experiments.spectral_plan import assembled_matrices, exact_chunks, simulated_chunks
from experiments.spectral_tables import summary
from experiments.spectral_text import TextSource, assembled_text, counted, text_chunks
from experiments.stated_text import digest_of, stated
from experiments.study import Study
from simulate.text import read_text
from theory.checks import check_real
from theory.problem import power_law


@dataclass(frozen=True)
class SpectralConfig:
    """Matrix problems with aligned, turned and crossed bases, and the bigram matrix of a text."""

    capacity: float = 1.5
    """Capacity exponent a; A and B take half of it each."""
    source: float = 1.8
    """Source exponent b."""
    sizes: tuple[int, ...] = (8, 16, 32)
    """Sides of the matrices, three in a constant ratio."""
    horizons: tuple[int, ...] = (5, 9, 17, 33, 65)
    """Steps at which rates are tuned."""
    text: str = ""
    """File or folder; empty: the standard library of the running Python."""
    text_digest: str = ""
    """Hash of the text read; filled in by itself, so that another text is another record."""
    max_bytes: int = 4_000_000
    """Text read, about."""
    vocabularies: tuple[int, ...] = (128, 512, 2048, 8192)
    """Most frequent tokens kept; the smallest is simulated, all have exact curves."""
    text_horizons: tuple[int, ...] = (3, 5, 9, 17, 33, 65)
    """Steps at which rates are tuned on the text."""
    seed: int = 0
    """Of the bases."""

    @classmethod
    def quick(cls) -> "SpectralConfig":
        """Smaller matrices, fewer horizons and words."""
        return cls(
            sizes=(6, 12, 24),
            horizons=(5, 9, 17, 33),
            max_bytes=1_000_000,
            vocabularies=(64, 256, 1024),
            text_horizons=(3, 5, 9, 17, 33),
        )


def resolve(config: SpectralConfig) -> SpectralConfig:
    """The configuration with the hash of its text.

    Raises:
        ValueError: if another hash was asked for than that of the text now there.
    """
    text = stated(read_text, config.text, config.max_bytes, config.text_digest)
    return replace(config, text_digest=digest_of(text))


def compute(config: SpectralConfig, progress: Progress) -> xr.Dataset:
    """Tunes every method on every matrix and on the text.

    Raises:
        ValueError: naming the field outside its domain.
    """
    return computed(plan(config), progress)


def plan(config: SpectralConfig, memory: int | None = None) -> Plan:
    """Chunks of `experiments.spectral_plan` and `experiments.spectral_text`, never cut further.

    Raises:
        ValueError: naming the field outside its domain.
    """
    del memory
    _check(config)
    known = config.capacity, config.source
    matrices = [
        *simulated_chunks(*known, config.sizes, config.horizons, config.seed),
        *exact_chunks(*known, config.seed),
    ]
    source = TextSource(config.text, config.text_digest, config.max_bytes)
    counted(source, max(config.vocabularies))  # refuses before the first run
    texts = text_chunks(source, config.vocabularies, config.text_horizons)
    assemble = partial(_assembled, config, len(matrices))
    return Plan("methods x problems", (*matrices, *texts), assemble, "mode steps")


def _assembled(config: SpectralConfig, matrices: int, results: Sequence[xr.Dataset]) -> xr.Dataset:
    """The first so many results are of matrices, the others of the text."""
    family = power_law(config.capacity, config.source, max(config.sizes))
    derived = [method.derived(family) for method in METHODS.values()]
    own = assembled_matrices(results[:matrices]).assign(derived=("method", derived))
    own = own.assign_coords(
        size=np.array(config.sizes, float), horizon=np.array(config.horizons, float)
    ).assign_attrs(capacity=config.capacity, source=config.source)
    texts = assembled_text(results[matrices:], config.vocabularies, np.array(config.text_horizons))
    dataset = xr.merge([own, texts], combine_attrs="no_conflicts")
    units = {"loss": "loss", "exact": "loss", "text_loss": "loss", "text_exact": "loss"}
    units |= {"horizon": "steps", "text_horizon": "steps", "gd_steps": "steps"}
    units |= {"sign_steps": "steps", "vocabulary": "words", "size": "modes"}
    return with_units(dataset, **units)


def _check(config: SpectralConfig) -> None:
    for name, least in (("horizons", 4), ("text_horizons", 2), ("vocabularies", 1)):
        values = getattr(config, name)
        check_real(name, values, at_least=1)
        if len(values) < least or np.any(np.diff(values) <= 0):
            raise ValueError(f"`{name}` must be at least {least}, increasing, got {values}.")
    check_real("sizes", config.sizes, at_least=2)
    if len(config.sizes) != 3 or config.sizes[1] ** 2 != config.sizes[0] * config.sizes[2]:
        raise ValueError(f"`sizes` must be three in a constant ratio, got {config.sizes}.")
    if not config.sizes[0] < config.sizes[1]:
        raise ValueError(f"`sizes` must increase, got {config.sizes}.")


STUDY = Study(
    "spectral",
    "Muon, sign and GD on matrices with aligned, turned and crossed bases, and on real text",
    SpectralConfig,
    compute,
    summary,
    resolve=resolve,
    plan=plan,
)
