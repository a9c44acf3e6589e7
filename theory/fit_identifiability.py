"""Which parameters of a law a set of runs can determine at all. Float64."""

import jax
import jax.numpy as jnp
import numpy as np

from theory.fit_starts import starting_points
from theory.grouped_runs import GroupedRuns
from theory.law_forms import LawForm, parameter_labels

# Directions the law does not move along, relative to the one it moves along most: rounding leaves
# 1e-16, and runs along one ratio D / N still show 1e-6.
_FLAT = 1e-11
_SHARE = 1e-4  # of a flat direction, above which a parameter takes part in it
_PROBES = 4


def unidentified(form: LawForm, data: GroupedRuns) -> tuple[str, ...]:
    """Labels of the parameters that runs without noise would leave open.

    Args:
        form: the law.
        data: the runs.

    Returns:
        Labels as of `parameter_labels`; empty if everything can be determined.

    Kind: exact.
    Valid: generic parameters; local identifiability.
    Source: derived; null space of the law's gradients over the runs, Rothenberg 1971, Econometrica.
    """
    terms = data.design(form)
    points = starting_points(form, len(data.groups), data.runs.log_loss, _PROBES, jax.random.key(0))
    open_ones = np.ones(points.shape[1], dtype=bool)
    for point in points:
        exponents = terms.forms @ point
        shares = jax.nn.softmax(exponents, axis=1)
        gradient = np.asarray(jnp.einsum("nkp,nk->np", terms.forms, shares))
        wide = gradient.shape[0] < gradient.shape[1]
        _, values, axes = np.linalg.svd(gradient, full_matrices=wide)
        flat = np.ones(axes.shape[0], dtype=bool)
        flat[: values.size] = values <= _FLAT * values[0]
        open_ones &= np.any(np.abs(axes[flat]) > _SHARE, axis=0)
    labels = parameter_labels(form, data.groups)
    return tuple(label for label, open_one in zip(labels, open_ones, strict=True) if open_one)


def check_identifiable(form: LawForm, data: GroupedRuns) -> None:
    """Refuses runs that leave parameters of the law open, and says which and why.

    Raises:
        ValueError: naming the parameters.
    """
    labels = unidentified(form, data)
    if not labels:
        return
    exponents = {variable: names for variable, names in _exponents(form).items() if names}
    for variable, values in (("N", data.size), ("D", data.tokens)):
        if variable in exponents and np.ptp(np.log(values)) < 1e-12:
            names = " and ".join(exponents[variable])
            word = {"N": "size", "D": "tokens"}[variable]
            raise ValueError(
                f"`{word}` must vary, it is {values[0]:g} in every run: {names} of the law "
                f"{form.name!r} cannot be identified."
            )
    raise ValueError(
        f"{data.loss.size} runs in {np.unique(data.cell).size} cells cannot identify "
        f"{', '.join(labels)} of the law {form.name!r}."
    )


def _exponents(form: LawForm) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"N": [], "D": []}
    for term in form.terms:
        for variable, exponent in term.powers:
            found[variable].append(exponent)
    return found
