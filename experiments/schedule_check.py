"""Simulated losses at the ends of schedules against exact ones at the same rates and size."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from experiments.scheduled_curves import Scheduled, final_losses, shape_of
from simulate.least_squares import least_squares
from simulate.problems import diagonal_quadratic
from simulate.schedules import Scheduled as ScheduledOptimizer
from simulate.sweep import sweep
from theory.problem import PowerLawQuadratic, power_law
from theory.schedules import schedule_rates
from theory.spectrum import approximation_error, explicit_spectrum

# Of the peak rate tuned at the shortest horizon; the runs need not be that long.
FRACTIONS = (0.5, 1.0)
LONGEST = 250
# A draw of a batch costs more than a step.
SGD_SHARE = 8


class Sampling(Protocol):
    """What the simulations need of a configuration."""

    @property
    def batch_size(self) -> float:
        """Samples a step."""
        ...

    @property
    def seeds(self) -> int:
        """Runs averaged."""
        ...

    @property
    def seed(self) -> int:
        """Of all randomness."""
        ...


class Check(NamedTuple):
    """Simulation against exact loss, both without the irreducible part.

    Attributes:
        off: the relative difference at the worse of two rates, signed, [S].
        error: its relative standard error, zero for methods without noise, [S].
    """

    off: np.ndarray
    error: np.ndarray


def simulated_check(
    method: Scheduled,
    problem: PowerLawQuadratic,
    schedules: Sequence[str],
    peaks: np.ndarray,
    sampling: Sampling,
) -> Check:
    """Simulates a method under schedules at the rates tuned for its shortest horizon.

    Args:
        method: one of `METHODS`.
        problem: of the size to simulate.
        schedules: keys of `SCHEDULES`, S.
        peaks: tuned peak rates, [S, P]; the first column is used.
        sampling: batch size, seeds and seed.
    """
    size = problem.size / SGD_SHARE if method.stochastic else problem.size
    a, b = float(problem.capacity_exponent), float(problem.source_exponent)
    small = power_law(a, b, size, float(problem.noise_variance))
    found = [
        _one(method, small, name, peak * np.array(FRACTIONS), sampling)
        for name, peak in zip(schedules, peaks[:, 0], strict=True)
    ]
    off, error = np.array(found).T
    return Check(off, error)


def _one(
    method: Scheduled, problem: PowerLawQuadratic, name: str, rates: np.ndarray, sampling: Sampling
) -> tuple[float, float]:
    exact = _exact(method, problem, name, rates, sampling.batch_size)
    runs = _simulated(method, problem, name, rates, sampling)
    off = runs.mean(axis=1) / exact - 1
    seeds = runs.shape[1]
    error = runs.std(axis=1, ddof=1) / np.sqrt(seeds) / exact if seeds > 1 else np.zeros(rates.size)
    worst = int(np.argmax(np.abs(off) / np.where(error > 0, error, 1.0)))
    return float(off[worst]), float(error[worst])


def _steps(method: Scheduled) -> int:
    return min(method.first, LONGEST)


def _exact(
    method: Scheduled, problem: PowerLawQuadratic, name: str, rates: np.ndarray, batch_size: float
) -> np.ndarray:
    a, b = float(problem.capacity_exponent), float(problem.source_exponent)
    index = np.arange(1.0, int(problem.size) + 1)
    floor, noise = approximation_error(problem), problem.noise_variance
    held = explicit_spectrum(index**-a, index**-b, floor, noise)
    shape = schedule_rates(shape_of(name, a).shape, 1.0, _steps(method))
    return final_losses(method, held, np.asarray(shape)[None], rates[None], batch_size)[0]


def _simulated(
    method: Scheduled, problem: PowerLawQuadratic, name: str, rates: np.ndarray, sampling: Sampling
) -> np.ndarray:
    """Losses [R, seeds] of the engine under its own schedule."""
    schedule = shape_of(name, float(problem.capacity_exponent))
    given = {"learning_rate": rates, "horizon": np.full(rates.size, float(_steps(method)))}
    given |= {key: np.full(rates.size, value) for key, value in schedule.numbers.items()}
    drawn: Any = diagonal_quadratic(problem)
    keys = jax.random.split(jax.random.key(sampling.seed), 1)
    if method.stochastic:
        drawn = least_squares(problem, sampling.batch_size)
        keys = jax.random.split(keys[0], sampling.seeds)
    optimizer = ScheduledOptimizer(method.optimizer, schedule.engine, beyond="refuse")
    run = sweep(drawn, optimizer, np.array([_steps(method)]), given, keys)
    return np.asarray(run.loss)[..., 0] - float(problem.irreducible)
