"""Tuned learning rate, momentum and batch size over token budgets, against what a bound derives.

LMO methods with momentum on a small matrix quadratic, every combination of learning rate, momentum
and batch size run, every budget read off the same runs. Two criteria are minimised. `mean
gradient`: the dual norm of the exact gradient, averaged over the run (trapezoids between 16
recordings in each doubling) and over seeds: what the bounds bound. `final loss`: the loss above its
minimum, mean of the records at 15/16 of the run and at its end, and over seeds: what is tuned in
practice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from experiments.chunks import Chunk, Plan, computed, over_grid
from experiments.progress import Progress
from experiments.records import with_units
from experiments.study import Study
from experiments.tuning_bounds import (
    VALLEY_BOUNDS,
    bound_here,
    derived_exponents,
    other_tie_break,
    valley,
)
from experiments.tuning_exponents import POWERS, Law, laws
from experiments.tuning_optima import NEIGHBOURS, QUANTITIES, REGIMES, Grid
from experiments.tuning_proxies import NOISES, Ensemble, proxy_ensemble, proxy_quadratic
from experiments.tuning_runs import CRITERIA, METHODS, POINTS, measure
from experiments.tuning_tables import summary
from simulate.matrix_problems import MatrixQuadratic
from theory.checks import check_real
from theory.lmo_constants import matrix_constants

# Learning rates relative to sqrt(alpha B), half an octave apart.
RATES = 2.0 ** np.arange(-14, -3.9, 0.5)
VALLEY_BUDGETS = (1e6, 1e10, 1e14, 1e18)
VALLEY_PLACES = np.linspace(0.0, 0.65, 66)


@dataclass(frozen=True)
class TuningLawsConfig:
    """Tuned hyperparameters of LMO methods over token budgets, and their exponents."""

    methods: tuple[str, ...] = tuple(METHODS)
    """Some of normalized_sgd, sign, muon."""
    noises: tuple[str, ...] = NOISES
    """Some of skewed (rare large entries) and normal (symmetric), of one variance."""
    capacity: float = 1.0
    """Capacity exponent a, shared evenly by the two sides of the weights."""
    source: float = 1.2
    """Source exponent b."""
    columns: int = 8
    """Columns of the weights, which have two rows."""
    noise_std: float = 0.5
    """Noise of each entry of one sample's gradient."""
    tokens: int = 2048
    """Smallest budget T = B K."""
    doublings: int = 7
    """How often the budget is doubled."""
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    """Batch sizes B: 1, each next one twice as large."""
    alphas: int = 9
    """Number of momenta 1 - alpha: alpha is halved from 1 down."""
    held_alpha: float = 0.25
    """alpha where momentum is not tuned."""
    seeds: int = 6
    """Runs averaged; errors are from leaving one out."""
    seed: int = 0
    """Of the problem and of the noise."""

    @classmethod
    def quick(cls) -> "TuningLawsConfig":
        """Budgets up to 32768 tokens."""
        return cls(doublings=4, alphas=8, seeds=4)


def compute(config: TuningLawsConfig, progress: Progress) -> xr.Dataset:
    """Runs, tunes and fits every method under every noise.

    Raises:
        ValueError: naming the field outside its domain.
    """
    return computed(plan(config), progress)


def plan(config: TuningLawsConfig, memory: int | None = None) -> Plan:
    """One chunk a method and noise: a law is fitted to all of its rates, momenta and batches.

    Raises:
        ValueError: naming the field outside its domain.
    """
    del memory
    _check(config)
    chunks = tuple(
        _chunk(replace(config, methods=(method,), noises=(noise,)))
        for method in config.methods
        for noise in config.noises
    )
    return Plan("methods x noises", chunks, partial(_assembled, config), "matrix steps")


# Of the weights of a run: the state, its average, gradient, noise, update, and a step of each.
STATE_COPIES = 16
ROWS = 2  # of the weights


def _chunk(part: TuningLawsConfig) -> Chunk:
    grid = _grid(part)
    runs = grid.rates.size * grid.alphas.size * part.seeds
    records = len(CRITERIA) * runs * grid.batches.size * grid.budgets.size
    lengths = {"criterion": len(CRITERIA), "regime": len(REGIMES), "quantity": len(QUANTITIES)}
    lengths |= {"batch": grid.batches.size, "budget": grid.budgets.size, "power": len(POWERS)}
    steps = part.tokens * 2**part.doublings / grid.batches
    return Chunk(
        f"{METHODS[part.methods[0]].label}, {part.noises[0]} noise",
        _one,
        {"config": part},
        {name: tuple(lengths[dim] for dim in dims) for name, dims in FIELDS.items()},
        # Recordings of one batch size at a time, and what is kept of all.
        8 * (runs * (STATE_COPIES * ROWS * part.columns + 4 * POINTS * part.doublings) + records),
        float(runs * steps.sum()),
    )


def _grid(config: TuningLawsConfig) -> Grid:
    return Grid(
        RATES,
        0.5 ** np.arange(config.alphas),
        np.array(config.batches, float),
        config.tokens * 2.0 ** np.arange(config.doublings + 1),
        config.held_alpha,
    )


def _keys(config: TuningLawsConfig) -> jax.Array:
    """Of the problem, and of the runs."""
    return jax.random.split(jax.random.key(config.seed))


def _quadratic(config: TuningLawsConfig) -> MatrixQuadratic:
    numbers = config.capacity, config.source, config.columns, config.noise_std
    return proxy_quadratic(*numbers, _keys(config)[0])


def _one(*, config: TuningLawsConfig) -> xr.Dataset:
    """Measured laws of the one method under the one noise of `config`."""
    grid, (problem_key, run_key) = _grid(config), _keys(config)
    runs = (grid.rates.size, grid.alphas.size, config.seeds)
    ensemble = proxy_ensemble(_quadratic(config), config.noises[0], runs, problem_key)
    measured = _runs(config, grid, ensemble, config.methods[0], run_key)
    return _measured(grid, [law for part in measured for law in laws(part, grid).values()])


def _assembled(config: TuningLawsConfig, results: Sequence[xr.Dataset]) -> xr.Dataset:
    grid = _grid(config)
    outer = {"method": len(config.methods), "noise": len(config.noises)}
    variables = over_grid(results, FIELDS, outer)
    coords = {"method": list(config.methods), "noise": list(config.noises)}
    coords |= {"criterion": list(CRITERIA), "regime": list(REGIMES), "quantity": list(QUANTITIES)}
    coords |= {"power": list(POWERS), "batch": grid.batches, "budget": grid.budgets}
    measured = xr.Dataset(variables, coords=coords)
    dataset = xr.merge([measured, _derived(config, grid, _quadratic(config))])
    units = {"batch": "samples", "budget": "tokens", "optimum_error": "of the logarithm"}
    dataset.attrs |= {"held_alpha": config.held_alpha, "labels": _labels(config)}
    return with_units(dataset, **units)


def _check(config: TuningLawsConfig) -> None:
    fewest = 2 * NEIGHBOURS + 1
    for name, allowed in (("methods", tuple(METHODS)), ("noises", NOISES)):
        values = getattr(config, name)
        if not values or len(set(values)) < len(values) or not set(values) <= set(allowed):
            raise ValueError(f"`{name}` must be some of {', '.join(allowed)}, got {values}.")
    check_real("seeds", config.seeds, at_least=2)
    check_real("doublings", config.doublings, at_least=3, at_most=14)
    check_real("alphas", config.alphas, at_least=fewest)
    check_real("columns", config.columns, at_least=2)
    batches = np.array(config.batches)
    if len(batches) < fewest or not np.array_equal(batches, 2 ** np.arange(len(batches))):
        raise ValueError(
            f"`batches` must be 1, 2, 4 and so on, at least {fewest}, got {config.batches}."
        )
    if config.tokens < 1 or config.tokens % (POINTS * config.batches[-1]):
        raise ValueError(
            f"`tokens` must be a multiple of {POINTS} times the largest batch size, "
            f"{POINTS * config.batches[-1]}, got {config.tokens}."
        )
    if config.held_alpha not in 0.5 ** np.arange(config.alphas):
        raise ValueError(
            f"`held_alpha` must be 1 halved up to {config.alphas - 1} times, "
            f"got {config.held_alpha}."
        )


def _labels(config: TuningLawsConfig) -> list[str]:
    return [METHODS[name].label for name in config.methods]


def _runs(
    config: TuningLawsConfig, grid: Grid, ensemble: Ensemble, method: str, key: jax.Array
) -> np.ndarray:
    """Both criteria of all runs of one method, [criterion, rate, alpha, batch, seed, budget]."""
    log_rates = grid.log_rates()[..., 0]
    parts = [
        measure(
            replace(ensemble, batch_size=jnp.asarray(batch)),
            method,
            np.exp(log_rates[:, :, place]),
            grid.alphas,
            (round(config.tokens / batch), config.doublings),
            jax.random.fold_in(key, place),
        )
        for place, batch in enumerate(grid.batches)
    ]
    return np.stack(parts, axis=3)


CELLS = ("criterion", "regime", "quantity", "batch", "budget")
POWER_CELLS = ("criterion", "regime", "quantity", "power")
FIELDS: dict[str, tuple[str, ...]] = {
    "optimum": CELLS,
    "optimum_error": CELLS,
    "inside": ("criterion", "regime", "batch", "budget"),
    "exponent": POWER_CELLS,
    "exponent_error": POWER_CELLS,
    "points": ("criterion", "regime"),
    "at_limit": ("criterion", "regime"),
}


def _measured(grid: Grid, found: list[Law]) -> xr.Dataset:
    """Measured laws as labelled arrays; B tuned: the same at every batch size."""
    whole = (len(QUANTITIES), grid.batches.size, grid.budgets.size)
    powers = (len(QUANTITIES), len(POWERS))

    def stacked(field: Any, shape: tuple[int, ...]) -> np.ndarray:
        rows = [np.broadcast_to(field(law), shape) for law in found]
        return np.reshape(rows, (len(CRITERIA), len(REGIMES), *shape))

    arrays = {
        "optimum": stacked(lambda law: np.exp(law.logs), whole),
        "optimum_error": stacked(lambda law: law.log_errors, whole),
        "inside": stacked(lambda law: law.inside, whole[1:]),
        "exponent": stacked(lambda law: law.exponents, powers),
        "exponent_error": stacked(lambda law: law.errors, powers),
        "points": stacked(lambda law: law.points, ()),
        "at_limit": stacked(lambda law: law.at_limit, ()),
    }
    return xr.Dataset({name: (dims, arrays[name]) for name, dims in FIELDS.items()})


def _derived(config: TuningLawsConfig, grid: Grid, quadratic: MatrixQuadratic) -> xr.Dataset:
    """Exact exponents, the bound's own at these budgets, and its valley in batch size."""
    arrays = quadratic.left, quadratic.right, quadratic.target
    constants = [
        matrix_constants(METHODS[name].norm, *arrays, config.noise_std) for name in config.methods
    ]
    here, flat = zip(*(bound_here(grid, c) for c in constants), strict=True)
    names = ("initial_gap", "smoothness", "norm_ratio", "noise")
    variables = {
        "derived": (
            ("regime", "quantity", "power"),
            [derived_exponents(regime, grid) for regime in REGIMES.values()],
        ),
        "other_tie_break": ("quantity", other_tie_break()),
        "bound_exponent": (("method", "regime", "quantity", "power"), np.array(here)),
        "bound_value": (("method", "batch", "budget"), np.array(flat)),
        "constants": (
            ("method", "constant"),
            [[float(getattr(c, name)) for name in names] for c in constants],
        ),
        "valley": (("bound", "amount", "place"), valley(np.array(VALLEY_BUDGETS), VALLEY_PLACES)),
    }
    coords = {
        "method": list(config.methods),
        "regime": list(REGIMES),
        "quantity": list(QUANTITIES),
        "power": list(POWERS),
        "constant": list(names),
        "batch": grid.batches,
        "budget": grid.budgets,
        "bound": list(VALLEY_BOUNDS),
        "amount": list(VALLEY_BUDGETS),
        "place": VALLEY_PLACES,
    }
    return xr.Dataset(variables, coords=coords)


STUDY = Study(
    "tuning_laws",
    "tuned learning rate, momentum and batch size over budgets, against laws derived from a bound",
    TuningLawsConfig,
    compute,
    summary,
    plan=plan,
)
