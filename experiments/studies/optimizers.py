"""Sharing exponents between optimizers: right where constants differ, caught where exponents do."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
import xarray as xr

from experiments.optimizer_runs import (
    REFERENCE,
    Cells,
    Optimizer,
    bent_cells,
    derived_law,
    edge_cells,
    exact_losses,
    noisy_runs,
    preconditioned,
    rescaled_optimizers,
)
from experiments.optimizer_tables import summary
from experiments.progress import Progress
from experiments.records import with_units
from experiments.study import Study
from theory.checks import check_choice, check_real
from theory.fit_comparison import judged, nested_test
from theory.fit_held_out import held_out
from theory.fit_resampling import bootstrap_form
from theory.fit_uncertainty import percentile_intervals
from theory.grouped_runs import GroupedRuns
from theory.law_forms import SEPARATE, SHARED, freed
from theory.problem import power_law
from theory.shared_fitting import FormFit, fit_form, shared_law_of

FORMS = {
    "shared": SHARED,
    "alpha free": freed(SHARED, ["alpha"]),
    "beta free": freed(SHARED, ["beta"]),
    "separate": SEPARATE,
}
BENT = "bent"
# Of the bent grid: steps from a tenth of what the last mode needs.
RATIOS, SHARE = (1.0, 2.0, 4.0, 8.0), 0.1


@dataclass(frozen=True)
class OptimizersConfig:
    """Exact losses with the noise of seeds, fitted with and without shared exponents."""

    capacity: float = 1.5
    """Capacity exponent a."""
    source: float = 1.45
    """Source exponent b."""
    noise_variance: float = 0.1
    """Label noise sigma^2; half of it is the irreducible loss."""
    rate: float = 0.5
    """Learning rate of the reference GD, of both momentum methods and of the preconditioned GD."""
    slow_rate: float = 0.2
    """Learning rate of the other GD."""
    momentum: float = 0.9
    """Of heavy ball."""
    nesterov_momentum: float = 0.75
    """Of Nesterov's method."""
    preconditioners: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5)
    """Exponents p of the preconditioner lam^-p of a fifth optimizer, one a case."""
    cells: int = 16
    """Cells of an optimizer, half of them on each edge."""
    span: float = 64.0
    """Largest over smallest size."""
    noise: float = 0.003
    """Standard deviation of log loss, as seeds of language models show (0.001 to 0.006)."""
    delta: float = 0.01
    """Huber threshold on log loss, above the noise: errors here are normal."""
    level: float = 0.01
    """Of the test that rejects sharing."""
    repeats: int = 10
    """Draws of the noise."""
    draws: int = 400
    """Bootstrap refits behind the intervals of the rescalings."""
    forms: tuple[str, ...] = tuple(FORMS)
    """Laws compared, the shared one first, the widest last."""
    starts: int = 16
    """Random starts of a fit."""
    seed: int = 0
    """Of noise, starts and resampling."""

    @classmethod
    def quick(cls) -> "OptimizersConfig":
        """Fewer cases and draws."""
        return cls(preconditioners=(0.05,), repeats=3, draws=100)


def compute(config: OptimizersConfig, progress: Progress) -> xr.Dataset:
    """Fits of every case with and without noise, what judges them, and the rescalings.

    Raises:
        ValueError: naming the field outside its domain.
    """
    _check(config)
    cases = {"constants": 0.0} | {f"p = {p:g}": p for p in config.preconditioners} | {BENT: 0.0}
    parts = []
    with progress.task("fits", len(cases) * (config.repeats + 1)):
        for case, exponent in cases.items():
            parts.append(_case(config, case == BENT, exponent, progress))
    dataset = xr.concat(parts, "case").assign_coords(case=list(cases))
    dataset = dataset.assign(preconditioner=("case", list(cases.values())))
    dataset = dataset.assign(_intervals(config))
    law = derived_law(config.capacity, config.source, config.noise_variance, config.rate)
    dataset = dataset.assign(derived=("parameter", law))
    dataset = dataset.assign_coords(parameter=list(SHARED.symbols))
    dataset.attrs |= {"level": config.level, "noise": config.noise}
    return with_units(dataset, held_out="loss", misfit="log loss")


def _check(config: OptimizersConfig) -> None:
    for form in config.forms:
        check_choice("forms", form, tuple(FORMS))
    if config.forms[:1] != ("shared",) or len(set(config.forms)) < max(len(config.forms), 2):
        raise ValueError(f"`forms` must name `shared` first and then others, got {config.forms}.")
    check_real("noise_variance", config.noise_variance, above=0.0)
    check_real("preconditioners", config.preconditioners, above=0.0, below=1.0)
    check_real("cells", config.cells, at_least=8)
    check_real("span", config.span, at_least=4.0, at_most=1e3)
    check_real("noise", config.noise, above=0.0)
    check_real("level", config.level, above=0.0, below=1.0)
    check_real("repeats", config.repeats, at_least=1)
    check_real("draws", config.draws, at_least=2)
    if len(set(config.preconditioners)) < len(config.preconditioners):
        raise ValueError(f"`preconditioners` must differ, got {config.preconditioners}.")


def cells_of(config: OptimizersConfig, bent: bool) -> tuple[Cells, np.ndarray]:
    """The design of a case and which of its cells are the far end, held out.

    Args:
        config: of the study.
        bent: a grid where size and steps both matter, instead of the two edges.

    Returns:
        The cells, and a flag for each.
    """
    if bent:
        rows = max(config.cells // len(RATIOS), 3)
        sizes = np.geomspace(100.0, 100.0 * config.span, rows)
        cells = bent_cells(config.capacity, sizes, np.array(RATIOS), SHARE)
        return cells, cells.size == cells.size.max()
    cells = edge_cells(config.capacity, config.cells, config.span)
    half = config.cells // 2
    last = max(half // 4, 1)
    place = np.arange(config.cells)
    return cells, ((place >= half - last) & (place < half)) | (place >= config.cells - last)


def _optimizers(config: OptimizersConfig, exponent: float) -> dict[str, Optimizer]:
    same = rescaled_optimizers(
        config.rate, config.slow_rate, config.momentum, config.nesterov_momentum
    )
    return same | {"preconditioned": preconditioned(config.rate, exponent)}


def runs_of(config: OptimizersConfig, bent: bool, exponent: float) -> Callable[[int], GroupedRuns]:
    """The runs of a case.

    Args:
        config: of the study.
        bent: the design, as of `cells_of`.
        exponent: p of the fifth optimizer; 0 makes it the reference again.

    Returns:
        Number of the draw of the noise to a `GroupedRuns`; negative for the exact losses.
    """
    optimizers = _optimizers(config, exponent)
    cells = cells_of(config, bent)[0]
    problem = partial(
        power_law, config.capacity, config.source, noise_variance=config.noise_variance
    )
    losses = exact_losses(problem, optimizers, cells)

    def drawn(draw: int) -> GroupedRuns:
        key = jax.random.fold_in(jax.random.key(config.seed), max(draw, 0))
        noise = config.noise if draw >= 0 else 0.0
        return noisy_runs(tuple(optimizers), cells, losses, noise, key)

    return drawn


def _case(config: OptimizersConfig, bent: bool, exponent: float, progress: Progress) -> xr.Dataset:
    far = cells_of(config, bent)[1]
    drawn = runs_of(config, bent, exponent)
    fits = _fits(config, drawn(-1))
    misfit = [float(np.std(fit.residuals)) for fit in fits.values()]
    exact = shared_law_of(fits["shared"], REFERENCE)
    progress.advance()
    seen: list[xr.Dataset] = []
    for draw in range(config.repeats):
        fits = _fits(config, drawn(draw))
        seen.append(_judged(fits, np.tile(far, len(exact.optimizers))))
        progress.advance()
    symbols = [float(getattr(exact.of(REFERENCE), name)) for name in LAW]
    draws = xr.concat(seen, "repeat")
    return draws.assign(
        misfit=("form", misfit),
        law=("parameter", symbols),
        tokens_rescaling=("optimizer", np.asarray(exact.tokens_rescaling)),
        size_rescaling=("optimizer", np.asarray(exact.size_rescaling)),
        speed=("optimizer", [found.speed for found in _optimizers(config, exponent).values()]),
    )


LAW = ("irreducible", "size_coefficient", "size_exponent", "tokens_coefficient", "tokens_exponent")


def _fits(config: OptimizersConfig, data: GroupedRuns) -> dict[str, FormFit]:
    key = jax.random.key(config.seed)
    return {
        name: fit_form(data, FORMS[name], delta=config.delta, starts=config.starts, key=key)
        for name in config.forms
    }


def _judged(fits: dict[str, FormFit], far: np.ndarray) -> xr.Dataset:
    """Criteria of one draw: of every form, and of every form against the shared one."""
    narrow = fits["shared"]
    found = [judged(fit, None, held_out(fit, far[None], ("far end",))) for fit in fits.values()]
    tests = [nested_test(narrow, fit).p_value for name, fit in fits.items() if name != "shared"]
    return xr.Dataset(
        {
            "held_out": ("form", [candidate.largest_rmse for candidate in found]),
            "aic": ("form", [candidate.aic for candidate in found]),
            "bic": ("form", [candidate.bic for candidate in found]),
            "p_value": ("form", [np.nan, *tests]),
            "agreement": ("form", [fit.agreement for fit in fits.values()]),
        },
        coords={"form": list(fits), "optimizer": list(narrow.data.groups)},
    )


def _intervals(config: OptimizersConfig) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Rescalings of the first noisy draw with their bootstrap intervals."""
    data, key = runs_of(config, False, 0.0)(0), jax.random.key(config.seed)
    fit = fit_form(data, SHARED, delta=config.delta, starts=config.starts, key=key)
    resampled = bootstrap_form(fit, config.draws, key).law(REFERENCE)
    law = shared_law_of(fit, REFERENCE)
    found = {}
    for name in ("size_rescaling", "tokens_rescaling"):
        ends = percentile_intervals(np.asarray(getattr(resampled, name)))
        middle = np.asarray(getattr(law, name))
        rows = np.stack([ends[0], middle, ends[1]])
        found[f"{name}_interval"] = (("end", "optimizer"), rows)
    return found


STUDY = Study(
    "optimizers",
    "shared exponents: right for constants, rejected where a preconditioner changes them",
    OptimizersConfig,
    compute,
    summary,
)
