"""Designs whose law is known, and what separate and shared fits make of their noisy losses."""

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
import xarray as xr

from experiments.optimizer_runs import (
    ENDLESS,
    REFERENCE,
    Cells,
    bent_cells,
    derived_law,
    edge_cells,
    exact_losses,
    noisy_runs,
    rescaled_optimizers,
)
from theory.fit_conditioning import form_conditioning
from theory.fit_covariance import hessian_of
from theory.fit_profile import profile
from theory.grouped_runs import GroupedRuns, grouped_runs
from theory.law_forms import CHINCHILLA, SEPARATE, SHARED, positions
from theory.laws import chinchilla
from theory.problem import power_law
from theory.shared_fitting import FormFit, fit_form
from theory.shared_law import shared_law

SOURCES = ("law", "edges", "bent")
FORMS = {"separate": SEPARATE, "shared": SHARED}
PARAMETERS = CHINCHILLA.symbols
FIELDS = (
    "irreducible",
    "size_coefficient",
    "size_exponent",
    "tokens_coefficient",
    "tokens_exponent",
)
SCALES = ("centred", "logarithmic", "plain")
PROFILED = ("log E", "alpha")
RATIOS = (1.0, 2.0, 4.0, 8.0)
BEYOND = 8.0  # times the largest size: what is extrapolated to
LEAST_SIZE, TOKENS_A_PARAMETER = 1.25e8, 20.0
# A law of language models (Hoffmann et al. 2022) and rescalings as published runs show them.
LAW = chinchilla(1.69, 406.4, 410.7, 0.34, 0.28)
RESCALINGS = {"slow_gd": (1.0, 0.9), "momentum": (0.9, 1.6), "nesterov": (0.95, 1.3)}
CAPACITY, SOURCE, NOISE_VARIANCE = 1.5, 1.45, 0.1
RATES = {"rate": 0.5, "slow_rate": 0.2, "momentum": 0.9, "nesterov_momentum": 0.75}
OPTIMIZERS = tuple(rescaled_optimizers(**RATES))
BENT_SHARE = 0.1


@dataclass(frozen=True)
class Data:
    """A design with its exact losses, and cells beyond it.

    Attributes:
        cells: what is fitted.
        losses: there, [optimizers, n].
        beyond: cells at the larger size.
        beyond_losses: there, [optimizers, k].
        optimizers: names, the reference first.
    """

    cells: Cells
    losses: np.ndarray
    beyond: Cells
    beyond_losses: np.ndarray
    optimizers: tuple[str, ...]

    def runs(self, noise: float, key: jax.Array) -> GroupedRuns:
        """The runs with relative errors; exact for no noise."""
        return noisy_runs(self.optimizers, self.cells, self.losses, noise, key)


def design(source: str, count: int, span: float) -> Data:
    """A design of one of the sources.

    Args:
        source: "law" (a grid of language models' sizes and tokens, losses from a shared law),
            "edges" (exact losses of quadratics where the law is exact) or "bent" (the same on a
            grid where size and steps do not add up).
        count: cells of an optimizer, a multiple of 4, at least 12.
        span: largest over smallest size.

    Returns:
        A `Data`.
    """
    rows, ratios = count // len(RATIOS), np.array(RATIOS)
    grow = np.geomspace(1.0, span, rows)
    if source == "law":
        cells, beyond = (_tokens_grid(sizes) for sizes in (grow, np.array([BEYOND * span])))
    elif source == "edges":
        cells = edge_cells(CAPACITY, count, span)
        largest = cells.size[cells.tokens == ENDLESS].max()
        beyond = Cells(np.array([BEYOND * largest]), np.array([ENDLESS]))
    else:
        cells = bent_cells(CAPACITY, 100.0 * grow, ratios, BENT_SHARE)
        beyond = bent_cells(CAPACITY, np.array([100.0 * BEYOND * span]), ratios, BENT_SHARE)
    return Data(cells, _losses(source, cells), beyond, _losses(source, beyond), OPTIMIZERS)


def _tokens_grid(multiples: np.ndarray) -> Cells:
    size = np.repeat(LEAST_SIZE * multiples, len(RATIOS))
    return Cells(size, TOKENS_A_PARAMETER * size * np.tile(RATIOS, len(multiples)))


def _losses(source: str, cells: Cells) -> np.ndarray:
    if source == "law":
        law = shared_law(LAW, RESCALINGS, REFERENCE)
        places = np.arange(len(law.optimizers))[:, None]
        return np.asarray(law.loss(places, cells.size, cells.tokens))
    problem = partial(power_law, CAPACITY, SOURCE, noise_variance=NOISE_VARIANCE)
    return exact_losses(problem, rescaled_optimizers(**RATES), cells)


def fitted(
    data: Data, noise: float, delta: float, starts: int, key: jax.Array
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both forms fitted to one draw of the noise.

    Args:
        data: the design.
        noise: standard deviation of log loss.
        delta: Huber threshold.
        starts: random starts of a fit.
        key: randomness.

    Returns:
        Plain parameters, [form, optimizer, parameter], the root mean square error of log loss
        beyond the design, [form, optimizer], and the share of starts that agree, [form].
    """
    noise_key, start_key = jax.random.split(key)
    runs = data.runs(noise, noise_key)
    places = np.arange(len(data.optimizers))[:, None]
    values, errors, agreement = [], [], []
    for form in FORMS.values():
        fit = fit_form(runs, form, delta=delta, starts=starts, key=start_key)
        values.append(np.stack([fit.symbols[name] for name in PARAMETERS], axis=1))
        predicted = fit.predict(places, data.beyond.size, data.beyond.tokens)
        error = np.log(predicted) - np.log(data.beyond_losses)
        errors.append(np.sqrt(np.mean(error**2, axis=1)))
        agreement.append(fit.agreement)
    return np.array(values), np.array(errors), np.array(agreement)


def _reference_fits(runs: GroupedRuns, delta: float, starts: int) -> dict[str, FormFit]:
    """The reference by itself, and all optimizers together."""
    mine = runs.group == 0
    alone = grouped_runs(
        runs.size[mine], runs.tokens[mine], runs.loss[mine], [REFERENCE] * int(mine.sum())
    )
    options = {"delta": delta, "starts": starts, "key": jax.random.key(0)}
    return {
        "separate": fit_form(alone, CHINCHILLA, **options),
        "shared": fit_form(runs, SHARED, **options),
    }


def conditioning_of_design(data: Data, noise: float, delta: float, starts: int) -> xr.Dataset:
    """Correlations, condition numbers and standard errors that a design has before any noise.

    Args:
        data: the design.
        noise: standard deviation of log loss, for the standard errors.
        delta: Huber threshold, above the noise.
        starts: random starts of a fit.

    Returns:
        `correlation` [form, scale, parameter, other], `condition` [form, scale] and
        `standard_error` [form, parameter] of the reference's centred parameters.
    """
    fits = _reference_fits(data.runs(0.0, jax.random.key(0)), delta, starts)
    correlation, condition, errors = [], [], []
    for fit in fits.values():
        found = form_conditioning(fit)
        mine = [place[0] for place in positions(fit.form, len(fit.data.groups)).values()]
        block = np.ix_(mine, mine)
        correlation.append([found.correlation[block], found.logarithmic_correlation[block]])
        condition.append([getattr(found, scale) for scale in SCALES])
        errors.append(noise * np.sqrt(np.diag(np.linalg.inv(hessian_of(fit))))[mine])
    return xr.Dataset(
        {
            "correlation": (("form", "units", "parameter", "other"), np.array(correlation)),
            "condition": (("form", "scale"), np.array(condition)),
            "standard_error": (("form", "parameter"), np.array(errors)),
        }
    )


def profiles_of_draw(
    data: Data, noise: float, delta: float, starts: int, key: jax.Array, points: int
) -> xr.Dataset:
    """Profiles of E and alpha from one noisy draw.

    Args:
        data: the design.
        noise: standard deviation of log loss.
        delta: Huber threshold.
        starts: random starts of a fit.
        key: of `fitted` for the same draw.
        points: of a profile.

    Returns:
        `profile_value`, `profile_excess` [form, profiled, point] and `profile_interval`
        [form, profiled, side]; E is not its logarithm.
    """
    runs = data.runs(noise, jax.random.split(key)[0])
    values, excess, ends = [], [], []
    for fit in _reference_fits(runs, delta, starts).values():
        found = [profile(fit, label, points) for label in PROFILED]
        plain = [np.exp if label.startswith("log") else np.asarray for label in PROFILED]
        values.append([to(one.values) for to, one in zip(plain, found, strict=True)])
        ends.append([to(np.array(one.interval)) for to, one in zip(plain, found, strict=True)])
        excess.append([one.excess for one in found])
    curve = ("form", "profiled", "point")
    return xr.Dataset(
        {
            "profile_value": (curve, np.array(values)),
            "profile_excess": (curve, np.array(excess)),
            "profile_interval": (("form", "profiled", "side"), np.array(ends)),
        }
    )


def truth(source: str) -> np.ndarray:
    """E, A, alpha, B and beta of the reference: given, or derived for the quadratics.

    Args:
        source: as of `design`.

    Returns:
        Array [5].
    """
    if source == "law":
        return np.array([float(getattr(LAW, name)) for name in FIELDS])
    return derived_law(CAPACITY, SOURCE, NOISE_VARIANCE, RATES["rate"])
