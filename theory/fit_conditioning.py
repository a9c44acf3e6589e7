"""Condition numbers and correlations of a fit, before and after centring. Float64."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from theory.fit_covariance import correlation_of, covariance_of, hessian_of, inverse
from theory.law_forms import LawForm, positions
from theory.robust_fit import Optimum
from theory.shared_fitting import FormFit


@dataclass(frozen=True)
class Conditioning:
    """How steep and how skewed the objective is at the optimum.

    Attributes:
        centred: condition number of the Hessian in log coefficients at the geometric means of the
            data and exponents.
        logarithmic: the same with the raw log coefficients.
        plain: the same with the coefficients themselves.
        correlation: correlations of the centred parameters, [p, p].
        logarithmic_correlation: of the raw logarithms, [p, p]: high by choice of units alone.
        covariance: of the centred parameters, [p, p], robust to the shape of the residuals.
    """

    centred: float
    logarithmic: float
    plain: float
    correlation: np.ndarray
    logarithmic_correlation: np.ndarray
    covariance: np.ndarray

    @property
    def standard_errors(self) -> np.ndarray:
        """Of the centred parameters, [p]."""
        return np.sqrt(np.diag(self.covariance))


def conditioning_of(
    found: Optimum, form: LawForm, log_centres: Mapping[str, float], count: int = 1
) -> Conditioning:
    """Condition numbers and correlations from the Hessian at the optimum of any form.

    Args:
        found: a converged fit.
        form: its law.
        log_centres: logarithms of the geometric means of N and D by variable.
        count: number of groups.

    Returns:
        A `Conditioning`; entries are NaN where the Hessian is singular.

    Kind: exact (closed-form Hessian); standard errors asymptotic.
    Valid: an interior optimum, where the gradient vanishes and the Hessian transforms like a
        quadratic form.
    Source: correlations from the inverse Hessian; standard errors by the sandwich formula of
        M-estimation, `theory.fit_covariance`.
    """
    places, point = positions(form, count), np.asarray(found.parameters)
    from_logarithms, log_raw = np.eye(point.size), np.zeros(point.size)
    for term in form.terms:
        rows = places[term.coefficient]
        log_raw[rows] = point[rows]
        for variable, exponent in term.powers:
            # d(log A') / d(alpha) at fixed log A.
            from_logarithms[rows, places[exponent]] -= log_centres[variable]
            log_raw[rows] += point[places[exponent]] * log_centres[variable]
    from_plain = from_logarithms * np.exp(-log_raw)  # d(log A) / dA
    centred = hessian_of(found)
    raw = from_logarithms.T @ centred @ from_logarithms
    return Conditioning(
        float(np.linalg.cond(centred)),
        float(np.linalg.cond(raw)),
        float(np.linalg.cond(from_plain.T @ centred @ from_plain)),
        correlation_of(inverse(centred)),
        correlation_of(inverse(raw)),
        covariance_of(found),
    )


def form_conditioning(fit: FormFit, units: np.ndarray | None = None) -> Conditioning:
    """Conditioning of a fitted form.

    Args:
        fit: a converged fit.
        units: number of the training run of each row, [n]; its scores are summed first.

    Returns:
        A `Conditioning`.

    Kind: exact (closed-form Hessian); standard errors asymptotic.
    Valid: an interior optimum.
    Source: as `conditioning_of`; clusters after Liang and Zeger 1986.
    """
    centres = {
        "N": float(np.log(fit.data.runs.size_centre)),
        "D": float(np.log(fit.data.runs.tokens_centre)),
    }
    found = conditioning_of(fit, fit.form, centres, len(fit.data.groups))
    return found if units is None else replace(found, covariance=covariance_of(fit, units))
