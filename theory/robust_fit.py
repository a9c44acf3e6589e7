"""Minimises a robust objective of a law from many starts, and certifies the optimum. Float64.

Nothing here knows which law is fitted: a law is a `Design`, linear forms whose exponentials add
up. Every start is carried down by damped Newton steps with closed-form derivatives. Weights of the
runs serve resampling, held-out fits and fits of one group alike.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from theory.fit_losses import DEFAULT_DELTA, Objective
from theory.newton import newton
from theory.objectives import Design, derivatives

AGREEMENT = 1e-6  # relative objective within which a start counts as the same optimum
# Residuals of 1e-12 are rounding: runs that follow a law exactly have no finer optimum to share.
_ROUNDING = 5e-25
_TIE = 1e-12
_FALL = 3.0  # of the threshold, from one fit to the next


@dataclass(frozen=True)
class Optimum:
    """An optimum with the evidence that it is one.

    Attributes:
        parameters: centred parameters, [p].
        objective: value at the optimum: a sum over runs, not divided by the scale.
        gradient_norm: Euclidean norm of its gradient in the centred parameters.
        agreement: share of starts within 1e-6 relative of the optimum.
        starts: number of starts.
        chosen: what was minimised.
        terms: the law's linear forms.
        log_loss: log L, [n].
    """

    parameters: np.ndarray
    objective: float
    gradient_norm: float
    agreement: float
    starts: int
    chosen: Objective
    terms: Design
    log_loss: jax.Array

    @property
    def delta(self) -> float:
        """Huber threshold."""
        return float(self.chosen.delta)


def optimise(points: jax.Array, terms: Design, log_loss: jax.Array, chosen: Objective) -> Optimum:
    """Goes down from every start and keeps the lowest point.

    Args:
        points: starts in centred parameters, [P, p], finite.
        terms: the law's linear forms.
        log_loss: log L, [n].
        chosen: the objective; thresholds below 1e-3 are approached from above.

    Returns:
        An `Optimum`.

    Kind: fit.
    Valid: finite starts.
    Source: `theory.newton` from every start.
    """
    weights = jnp.ones((1, log_loss.size))
    found, values, slopes = refit_from(points[None], terms, log_loss, weights, chosen)
    best = lowest(values, slopes)[0]
    return Optimum(
        parameters=found[0, best],
        objective=float(values[0, best]),
        gradient_norm=float(slopes[0, best]),
        agreement=float(agreements(values, log_loss.size)[0]),
        starts=len(points),
        chosen=chosen,
        terms=terms,
        log_loss=log_loss,
    )


def refit_from(
    points: jax.Array, terms: Design, log_loss: jax.Array, weights: jax.Array, chosen: Objective
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Many weighted fits from many starts each.

    Args:
        points: starts, [S, P, p], or [1, P, p] for the same ones in every fit.
        terms: the law's linear forms.
        log_loss: log L, [n].
        weights: of the runs in each fit, [S, n], non-negative.
        chosen: the objective.

    Returns:
        End points [S, P, p], objectives [S, P] (infinite where not finite) and gradient norms
        [S, P].

    Kind: fit.
    Valid: finite starts.
    Source: as `optimise`.
    """
    points = jnp.broadcast_to(points, (weights.shape[0], *points.shape[1:]))
    # Very small thresholds make a nearly piecewise-linear objective: approach them from above.
    for objective in _continuation(chosen):
        points = _minimise_many(points, terms, log_loss, weights, objective)
    values, slopes = _evaluate_many(points, terms, log_loss, weights, chosen)
    values = np.where(np.isfinite(values), values, np.inf)
    return np.asarray(points), values, np.asarray(slopes)


def lowest(values: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """The best start of each fit: lowest objective, the flattest of those equal to rounding.

    Args:
        values: objectives, [S, P].
        slopes: gradient norms, [S, P].

    Returns:
        Indices, [S].

    Kind: definition.
    Valid: some finite objective in each row.
    Source: derived.
    """
    ties = values <= values.min(axis=1, keepdims=True) * (1 + _TIE)
    return np.argmin(np.where(ties, slopes, np.inf), axis=1)


def agreements(values: np.ndarray, runs: int) -> np.ndarray:
    """Share of the starts that reached the lowest objective.

    Args:
        values: objectives, [S, P].
        runs: number of runs n.

    Returns:
        Array [S].

    Kind: definition.
    Valid: some finite objective in each row.
    Source: derived; 1e-6 relative, or residuals of 1e-12.
    """
    best = values.min(axis=1, keepdims=True)
    return np.mean(values <= best * (1 + AGREEMENT) + _ROUNDING * runs, axis=1)


def polish(
    start: jax.Array, terms: Design, log_loss: jax.Array, weights: jax.Array, chosen: Objective
) -> jax.Array:
    """Damped Newton steps on the scaled, weighted objective; traced, for vmap.

    Args:
        start: centred parameters, [p], finite.
        terms: the law's linear forms.
        log_loss: log L, [n].
        weights: of the runs, [n], non-negative.
        chosen: the objective.

    Returns:
        Centred parameters, [p].

    Kind: fit.
    Valid: finite start.
    Source: `theory.newton`.
    """

    def evaluate(parameters: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        value, gradient, hessian = derivatives(parameters, terms, log_loss, weights, chosen)
        return value / chosen.scale, gradient / chosen.scale, hessian / chosen.scale

    return newton(evaluate, start, terms.coefficients)


def _continuation(chosen: Objective) -> list[Objective]:
    delta = float(chosen.delta)
    if not chosen.robust or delta >= DEFAULT_DELTA:
        return [chosen]
    count = int(np.ceil(np.log(DEFAULT_DELTA / delta) / np.log(_FALL)))
    thresholds = np.geomspace(DEFAULT_DELTA, delta, count + 1)
    return [replace(chosen, delta=float(threshold)) for threshold in thresholds]


@jax.jit
def _minimise_many(
    points: jax.Array, terms: Design, log_loss: jax.Array, weights: jax.Array, chosen: Objective
) -> jax.Array:
    def one(start: jax.Array, weight: jax.Array) -> jax.Array:
        return polish(start, terms, log_loss, weight, chosen)

    def fit(case: tuple[jax.Array, jax.Array]) -> jax.Array:
        return jax.vmap(one, in_axes=(0, None))(*case)

    return jax.lax.map(fit, (points, weights))


@jax.jit
def _evaluate_many(
    points: jax.Array, terms: Design, log_loss: jax.Array, weights: jax.Array, chosen: Objective
) -> tuple[jax.Array, jax.Array]:
    def one(point: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, gradient, _ = derivatives(point, terms, log_loss, weight, chosen)
        return value, jnp.linalg.norm(gradient)

    def fit(case: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return jax.vmap(one, in_axes=(0, None))(*case)

    return jax.lax.map(fit, (points, weights))
