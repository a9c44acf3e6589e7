"""How well a fitted law is determined: conditioning, correlations, bootstrap. Float64."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import check_real
from theory.fitting import Fit, Runs, plain_law, polish
from theory.laws import Chinchilla
from theory.objectives import Objective, derivatives, design, log_law, run_terms, value_of

CHUNK = 500
_BATCH = 50
_TOGETHER = 0.999  # correlation of log N and log D that leaves a single direction
# Gradients of objective / delta scatter over resamples by about the square root of the number of
# runs, so this limit moves a refit by less than 1e-4 of its standard error.
_GRADIENT_LIMIT = 1e-4


@dataclass(frozen=True)
class Conditioning:
    """How steep and how skewed the objective is at the optimum.

    Attributes:
        centred: condition number of the Hessian in (log E, log A', alpha, log B', beta).
        logarithmic: the same with the raw log A and log B.
        plain: the same in (E, A, alpha, B, beta).
        correlation: correlations of the centred parameters, [5, 5].
        logarithmic_correlation: of the raw logarithms, [5, 5]: high by choice of units alone.
        standard_errors: of the centred parameters, [5], robust to the shape of the residuals.
            With a threshold below the noise few residuals carry the curvature: then prefer the
            bootstrap.
    """

    centred: float
    logarithmic: float
    plain: float
    correlation: np.ndarray
    logarithmic_correlation: np.ndarray
    standard_errors: np.ndarray


def conditioning(fit: Fit) -> Conditioning:
    """Condition numbers and correlations from the Hessian at the optimum.

    Args:
        fit: a converged fit.

    Returns:
        A `Conditioning`; entries are NaN where the Hessian is singular.

    Kind: exact (Hessian by automatic differentiation); standard errors asymptotic.
    Valid: an interior optimum.
    Source: correlations from the inverse Hessian; standard errors by the sandwich formula of
        M-estimation, Huber 1967, which does not assume Gaussian residuals.
    """
    data = fit.data
    forms = design(data.log_size, data.log_tokens).forms
    point = jnp.asarray(fit.parameters)
    log_n0, log_d0 = jnp.log(data.size_centre), jnp.log(data.tokens_centre)

    def from_logarithms(raw: jax.Array) -> jax.Array:
        log_e, log_a, alpha, log_b, beta = raw
        return jnp.stack([log_e, log_a - alpha * log_n0, alpha, log_b - beta * log_d0, beta])

    def from_plain(raw: jax.Array) -> jax.Array:
        e, a, alpha, b, beta = raw
        return from_logarithms(jnp.stack([jnp.log(e), jnp.log(a), alpha, jnp.log(b), beta]))

    log_e, log_a, alpha, log_b, beta = point
    raw = jnp.stack([log_e, log_a + alpha * log_n0, alpha, log_b + beta * log_d0, beta])
    plain = jnp.stack([jnp.exp(raw[0]), jnp.exp(raw[1]), alpha, jnp.exp(raw[3]), beta])

    def hessian(mapping: Callable, at: jax.Array) -> np.ndarray:
        def value(x: jax.Array) -> jax.Array:
            return value_of(mapping(x), forms, data.log_loss, fit.chosen)

        return np.asarray(jax.jit(jax.hessian(value))(at))

    centred_hessian = hessian(lambda x: x, point)
    log_hessian, plain_hessian = hessian(from_logarithms, raw), hessian(from_plain, plain)
    return Conditioning(
        float(np.linalg.cond(centred_hessian)),
        float(np.linalg.cond(log_hessian)),
        float(np.linalg.cond(plain_hessian)),
        _correlation(centred_hessian),
        _correlation(log_hessian),
        np.sqrt(np.diag(_sandwich(fit, centred_hessian))),
    )


def _inverse(matrix: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        return np.full_like(matrix, np.nan)


def _correlation(hessian: np.ndarray) -> np.ndarray:
    covariance = _inverse(hessian)
    diagonal = np.diag(covariance)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, np.nan))
    return covariance / np.outer(scale, scale)


def _sandwich(fit: Fit, hessian: np.ndarray) -> np.ndarray:
    """H^-1 (sum of score outer products) H^-1."""
    data, point = fit.data, jnp.asarray(fit.parameters)
    forms = design(data.log_size, data.log_tokens).forms
    slopes = run_terms(log_law(point, forms), data.log_loss, fit.chosen)[1]
    scores = np.asarray(slopes[:, None] * jax.jacobian(log_law)(point, forms))
    inverse = _inverse(hessian)
    covariance = inverse @ (scores.T @ scores) @ inverse
    return np.where(np.isfinite(covariance), covariance, np.nan)


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
    check_real("draws", draws, at_least=1)
    rows = fit.data.log_loss.size
    labels = np.arange(rows) if groups is None else np.unique(groups, return_inverse=True)[1]
    if labels.shape != (rows,):
        raise ValueError(f"`groups` must hold {rows} labels, got shape {labels.shape}.")
    number = int(labels.max()) + 1
    start, points, flat = jnp.asarray(fit.parameters), [], []
    for chunk_key, size in zip(
        jax.random.split(key, -(-draws // CHUNK)), _chunks(draws), strict=True
    ):
        picks = jax.random.randint(chunk_key, (CHUNK, number), 0, number)
        found, slope = _refit(start, fit.data, picks, jnp.asarray(labels), fit.chosen)
        points.append(np.asarray(found[:size]))
        flat.append(np.asarray(slope[:size]))
        advance(size)
    refits = np.concatenate(points)
    converged = np.concatenate(flat) <= _GRADIENT_LIMIT
    kept = refits[converged & np.all(np.isfinite(refits), axis=1)]
    return Bootstrap(kept, plain_law(kept, fit.data), draws)


def _chunks(draws: int) -> list[int]:
    """Sizes of the chunks; every chunk is computed at full size, so that one compilation serves."""
    return [min(CHUNK, draws - done) for done in range(0, draws, CHUNK)]


@jax.jit
def _refit(
    start: jax.Array, data: Runs, picks: jax.Array, labels: jax.Array, chosen: Objective
) -> tuple[jax.Array, jax.Array]:
    terms = design(data.log_size, data.log_tokens)

    def one(pick: jax.Array) -> tuple[jax.Array, jax.Array]:
        weights = jnp.zeros(pick.size).at[pick].add(1.0)[labels]
        found = polish(start, terms, data.log_loss, weights, chosen)
        slope = derivatives(found, terms, data.log_loss, weights, chosen)[1] / chosen.scale
        return found, jnp.linalg.norm(slope)

    # Small batches: a batch takes as many steps as the slowest refit in it.
    return jax.lax.map(one, picks, batch_size=_BATCH)


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
