"""Hessian, covariance and conditioning of any robust fit, in closed form. Float64."""

import jax
import jax.numpy as jnp
import numpy as np

from theory.fit_losses import run_terms
from theory.objectives import derivatives, log_law
from theory.robust_fit import Optimum

# Normal reference rule of a density estimate, and the ratio of a normal's deviation to its MAD.
_BANDWIDTH, _DEVIATION = 1.06, 1.4826


def hessian_of(found: Optimum) -> np.ndarray:
    """Hessian of the objective at the optimum, in centred parameters.

    Args:
        found: the optimum.

    Returns:
        Array [p, p].

    Kind: exact.
    Valid: the Huber curvature is one-sided at |r| = delta.
    Source: `theory.objectives.derivatives`.
    """
    ones = jnp.ones_like(found.log_loss)
    point = jnp.asarray(found.parameters)
    return np.asarray(derivatives(point, found.terms, found.log_loss, ones, found.chosen)[2])


def inverse(matrix: np.ndarray) -> np.ndarray:
    """Inverse of a matrix, NaN where it has none.

    Args:
        matrix: [p, p].

    Returns:
        Array [p, p].

    Kind: exact.
    Valid: always.
    Source: derived.
    """
    try:
        return np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        return np.full_like(matrix, np.nan)


def correlation_of(covariance: np.ndarray) -> np.ndarray:
    """Correlations from a covariance.

    Args:
        covariance: [p, p].

    Returns:
        Array [p, p], NaN where a variance is not positive.

    Kind: definition.
    Valid: always.
    Source: derived.
    """
    diagonal = np.diag(covariance)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, np.nan))
    return covariance / np.outer(scale, scale)


def covariance_of(found: Optimum, units: np.ndarray | None = None) -> np.ndarray:
    """Covariance of the centred parameters, robust to the shape of the residuals.

    H^-1 (sum of score outer products) H^-1 n / (n - p), with `smoothed_hessian` for H.

    Args:
        found: the optimum.
        units: number of the training run of each row, [n]; scores of a run are summed first.

    Returns:
        Array [p, p]; NaN where the Hessian is singular or there are no more runs than parameters.

    Kind: asymptotic.
    Valid: many more runs than parameters, an interior optimum.
    Source: Huber 1967; smoothed curvature after Powell 1991; clusters after Liang and Zeger 1986.
    """
    gradient = law_gradient(found)
    predicted = log_law(jnp.asarray(found.parameters), found.terms.forms)
    slope = np.asarray(run_terms(predicted, found.log_loss, found.chosen)[1])
    rows, size = gradient.shape
    if rows <= size:
        return np.full((size, size), np.nan)
    scores = slope[:, None] * gradient
    if units is not None:
        numbers = np.unique(units, return_inverse=True)[1]
        summed = np.zeros((int(numbers.max()) + 1, size))
        np.add.at(summed, numbers, scores)
        scores = summed
    bread = inverse(smoothed_hessian(found))
    covariance = bread @ (scores.T @ scores) @ bread * rows / (rows - size)
    return np.where(np.isfinite(covariance), covariance, np.nan)


def smoothed_hessian(found: Optimum) -> np.ndarray:
    """Hessian that a threshold below the noise would have on many more runs.

    Few runs then lie within the threshold and carry all curvature: the share within it is estimated
    from a window as wide as a density estimate needs.

    Args:
        found: the optimum.

    Returns:
        Array [p, p]; the Hessian itself for squares.

    Kind: asymptotic.
    Valid: many more runs than parameters.
    Source: Powell 1991, for median regression; the normal reference rule for the window.
    """
    gradient = law_gradient(found)
    if not found.chosen.robust or gradient.shape[0] <= gradient.shape[1]:
        return hessian_of(found)
    return gradient.T @ gradient * smoothed_curvature(found)


def smoothed_curvature(found: Optimum) -> float:
    """Mean second derivative of a run's term by the predicted log loss, as many runs would have it.

    Args:
        found: the optimum, of more runs than parameters.

    Returns:
        A number; for squares the plain mean.

    Kind: asymptotic.
    Valid: as `smoothed_hessian`.
    Source: as `smoothed_hessian`.
    """
    predicted = log_law(jnp.asarray(found.parameters), found.terms.forms)
    rows, size = found.log_loss.size, found.parameters.size
    if not found.chosen.robust:
        return float(jnp.mean(run_terms(predicted, found.log_loss, found.chosen)[2]))
    residual = np.asarray(predicted - found.log_loss)
    spread = _DEVIATION * np.median(np.abs(residual)) * np.sqrt(rows / (rows - size))
    delta = float(found.chosen.delta)
    window = max(delta, _BANDWIDTH * spread * rows**-0.2)
    weight = np.where(residual > 0, float(found.chosen.penalty), 1.0)
    within = np.abs(residual) <= window
    share = np.mean(within)
    if window > delta:
        # The fit passes through about as many runs as it has parameters, whatever the noise.
        share = max(share - size / rows, 1.0 / rows) / (1 - size / rows)
    weighted = float(np.mean(weight[within])) if within.any() else 1.0
    return float(weighted * share * delta / window)


def law_gradient(found: Optimum) -> np.ndarray:
    """Gradient of the log of the law by the centred parameters, at every run.

    Args:
        found: the optimum.

    Returns:
        Array [n, p].

    Kind: exact.
    Valid: all real parameters.
    Source: derived; softmax of the terms.
    """
    point, forms = jnp.asarray(found.parameters), found.terms.forms
    shares = jax.nn.softmax(forms @ point, axis=1)
    return np.asarray(jnp.einsum("nkp,nk->np", forms, shares))
