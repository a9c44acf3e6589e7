"""Training with rounded weights: does a format act like a smaller model, for each optimizer?"""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from experiments.progress import Progress
from experiments.qat_fits import Settings, with_laws
from experiments.qat_runs import (
    METHODS,
    SYSTEMS,
    Case,
    Spectrum,
    System,
    rounding_excess,
    tuned,
)
from experiments.qat_tables import summary
from experiments.records import with_units
from experiments.study import Study
from theory.checks import check_choice, check_real
from theory.rounding import MAX_BITS, check_whole


@dataclass(frozen=True)
class QatConfig:
    """Quantization-aware training of quadratics and of a small network, and the law of rho."""

    systems: tuple[str, ...] = tuple(SYSTEMS)
    """Problems: diagonal, absmax, clipped, network."""
    capacity: float = 1.5
    """Capacity exponent a."""
    source: float = 1.8
    """Source exponent b."""
    noise_variance: float = 0.1
    """Label noise sigma^2; half of it is the irreducible loss."""
    bits: tuple[int, ...] = (16, 8, 4, 3, 2)
    """Widths, the reference first."""
    sides: tuple[int, ...] = (8, 12, 16, 24, 32)
    """Rows and columns of the matrix problems."""
    modes: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Modes of the diagonal problem."""
    widths: tuple[int, ...] = (4, 6, 8, 12, 16)
    """Of the network."""
    shares: tuple[float, ...] = (0.25, 1.0)
    """Budgets, as shares of the largest D / N of each problem; the last is fitted alone."""
    rates: int = 7
    """Learning rates of each method, size, budget and format."""
    seeds: int = 2
    """Draws of coordinates, targets and initial weights."""
    delta: float = 0.01
    """Huber threshold on log loss."""
    starts: int = 6
    """Random starts of a fit."""
    draws: int = 100
    """Bootstrap refits behind the intervals of rho."""

    @classmethod
    def quick(cls) -> "QatConfig":
        """Two problems, three formats, smaller."""
        return cls(
            systems=("diagonal", "clipped"),
            bits=(16, 4, 2),
            sides=(6, 8, 12, 16),
            modes=(16, 32, 64, 128),
            widths=(4, 6, 8, 12),
            draws=40,
        )


def compute(config: QatConfig, progress: Progress) -> xr.Dataset:
    """Losses of all runs at their best rates, the fitted laws and what tests them.

    Raises:
        ValueError: naming the field outside its domain.
    """
    _check(config)
    spectrum = Spectrum(config.capacity, config.source, config.noise_variance, max(config.modes))
    units = [len(SYSTEMS[name].trainees) * len(config.sides) for name in config.systems]
    settings, parts = Settings(config.delta, config.starts, config.draws), []
    with progress.task("runs", sum(units)):
        for name in config.systems:
            runs = _runs(config, SYSTEMS[name], _sides(config, name), spectrum, progress)
            parts.append(with_laws(runs, settings))
    dataset = xr.concat(parts, "system").assign_coords(system=list(config.systems))
    return with_units(dataset, loss="loss", tokens="samples", size="weights", misfit="log loss")


def _check(config: QatConfig) -> None:
    for name in config.systems:
        check_choice("systems", name, tuple(SYSTEMS))
    check_whole("bits", np.array(config.bits), 1, MAX_BITS)
    for name in ("bits", "sides", "modes", "widths", "shares"):
        values = getattr(config, name)
        if len(set(values)) < len(values):
            raise ValueError(f"`{name}` must differ, got {values}.")
    if len(config.bits) < 2 or config.bits[0] != max(config.bits):
        raise ValueError(f"`bits` must start with the widest of at least two, got {config.bits}.")
    for name in ("sides", "modes", "widths"):
        values = getattr(config, name)
        check_whole(name, np.array(values), 4, 4096)
        if list(values) != sorted(values) or len(values) != len(config.sides):
            raise ValueError(f"`{name}` must increase, as many as `sides`, got {values}.")
    if len(config.sides) < 4 or np.any(np.array(config.sides + config.widths) % 2):
        raise ValueError(f"`sides` and `widths` must be even, at least 4 each, got {config.sides}.")
    check_real("shares", config.shares, above=0.0, at_most=1.0)
    if len(config.shares) < 2:
        raise ValueError(f"`shares` must be at least two, got {config.shares}.")
    check_real("rates", config.rates, at_least=3)
    check_real("seeds", config.seeds, at_least=1)


def _sides(config: QatConfig, name: str) -> tuple[int, ...]:
    return {"diagonal": config.modes, "network": config.widths}.get(name, config.sides)


def _runs(
    config: QatConfig,
    system: System,
    sides: tuple[int, ...],
    spectrum: Spectrum,
    progress: Progress,
) -> xr.Dataset:
    """All runs of one system: losses, rates, sizes and tokens."""
    bits = np.array(config.bits)
    shape = (len(METHODS), bits.size, len(sides), len(config.shares))
    loss = np.full((*shape, config.seeds), np.nan)
    rate, at_edge = np.full(shape, np.nan), np.zeros(shape, bool)
    size, tokens = np.empty(len(sides)), np.empty((len(sides), len(config.shares)))
    rounding = np.empty((bits.size, len(sides)))
    for place, side in enumerate(sides):
        case = system.build(spectrum, side, config.seeds)
        steps = _steps(config, system, case)
        size[place], tokens[place] = case.size, steps * case.batch_size
        rounding[:, place] = rounding_excess(system, case, bits)
        for name in system.trainees:
            row = METHODS.index(name)
            for column, horizon in enumerate(steps):
                found = tuned(system, name, case, int(horizon), bits, config.rates)
                here = (row, slice(None), place, column)
                loss[here][:, : found.loss.shape[1]] = found.loss
                rate[here], at_edge[here] = found.rate, found.at_edge
            progress.advance()
    runs = ("method", "bits", "place", "share")
    return xr.Dataset(
        {
            "loss": ((*runs, "seed"), loss),
            "rate": (runs, rate),
            "at_edge": (runs, at_edge),
            "size": ("place", size),
            "tokens": (("place", "share"), tokens),
            "irreducible": ((), spectrum.noise_variance / 2),
            "rounding_excess": (("bits", "place"), rounding),
        },
        coords={"method": list(METHODS), "bits": bits, "share": list(config.shares)},
    )


def _steps(config: QatConfig, system: System, case: Case) -> np.ndarray:
    largest = system.tokens_per_parameter * case.size / case.batch_size
    return np.maximum(np.round(largest * np.array(config.shares)), 1.0)


STUDY = Study(
    "qat",
    "training with rounded weights: rho of each optimizer, and where there is none",
    QatConfig,
    compute,
    summary,
    version=2,  # cells at the edge of the rates are left out of the fits
)
