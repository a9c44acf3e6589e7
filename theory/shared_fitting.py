"""Robust fits of one law to the runs of several groups: shared exponents, rescalings. Float64.

Each group's coefficients are parameters of their own, log A'_o and log B'_o: with shared exponents
that is the law of rescalings, the solver sees no reference optimizer, and rho follows from ratios.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import Real, check_choice
from theory.fit_identifiability import check_identifiable
from theory.fit_losses import DEFAULT_DELTA, DEFAULT_PENALTY, Kind, Objective, make_objective
from theory.fit_starts import starting_points
from theory.grouped_runs import GroupedRuns
from theory.law_forms import QUANTIZED, SHARED, LawForm, parameter_labels, positions
from theory.objectives import log_law
from theory.robust_fit import Optimum, agreements, lowest, optimise, refit_from
from theory.shared_law import SharedLaw

DEFAULT_STARTS = 64


@dataclass(frozen=True)
class FormFit(Optimum):
    """A fitted law form with the evidence that it is the optimum.

    Attributes:
        form: the law.
        data: the runs.
    """

    form: LawForm
    data: GroupedRuns

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the centred parameters."""
        return parameter_labels(self.form, self.data.groups)

    @property
    def symbols(self) -> dict[str, np.ndarray]:
        """Plain coefficients and exponents by name, [groups] each."""
        return plain_symbols(self.form, self.parameters, self.data)

    @property
    def residuals(self) -> np.ndarray:
        """Log loss minus log of the law, [n]."""
        predicted = log_law(jnp.asarray(self.parameters), self.terms.forms)
        return np.asarray(self.log_loss - predicted)

    def predict(self, index: np.ndarray | int, size: Real, tokens: Real) -> np.ndarray:
        """Loss at other points of the groups at positions `index`, broadcast."""
        index, size, tokens = np.broadcast_arrays(index, size, tokens)
        flat = self.data.at(self.form, index.ravel(), size.ravel(), tokens.ravel())
        predicted = log_law(jnp.asarray(self.parameters), flat.forms)
        return np.exp(np.asarray(predicted)).reshape(index.shape)


def fit_form(
    data: GroupedRuns,
    form: LawForm = SHARED,
    *,
    delta: float = DEFAULT_DELTA,
    starts: int = DEFAULT_STARTS,
    key: jax.Array,
    kind: Kind = "huber",
    penalty: float = DEFAULT_PENALTY,
) -> FormFit:
    """Fits a law form to the runs of several groups from many starts.

    Args:
        data: from `grouped_runs`.
        form: the law.
        delta: Huber threshold on log loss.
        starts: how many random starts, at least 1.
        key: randomness of the starts.
        kind: "huber" (on log loss), "mse_log" (squares on log loss), "mse" (squares on loss) or
            "envelope" (Huber, runs below the law weighted up).
        penalty: that weight.

    Returns:
        A `FormFit`.

    Raises:
        ValueError: if an argument is outside its domain, or the runs cannot identify a parameter.

    Kind: fit.
    Valid: positive data, enough of it for `theory.fit_identifiability`.
    Source: objective of Hoffmann et al. 2022 (arXiv 2203.15556); law of arXiv 2602.07712.
    """
    check_identifiable(form, data)
    chosen = make_objective(kind, delta, penalty)
    log_loss = data.runs.log_loss
    if form.separate and len(data.groups) > 1:
        found = _each_alone(data, form, chosen, starts, key)
    else:
        points = starting_points(form, len(data.groups), log_loss, starts, key)
        found = optimise(points, data.design(form), log_loss, chosen)
    return FormFit(**vars(found), form=form, data=data)


def _each_alone(
    data: GroupedRuns, form: LawForm, chosen: Objective, starts: int, key: jax.Array
) -> Optimum:
    """Groups that share nothing are fitted one by one: every one needs its own best start."""
    log_loss, alone = data.runs.log_loss, replace(form, grouped=frozenset())
    masks = np.equal.outer(np.arange(len(data.groups)), data.group)
    points = starting_points(alone, 1, log_loss, starts, key)
    ends, values, slopes = refit_from(
        points[None], data.design(alone), log_loss, jnp.asarray(masks, float), chosen
    )
    best = lowest(values, slopes)
    group = np.arange(len(best))
    parameters = np.zeros(len(alone.symbols) * len(best))
    for k, place in enumerate(positions(form, len(best)).values()):
        parameters[place] = ends[group, best, k]
    return Optimum(
        parameters=parameters,
        objective=float(values[group, best].sum()),
        gradient_norm=float(np.linalg.norm(slopes[group, best])),
        agreement=float(agreements(values, log_loss.size).min()),
        starts=starts,
        chosen=chosen,
        terms=data.design(form),
        log_loss=log_loss,
    )


def plain_symbols(
    form: LawForm, parameters: np.ndarray, data: GroupedRuns
) -> dict[str, np.ndarray]:
    """Coefficients and exponents from centred parameters.

    Args:
        form: the law.
        parameters: centred, [..., p].
        data: the runs they are centred on.

    Returns:
        By symbol, its value for each group, [..., groups].

    Kind: exact.
    Valid: all real parameters.
    Source: derived; A = A' N_0^alpha.
    """
    places = positions(form, len(data.groups))
    values = {symbol: np.asarray(parameters)[..., place] for symbol, place in places.items()}
    centres = {
        "N": float(np.log(data.runs.size_centre)),
        "D": float(np.log(data.runs.tokens_centre)),
    }
    for term in form.terms:
        log = values[term.coefficient]
        for variable, exponent in term.powers:
            log = log + values[exponent] * centres[variable]
        values[term.coefficient] = np.exp(log)
    return values


def rescaled_law(
    form: LawForm, parameters: np.ndarray, data: GroupedRuns, reference: str
) -> SharedLaw:
    """The law of rescalings from centred parameters of a `SHARED` or `QUANTIZED` fit.

    rho_N,o = (A_ref / A_o)^(1/alpha), rho_D,o = (B_ref / B_o)^(1/beta).

    Args:
        form: `SHARED` or `QUANTIZED`.
        parameters: centred, [..., p]; more than one dimension for resampled fits.
        data: the runs they are centred on.
        reference: name of the reference group.

    Returns:
        A `SharedLaw` with fields [...] and [..., groups].

    Raises:
        ValueError: if the form has other parameters or the reference is not among the groups.

    Kind: exact.
    Valid: exponents other than zero.
    Source: derived; A_o = A rho_N^-alpha.
    """
    check_choice("form", form.name, (SHARED.name, QUANTIZED.name))
    check_choice("reference", reference, data.groups)
    values = plain_symbols(form, parameters, data)
    place = data.groups.index(reference)
    law = {symbol: value[..., place] for symbol, value in values.items()}
    rho_size, rho_tokens = (
        (values[coefficient] / law[coefficient][..., None]) ** (-1.0 / values[exponent])
        for coefficient, exponent in (("A", "alpha"), ("B", "beta"))
    )
    return SharedLaw(
        irreducible=law["E"],
        size_coefficient=law["A"],
        tokens_coefficient=law["B"],
        size_exponent=law["alpha"],
        tokens_exponent=law["beta"],
        size_rescaling=rho_size,
        tokens_rescaling=rho_tokens,
        optimizers=data.groups,
        reference=reference,
    )


def shared_law_of(fit: FormFit, reference: str) -> SharedLaw:
    """The law of rescalings of a `SHARED` or `QUANTIZED` fit.

    Args:
        fit: from `fit_form`.
        reference: name of the reference group.

    Returns:
        A `SharedLaw` with scalar fields and [groups] rescalings.

    Raises:
        ValueError: as `rescaled_law`.

    Kind: exact.
    Valid: exponents other than zero.
    Source: as `rescaled_law`.
    """
    return rescaled_law(fit.form, fit.parameters, fit.data, reference)
