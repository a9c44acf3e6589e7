"""Which of several laws the runs support: held-out error first, likelihood second. Float64."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import erf
from scipy.stats import f as f_distribution

from theory.fit_covariance import smoothed_curvature
from theory.fit_held_out import HeldOut, leave_largest_size_out, leave_one_out
from theory.fit_losses import Objective, run_terms
from theory.grouped_runs import GroupedRuns
from theory.law_forms import LawForm
from theory.objectives import log_law
from theory.shared_fitting import DEFAULT_STARTS, FormFit, fit_form


@dataclass(frozen=True)
class Candidate:
    """One law in a comparison.

    Attributes:
        fit: the fit of all runs.
        largest_rmse: error on the largest size, fitted without it; loss units, NaN if the smaller
            sizes cannot identify the law.
        one_out_rmse: leave-one-out error, loss units; NaN where not computed.
        log_likelihood: with the errors' scale fitted.
        aic: Akaike's criterion with the small-sample correction; infinite for too few runs.
        bic: Schwarz's criterion.
    """

    fit: FormFit
    largest_rmse: float
    one_out_rmse: float
    log_likelihood: float
    aic: float
    bic: float


def compare_forms(
    data: GroupedRuns,
    forms: Sequence[LawForm],
    chosen: Objective,
    key: jax.Array,
    starts: int = DEFAULT_STARTS,
    one_out: bool = True,
) -> tuple[Candidate, ...]:
    """Fits several laws to the same runs and judges them.

    Args:
        data: the runs.
        forms: the laws.
        chosen: what all of them minimise.
        key: randomness of the starts.
        starts: random starts of each fit.
        one_out: whether to leave out every run in turn, too.

    Returns:
        A `Candidate` for each law, in the same order.

    Raises:
        ValueError: if the runs cannot identify one of the laws.

    Kind: fit.
    Valid: the same runs and objective for all.
    Source: held-out error after Stone 1974; Akaike 1974 with the correction of Hurvich and Tsai
        1989; Schwarz 1978. The errors' scale counts as a parameter.
    """
    options = {"delta": float(chosen.delta), "kind": chosen.kind}
    penalty = max(float(chosen.penalty), 1.0)
    found = []
    for form in forms:
        fit = fit_form(data, form, starts=starts, key=key, penalty=penalty, **options)
        found.append(judged(fit, leave_one_out(fit) if one_out else None))
    return tuple(found)


def judged(fit: FormFit, one_out: HeldOut | None, largest: HeldOut | None = None) -> Candidate:
    """A fit with its held-out errors and information criteria.

    Args:
        fit: a converged fit.
        one_out: its leave-one-out refits, if there are any.
        largest: its refit without the largest size; made if left out.

    Returns:
        A `Candidate`.

    Kind: fit.
    Valid: as `compare_forms`.
    Source: as `compare_forms`.
    """
    rows, free = fit.log_loss.size, fit.parameters.size + 1
    likelihood = log_likelihood(fit)
    left = rows - free - 1
    correction = 2 * free * (free + 1) / left if left > 0 else np.inf
    return Candidate(
        fit,
        (largest or leave_largest_size_out(fit)).rmse,
        np.nan if one_out is None else one_out.rmse,
        likelihood,
        2 * free - 2 * likelihood + correction,
        free * np.log(rows) - 2 * likelihood,
    )


def log_likelihood(fit: FormFit) -> float:
    """Log-likelihood of the runs under the errors whose density the objective is, scale fitted.

    The density of a residual r is exp(-k rho(r)) / Z(k); for Huber's rho
    Z = sqrt(2 pi / k) erf(delta sqrt(k / 2)) + (2 / (k delta)) exp(-k delta^2 / 2).

    Args:
        fit: a converged fit.

    Returns:
        The log-likelihood at the best k, of log loss for all objectives but "mse".

    Kind: exact.
    Valid: some residual other than zero.
    Source: Huber 1964, least favourable density; the integral is derived. A lower envelope's
        density is lopsided: the side below the law is narrower.
    """
    rows = fit.log_loss.size
    rho = max(fit.objective, 1e-300)

    def negative(log_k: float) -> float:
        return float(np.exp(log_k) * rho + rows * _log_norm(fit.chosen, log_k))

    # Gaussian errors have k = n / (2 rho); flatter ones at most as much again.
    middle = float(np.log(rows / (2 * rho)))
    best = minimize_scalar(negative, bounds=(middle - 5, middle + 5), method="bounded")
    return -float(best.fun)  # pyright: ignore[reportAttributeAccessIssue]


def _log_norm(chosen: Objective, log_k: float) -> float:
    def side(log_factor: float) -> float:
        """Half the integral where rho has its weight multiplied by exp(log_factor)."""
        k = float(np.exp(log_k + log_factor))
        if not chosen.robust:
            return float(np.sqrt(np.pi / (2 * k)))
        delta = float(chosen.delta)
        inner = np.sqrt(np.pi / (2 * k)) * erf(delta * np.sqrt(k / 2))
        return float(inner + np.exp(-k * delta**2 / 2) / (k * delta))

    return float(np.log(side(0.0) + side(float(np.log(chosen.penalty)))))


@dataclass(frozen=True)
class NestedTest:
    """Whether a wider law fits better than chance allows.

    Attributes:
        statistic: drop in the objective a freed parameter, over the errors' scale.
        freed: number of freed parameters.
        left: runs less parameters of the wider law.
        p_value: chance of such a drop if the narrower law is true.
    """

    statistic: float
    freed: int
    left: int
    p_value: float


def nested_test(narrow: FormFit, wide: FormFit) -> NestedTest:
    """Tests a law against a wider one that contains it: shared exponents against separate ones.

    F = (2 / q) (Q_narrow - Q_wide) / tau, with tau the mean squared slope over the mean curvature
    of the wider fit's terms.

    Args:
        narrow: the fit of the narrower law.
        wide: the fit of the wider one, on the same runs and with the same objective.

    Returns:
        A `NestedTest`.

    Raises:
        ValueError: if the laws do not differ by parameters, runs or objectives differ, or no runs
            are left for the errors' scale.

    Kind: asymptotic.
    Valid: independent errors of one distribution, many more runs than parameters; with 36 runs and
        15 parameters a tenth of true laws has p < 0.05 (measured), so judge by 0.01 there.
    Source: Schrader and Hettmansperger 1980, Biometrika 67, drop in dispersion; F for its
        denominator's degrees, exact for squares of a linear law with Gaussian errors.
    """
    freed = wide.parameters.size - narrow.parameters.size
    rows = wide.log_loss.size
    left = rows - wide.parameters.size
    if freed < 1 or narrow.log_loss.size != rows or narrow.chosen != wide.chosen:
        raise ValueError(
            f"`wide` must free parameters of `narrow` on the same {narrow.log_loss.size} runs with "
            f"the same objective, got {freed} freed on {rows} runs."
        )
    if left < 1:
        raise ValueError(f"`wide` must leave runs for the errors, got {rows} runs and {left} left.")
    predicted = log_law(wide.parameters, wide.terms.forms)  # pyright: ignore[reportArgumentType]
    slope = np.asarray(run_terms(predicted, wide.log_loss, wide.chosen)[1])
    scale = float(np.sum(slope**2)) / left / smoothed_curvature(wide)
    statistic = 2 * max(narrow.objective - wide.objective, 0.0) / freed / scale
    return NestedTest(statistic, freed, left, float(f_distribution.sf(statistic, freed, left)))
