"""Training with rounded weights: does a format act like a smaller model, for each optimizer?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray as xr

from experiments.chunks import Chunk, Plan, computed
from experiments.progress import Progress
from experiments.qat_fits import Settings, with_laws
from experiments.qat_runs import (
    EVALUATION,
    METHODS,
    SIDE,
    SYSTEMS,
    Spectrum,
    System,
    rounding_excess,
    tuned,
)
from experiments.qat_tables import summary
from experiments.records import with_units
from experiments.study import Study
from theory.checks import check_choice, check_real, check_whole
from theory.rounding import MAX_BITS


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
    return computed(plan(config), progress)


def plan(config: QatConfig, memory: int | None = None) -> Plan:
    """One chunk a system, size and method, whose rates and formats are one compiled call.

    Raises:
        ValueError: naming the field outside its domain.
    """
    del memory
    _check(config)
    chunks = tuple(_chunk(config, *place) for place in _places(config))
    return Plan("runs", chunks, partial(_assembled, config), "weight steps")


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


def _places(config: QatConfig) -> list[tuple[str, int, str]]:
    """System, side and method of every chunk."""
    return [
        (name, side, method)
        for name in config.systems
        for side in _sides(config, name)
        for method in SYSTEMS[name].trainees
    ]


# Of the weights of a run; SOAP keeps the most. A network's layers are evaluated one at a time.
STATE_COPIES = 24


def _chunk(config: QatConfig, name: str, side: int, method: str) -> Chunk:
    system = SYSTEMS[name]
    size, batch = system.dimensions(side)
    formats, runs = len(config.bits), len(config.bits) * config.rates * config.seeds
    grid = formats, len(config.shares)
    return Chunk(
        f"{name} {side}, {method}",
        _trained,
        {
            "system": name,
            "side": side,
            "method": method,
            "spectrum": _spectrum(config),
            "bits": config.bits,
            "shares": config.shares,
            "rates": config.rates,
            "seeds": config.seeds,
        },
        {"loss": (*grid, config.seeds), "rate": grid, "at_edge": grid},
        4 * runs * (STATE_COPIES * size + EVALUATION * SIDE * (batch > 1)),
        float(runs * size * _steps(system, size, batch, config.shares).sum()),
    )


def _trained(
    *,
    system: str,
    side: int,
    method: str,
    spectrum: Spectrum,
    bits: tuple[int, ...],
    shares: tuple[float, ...],
    rates: int,
    seeds: int,
) -> xr.Dataset:
    """Tuned runs of one method on one problem, over formats and budgets."""
    chosen = SYSTEMS[system]
    case = chosen.build(spectrum, side, seeds)
    found = [
        tuned(chosen, method, case, int(steps), np.array(bits), rates)
        for steps in _steps(chosen, case.size, case.batch_size, shares)
    ]
    cells = ("bits", "share")
    return xr.Dataset(
        {
            "loss": ((*cells, "seed"), np.stack([one.loss for one in found], axis=1)),
            "rate": (cells, np.stack([one.rate for one in found], axis=1)),
            "at_edge": (cells, np.stack([one.at_edge for one in found], axis=1)),
        }
    )


def _assembled(config: QatConfig, results: Sequence[xr.Dataset]) -> xr.Dataset:
    """Laws of each system, from all of its runs."""
    settings = Settings(config.delta, config.starts, config.draws)
    known, parts = dict(zip(_places(config), results, strict=True)), []
    for name in config.systems:
        own = {place[1:]: found for place, found in known.items() if place[0] == name}
        parts.append(with_laws(_runs(config, name, own), settings))
    dataset = xr.concat(parts, "system").assign_coords(system=list(config.systems))
    return with_units(dataset, loss="loss", tokens="samples", size="weights", misfit="log loss")


def _runs(config: QatConfig, name: str, found: Mapping[tuple[int, str], xr.Dataset]) -> xr.Dataset:
    """All runs of one system: losses, rates, sizes and tokens; NaN for methods it has not."""
    system, spectrum = SYSTEMS[name], _spectrum(config)
    bits, sides = np.array(config.bits), _sides(config, name)
    shape = (len(METHODS), bits.size, len(sides), len(config.shares))
    loss = np.full((*shape, config.seeds), np.nan)
    rate, at_edge = np.full(shape, np.nan), np.zeros(shape, bool)
    size, tokens = np.empty(len(sides)), np.empty((len(sides), len(config.shares)))
    rounding = np.empty((bits.size, len(sides)))
    for place, side in enumerate(sides):
        case = system.build(spectrum, side, config.seeds)
        steps = _steps(system, case.size, case.batch_size, config.shares)
        size[place], tokens[place] = case.size, steps * case.batch_size
        rounding[:, place] = rounding_excess(system, case, bits)
        for method in system.trainees:
            here = (METHODS.index(method), slice(None), place)
            one = found[side, method]
            loss[here], rate[here], at_edge[here] = one.loss, one.rate, one.at_edge
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


def _spectrum(config: QatConfig) -> Spectrum:
    return Spectrum(config.capacity, config.source, config.noise_variance, max(config.modes))


def _steps(system: System, size: int, batch: int, shares: tuple[float, ...]) -> np.ndarray:
    largest = system.tokens_per_parameter * size / batch
    return np.maximum(np.round(largest * np.array(shares)), 1.0)


STUDY = Study(
    "qat",
    "training with rounded weights: rho of each optimizer, and where there is none",
    QatConfig,
    compute,
    summary,
    version=2,  # cells at the edge of the rates are left out of the fits
    plan=plan,
)
