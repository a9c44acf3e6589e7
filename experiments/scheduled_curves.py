"""Exact losses of methods under learning-rate schedules, and the exponents derived for them.

All losses are those of an infinitely large model: modes run over compressed nodes up to a size
whose untrained rest cannot have moved yet, and the energy of that rest is added.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from simulate import schedules as engine
from simulate.lmo import normalized_sgd, signum
from simulate.optimizers import sgd as sgd_optimizer
from theory.linear_methods import loss_exponents
from theory.normalized_methods import normalized_gd, normalized_gd_steps
from theory.problem import PowerLawQuadratic, power_law
from theory.scheduled_descent import step_moments
from theory.schedules import (
    Schedule,
    constant,
    cosine,
    linear_decay,
    power_decay,
    tuned_sgd_exponents,
    warmup_stable_decay,
)
from theory.sign_methods import scheduled_sign_descent, sign_descent_exponents
from theory.spectrum import Spectrum, compress, explicit_spectrum, range_nodes

# The lowest mode of this size has eta lam T < 1e-5 for a >= 1.5 and T up to 1e5.
LONG_SIZE = 1e7
# Sign descent leaves a triangle wave in the mode number: low modes one by one, high ones at nodes
# far beyond any that the steps reach; the wave there is sampled at a weight of a per cent.
WALKED, FARTHEST = 1024, 10**36
POINTS = 8
COOLDOWN = 0.2
# The name of the schedule that minimises the loss of SGD, computed instead of tuned.
OPTIMAL = "optimal"


SCHEDULES = {
    "constant": "constant",
    "linear": "linear decay",
    "cosine": "cosine",
    "wsd": "stable, then 20 % decay",
    "power": "power 2a - 1",
}


@dataclass(frozen=True)
class Shape:
    """A schedule, in theory and in the engine.

    Attributes:
        shape: the function of the fraction of the run.
        engine: the engine's schedule.
        end: it ends as (1 - t/T)^end.
        numbers: hyperparameters of the engine's schedule.
    """

    shape: Schedule
    engine: engine.ScheduleFactory
    end: float
    numbers: Mapping[str, float] = field(default_factory=dict)


def shape_of(name: str, capacity: float) -> Shape:
    """A schedule of `SCHEDULES` for a problem with that capacity exponent."""
    power = 2 * capacity - 1
    return {
        "constant": Shape(constant, engine.constant, 0.0),
        "linear": Shape(linear_decay, engine.linear, 1.0),
        "cosine": Shape(cosine, engine.cosine, 2.0),
        "wsd": Shape(
            warmup_stable_decay(COOLDOWN), engine.warmup_stable_decay, 1.0, {"decay": COOLDOWN}
        ),
        "power": Shape(power_decay(power), engine.power, power, {"exponent": power}),
    }[name]


@dataclass(frozen=True)
class Scheduled:
    """A method whose rate is tuned under schedules.

    Attributes:
        label: in tables.
        family: key of the palette of figures.
        optimizer: factory of an optax transformation.
        modes: problem to the spectrum its exact curve runs on.
        final: spectrum, rates [T] and batch size to the loss after T steps beyond irreducible.
        first: shortest horizon.
        ratio: of two horizons.
        rates: lowest and highest peak rate the first search looks at.
        spacing: relative spacing of the rates that the best is picked from.
        width: neighbours on either side by which a rate is judged; 0: alone, and refined.
        derived: problem and end of the schedule to the exponents of loss and peak rate, NaN where
            none is derived, and the argument.
        limit: largest peak rate allowed.
        zooms: refinements of the search for the best rate.
        minima: whether loss against rate has several, so that every horizon is searched anew.
        stochastic: whether the simulation needs seeds.
        travelled: spectrum and rates [T] to the sum of the steps of the gradient descent that the
            method is; None where it is none.
    """

    label: str
    family: str
    optimizer: Any
    modes: Callable[[PowerLawQuadratic], Spectrum]
    final: Callable[[Spectrum, jax.Array, float], jax.Array]
    first: int
    ratio: float
    rates: tuple[float, float]
    spacing: float
    width: int
    derived: Callable[[PowerLawQuadratic, float], tuple[float, float, str]]
    limit: float = np.inf
    zooms: int = 2
    minima: bool = False
    stochastic: bool = False
    travelled: Callable[[Spectrum, jax.Array], float] | None = None

    def horizons(self, count: int) -> np.ndarray:
        """Whole step counts in a constant ratio, [count]."""
        return np.round(self.first * self.ratio ** np.arange(count)).astype(int)


def long_modes(problem: PowerLawQuadratic) -> Spectrum:
    """Nodes of a model so large that what it leaves out never moves."""
    return compress(_sized(problem, LONG_SIZE), POINTS)


def walked_modes(problem: PowerLawQuadratic) -> Spectrum:
    """Modes for sign descent, which sees distances to the optimum alone.

    A node that stands for w modes is given w times the eigenvalue and the energy: the distance is
    theirs and the loss w times as large.
    """
    a, b = float(problem.capacity_exponent), float(problem.source_exponent)
    index, weight = range_nodes(WALKED + 1, FARTHEST, POINTS)
    index = np.concatenate([np.arange(1.0, WALKED + 1), index])
    weight = np.concatenate([np.ones(WALKED), weight])
    tail = float(FARTHEST) ** (1 - b) / (2 * (b - 1))
    return explicit_spectrum(weight * index**-a, weight * index**-b, tail)


def _sized(problem: PowerLawQuadratic, size: float) -> PowerLawQuadratic:
    a, b = float(problem.capacity_exponent), float(problem.source_exponent)
    return power_law(a, b, size, float(problem.noise_variance))


def _gd_final(spectrum: Spectrum, rates: jax.Array, batch_size: float) -> jax.Array:
    del batch_size
    return step_moments(spectrum, rates, jnp.zeros_like(rates), _last(rates)).optimization[0]


def _sgd_final(spectrum: Spectrum, rates: jax.Array, batch_size: float) -> jax.Array:
    share = jnp.full_like(rates, 1.0 / batch_size)
    return step_moments(spectrum, rates, share, _last(rates)).optimization[0]


def _last(rates: jax.Array) -> jax.Array:
    return jnp.array([rates.size])


def _sign_final(spectrum: Spectrum, rates: jax.Array, batch_size: float) -> jax.Array:
    del batch_size
    return scheduled_sign_descent(spectrum, rates).optimization[-1]


def _normalized_final(spectrum: Spectrum, rates: jax.Array, batch_size: float) -> jax.Array:
    del batch_size
    return normalized_gd(spectrum, rates).optimization[-1]


def final_losses(
    method: Scheduled, spectrum: Spectrum, shapes: np.ndarray, peaks: np.ndarray, batch_size: float
) -> np.ndarray:
    """Losses beyond irreducible at the end of schedules under many peak rates.

    Args:
        method: one of `METHODS`.
        spectrum: the modes, and as `approximation` what is never trained.
        shapes: schedules with peak one, [S, T].
        peaks: peak rates of each schedule, [S, R].
        batch_size: B, for SGD.

    Returns:
        Losses [S, R]; infinite where the run diverges or the peak is above the method's limit.
    """
    rates = jnp.asarray(peaks, float)[..., None] * jnp.asarray(shapes)[:, None, :]
    flat = rates.reshape(-1, rates.shape[-1])
    found = jax.vmap(lambda run: method.final(spectrum, run, batch_size))(flat)
    losses = np.asarray(found).reshape(rates.shape[:-1]) + float(spectrum.approximation)
    return np.where(np.isfinite(losses) & (peaks <= method.limit), losses, np.inf)


def _gd_exponents(problem: PowerLawQuadratic, end: float) -> tuple[float, float, str]:
    del end
    beta = float(loss_exponents(problem)[1])
    return beta, 0.0, "(b-1)/a: the rates add up to a multiple of T / lam_1 under any schedule"


def _sgd_exponents(problem: PowerLawQuadratic, end: float) -> tuple[float, float, str]:
    loss, rate = tuned_sgd_exponents(problem, end)
    why = "bias against noise" if float(rate) > 0 else "noise below the bias up to the largest rate"
    return float(loss), float(rate), f"{why}, theory.schedules.tuned_sgd_exponents"


def sign_exponents(problem: PowerLawQuadratic, end: float) -> tuple[float, float, str]:
    """Exponents of the loss and the peak rate of tuned sign descent.

    A finished coordinate follows the rate down and is left at the last one, eta T^-end, instead of
    eta. b >= a > 1: finishing takes a distance eta T ~ 1, so the loss is (1/T^(1 + end))^2.
    1 < b < a: finishing distances up to s = eta T leaves s^-2(b-1)/(a-b) beyond; balanced against
    (s/T^(1 + end))^2, s = T^((1 + end)(a-b)/(a-1)).
    """
    a, b = float(problem.capacity_exponent), float(problem.source_exponent)
    still = sign_descent_exponents(problem)
    if not still.holds:
        return np.nan, np.nan, "none: the oscillation floor has no limit in the size"
    rate = 1.0 if b >= a else 1.0 - (1.0 + end) * (a - b) / (a - 1.0)
    why = "coordinates end at the last rate, eta T^-p under (1 - t/T)^p"
    return (1.0 + end) * still.beta, rate, why


def _normalized_exponents(problem: PowerLawQuadratic, end: float) -> tuple[float, float, str]:
    if end > 0:
        why = "none: GD's in the sum of eta/|g|, which rare long steps make grow faster than T"
        return np.nan, np.nan, why
    beta = float(loss_exponents(problem)[1])
    return beta, np.nan, "GD's, were eta/|g| to stay near 2 / lam_1"


METHODS: dict[str, Scheduled] = {
    "gd": Scheduled(
        "GD",
        "gd",
        sgd_optimizer,
        long_modes,
        _gd_final,
        1000,
        10**0.5,
        (0.2, 20.0),
        0.15,
        0,
        _gd_exponents,
        # Above 2 / lam_1 steps amplify: a decaying run may recover, from losses of e^T.
        limit=2.0,
        zooms=4,
    ),
    "sgd": Scheduled(
        "SGD",
        "sgd",
        sgd_optimizer,
        long_modes,
        _sgd_final,
        1000,
        10**0.5,
        (1e-4, 2.0),
        0.15,
        0,
        _sgd_exponents,
        stochastic=True,
    ),
    "sign": Scheduled(
        "sign descent",
        "sign",
        signum,
        walked_modes,
        _sign_final,
        50,
        3.0,
        (1e-3, 30.0),
        0.05,
        2,
        sign_exponents,
    ),
    "normalized": Scheduled(
        "normalized GD",
        "normalized_sgd",
        normalized_sgd,
        long_modes,
        _normalized_final,
        # Later, at a constant rate, the first mode underflows to zero and limits eta/|g| no more.
        64,
        2.0,
        (1e-3, 1e3),
        0.05,
        2,
        _normalized_exponents,
        minima=True,
        travelled=lambda modes, rates: float(jnp.sum(normalized_gd_steps(modes, rates))),
    ),
}
