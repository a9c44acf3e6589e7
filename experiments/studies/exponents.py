"""Does the Chinchilla form hold? Every method tuned at every horizon and size, against theory.

Where theory has the exact loss of a method, the form is judged on it at sizes from 1e10, so that a
window is as long as it will ever be, and the simulation checks that loss at the sizes it reaches.
Other methods are judged on the simulation, which may leave the question undecided.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np
import xarray as xr

from experiments.chunks import Chunk, Plan, computed, over_grid
from experiments.criterion import judge
from experiments.exponent_tables import summary
from experiments.methods import METHODS, Method
from experiments.padding import padded_error
from experiments.progress import Progress
from experiments.records import with_units
from experiments.study import Study
from experiments.tuned_curves import curve_losses, off_exact, rate_grid, tuned_curve
from simulate.tuning import Tuned, tune_learning_rate
from theory.checks import check_real
from theory.problem import PowerLawQuadratic, power_law
from theory.spectrum import approximation_error

# A rate is judged by its neighbours within 10 %: methods with steps of fixed length have needles.
TOLERANCE = 0.1
SPACING = {"modes": 0.05, "stochastic": 0.1, "dense": 0.05, "matrix": 0.1}
HORIZONS = {
    "modes": (9, 17, 33, 65, 129, 257, 513, 1025),
    "stochastic": (9, 17, 33, 65, 129, 257, 513, 1025),
    "dense": (9, 17, 33, 65, 129, 257),
    "matrix": (5, 9, 17, 33, 65),
}
SIZES = {
    "modes": (1024, 4096, 16384),
    "stochastic": (64, 256, 1024),
    "dense": (64, 128, 256),
    "matrix": (8, 16, 32),
}
# Modes held: a problem is padded to the next of these, and one compiled sweep serves them all.
HELD = {
    "modes": (2048, 4096, 16384),
    "stochastic": (256, 1024),
    "dense": (128, 256),
    "matrix": (32,),
}
QUICK_SIZES = {
    "modes": (128, 512, 2048),
    "stochastic": (16, 64, 256),
    "dense": (32, 64, 128),
    "matrix": (6, 12, 24),
}
CURVE_SIZES = (1e10, 1e11, 1e12)
CURVE_SPACING, QUICK_CURVE_SPACING = 0.1, 0.3
LONGEST_CURVE = max(len(method.curve_steps) for method in METHODS.values())


@dataclass(frozen=True)
class ExponentsConfig:
    """Tuned optimization errors over sizes and horizons, and the exponents in them."""

    capacities: tuple[float, ...] = (1.5, 2.0, 0.9)
    """Capacity exponents a."""
    sources: tuple[float, ...] = (2.2, 1.5, 1.9)
    """Source exponents b, one for each a."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Which methods."""
    noise_variance: float = 0.02
    """Label noise sigma^2; only the stochastic methods feel it."""
    seeds: int = 16
    """Runs averaged for the stochastic methods."""
    horizons: int = 8
    """Longest list of horizons, each twice the one before."""
    small: bool = False
    """Smaller sizes, and exact curves tuned on rates three times as far apart."""
    seed: int = 0
    """Of data and rotations."""

    @classmethod
    def quick(cls) -> "ExponentsConfig":
        """Smaller sizes, horizons up to 257, a coarser grid of rates on exact curves."""
        return cls(horizons=6, small=True, seeds=8)


def compute(config: ExponentsConfig, progress: Progress) -> xr.Dataset:
    """Tunes every method on every problem.

    Raises:
        ValueError: naming the field outside its domain.
    """
    return computed(plan(config), progress)


def plan(config: ExponentsConfig, memory: int | None = None) -> Plan:
    """One chunk a method and problem; a sweep over its rates is one compiled call, never cut.

    Raises:
        ValueError: naming the field outside its domain.
    """
    del memory
    pairs = _checked(config)
    chunks = tuple(
        _chunk(replace(config, capacities=(a,), sources=(b,), methods=(name,)))
        for name in config.methods
        for a, b in pairs
    )
    return Plan("methods x problems", chunks, partial(_assembled, config), "mode steps")


def _checked(config: ExponentsConfig) -> list[tuple[float, float]]:
    check_real("seeds", config.seeds, at_least=2)
    check_real("horizons", config.horizons, at_least=4, at_most=len(HORIZONS["modes"]))
    if len(config.capacities) != len(config.sources) or not config.capacities:
        raise ValueError(
            f"`sources` must have one value for each of `capacities`, got {config.sources}."
        )
    unknown = [name for name in config.methods if name not in METHODS]
    if unknown or not config.methods:
        raise ValueError(f"`methods` must be some of {', '.join(METHODS)}, got {unknown}.")
    pairs = list(zip(config.capacities, config.sources, strict=True))
    for a, b in pairs:
        power_law(a, b, 4, config.noise_variance)
    return pairs


# Copies of the parameters of a run: themselves, gradient, update, two averages of Adam, and the
# same again while a step is taken. Adam's process was seen to grow by 15.5 of them, SGD's by 10.
STATE_COPIES = 16


def _chunk(part: ExponentsConfig) -> Chunk:
    """One method on one problem; memory and work of its largest sweep and of all its sweeps."""
    method, (a,), (b,) = METHODS[part.methods[0]], part.capacities, part.sources
    sizes = (QUICK_SIZES if part.small else SIZES)[method.kind]
    runs = rate_grid(*method.rates, SPACING[method.kind]).size
    runs *= part.seeds if method.kind == "stochastic" else 1
    held = [next(held for held in HELD[method.kind] if held >= size) for size in sizes]
    # A matrix problem holds the square of its size; a dense one multiplies by that.
    power = {"matrix": (2, 3), "dense": (1, 2)}.get(method.kind, (1, 1))
    horizon = HORIZONS[method.kind][: part.horizons][-1]
    last = len(HORIZONS["modes"])
    lengths = {"size": 3, "horizon": last, "curve_horizon": LONGEST_CURVE, "end": 2}
    return Chunk(
        f"{method.label}, a = {a:g}, b = {b:g}",
        _one,
        {"config": part},
        {name: tuple(lengths[dim] for dim in dims) for name, dims in FIELDS.items()},
        8 * (STATE_COPIES * runs * max(held) ** power[0] + 2 * max(held) ** 2 * (power[1] > 1)),
        float(runs * horizon * sum(size ** power[1] for size in held)),
    )


def _assembled(config: ExponentsConfig, results: Sequence[xr.Dataset]) -> xr.Dataset:
    pairs = list(zip(config.capacities, config.sources, strict=True))
    outer = {"method": len(config.methods), "problem": len(pairs)}
    variables = over_grid(results, FIELDS, outer)
    coords = {
        "method": list(config.methods),
        "problem": [f"a = {a:g}, b = {b:g}" for a, b in pairs],
    }
    attrs = {"tolerance": TOLERANCE, "labels": [METHODS[name].label for name in config.methods]}
    units = {"optimization": "loss", "curve": "loss", "sizes": "modes", "steps": "steps"}
    units |= {"curve_sizes": "modes", "curve_steps": "steps", "learning_rate": "learning rate"}
    return with_units(xr.Dataset(variables, coords=coords, attrs=attrs), **units)


FIELDS: dict[str, tuple[str, ...]] = {
    "sizes": ("size",),
    "steps": ("horizon",),
    "optimization": ("size", "horizon"),
    "learning_rate": ("horizon",),
    "log_rate_error": ("horizon",),
    "at_edge": ("horizon",),
    "off_exact": (),
    "z_score": (),
    "curve_sizes": ("size",),
    "curve_steps": ("curve_horizon",),
    "curve": ("size", "curve_horizon"),
    "alpha": (),
    "alpha_exact": (),
    "alpha_derived": (),
    "derived": (),
    "gd_exponent": (),
    "exponent": (),
    "exponent_error": (),
    "window": ("end",),
    "correction": (),
    "growth": (),
    "form": (),
    "reason": (),
}


def _one(config: ExponentsConfig) -> xr.Dataset:
    """The one method of `config` on its one pair of exponents."""
    family = power_law(config.capacities[0], config.sources[0], 4, config.noise_variance)
    found = _row(METHODS[config.methods[0]], family, config)
    return xr.Dataset({name: (dims, found[name]) for name, dims in FIELDS.items()})


def _row(method: Method, family: PowerLawQuadratic, config: ExponentsConfig) -> dict[str, Any]:
    """`family` gives all but the size."""
    sizes = (QUICK_SIZES if config.small else SIZES)[method.kind]
    steps = np.array(HORIZONS[method.kind][: config.horizons], float)
    tuned = [_tuned(method, _sized(family, size), steps, config) for size in sizes]
    optimization = np.array([run.loss for run in tuned])
    curve_steps = np.array(method.curve_steps) if method.curve else np.empty(0)
    spacing = QUICK_CURVE_SPACING if config.small else CURVE_SPACING
    curve = _curve(method, family, curve_steps, spacing)
    derived = method.derived(family)
    if method.curve is None:
        found = judge(np.array(sizes), steps, optimization, derived)
    else:
        found = judge(np.array(CURVE_SIZES), curve_steps, curve, derived)
    largest = _sized(family, sizes[-1])
    return (
        {
            "sizes": np.array(sizes, float),
            "steps": _padded(steps, len(HORIZONS["modes"])),
            "optimization": _padded(optimization, len(HORIZONS["modes"])),
            "learning_rate": _padded(tuned[-1].learning_rate, len(HORIZONS["modes"])),
            "log_rate_error": _padded(tuned[-1].log_error, len(HORIZONS["modes"])),
            "at_edge": _padded(tuned[-1].at_edge, len(HORIZONS["modes"])),
            "curve_sizes": np.array(CURVE_SIZES),
            "curve_steps": _padded(curve_steps, LONGEST_CURVE),
            "curve": _padded(curve, LONGEST_CURVE),
            "derived": derived,
            "gd_exponent": METHODS["gd"].derived(family),
            "exponent": found.exponent,
            "exponent_error": found.error,
            "window": np.array(found.window),
            "correction": found.correction,
            "growth": found.growth,
            "form": found.holds,
            "reason": found.reason,
        }
        | _against_curve(method, largest, steps, tuned[-1])
        | _size_exponent(method, family, steps, config)
    )


def _sized(family: PowerLawQuadratic, size: float) -> PowerLawQuadratic:
    return power_law(
        float(family.capacity_exponent),
        float(family.source_exponent),
        size,
        float(family.noise_variance),
    )


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    """Last axis filled up with NaN, as methods differ in how many horizons they have."""
    array = np.asarray(values, float)
    room = [(0, 0)] * (array.ndim - 1) + [(0, length - array.shape[-1])]
    return np.pad(array, room, constant_values=np.nan)


def _width(kind: str) -> int:
    return round(TOLERANCE / SPACING[kind])


def _tuned(
    method: Method, problem: PowerLawQuadratic, steps: np.ndarray, config: ExponentsConfig
) -> Tuned:
    spacing = SPACING[method.kind]
    key = jax.random.key(config.seed)
    keys = jax.random.split(key, config.seeds) if method.kind == "stochastic" else None
    held = next(held for held in HELD[method.kind] if held >= problem.size)
    return tune_learning_rate(
        padded_error(method.build(problem, key), held),
        method.optimizer,
        steps,
        rate_grid(*method.rates, spacing),
        keys=keys,
        hyperparameters=method.hyperparameters,
        tolerance=(1 + spacing) ** _width(method.kind) - 1,
    )


def _curve(
    method: Method, family: PowerLawQuadratic, steps: np.ndarray, spacing: float
) -> np.ndarray:
    """Exact tuned loss at sizes beyond simulation, [3, P]; a rate is judged by its neighbours."""
    if method.curve is None:
        return np.empty((len(CURVE_SIZES), 0))
    rates = rate_grid(*(method.curve_rates or method.rates), spacing)
    problems = [_sized(family, size) for size in CURVE_SIZES]
    losses = (curve_losses(method.curve, p, steps, rates) for p in problems)
    return np.array([tuned_curve(found, width=1) for found in losses])


def _against_curve(
    method: Method, problem: PowerLawQuadratic, steps: np.ndarray, tuned: Tuned
) -> dict[str, float]:
    """The simulation at the largest size against the exact curve."""
    nothing = {"off_exact": np.nan, "z_score": np.nan}
    if method.curve is None:
        return nothing
    if tuned.errors is None:
        exact = curve_losses(method.curve, problem, steps, tuned.rates)
        return nothing | {"off_exact": off_exact(tuned.losses, exact)}
    # At a rate fixed beforehand: the best of many means is low by chance.
    middle = int(np.argmin(np.abs(np.log(tuned.rates**2 / np.prod(method.rates)))))
    exact = np.asarray(method.curve(problem, float(tuned.rates[middle]), steps))
    z = (tuned.losses[middle] - exact) / tuned.errors[middle]
    return nothing | {"z_score": float(z[np.argmax(np.abs(z))])}


def _size_exponent(
    method: Method, family: PowerLawQuadratic, steps: np.ndarray, config: ExponentsConfig
) -> dict[str, float]:
    """Exponent of the size once training has converged, and its exact finite-size value."""
    sizes = (4, 8)
    problems = [_sized(family, size) for size in sizes]
    floors = [float(approximation_error(p)) for p in problems]
    # All horizons again: with fewer the sweep would compile anew.
    errors = [_tuned(method, p, steps, config).loss[-1] for p in problems]
    totals = np.add(floors, errors)
    return {
        "alpha": float(np.log(totals[0] / totals[1]) / np.log(2)),
        "alpha_exact": float(np.log(floors[0] / floors[1]) / np.log(2)),
        "alpha_derived": float(family.source_exponent) - 1,
    }


STUDY = Study(
    "exponents",
    "every method tuned at every horizon: derived and measured exponents, Chinchilla form or not",
    ExponentsConfig,
    compute,
    summary,
    plan=plan,
)
