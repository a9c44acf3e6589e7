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

from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from experiments.criterion import Judgement, judge, power_law_fit
from experiments.padding import padded_error
from experiments.progress import Progress
from experiments.records import with_units
from experiments.spectral_methods import (
    METHODS,
    SPACING,
    WIDTH,
    Method,
    tuned_run,
)
from experiments.spectral_text import text_part, text_tables
from experiments.studies import bigram as text_study
from experiments.study import Study
from experiments.tables import Table
from experiments.tuned_curves import curve_losses, off_exact, rate_grid, tuned_curve
from simulate.matrix_problems import ALIGNMENTS, MatrixQuadratic, matrix_quadratic
from simulate.text import count_bigrams, read_text
from theory.checks import check_real
from theory.matrix_methods import kronecker_spectrum
from theory.problem import PowerLawQuadratic, power_law
from theory.spectrum import Spectrum

# Tuned losses of the turned and the aligned problem this close are the same: some paths are
# unstable, and rounding then moves single steps.
INVARIANT = 0.01
# Below this part of the loss at the start a loss is the square of rounding errors.
ROUNDING = 1e-28
EXACT_HORIZONS = np.array([5, 9, 17, 33, 65, 129, 257])
EXACT_SIZES = {"singular": (1024, 4096, 16384), "entries": (32, 64, 128)}


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
    asked = text_study.BigramConfig(
        text=config.text, text_digest=config.text_digest, max_bytes=config.max_bytes
    )
    return replace(config, text_digest=text_study.resolve(asked).text_digest)


def compute(config: SpectralConfig, progress: Progress) -> xr.Dataset:
    """Tunes every method on every matrix and on the text.

    Raises:
        ValueError: naming the field outside its domain.
    """
    _check(config)
    text = read_text(config.text or None, config.max_bytes)
    counts = count_bigrams(text, max(config.vocabularies))
    with progress.task("methods x problems", len(METHODS) * (3 * len(ALIGNMENTS) + 1)):
        parts = [
            _simulated(config, progress),
            _judged(config),
            text_part(counts, config.vocabularies, np.array(config.text_horizons), progress),
        ]
    dataset = xr.merge(parts, combine_attrs="no_conflicts")
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


def matrix_problem(
    problem: PowerLawQuadratic, alignment: str, held: int, seed: int
) -> MatrixQuadratic:
    """The padded matrix quadratic with dense sides: all alignments share one compiled sweep."""
    stated = matrix_quadratic(problem, alignment=alignment, key=jax.random.key(seed))
    left, right = (
        jnp.diag(side) if side.ndim == 1 else side for side in (stated.left, stated.right)
    )
    return padded_error(replace(stated, left=left, right=right), held)


def _simulated(config: SpectralConfig, progress: Progress) -> xr.Dataset:
    steps, largest = np.array(config.horizons), max(config.sizes)
    shape = len(ALIGNMENTS), len(METHODS), len(config.sizes), steps.size
    loss, rate, error, edge = (np.full(shape, np.nan) for _ in range(4))
    exact, off = np.full((*shape[:2], steps.size), np.nan), np.full(shape[:2], np.nan)
    start = np.full(len(ALIGNMENTS), np.nan)
    for i, alignment in enumerate(ALIGNMENTS):
        for k, size in enumerate(config.sizes):
            family = power_law(config.capacity, config.source, size)
            problem = matrix_problem(family, alignment, largest, config.seed)
            start[i] = problem.loss(problem.init())
            for j, method in enumerate(METHODS.values()):
                tuned = tuned_run(method, problem, steps, method.rates)
                loss[i, j, k], rate[i, j, k] = tuned.loss, tuned.learning_rate
                error[i, j, k], edge[i, j, k] = tuned.log_error, tuned.at_edge
                if size == largest and alignment in method.sees:
                    modes = _modes(family, method.sees[alignment], config.seed)
                    assert method.curve is not None
                    losses = curve_losses(method.curve, modes, steps, tuned.rates)
                    exact[i, j] = tuned_curve(losses, WIDTH)
                    off[i, j] = off_exact(tuned.losses, losses)
                progress.advance()
    dims = ("alignment", "method", "size", "horizon")
    family = power_law(config.capacity, config.source, largest)
    return xr.Dataset(
        {
            "start": ("alignment", start),
            "loss": (dims, loss),
            "learning_rate": (dims, rate),
            "log_rate_error": (dims, error),
            "at_edge": (dims, edge),
            "exact": (("alignment", "method", "horizon"), exact),
            "off": (("alignment", "method"), off),
            "derived": ("method", [method.derived(family) for method in METHODS.values()]),
        },
        coords={
            "alignment": list(ALIGNMENTS),
            "method": list(METHODS),
            "size": np.array(config.sizes, float),
            "horizon": steps.astype(float),
        },
        attrs={"capacity": config.capacity, "source": config.source},
    )


def _modes(family: PowerLawQuadratic, which: str, seed: int) -> PowerLawQuadratic | Spectrum:
    """What theory is asked for: singular values, the vector problem's modes, or crossed entries."""
    if which == "singular":
        return family
    problem = matrix_quadratic(family, alignment="crossed", key=jax.random.key(seed))
    return kronecker_spectrum(problem.left, problem.right, np.asarray(problem.target))


def _judged(config: SpectralConfig) -> xr.Dataset:
    """Exact tuned losses at sizes that no simulation of matrices reaches, for the criterion."""
    shape = len(ALIGNMENTS), len(METHODS), 3, EXACT_HORIZONS.size
    sizes, losses = np.full(shape[:3], np.nan), np.full(shape, np.nan)
    done: dict[tuple, np.ndarray] = {}
    for i, alignment in enumerate(ALIGNMENTS):
        for j, method in enumerate(METHODS.values()):
            if alignment not in method.sees:
                continue
            which = method.sees[alignment]
            sizes[i, j] = EXACT_SIZES[which]
            if (method.curve, which) not in done:
                done[method.curve, which] = _exact_sizes(config, method, which)
            losses[i, j] = done[method.curve, which]
    dims = ("alignment", "method", "exact_size", "exact_horizon")
    return xr.Dataset(
        {"judged_sizes": (dims[:3], sizes), "judged_loss": (dims, losses)},
        coords={"exact_horizon": EXACT_HORIZONS.astype(float)},
    )


def _exact_sizes(config: SpectralConfig, method: Method, which: str) -> np.ndarray:
    low, high = method.rates
    # Horizons four times those of the simulation ask for smaller steps.
    lowest = low if method.optimizer is METHODS["gd"].optimizer else low / 8
    rates = rate_grid(lowest, high, SPACING)
    assert method.curve is not None
    found = []
    for size in EXACT_SIZES[which]:
        modes = _modes(power_law(config.capacity, config.source, size), which, config.seed)
        found.append(tuned_curve(curve_losses(method.curve, modes, EXACT_HORIZONS, rates), WIDTH))
    return np.array(found)


def judgements(dataset: xr.Dataset) -> dict[tuple[str, str], Judgement]:
    """The criterion for every method and alignment, on exact curves where there are any."""
    found = {}
    for method in map(str, dataset.method.values):
        for alignment in map(str, dataset.alignment.values):
            row = dataset.sel({"method": method, "alignment": alignment})
            exact = row.judged_sizes.notnull().all()
            numbers = (
                (row.judged_sizes.values, dataset.exact_horizon.values, row.judged_loss.values)
                if exact
                else (dataset["size"].values, dataset.horizon.values, row.loss.values)
            )
            found[method, alignment] = judge(*numbers, float(row.derived))
    return found


def difference(dataset: xr.Dataset, method: str) -> float:
    """Largest relative difference of the turned problem's tuned losses from the aligned one's."""
    loss = dataset.loss.sel({"method": method})
    aligned, turned = (loss.sel(alignment=name).values for name in ("aligned", "turned"))
    above = np.maximum(aligned, turned) > ROUNDING
    return float(np.abs(turned[above] / np.maximum(aligned[above], ROUNDING) - 1).max())


def turning(dataset: xr.Dataset, verdicts: Mapping[tuple[str, str], Judgement], method: str) -> str:
    """What turning the whole problem does to a method's Chinchilla form.

    `unchanged`: tuned losses agree to `INVARIANT`; `lost`: the criterion fails on the turned
    problem and not on the aligned one; `none to lose`: it fails on both; `kept`: on neither;
    `undecided`: one of them is.
    """
    if difference(dataset, method) <= INVARIANT:
        return "unchanged"
    forms = [verdicts[method, name].holds for name in ("aligned", "turned")]
    if "undecided" in forms:
        return "undecided at these sizes"
    before, after = (form != "fails" for form in forms)
    if before:
        return "kept, other losses" if after else "lost"
    return "gained" if after else "none to lose"


def summary(dataset: xr.Dataset) -> list[Table]:
    """One table an alignment, what turning does, and the text."""
    verdicts = judgements(dataset)
    tables = [_alignment_table(dataset, str(name), verdicts) for name in dataset.alignment.values]
    return [*tables, _turning_table(dataset, verdicts), *text_tables(dataset)]


def _alignment_table(
    dataset: xr.Dataset, alignment: str, verdicts: Mapping[tuple[str, str], Judgement]
) -> Table:
    rows = []
    for method in map(str, dataset.method.values):
        row = dataset.sel({"method": method, "alignment": alignment})
        verdict = verdicts[method, alignment]
        with np.errstate(divide="ignore"):
            logs = np.log(row.loss.values[-1])
        with np.errstate(invalid="ignore"):
            local = -np.diff(logs) / np.diff(np.log(dataset.horizon.values))
        edge = " (edge)" if row.at_edge.values[-1].any() else ""
        rows.append(
            (
                method,
                _number(float(row.derived)),
                f"{local[0]:.2f} .. {local[-1]:.2f}",
                _number(verdict.exponent),
                _number(float(row.off), ".1e"),
                f"{row.learning_rate.values[-1, -1]:.3g}{edge}",
                verdict.sentence,
                "exact" if row.judged_sizes.notnull().all() else "simulated",
            )
        )
    columns = (
        "method",
        "beta derived (aligned)",
        f"local exponents, N = {int(dataset['size'].values[-1])}",
        "beta, N to infinity",
        "off exact",
        f"eta*, T = {int(dataset.horizon.values[-1])}",
        "Chinchilla form",
        "judged on",
    )
    a, b = dataset.attrs["capacity"], dataset.attrs["source"]
    return Table(f"Tuned loss, {alignment}, a = {a:g}, b = {b:g}", columns, tuple(rows))


def _turning_table(dataset: xr.Dataset, verdicts: Mapping[tuple[str, str], Judgement]) -> Table:
    rows = []
    for method in map(str, dataset.method.values):
        last = dataset.loss.sel({"method": method}).isel({"size": -1, "horizon": -1})
        aligned, turned, crossed = (float(last.sel(alignment=name)) for name in ALIGNMENTS)
        known = min(aligned, turned) > ROUNDING
        first = dataset.loss.sel({"method": method, "alignment": "crossed"}).isel(horizon=0)
        rows.append(
            (
                method,
                f"{difference(dataset, method):.1e}",
                f"{turned / aligned:.3g}" if known else "rounding",
                turning(dataset, verdicts, method),
                f"{crossed / aligned:.3g}" if known else "-",
                -power_law_fit(dataset["size"].values, first.values)[0],
            )
        )
    columns = (
        "method",
        "turned against aligned, largest difference",
        "turned / aligned, last T",
        "Chinchilla form when turned",
        "crossed / aligned, last T",
        "crossed: exponent of N, first T",
    )
    note = f"unchanged: tuned losses within {100 * INVARIANT:g} %; form: experiments/criterion.py"
    return Table("What the bases do to each method", columns, tuple(rows), note)


def _number(value: float, form: str = ".3f") -> str:
    return format(value, form) if np.isfinite(value) else "-"


STUDY = Study(
    "spectral",
    "Muon, sign and GD on matrices with aligned, turned and crossed bases, and on real text",
    SpectralConfig,
    compute,
    summary,
    resolve=resolve,
)
