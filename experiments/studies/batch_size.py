"""Batch size: surge and square-root rules of one step, critical batch of whole runs."""

from dataclasses import dataclass

import jax
import numpy as np
import xarray as xr

from experiments.batch_curves import (
    critical_batches,
    noisy_quadratic_steps,
    tuned_sgd,
    tuned_sign,
)
from experiments.batch_tables import summary
from experiments.one_step import coupled_place, diagonal_place, matrix_place, measured, predicted
from experiments.progress import Progress
from experiments.records import with_units
from experiments.study import Study
from theory.checks import check_real
from theory.critical_batch import steps_needed
from theory.problem import power_law
from theory.surge import surge

# Label in the record: method and place.
CASES = {
    "sgd, coupled": ("sgd", "coupled"),
    "sign, coupled": ("sign", "coupled"),
    "adam, coupled": ("adam", "coupled"),
    "sgd, diagonal": ("sgd", "diagonal"),
    "sign, diagonal": ("sign", "diagonal"),
    "adam, diagonal": ("adam", "diagonal"),
    "muon, matrix": ("muon", "matrix"),
}


@dataclass(frozen=True)
class BatchSizeConfig:
    """Best learning rates against the batch size: one step, and whole runs at fixed tokens."""

    dimension: int = 64
    """Coordinates of the one-step problems."""
    coupling: float = 0.2
    """Off-diagonal entries of the coupled Hessian, whose diagonal is one."""
    noise_ratio: float = 8.0
    """Noise over gradient of one sample in every coordinate, kappa."""
    rows: int = 4
    """Of the matrix problem."""
    columns: int = 64
    """Of the matrix problem."""
    draws: int = 3000
    """Steps drawn for every batch size."""
    capacity: float = 1.5
    """Capacity exponent a of the whole runs."""
    source: float = 1.8
    """Source exponent b."""
    size: float = 1e7
    """Trained modes N."""
    noise_variance: float = 1.0
    """Label noise sigma^2 of SGD."""
    sign_noise: float = 1.0
    """Noise of every coordinate of one sample's gradient of signSGD."""
    sign_size: int = 100
    """Trained modes of signSGD."""
    sign_tokens: int = 8192
    """Tokens of signSGD, a power of two."""
    rates: int = 33
    """Learning rates tried for every batch size of a run."""
    modes: int = 10_000
    """Modes of the noisy quadratic model."""
    seed: int = 0
    """Of the draws."""

    @classmethod
    def quick(cls) -> "BatchSizeConfig":
        """Fewer draws, rates and modes."""
        return cls(draws=500, rates=21, modes=1000, sign_tokens=2048)


def compute(config: BatchSizeConfig, progress: Progress) -> xr.Dataset:
    """One-step rates by formula and Monte Carlo; tuned runs from exact curves.

    Raises:
        ValueError: naming the field outside its domain.
    """
    _check(config)
    with progress.task("batch size", len(CASES) + 3):
        parts = [_one_step(config, progress)]
        for part in (_sgd_runs, _sign_runs, _noisy_quadratic):
            parts.append(part(config))
            progress.advance()
    dataset = xr.merge(parts, combine_attrs="override")
    return with_units(
        dataset, batch="samples", tokens="samples", critical_batch="samples", sgd_loss="loss"
    )


def _check(config: BatchSizeConfig) -> None:
    for name in ("dimension", "draws", "rows", "columns", "modes", "sign_size"):
        check_real(name, getattr(config, name), at_least=2)
    check_real("rates", config.rates, at_least=5)
    check_real("coupling", config.coupling, at_least=0.0, below=1.0)
    check_real("noise_ratio", config.noise_ratio, above=0.0)
    check_real("noise_variance", config.noise_variance, above=0.0)
    tokens = config.sign_tokens
    if tokens < 256 or tokens & (tokens - 1):
        raise ValueError(f"`sign_tokens` must be a power of two from 256 on, got {tokens}.")


def _one_step(config: BatchSizeConfig, progress: Progress) -> xr.Dataset:
    batches = 2.0 ** np.arange(-2, 15) * config.noise_ratio**2 / 64.0
    matrix_key, *keys = jax.random.split(jax.random.key(config.seed), len(CASES) + 1)
    places = {
        "coupled": coupled_place(config.dimension, config.coupling, config.noise_ratio),
        "diagonal": diagonal_place(config.dimension, config.noise_ratio),
        "matrix": matrix_place(config.rows, config.columns, config.noise_ratio, matrix_key),
    }
    rates = []
    for (method, name), key in zip(CASES.values(), keys, strict=True):
        formula = predicted(method, places[name], batches).learning_rate
        seen = measured(method, places[name], batches, config.draws, key)
        rates.append((np.asarray(formula), *seen))
        progress.advance()
    formula, seen, error = np.moveaxis(np.array(rates), 1, 0)
    coupled = places["coupled"]
    peak = surge(coupled.gradient, coupled.hessian, config.noise_ratio)
    grid = ("case", "batch")
    return xr.Dataset(
        {"predicted_rate": (grid, formula), "measured_rate": (grid, seen), "error": (grid, error)},
        coords={"case": list(CASES), "batch": batches},
        attrs={
            "beta_n": float(peak.beta_n),
            # One sign turned in one draw: what no draw has shown is not known better than this.
            "resolution": 2.0 / (config.dimension * config.draws),
            "peak_batch": float(peak.exact_batch),
            "peak_batch_approximate": float(peak.approximate_batch),
        },
    )


def _sgd_runs(config: BatchSizeConfig) -> xr.Dataset:
    problem = power_law(config.capacity, config.source, config.size, config.noise_variance)
    batches, tokens = 2.0 ** np.arange(15), 10.0 ** np.arange(5, 10)
    rates, losses = tuned_sgd(problem, batches, tokens, config.rates)
    beta = (config.source - 1.0) / config.capacity
    grid = ("tokens", "run_batch")
    return xr.Dataset(
        {
            "sgd_rate": (grid, rates),
            "sgd_loss": (grid, losses),
            "critical_batch": ("tokens", critical_batches(batches, losses)),
            "critical_exponent": beta / (1.0 + beta),
        },
        coords={"tokens": tokens, "run_batch": batches},
    )


def _sign_runs(config: BatchSizeConfig) -> xr.Dataset:
    problem = power_law(config.capacity, config.source, config.sign_size)
    batches = 2.0 ** np.arange(int(np.log2(config.sign_tokens)) - 3)
    rates, losses = tuned_sign(
        problem, config.sign_noise, batches, config.sign_tokens, config.rates
    )
    return xr.Dataset(
        {"sign_rate": ("sign_batch", rates), "sign_loss": ("sign_batch", losses)},
        coords={"sign_batch": batches},
    )


def _noisy_quadratic(config: BatchSizeConfig) -> xr.Dataset:
    batches = 4.0 ** np.arange(1, 10)
    ends = np.array([1.0 / 64.0, 1e9])
    steps = noisy_quadratic_steps(config.modes, 0.01, np.concatenate([batches, ends]), config.rates)
    examples_min, steps_min = steps[-2] * ends[0], steps[-1]
    return xr.Dataset(
        {
            "model_steps": ("model_batch", steps[:-2]),
            "hyperbola": ("model_batch", steps_needed(steps_min, examples_min, batches)),
            "model_steps_min": steps_min,
            "model_samples_min": examples_min,
        },
        coords={"model_batch": batches},
    )


STUDY = Study(
    "batch_size",
    "best learning rate against batch size: surge, square-root rule, critical batch",
    BatchSizeConfig,
    compute,
    summary,
)
