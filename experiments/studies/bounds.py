"""Convergence bounds against runs: normalized SGD, signSGD and Muon on quadratics of known L."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from experiments.chunks import Chunk, Plan, computed
from experiments.progress import Progress
from experiments.records import with_units
from experiments.study import Study
from experiments.tables import Table
from simulate.lmo import LmoMethod
from simulate.matrix_problems import MatrixQuadratic, matrix_quadratic
from simulate.sweep import sweep
from theory.checks import check_real
from theory.lmo_bounds import kovalev_bound, sharper_bound
from theory.lmo_constants import BoundConstants, matrix_constants
from theory.norms import dual_norm
from theory.problem import power_law

METHODS = {"normalized_sgd": "euclidean", "sign": "max", "muon": "spectral"}
BOUNDS = ("printed", "sharper")
TERMS = ("initial_gap", "burn_in", "noise", "smoothness", "lag")
GRID = ("rate", "alpha", "batch", "horizon")
CONSTANTS = ("initial_gap", "smoothness", "norm_ratio", "noise")


@dataclass(frozen=True)
class BoundsConfig:
    """Dual gradient norms along runs, and the two bounds on their mean."""

    capacity: float = 1.0
    """Capacity exponent a, shared evenly by the two sides of the weights."""
    source: float = 1.2
    """Source exponent b."""
    size: int = 6
    """Rows of the weights."""
    columns: int = 8
    """Columns of the weights, at least the size."""
    noise_std: float = 0.2
    """Noise of each entry of one sample's gradient."""
    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3)
    """Learning rates eta."""
    alphas: tuple[float, ...] = (1.0, 0.3, 0.1, 0.03)
    """Weights of the newest gradient, 1 - momentum."""
    batches: tuple[float, ...] = (1.0, 16.0, 256.0)
    """Batch sizes B."""
    horizons: tuple[int, ...] = (16, 64, 256, 1024)
    """Numbers of steps K, increasing; all read off one run."""
    seeds: int = 4
    """Runs of each configuration."""
    seed: int = 0
    """Of the problem's bases and of the noise."""

    @classmethod
    def quick(cls) -> "BoundsConfig":
        """A coarser and shorter grid."""
        return cls(
            rates=(0.01, 0.03, 0.1),
            alphas=(1.0, 0.1),
            batches=(1.0, 64.0),
            horizons=(16, 64, 256),
            seeds=2,
        )


def compute(config: BoundsConfig, progress: Progress) -> xr.Dataset:
    """Measured dual gradient norms and the terms of both bounds, on one grid for all methods.

    Raises:
        ValueError: naming the field outside its domain.
    """
    return computed(plan(config), progress)


def plan(config: BoundsConfig, memory: int | None = None) -> Plan:
    """One chunk a method, or as many as keep its arrays within `memory`, cut along the rates.

    Raises:
        ValueError: naming the field outside its domain.
    """
    _check(config)
    one = _memory(replace(config, rates=config.rates[:1]))
    at_once = len(config.rates) if memory is None else max(1, memory // one)
    parts = [
        replace(config, rates=config.rates[first : first + at_once])
        for first in range(0, len(config.rates), at_once)
    ]
    chunks = tuple(_chunk(part, method) for method in METHODS for part in parts)
    return Plan("bounds", chunks, partial(_assembled, config), "matrix steps")


def _chunk(part: BoundsConfig, method: str) -> Chunk:
    grid = tuple(len(axis) for axis in (part.rates, part.alphas, part.batches, part.horizons))
    return Chunk(
        f"{method}, rates {part.rates[0]:g} .. {part.rates[-1]:g}",
        _measured,
        {"config": part, "norm": METHODS[method]},
        dict.fromkeys(("mean", "mean_error", "smallest"), grid),
        _memory(part),
        float(np.prod(grid[:3])) * part.seeds * part.horizons[-1],
    )


# Recorded norms as they are found, on the host and summed up along a run; the state of a run with
# its gradient, noise and what the polar factor needs.
NORM_COPIES, STATE_COPIES = 4, 16


def _memory(part: BoundsConfig) -> int:
    runs = len(part.rates) * len(part.alphas) * len(part.batches) * part.seeds
    numbers = NORM_COPIES * part.horizons[-1] + STATE_COPIES * part.size * part.columns
    return 8 * runs * numbers


def _problem(config: BoundsConfig) -> tuple[MatrixQuadratic, jax.Array]:
    """The problem, and the keys of the runs."""
    problem_key, run_key = jax.random.split(jax.random.key(config.seed))
    problem = matrix_quadratic(
        power_law(config.capacity, config.source, config.size),
        rows=config.size,
        columns=config.columns,
        alignment="crossed",
        key=problem_key,
        noise_std=config.noise_std,
    )
    return problem, jax.random.split(run_key, config.seeds)


def _measured(config: BoundsConfig, norm: str) -> xr.Dataset:
    """What runs of one method show, on the grid of `config`."""
    seen = _measure(config, *_problem(config), norm)
    until = np.array(config.horizons)
    means = np.cumsum(seen, axis=-1)[..., until - 1] / until
    smallest = np.minimum.accumulate(seen, axis=-1)[..., until - 1].mean(axis=-2)
    return xr.Dataset(
        {
            "mean": (GRID, means.mean(axis=-2)),
            "mean_error": (GRID, means.std(axis=-2, ddof=1) / np.sqrt(config.seeds)),
            "smallest": (GRID, smallest),
        }
    )


def _assembled(config: BoundsConfig, results: Sequence[xr.Dataset]) -> xr.Dataset:
    problem, _ = _problem(config)
    pieces = len(results) // len(METHODS)
    parts = []
    for place, norm in enumerate(METHODS.values()):
        constants = matrix_constants(
            norm, problem.left, problem.right, problem.target, config.noise_std
        )
        seen = xr.concat(results[place * pieces : (place + 1) * pieces], "rate")
        parts.append(_dataset(config, constants, seen))
    dataset = xr.concat(parts, "method").assign_coords(method=list(METHODS))
    units = {name: "dual gradient norm" for name in ("terms", "mean", "smallest", "mean_error")}
    return with_units(dataset, batch="samples", horizon="steps", **units)


def _check(config: BoundsConfig) -> None:
    check_real("seeds", config.seeds, at_least=2)
    check_real("noise_std", config.noise_std, above=0.0)
    check_real("rates", config.rates, above=0.0)
    check_real("alphas", config.alphas, above=0.0, at_most=1.0)
    check_real("batches", config.batches, at_least=1.0)
    check_real("horizons", config.horizons, at_least=1)
    if list(config.horizons) != sorted(set(config.horizons)):
        raise ValueError(f"`horizons` must increase, got {config.horizons}.")


def _dual_gradient(norm: str, problem: Any, params: jax.Array) -> jax.Array:
    return dual_norm(norm, jax.grad(problem.loss)(params))


# Made once: the engine compiles anew for every function object.
OBSERVERS = {norm: partial(_dual_gradient, norm) for norm in METHODS.values()}


def _measure(
    config: BoundsConfig, problem: MatrixQuadratic, keys: jax.Array, norm: str
) -> np.ndarray:
    """Dual gradient norm before every step, [rate, alpha, batch, seed, step]."""
    axes = (config.rates, 1.0 - np.array(config.alphas), config.batches)
    names = ("learning_rate", "momentum", "batch_size")
    grid = {
        name: values.ravel()
        for name, values in zip(names, np.meshgrid(*axes, indexing="ij"), strict=True)
    }
    steps = np.arange(config.horizons[-1])
    run = sweep(problem, LmoMethod(norm), steps, grid, keys, observe=OBSERVERS[norm])
    shape = tuple(len(axis) for axis in axes)
    return np.asarray(run.observed).reshape(*shape, config.seeds, steps.size)


def _dataset(config: BoundsConfig, constants: BoundConstants, seen: xr.Dataset) -> xr.Dataset:
    """Bounds beside the measurement, for every number of steps."""
    axes = (config.rates, config.alphas, config.batches, config.horizons)
    eta, alpha, batch, steps = (
        jnp.asarray(values, float) for values in np.meshgrid(*axes, indexing="ij")
    )
    bounds = [
        kovalev_bound(constants, eta, alpha, batch, steps),
        sharper_bound(constants, eta, alpha, batch, steps),
    ]
    terms = np.array([[bound.terms[name] for name in TERMS] for bound in bounds])
    measured = {name: (GRID, seen[name].values) for name in ("mean", "mean_error", "smallest")}
    return xr.Dataset(
        {
            "terms": (("bound", "term", *GRID), terms),
            "constants": ("constant", [float(getattr(constants, name)) for name in CONSTANTS]),
        }
        | measured,
        coords={"bound": list(BOUNDS), "term": list(TERMS), "constant": list(CONSTANTS)}
        | {name: list(values) for name, values in zip(GRID, axes, strict=True)},
    )


def looseness(dataset: xr.Dataset) -> xr.DataArray:
    """Bound over measured mean, [method, bound, rate, alpha, batch, horizon]."""
    return dataset.terms.sum("term") / dataset["mean"]


def summary(dataset: xr.Dataset) -> list[Table]:
    """Constants, where the bounds hold, and how loose they are along each hyperparameter."""
    return [_constants_table(dataset), _overall_table(dataset), _axis_table(dataset)]


def _constants_table(dataset: xr.Dataset) -> Table:
    rows = tuple(
        (str(method), *(float(v) for v in dataset.constants.sel({"method": method})))
        for method in dataset.method.values
    )
    return Table("Computed constants", ("method", "Delta", "L", "rho", "sigma"), rows)


def _overall_table(dataset: xr.Dataset) -> Table:
    loose = looseness(dataset)
    rows = []
    for method in dataset.method.values:
        for bound in dataset.bound.values:
            chosen = loose.sel({"method": method, "bound": bound})
            broken = int((chosen < 1).sum())
            numbers = (float(chosen.min()), float(chosen.median()), float(chosen.max()))
            rows.append((str(method), str(bound), f"{broken} of {chosen.size}", *numbers))
    columns = ("method", "bound", "broken", "least", "median", "largest")
    note = "bound over the measured mean dual gradient norm; below one it would be broken"
    return Table("Looseness over the whole grid", columns, tuple(rows), note)


def _axis_table(dataset: xr.Dataset) -> Table:
    ratio = looseness(dataset)
    loose = ratio.copy(data=np.log(ratio.values))
    rows = []
    for axis in GRID:
        others = [name for name in GRID if name != axis]
        typical = loose.mean(others)
        for value in dataset[axis].values:
            at = typical.sel({axis: value})
            pairs = [at.sel({"method": m}) for m in dataset.method.values]
            numbers = [np.exp(float(p.sel({"bound": b}))) for p in pairs for b in BOUNDS]
            rows.append((axis, f"{value:g}", *numbers))
    names = [f"{method} {bound}" for method in dataset.method.values for bound in BOUNDS]
    note = "geometric mean over the other three hyperparameters"
    return Table("Looseness along each hyperparameter", ("", "value", *names), tuple(rows), note)


STUDY = Study(
    "bounds",
    "convergence bounds of LMO methods against measured dual gradient norms",
    BoundsConfig,
    compute,
    summary,
    plan=plan,
)
