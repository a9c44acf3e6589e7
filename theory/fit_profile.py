"""Profile of the objective along one parameter, and the interval it gives. Float64.

At each value of the parameter all others are fitted anew. Where the parabola of a covariance would
lie, the profile shows the true shape: a side that never rises is a side without a bound.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import chi2

from theory.checks import check_choice, check_real
from theory.fit_covariance import covariance_of, inverse, smoothed_hessian
from theory.fit_losses import Objective
from theory.law_forms import parameter_labels
from theory.newton import newton
from theory.objectives import Design, derivatives
from theory.shared_fitting import FormFit

_REACH = 4.0  # standard errors to each side
_LOG_REACH = 12.0  # of a logarithm: down to e^-12, which is nothing
_PASSES = 3
_WIDENINGS = 5


@dataclass(frozen=True)
class Profile:
    """The objective minimised over all other parameters.

    Attributes:
        label: of the parameter, as `parameter_labels` names it.
        values: of the parameter, [k], ascending; logarithms for coefficients.
        excess: twice the objective above its minimum, in units in which it is chi-squared, [k].
        limit: the excess at the ends of the interval.
        interval: where the profile crosses the limit; infinite on a side where it never does.
    """

    label: str
    values: np.ndarray
    excess: np.ndarray
    limit: float
    interval: tuple[float, float]


def profile(
    fit: FormFit,
    label: str,
    count: int = 41,
    level: float = 0.95,
    units: np.ndarray | None = None,
) -> Profile:
    """Profiles one parameter over four standard errors to each side, or more to find an end.

    Args:
        fit: a converged fit.
        label: one of `fit.labels`.
        count: number of values, at least 5.
        level: of the interval, in (0, 1).
        units: number of the training run of each row, [n]; rows of one run share their errors.

    Returns:
        A `Profile`.

    Raises:
        ValueError: naming the argument outside its domain.

    Kind: asymptotic.
    Valid: an interior optimum; the curvature of the objective along the parameter calibrates it.
    Source: quasi-likelihood ratio: twice the excess, times the profile curvature's inverse over the
        sandwich variance, is chi-squared with one degree (White 1982; Huber 1967).
    """
    labels = parameter_labels(fit.form, fit.data.groups)
    check_choice("label", label, labels)
    check_real("count", count, at_least=5)
    check_real("level", level, above=0.0, below=1.0)
    place = labels.index(label)
    bread = inverse(smoothed_hessian(fit))
    variance = covariance_of(fit, units)[place, place]
    calibration = bread[place, place] / variance
    limit, best = float(chi2.ppf(level, 1)), float(fit.parameters[place])
    direction, reach = bread[:, place] / bread[place, place], np.array([_REACH, _REACH])

    def looked(reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = _values(fit, place, reach * float(np.sqrt(variance)), count)
        found = _profiled(fit, place, values, direction)
        return values, 2 * (found - fit.objective) * calibration

    values, excess = looked(reach)
    for _ in range(_WIDENINGS):
        short = np.array([excess[0], excess[-1]]) < limit
        if not short.any():
            break
        reach = np.where(short, 2 * reach, reach)
        values, excess = looked(reach)
    ends = (_crossing(values, excess, limit, best, -1), _crossing(values, excess, limit, best, 1))
    return Profile(label, values, excess, limit, ends)


def _values(fit: FormFit, place: int, reach: np.ndarray, count: int) -> np.ndarray:
    """The optimum in the middle; a logarithm reaches down to where its amount is nothing."""
    best = float(fit.parameters[place])
    fallback = abs(best) + 0.1
    low, high = np.where(np.isfinite(reach) & (reach > 0), reach, fallback)
    if bool(np.asarray(fit.terms.coefficients)[place]):
        low, high = min(low, _LOG_REACH), min(high, _LOG_REACH)
    steps = np.linspace(0.0, 1.0, count // 2 + 1)[1:]
    return np.concatenate([best - low * steps[::-1], [best], best + high * steps])


def _profiled(fit: FormFit, place: int, values: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Objectives, each from the parabola's own guess and then from its neighbours' ends."""
    held = jnp.arange(fit.parameters.size) == place
    slope = np.where(np.isfinite(direction), direction, 0.0)
    slope[place] = 1.0
    offsets = values - fit.parameters[place]
    starts = fit.parameters + np.clip(offsets[:, None] * slope, -3.0, 3.0)
    starts[:, place] = values
    # Both the guess and the optimum itself, then the neighbours on either side.
    plain = np.tile(fit.parameters, (len(values), 1))
    plain[:, place] = values
    points, best = _lower(fit, held, [starts, plain])
    for _ in range(_PASSES):
        near = [np.roll(points, shift, axis=0) for shift in (-1, 1)]
        for block in near:
            block[:, place] = values
        points, lower = _lower(fit, held, [points, *near])
        if np.all(lower >= best * (1 - 1e-9)):
            return lower
        best = lower
    return best


def _lower(
    fit: FormFit, held: jax.Array, blocks: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    ends, values = [], []
    for block in blocks:
        found, value = _refit(jnp.asarray(block), held, fit.terms, fit.log_loss, fit.chosen)
        ends.append(np.asarray(found))
        values.append(np.where(np.isfinite(value), value, np.inf))
    best = np.argmin(values, axis=0)
    rows = np.arange(best.size)
    return np.array(ends)[best, rows], np.array(values)[best, rows]


@jax.jit
def _refit(
    starts: jax.Array, held: jax.Array, terms: Design, log_loss: jax.Array, chosen: Objective
) -> tuple[jax.Array, jax.Array]:
    ones = jnp.ones_like(log_loss)

    def evaluate(parameters: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        value, gradient, hessian = derivatives(parameters, terms, log_loss, ones, chosen)
        free = jnp.where(held, 0.0, 1.0)
        # A held parameter has no slope and no partner, and so never moves.
        masked = hessian * jnp.outer(free, free) + jnp.diag(jnp.where(held, jnp.max(hessian), 0.0))
        return value / chosen.scale, gradient * free / chosen.scale, masked / chosen.scale

    def one(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = newton(evaluate, start, terms.coefficients & ~held)
        return found, derivatives(found, terms, log_loss, ones, chosen)[0]

    return jax.vmap(one)(starts)


def _crossing(
    values: np.ndarray, excess: np.ndarray, limit: float, best: float, side: int
) -> float:
    """Where the profile first crosses the limit on one side of the optimum."""
    order = np.argsort(side * values)
    x, y = values[order], excess[order]
    outside = np.flatnonzero((side * x > side * best) & (y >= limit))
    if outside.size == 0:
        return side * np.inf
    last = int(outside[0])
    share = (limit - y[last - 1]) / (y[last] - y[last - 1])
    return float(x[last - 1] + share * (x[last] - x[last - 1]))
