"""How decay changes exponents: peak rates tuned for every schedule, method and horizon."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import xarray as xr

from experiments.chunks import Chunk, Plan, computed, over_grid
from experiments.peak_tuning import Peaks, search, tune_peaks
from experiments.progress import Progress
from experiments.records import with_units
from experiments.schedule_check import simulated_check
from experiments.schedule_tables import FITTED, summary
from experiments.scheduled_curves import (
    METHODS,
    OPTIMAL,
    SCHEDULES,
    Scheduled,
    final_losses,
    shape_of,
)
from experiments.study import Study
from theory.checks import check_real
from theory.linear_methods import loss_exponents
from theory.optimal_schedule import optimal_schedule
from theory.problem import PowerLawQuadratic, power_law
from theory.schedules import schedule_rates


@dataclass(frozen=True)
class SchedulesConfig:
    """Tuned losses of methods under schedules over horizons, and the exponents in them."""

    capacities: tuple[float, ...] = (1.5, 1.5, 2.0)
    """Capacity exponents a, above one."""
    sources: tuple[float, ...] = (1.8, 3.0, 1.5)
    """Source exponents b, one for each a; b > a is the easy phase."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Which methods."""
    schedules: tuple[str, ...] = tuple(SCHEDULES)
    """Which schedules."""
    optimal: bool = True
    """Whether SGD also runs under the schedule that is best in theory."""
    noise_variance: float = 1.0
    """Label noise sigma^2; only SGD feels it."""
    batch_size: float = 1.0
    """Samples a step of SGD."""
    horizons: int = 5
    """Horizons of every method, in a constant ratio."""
    check_size: int = 512
    """Modes of the simulations that check the exact losses; an eighth for SGD."""
    seeds: int = 128
    """Simulated runs of SGD."""
    seed: int = 0
    """Of the simulations."""

    @classmethod
    def quick(cls) -> "SchedulesConfig":
        """Two problems, three tuned schedules, four horizons, fewer seeds."""
        return cls(
            capacities=(1.5, 2.0),
            sources=(1.8, 1.5),
            schedules=("constant", "linear", "cosine"),
            optimal=False,
            horizons=4,
            seeds=64,
        )


def compute(config: SchedulesConfig, progress: Progress) -> xr.Dataset:
    """Tunes every method under every schedule on every problem, and checks by simulation.

    Raises:
        ValueError: naming the field outside its domain.
    """
    return computed(plan(config), progress)


def plan(config: SchedulesConfig, memory: int | None = None) -> Plan:
    """One chunk a method and problem; exact losses on nodes need little memory.

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
    return Plan("methods x problems", chunks, partial(_assembled, config), "schedule steps")


# Of the parameters of a simulated run.
STATE_COPIES = 16
# Peaks that are tried at a horizon, about.
PEAKS = 64


def _chunk(part: SchedulesConfig) -> Chunk:
    """One method on one problem; the longest horizon dominates the work."""
    method, (a,), (b,) = METHODS[part.methods[0]], part.capacities, part.sources
    rows, horizons = len(part.schedules), method.horizons(part.horizons)
    lengths = {"schedule": rows + 1, "horizon": horizons.size}
    seeds = part.seeds if method.stochastic else 1
    # Rates of all schedules at all peaks, or the runs of the check.
    memory = 8 * max(rows * PEAKS * int(horizons.max()), STATE_COPIES * seeds * part.check_size)
    return Chunk(
        f"{method.label}, a = {a:g}, b = {b:g}",
        _one,
        {"config": part},
        {name: tuple(lengths[dim] for dim in dims) for name, dims in FIELDS.items()},
        memory,
        float(rows * PEAKS * horizons.sum()),
    )


def _assembled(config: SchedulesConfig, results: Sequence[xr.Dataset]) -> xr.Dataset:
    pairs = list(zip(config.capacities, config.sources, strict=True))
    outer = {"method": len(config.methods), "problem": len(pairs)}
    variables = over_grid(results, FIELDS, outer)
    labels = [f"a = {a:g}, b = {b:g}" for a, b in pairs]
    names = [*config.schedules, OPTIMAL]
    coords = {"method": list(config.methods), "problem": labels, "schedule": names}
    dataset = xr.Dataset(variables, coords=coords, attrs=_attributes(config))
    return with_units(dataset, loss="loss", peak="learning rate", steps="steps")


def _attributes(config: SchedulesConfig) -> dict[str, object]:
    return {"capacities": list(config.capacities), "sources": list(config.sources)}


BOTH = ("schedule", "horizon")
FIELDS: dict[str, tuple[str, ...]] = {
    "steps": ("horizon",),
    "travelled": BOTH,
    "derived_loss": ("schedule",),
    "derived_rate": ("schedule",),
    "gd_exponent": ("schedule",),
    "off_exact": ("schedule",),
    "off_error": ("schedule",),
    "loss": BOTH,
    "peak": BOTH,
    "log_error": BOTH,
    "at_edge": BOTH,
}


def _checked(config: SchedulesConfig) -> list[tuple[float, float]]:
    check_real("horizons", config.horizons, at_least=FITTED, at_most=7)
    check_real("seeds", config.seeds, at_least=2)
    check_real("check_size", config.check_size, at_least=16, at_most=4096)
    check_real("noise_variance", config.noise_variance, above=0.0)
    check_real("batch_size", config.batch_size, at_least=1.0)
    check_real("capacities", np.array(config.capacities), above=1.0)
    check_real("sources", np.array(config.sources), above=1.0)
    if len(config.capacities) != len(config.sources) or not config.capacities:
        raise ValueError(
            f"`sources` must have one value for each of `capacities`, got {config.sources}."
        )
    for name, known in (("methods", METHODS), ("schedules", SCHEDULES)):
        given = getattr(config, name)
        unknown = [item for item in given if item not in known]
        if unknown or not given:
            raise ValueError(f"`{name}` must be some of {', '.join(known)}, got {given}.")
    return list(zip(config.capacities, config.sources, strict=True))


def _one(*, config: SchedulesConfig) -> xr.Dataset:
    """The one method on the one problem of `config`; the size is that of the simulation."""
    method, (a,), (b,) = METHODS[config.methods[0]], config.capacities, config.sources
    found = _row(method, power_law(a, b, config.check_size, config.noise_variance), config)
    return xr.Dataset({name: (dims, found[name]) for name, dims in FIELDS.items()})


def _row(
    method: Scheduled, problem: PowerLawQuadratic, config: SchedulesConfig
) -> dict[str, np.ndarray]:
    """By name, as in `FIELDS`."""
    capacity = float(problem.capacity_exponent)
    derived = [
        method.derived(problem, shape_of(name, capacity).end)[:2] for name in config.schedules
    ]
    tuned = _tuned(method, problem, config, np.array(derived)[:, 1])
    # The best schedule falls with the exponents of the power 2a - 1.
    best = method.derived(problem, 2 * capacity - 1)[:2] if method.stochastic else (np.nan, np.nan)
    loss, rate = np.array([*derived, best]).T
    peaks = np.array([peaks.rate for peaks in tuned]).T
    check = simulated_check(method, problem, config.schedules, peaks, config)
    return {
        "steps": method.horizons(config.horizons).astype(float),
        "travelled": _travelled(method, problem, config, peaks),
        "derived_loss": loss,
        "derived_rate": rate,
        "gd_exponent": np.full(loss.size, float(loss_exponents(problem)[1])),
        "off_exact": np.append(check.off, np.nan),
        "off_error": np.append(check.error, np.nan),
    } | _with_optimal(method, problem, config, tuned)


def _with_optimal(
    method: Scheduled, problem: PowerLawQuadratic, config: SchedulesConfig, tuned: list[Peaks]
) -> dict[str, np.ndarray]:
    """Tuned losses and peaks, [S + 1, P], those of the optimal schedule last."""
    loss, peak = _optimal(method, problem, config)
    nothing = np.zeros(loss.size)
    return {
        "loss": np.vstack([np.array([peaks.loss for peaks in tuned]).T, loss]),
        "peak": np.vstack([np.array([peaks.rate for peaks in tuned]).T, peak]),
        "log_error": np.vstack([np.array([peaks.log_error for peaks in tuned]).T, nothing]),
        "at_edge": np.vstack([np.array([peaks.at_edge for peaks in tuned], float).T, nothing]),
    }


def _tuned(
    method: Scheduled,
    problem: PowerLawQuadratic,
    config: SchedulesConfig,
    rate_exponents: np.ndarray,
) -> list[Peaks]:
    """Tuned peaks at every horizon, each search started from the one before."""
    spectrum = method.modes(problem)
    capacity = float(problem.capacity_exponent)
    shapes = [shape_of(name, capacity).shape for name in config.schedules]
    tuned: list[Peaks] = []
    for steps in method.horizons(config.horizons):
        values = np.array([schedule_rates(shape, 1.0, int(steps)) for shape in shapes])

        def losses(peaks: np.ndarray, values: np.ndarray = values) -> np.ndarray:
            return final_losses(method, spectrum, values, peaks, config.batch_size)

        if method.minima:
            guess = search(losses, len(shapes), *method.rates, method.spacing, method.width)
        elif tuned:
            # Where to look, not what to find: the grid moves until the optimum is inside it.
            guess = tuned[-1].rate * method.ratio ** -np.nan_to_num(rate_exponents)
        else:
            guess = search(losses, len(shapes), *method.rates)
        tuned.append(tune_peaks(losses, guess, method.spacing, method.width, method.zooms))
    return tuned


def _optimal(
    method: Scheduled, problem: PowerLawQuadratic, config: SchedulesConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Losses and largest rates of the schedule that is best in theory; NaN for other methods."""
    horizons = method.horizons(config.horizons)
    if not (method.stochastic and config.optimal):
        return np.full(horizons.size, np.nan), np.full(horizons.size, np.nan)
    spectrum, one = method.modes(problem), np.ones((1, 1))
    losses, peaks = [], []
    for steps in horizons:
        rates = np.asarray(optimal_schedule(spectrum, config.batch_size, int(steps))[0])
        found = final_losses(method, spectrum, rates[None], one, config.batch_size)
        losses.append(found[0, 0])
        peaks.append(rates.max())
    return np.array(losses), np.array(peaks)


def _travelled(
    method: Scheduled, problem: PowerLawQuadratic, config: SchedulesConfig, peaks: np.ndarray
) -> np.ndarray:
    """Sums of the steps of the gradient descent that a method is, at its tuned rates [S, P]."""
    sums = np.full((peaks.shape[0] + 1, peaks.shape[1]), np.nan)
    if method.travelled is None:
        return sums
    modes, capacity = method.modes(problem), float(problem.capacity_exponent)
    for row, name in enumerate(config.schedules):
        for column, steps in enumerate(method.horizons(config.horizons)):
            shape = shape_of(name, capacity).shape
            run = schedule_rates(shape, peaks[row, column], int(steps))
            sums[row, column] = method.travelled(modes, run)
    return sums


STUDY = Study(
    "schedules",
    "how decay changes exponents: tuned peak rates under schedules, derived and measured",
    SchedulesConfig,
    compute,
    summary,
    plan=plan,
)
