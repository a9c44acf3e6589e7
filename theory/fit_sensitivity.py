"""How much the compute-optimal exponent hangs on the objective and on single runs. Float64."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from theory.checks import check_real
from theory.fit_held_out import HeldOut
from theory.law_forms import LawForm, positions
from theory.shared_fitting import FormFit, fit_form

DELTAS = (1e-4, 1e-3, 1e-2, 1e-1)
_STARTS = 32


def compute_exponent_names(form: LawForm) -> tuple[str, str] | None:
    """Names of the exponents of N and of D that decide the allocation, if there are such.

    Args:
        form: a law form.

    Returns:
        The names (of N, of D), or None if a power is mixed, missing, repeated or not shared.

    Kind: definition.
    Valid: always.
    Source: derived.
    """
    powers = [term.powers for term in form.terms if term.powers]
    alone = {pairs[0][0]: pairs[0][1] for pairs in powers if len(pairs) == 1}
    if len(powers) != 2 or set(alone) != {"N", "D"} or set(alone.values()) & form.grouped:
        return None
    return alone["N"], alone["D"]


def compute_exponent(form: LawForm, parameters: np.ndarray, count: int) -> np.ndarray:
    """Exponent of the compute-optimal model size, N* ~ C^(beta / (alpha + beta)).

    Args:
        form: a law with one power of N alone and one of D alone, whose exponents all groups share.
        parameters: centred, [..., p].
        count: number of groups.

    Returns:
        Array [...].

    Raises:
        ValueError: if the form has no such exponents.

    Kind: exact.
    Valid: positive exponents.
    Source: Hoffmann et al. 2022 (arXiv 2203.15556) equation 4.
    """
    names = compute_exponent_names(form)
    if names is None:
        raise ValueError(f"`form` must share one exponent of N and one of D, got {form.name!r}.")
    places = positions(form, count)
    alpha, beta = (np.asarray(parameters)[..., places[name][0]] for name in names)
    return beta / (alpha + beta)


@dataclass(frozen=True)
class DeltaSensitivity:
    """The compute-optimal exponent at several thresholds.

    Attributes:
        deltas: Huber thresholds.
        exponents: of N*, one each.
    """

    deltas: tuple[float, ...]
    exponents: np.ndarray

    @property
    def spread(self) -> float:
        """Largest less smallest exponent."""
        return float(np.ptp(self.exponents))


def delta_sensitivity(
    fit: FormFit, key: jax.Array, deltas: Sequence[float] = DELTAS, starts: int = _STARTS
) -> DeltaSensitivity:
    """Refits at other Huber thresholds.

    Args:
        fit: the fit; its data, form and kind of objective are kept.
        key: randomness of the starts.
        deltas: thresholds, positive.
        starts: random starts of each fit.

    Returns:
        A `DeltaSensitivity`.

    Raises:
        ValueError: if a threshold is not positive or the form has no compute-optimal exponent.

    Kind: fit.
    Valid: as `theory.shared_fitting.fit_form`.
    Source: derived; the threshold is a choice of the modeller.
    """
    check_real("deltas", deltas, above=0.0)
    kind = fit.chosen.kind if fit.chosen.robust else "huber"
    penalty = float(fit.chosen.penalty)
    found = []
    for delta in deltas:
        other = fit_form(
            fit.data, fit.form, delta=delta, starts=starts, key=key, kind=kind, penalty=penalty
        )
        found.append(compute_exponent(fit.form, other.parameters, len(fit.data.groups)))
    return DeltaSensitivity(tuple(float(delta) for delta in deltas), np.array(found))


def influence(fit: FormFit, refits: HeldOut) -> np.ndarray:
    """Change of the compute-optimal exponent when something is left out.

    Args:
        fit: the fit of all runs.
        refits: from `leave_one_out` or its like.

    Returns:
        Exponent without less exponent with, one for each refit.

    Raises:
        ValueError: if the form has no compute-optimal exponent.

    Kind: exact.
    Valid: converged refits.
    Source: Cook 1977, deletion diagnostics.
    """
    count = len(fit.data.groups)
    return compute_exponent(fit.form, refits.parameters, count) - compute_exponent(
        fit.form, fit.parameters, count
    )
