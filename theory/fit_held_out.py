"""What a fitted law says about runs it has not seen: points, sizes or optimizers left out. Float64.

The runs left out get weight zero, so that all refits share one compilation.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import check_choice
from theory.fit_covariance import law_gradient
from theory.fit_starts import starting_points
from theory.law_forms import LawForm, positions
from theory.objectives import Design, log_law
from theory.robust_fit import lowest, refit_from
from theory.shared_fitting import FormFit

_FRESH_STARTS = 4  # besides the optimum of all runs
_FLAT = 1e-11  # singular values that are rounding
_ASIDE = 1e-6  # share of a run's gradient outside what the rest knows


@dataclass(frozen=True)
class HeldOut:
    """Refits that left some runs out, and their errors on those.

    Attributes:
        left_out: which runs each refit left out, [S, n], boolean.
        parameters: centred parameters of each refit, [S, p].
        error: predicted minus measured loss of the left-out runs, [S, n]; NaN elsewhere.
        names: what each refit left out.
    """

    left_out: np.ndarray
    parameters: np.ndarray
    error: np.ndarray
    names: tuple[str, ...]

    @property
    def rmse(self) -> float:
        """Root mean square of all errors, loss units."""
        counted = np.isfinite(self.error)
        return float(np.sqrt(np.mean(self.error[counted] ** 2))) if counted.any() else np.nan

    @property
    def each_rmse(self) -> np.ndarray:
        """Root mean square error of each refit, [S]; NaN where it predicted nothing."""
        counted = np.isfinite(self.error)
        total = np.where(counted, self.error, 0.0) ** 2
        counts = counted.sum(axis=1)
        return np.sqrt(total.sum(axis=1) / np.where(counts > 0, counts, np.nan))


def held_out(fit: FormFit, left_out: np.ndarray, names: tuple[str, ...]) -> HeldOut:
    """Refits without some runs and predicts them.

    Args:
        fit: the fit of all runs.
        left_out: which runs each refit leaves out, [S, n], boolean.
        names: what each refit leaves out, S of them.

    Returns:
        A `HeldOut`; errors are NaN where the rest cannot identify the parameters of a left-out run.

    Raises:
        ValueError: if a refit has no runs, or `left_out` has another number of columns.

    Kind: fit.
    Valid: converged refits.
    Source: derived; each refit starts at the optimum of all runs and from four random points.
    """
    left_out = np.asarray(left_out, dtype=bool)
    if left_out.ndim != 2 or left_out.shape[1] != fit.log_loss.size or left_out.all(1).any():
        raise ValueError(
            f"`left_out` must hold rows of {fit.log_loss.size} flags, not all true; "
            f"got shape {left_out.shape}."
        )
    parameters = _refits(fit, left_out)
    predicted = np.exp([log_law(jnp.asarray(at), fit.terms.forms) for at in parameters])
    # At a generic point: a term that vanished at the optimum would hide what it leaves open.
    probe = _points(fit.form, len(fit.data.groups), fit, fit.parameters)[1]
    gradient = law_gradient(replace(fit, parameters=np.asarray(probe)))
    known = np.array([_predictable(gradient, out) for out in left_out])
    error = np.where(left_out & known, predicted - fit.data.loss, np.nan)
    return HeldOut(left_out, parameters, error, names)


def leave_one_out(fit: FormFit, units: np.ndarray | None = None) -> HeldOut:
    """One refit for each run left out.

    Args:
        fit: the fit of all runs.
        units: number of the training run of each row, [n]; whole training runs are left out.

    Returns:
        A `HeldOut` with as many refits as runs.

    Kind: fit.
    Valid: as `held_out`.
    Source: Stone 1974, cross-validatory choice.
    """
    units = np.arange(fit.log_loss.size) if units is None else np.asarray(units)
    numbers = np.unique(units)
    masks = np.equal.outer(numbers, units)
    return held_out(fit, masks, tuple(str(number) for number in numbers))


def leave_largest_size_out(fit: FormFit) -> HeldOut:
    """One refit without the largest model size of all: how well the law extrapolates.

    Args:
        fit: the fit of all runs.

    Returns:
        A `HeldOut` with one refit.

    Kind: fit.
    Valid: as `held_out`; sizes within 1 % count as one.
    Source: derived.
    """
    largest = fit.data.size >= 0.99 * fit.data.size.max()
    return held_out(fit, largest[None], (f"N = {fit.data.size.max():.4g}",))


def leave_one_group_out(fit: FormFit) -> HeldOut:
    """One refit without each optimizer: whether one of them carries the shared exponents.

    Nothing is predicted, a left-out optimizer's rescalings are unknown; compare the parameters.

    Args:
        fit: the fit of all runs, of at least two groups.

    Returns:
        A `HeldOut` with a refit a group.

    Raises:
        ValueError: if there is a single group.

    Kind: fit.
    Valid: as `held_out`.
    Source: derived.
    """
    if len(fit.data.groups) < 2:
        raise ValueError("`fit` must have at least two groups to leave one out, got 1.")
    masks = np.equal.outer(np.arange(len(fit.data.groups)), fit.data.group)
    return held_out(fit, masks, fit.data.groups)


def transferred(fit: FormFit, group: str) -> HeldOut:
    """What the others teach about an optimizer: its largest size from its smaller ones.

    The shared parameters come from the other optimizers and from this one's smaller sizes.

    Args:
        fit: the fit of all runs.
        group: the optimizer.

    Returns:
        A `HeldOut` with one refit, which predicts the group's largest size.

    Raises:
        ValueError: if there is no such group.

    Kind: fit.
    Valid: as `held_out`.
    Source: derived.
    """
    check_choice("group", group, fit.data.groups)
    mine = fit.data.group == fit.data.groups.index(group)
    largest = mine & (fit.data.size >= 0.99 * fit.data.size[mine].max())
    return held_out(fit, largest[None], (group,))


def _refits(fit: FormFit, left_out: np.ndarray) -> np.ndarray:
    """Centred parameters without each set of runs, [S, p]."""
    if not fit.form.separate:
        points = _points(fit.form, len(fit.data.groups), fit, fit.parameters)
        return _best(points[None], fit.terms, fit, ~left_out)
    # Groups that share nothing are refitted one by one, where they lost a run.
    count, alone = len(fit.data.groups), replace(fit.form, grouped=frozenset())
    places = np.stack(list(positions(fit.form, count).values()), axis=1)
    member = np.equal.outer(np.arange(count), fit.data.group)
    which, group = np.nonzero((left_out[:, None] & member[None]).any(axis=2))
    kept = member[group] & ~left_out[which]
    found = np.tile(fit.parameters, (len(left_out), 1))
    if which.size:
        points = jnp.stack([_points(alone, 1, fit, fit.parameters[places[g]]) for g in group])
        found[which[:, None], places[group]] = _best(points, fit.data.design(alone), fit, kept)
    return found


def _points(form: LawForm, count: int, fit: FormFit, optimum: np.ndarray) -> jax.Array:
    fresh = starting_points(form, count, fit.log_loss, _FRESH_STARTS, jax.random.key(0))
    return jnp.concatenate([jnp.asarray(optimum)[None], fresh])


def _best(points: jax.Array, terms: Design, fit: FormFit, kept: np.ndarray) -> np.ndarray:
    weights = jnp.asarray(kept, float)
    ends, values, slopes = refit_from(points, terms, fit.log_loss, weights, fit.chosen)
    return ends[np.arange(len(ends)), lowest(values, slopes)]


def _predictable(gradient: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Which runs the rest can predict: their gradients lie in the space that the rest spans."""
    kept = gradient[~out]
    _, values, axes = np.linalg.svd(kept, full_matrices=kept.shape[0] < kept.shape[1])
    flat = np.ones(axes.shape[0], dtype=bool)
    flat[: values.size] = values <= _FLAT * values[0]
    return np.all(np.abs(gradient @ axes[flat].T) <= _ASIDE, axis=1)
