"""Refits on resampled runs, for any law: by row or by training run, within each group. Float64."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import check_real
from theory.fit_losses import Objective
from theory.objectives import Design, derivatives
from theory.robust_fit import Optimum, polish
from theory.shared_fitting import FormFit, plain_symbols, rescaled_law
from theory.shared_law import SharedLaw

CHUNK = 500
_BATCH = 50
# Gradients of objective / delta scatter over resamples by about the square root of the number of
# runs, so this limit moves a refit by less than 1e-4 of its standard error.
_GRADIENT_LIMIT = 1e-4


def resample(
    found: Optimum,
    draws: int,
    key: jax.Array,
    units: np.ndarray,
    strata: np.ndarray,
    advance: Callable[[int], None] = lambda _: None,
) -> np.ndarray:
    """Refits a law on resampled units, each refit started at the optimum.

    Args:
        found: the optimum.
        draws: number of refits, at least 1.
        key: randomness of the resampling.
        units: what is drawn whole: number of the unit of each row, 0 .. u-1, [n].
        strata: number of the stratum of each row, 0 .. s-1, [n]; each stratum keeps its number of
            units. A unit lies in one stratum.
        advance: called with the number of refits done since the last call.

    Returns:
        Centred parameters of the refits that converged, [R, p].

    Raises:
        ValueError: if `draws` is below 1.

    Kind: fit.
    Valid: units exchangeable within strata.
    Source: Efron 1979; multinomial weights on the terms of the objective.
    """
    check_real("draws", draws, at_least=1)
    first = np.unique(units, return_index=True)[1]
    # Units renumbered so that those of a stratum follow each other.
    order = np.argsort(strata[first], kind="stable")
    rank = np.argsort(order)
    counts = np.bincount(strata[first])
    span = jnp.asarray(np.repeat(counts, counts))
    offset = jnp.asarray(np.repeat(np.cumsum(counts) - counts, counts))
    labels, start = jnp.asarray(rank[units]), jnp.asarray(found.parameters)
    points, flat = [], []
    sizes = [min(CHUNK, draws - done) for done in range(0, draws, CHUNK)]
    full = min(CHUNK, _BATCH * -(-draws // _BATCH))
    for chunk_key, size in zip(jax.random.split(key, len(sizes)), sizes, strict=True):
        # Every chunk is computed at full size, so that one compilation serves.
        picks = offset + jax.random.randint(chunk_key, (full, span.size), 0, span)
        refits, slope = _refit(start, found.terms, found.log_loss, picks, labels, found.chosen)
        points.append(np.asarray(refits[:size]))
        flat.append(np.asarray(slope[:size]))
        advance(size)
    refits = np.concatenate(points)
    converged = np.concatenate(flat) <= _GRADIENT_LIMIT
    return refits[converged & np.all(np.isfinite(refits), axis=1)]


@jax.jit
def _refit(
    start: jax.Array,
    terms: Design,
    log_loss: jax.Array,
    picks: jax.Array,
    labels: jax.Array,
    chosen: Objective,
) -> tuple[jax.Array, jax.Array]:
    def one(pick: jax.Array) -> tuple[jax.Array, jax.Array]:
        weights = jnp.zeros(pick.size).at[pick].add(1.0)[labels]
        found = polish(start, terms, log_loss, weights, chosen)
        slope = derivatives(found, terms, log_loss, weights, chosen)[1] / chosen.scale
        return found, jnp.linalg.norm(slope)

    # Small batches: a batch takes as many steps as the slowest refit in it.
    return jax.lax.map(one, picks, batch_size=_BATCH)


def unit_numbers(groups: np.ndarray | None, rows: int) -> np.ndarray:
    """Numbers of the units that are drawn whole.

    Args:
        groups: label of the training run of each row, [n], or None to draw rows one by one.
        rows: n.

    Returns:
        Integers, [n].

    Raises:
        ValueError: if `groups` has another length.

    Kind: definition.
    Valid: always.
    Source: derived.
    """
    labels = np.arange(rows) if groups is None else np.unique(groups, return_inverse=True)[1]
    if labels.shape != (rows,):
        raise ValueError(f"`groups` must hold {rows} labels, got shape {labels.shape}.")
    return labels


@dataclass(frozen=True)
class FormBootstrap:
    """Refits of a law form on resampled runs.

    Attributes:
        parameters: centred parameters of the refits that converged, [R, p].
        draws: number of refits tried.
        fit: the fit resampled.
    """

    parameters: np.ndarray
    draws: int
    fit: FormFit

    @property
    def converged(self) -> float:
        """Share of the refits that converged."""
        return self.parameters.shape[0] / self.draws

    @property
    def symbols(self) -> dict[str, np.ndarray]:
        """Plain coefficients and exponents by name, [R, groups] each."""
        return plain_symbols(self.fit.form, self.parameters, self.fit.data)

    def law(self, reference: str) -> SharedLaw:
        """The law of rescalings of every refit, fields [R] and [R, groups]."""
        return rescaled_law(self.fit.form, self.parameters, self.fit.data, reference)


def bootstrap_form(
    fit: FormFit,
    draws: int,
    key: jax.Array,
    groups: np.ndarray | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> FormBootstrap:
    """Refits a law form on resampled runs; every optimizer keeps its number of runs.

    Args:
        fit: the fit to resample.
        draws: number of refits, at least 1.
        key: randomness of the resampling.
        groups: label of the training run each row belongs to, [n]; whole training runs are drawn.
            Left out, rows are drawn one by one, which is too optimistic where rows share a run.
            A label that several optimizers use is drawn for all of them at once.
        advance: called with the number of refits done since the last call.

    Returns:
        A `FormBootstrap`.

    Raises:
        ValueError: if `draws` is below 1, `groups` has another length, or there is a single
            training run to draw from.

    Kind: fit.
    Valid: training runs exchangeable within an optimizer.
    Source: Efron 1979, stratified.
    """
    units = unit_numbers(groups, fit.log_loss.size)
    strata = fit.data.group
    pairs = np.unique(np.stack([units, strata]), axis=1)
    if pairs.shape[1] > units.max() + 1:
        strata = np.zeros_like(strata)
        pairs = np.unique(np.stack([units, strata]), axis=1)
    if np.bincount(pairs[1]).min() < 2:
        raise ValueError(
            "`groups` must name at least two training runs of every optimizer, or nothing is "
            "resampled there; got one."
        )
    return FormBootstrap(resample(fit, draws, key, units, strata, advance), draws, fit)
