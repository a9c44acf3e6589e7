"""Sharing exponents between optimizers: right where constants differ, caught where exponents do."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import xarray as xr

from experiments.chunks import Chunk, Plan, computed
from experiments.optimizer_cases import Case
from experiments.optimizer_plan import (
    FORMS,
    Fitting,
    exact_chunk,
    intervals_chunk,
    noisy_chunks,
    of_case,
)
from experiments.optimizer_runs import derived_law
from experiments.optimizer_tables import BENT, CONSTANTS, summary
from experiments.progress import Progress
from experiments.records import with_units
from experiments.study import Study
from theory.checks import check_choice, check_real
from theory.law_forms import SHARED


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
    return computed(plan(config), progress)


def plan(config: OptimizersConfig, memory: int | None = None) -> Plan:
    """Chunks of `experiments.optimizer_plan`, case by case; none of them is cut further.

    Raises:
        ValueError: naming the field outside its domain.
    """
    del memory
    _check(config)
    chunks = [chunk for case in _cases(config) for chunk in _chunks(config, case)]
    chunks.append(intervals_chunk(_fitting(config, CONSTANTS), config.noise, config.draws))
    return Plan("fits", tuple(chunks), partial(_assembled, config), "cell fits")


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


def _cases(config: OptimizersConfig) -> dict[str, float]:
    """Names of the cases and the exponents of their preconditioners."""
    return {CONSTANTS: 0.0} | {f"p = {p:g}": p for p in config.preconditioners} | {BENT: 0.0}


def _fitting(config: OptimizersConfig, name: str) -> Fitting:
    case = Case(
        capacity=config.capacity,
        source=config.source,
        noise_variance=config.noise_variance,
        rate=config.rate,
        slow_rate=config.slow_rate,
        momentum=config.momentum,
        nesterov_momentum=config.nesterov_momentum,
        cells=config.cells,
        span=config.span,
        bent=name == BENT,
        exponent=_cases(config)[name],
    )
    return Fitting(case, config.forms, config.delta, config.starts, config.seed)


def _chunks(config: OptimizersConfig, name: str) -> list[Chunk]:
    """Those of one case, in the order of `of_case`."""
    fitting = _fitting(config, name)
    return [exact_chunk(name, fitting), *noisy_chunks(name, fitting, config.noise, config.repeats)]


def _assembled(config: OptimizersConfig, results: Sequence[xr.Dataset]) -> xr.Dataset:
    cases = _cases(config)
    *found, rescalings = results
    each = len(found) // len(cases)
    parts = [of_case(found[place * each : (place + 1) * each]) for place in range(len(cases))]
    dataset = xr.concat(parts, "case").assign_coords(
        form=list(config.forms),
        optimizer=list(_fitting(config, CONSTANTS).case.optimizers),
        case=list(cases),
    )
    dataset = dataset.assign(preconditioner=("case", list(cases.values())))
    dataset = dataset.assign(rescalings.data_vars)
    law = derived_law(config.capacity, config.source, config.noise_variance, config.rate)
    dataset = dataset.assign(derived=("parameter", law))
    dataset = dataset.assign_coords(parameter=list(SHARED.symbols))
    dataset.attrs |= {"level": config.level, "noise": config.noise}
    return with_units(dataset, held_out="loss", misfit="log loss")


STUDY = Study(
    "optimizers",
    "shared exponents: right for constants, rejected where a preconditioner changes them",
    OptimizersConfig,
    compute,
    summary,
    plan=plan,
)
