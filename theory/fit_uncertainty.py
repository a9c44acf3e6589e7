"""How well a fitted law is determined: conditioning, correlations, bootstrap. Float64."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from theory.checks import check_real
from theory.fit_conditioning import Conditioning, conditioning_of
from theory.fit_resampling import resample, unit_numbers
from theory.fitting import Fit, plain_law
from theory.law_forms import CHINCHILLA
from theory.laws import Chinchilla

_TOGETHER = 0.999  # correlation of log N and log D that leaves a single direction


def conditioning(fit: Fit) -> Conditioning:
    """Condition numbers and correlations from the Hessian at the optimum.

    Args:
        fit: a converged fit.

    Returns:
        A `Conditioning`; entries are NaN where the Hessian is singular.

    Kind: exact (closed-form Hessian); standard errors asymptotic.
    Valid: an interior optimum.
    Source: `theory.fit_conditioning`.
    """
    centres = {
        "N": float(np.log(fit.data.size_centre)),
        "D": float(np.log(fit.data.tokens_centre)),
    }
    return conditioning_of(fit, CHINCHILLA, centres)


@dataclass(frozen=True)
class Bootstrap:
    """Refits on resampled runs.

    Attributes:
        parameters: centred parameters of the refits that converged, [R, 5].
        law: the same in plain parameters, fields [R].
        draws: number of refits tried.
    """

    parameters: np.ndarray
    law: Chinchilla
    draws: int

    @property
    def converged(self) -> float:
        """Share of the refits that converged."""
        return self.parameters.shape[0] / self.draws


def bootstrap(
    fit: Fit,
    draws: int,
    key: jax.Array,
    groups: np.ndarray | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Bootstrap:
    """Refits the law on resampled runs, each refit started at the optimum.

    Args:
        fit: the fit to resample.
        draws: number of refits, at least 1.
        key: randomness of the resampling.
        groups: label of the training run each row belongs to, [n]; whole groups are drawn. Left
            out, rows are drawn one by one, which is too optimistic where rows share a run.
        advance: called with the number of refits done since the last call.

    Returns:
        A `Bootstrap`.

    Raises:
        ValueError: if `draws` is below 1 or `groups` has another length than the data.

    Kind: fit.
    Valid: exchangeable rows, or groups.
    Source: Efron 1979; multinomial weights on the terms of the objective.
    """
    units = unit_numbers(groups, fit.log_loss.size)
    kept = resample(fit, draws, key, units, np.zeros_like(units), advance)
    return Bootstrap(kept, plain_law(kept, fit.data), draws)


def percentile_intervals(samples: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Central percentile intervals along the first axis.

    Args:
        samples: [R, ...], R >= 2.
        level: coverage in (0, 1).

    Returns:
        Array [2, ...]: lower and upper ends.

    Raises:
        ValueError: if `level` is outside (0, 1).

    Kind: fit.
    Valid: R large against 1 / (1 - level).
    Source: Efron 1979, percentile interval.
    """
    check_real("level", level, above=0.0, below=1.0)
    tail = 50 * (1 - level)
    return np.percentile(samples, [tail, 100 - tail], axis=0)


def warnings_of(fit: Fit, conditions: Conditioning) -> list[str]:
    """What a careful reader would want to be told about a fit, in words.

    Args:
        fit: the fit.
        conditions: its conditioning.

    Returns:
        Sentences, empty if nothing is wrong.

    Kind: definition.
    Valid: always.
    Source: failure modes seen in published fits.
    """
    lowest = float(np.exp(np.min(fit.data.log_loss)))
    law, said = fit.law, []
    if float(law.irreducible) < 1e-3 * lowest:
        said.append("E is not identifiable: it ran to zero; the data show no floor.")
    data = fit.data
    together = float(np.corrcoef(data.log_size, data.log_tokens)[0, 1])
    if abs(together) > _TOGETHER:
        said.append(
            f"N and D vary together (correlation of their logs {together:.5f}): the two terms are "
            "not identifiable apart."
        )
    for name, value in (("alpha", law.size_exponent), ("beta", law.tokens_exponent)):
        if not float(value) > 0:
            said.append(f"{name} = {float(value):.3g} is not positive: the loss does not fall.")
    if fit.agreement < 0.5 and fit.starts > 1:
        said.append(
            f"only {fit.agreement:.0%} of {fit.starts} starts agree on the optimum: distrust it."
        )
    names = ("E", "A'", "alpha", "B'", "beta")
    relative = conditions.standard_errors / np.where(
        np.array([1, 1, 0, 1, 0], dtype=bool), 1.0, np.abs(fit.parameters)
    )
    for name, error in zip(names, relative, strict=True):
        if not error < 1.0:
            said.append(f"{name} is not identifiable: its standard error exceeds its value.")
    if not conditions.centred < 1e8:
        said.append(
            f"the fit is ill-conditioned even after centring ({conditions.centred:.1e}): several "
            "laws describe these runs equally well."
        )
    return said
