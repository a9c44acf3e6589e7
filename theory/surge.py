"""The surge: the best learning rate of a sign step first grows with the batch, then falls again.

Let all coordinates have one signal-to-noise ratio, |g_i| / s_i = 1/kappa. Then the mean signs are
m sign(g_i) with one m = erf(sqrt(B/2) / kappa) that grows with the batch from 0 to 1, and the best
rate of `theory.batch_noise.sign_step` is

    eta(m) = m sum |g_i| / (D + m^2 C),   D = sum_i H_ii,   C = sum_{i != j} sign(g_i g_j) H_ij.

It peaks at m = beta_n = sqrt(D/C): inside (0, 1) exactly where beta_n < 1. The gain never falls.
The usual approximation is m = (1 + pi kappa^2 / (2 B))^(-1/2), exact for B -> 0 and B -> infinity.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax.scipy.special import erfinv

from theory.checks import Real, check_real, is_traced


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["beta_n", "max_learning_rate", "exact_batch", "approximate_batch"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Surge:
    """Where the best learning rate of a sign step peaks as the batch grows.

    Attributes:
        beta_n: mean sign at which it peaks; a surge exists exactly where this is below one.
            Infinite without coupling between the signs.
        max_learning_rate: height of the peak, if there is one (else NaN).
        exact_batch: batch size of the peak; infinite if there is none.
        approximate_batch: the same in the usual approximation of the error function.
    """

    beta_n: jax.Array
    max_learning_rate: jax.Array
    exact_batch: jax.Array
    approximate_batch: jax.Array


def surge(gradient: Real, hessian: Real, noise_ratio: Real) -> Surge:
    """Where the best learning rate of signSGD peaks, one signal-to-noise ratio for all coordinates.

    Exact peak: B = 2 kappa^2 erfinv(beta_n)^2. Approximate: pi kappa^2 beta_n^2 /
    (2 (1 - beta_n^2)).

    Args:
        gradient: g, [d], not zero.
        hessian: H, [d] (a diagonal: no coupling, no surge) or [d, d].
        noise_ratio: kappa > 0, noise over gradient of one sample, any shape.

    Returns:
        `Surge`; batch sizes shaped like `noise_ratio`.

    Raises:
        ValueError: if a shape or a number is wrong.

    Kind: exact (`exact_batch`, for Gaussian noise independent between coordinates); asymptotic
        (`approximate_batch`, for small beta_n; as beta_n -> 1 it grows too fast).
    Valid: |g_i| / s_i the same for all i with g_i not zero; positive diagonal of H.
    Source: Li et al. 2024 (arXiv 2405.14578) and Su (kexue.fm/archives/10542) for beta_n and the
        approximation; the exact peak is derived in the module's text.
    """
    check_real("noise_ratio", noise_ratio, above=0.0)
    kappa = jnp.asarray(noise_ratio, float)
    g, diagonal, coupled = _sums(gradient, hessian)
    peaks = coupled > diagonal
    safe = jnp.where(coupled > 0.0, coupled, 1.0)
    beta_n = jnp.where(coupled > 0.0, jnp.sqrt(diagonal / safe), jnp.inf)
    inside = jnp.where(peaks, beta_n, 0.5)
    height = jnp.sum(jnp.abs(g)) / (2.0 * jnp.sqrt(diagonal * safe))
    exact = 2.0 * kappa**2 * erfinv(inside) ** 2
    approximate = jnp.pi * kappa**2 * inside**2 / (2.0 * (1.0 - inside**2))
    return Surge(
        beta_n,
        jnp.where(peaks, height, jnp.nan),
        jnp.where(peaks, exact, jnp.inf),
        jnp.where(peaks, approximate, jnp.inf),
    )


def surge_rate(gradient: Real, hessian: Real, mean_sign: Real) -> jax.Array:
    """Best learning rate eta(m) of a sign step whose mean signs are m sign(g_i).

    Equals 2 eta_max / (beta_n / m + m / beta_n) where beta_n and the peak eta_max exist.

    Args:
        gradient: g, [d], not zero.
        hessian: H, [d] or [d, d].
        mean_sign: m in (0, 1], any shape.

    Returns:
        Array shaped like `mean_sign`.

    Raises:
        ValueError: if a shape or a number is wrong.

    Kind: exact.
    Valid: one mean sign for all coordinates, independent noise, positive D + m^2 C.
    Source: Su (kexue.fm/archives/10542), re-derived in the module's text.
    """
    check_real("mean_sign", mean_sign, above=0.0, at_most=1.0)
    g, diagonal, coupled = _sums(gradient, hessian)
    m = jnp.asarray(mean_sign, float)
    return m * jnp.sum(jnp.abs(g)) / (diagonal + m**2 * coupled)


def approximate_mean_sign(noise_ratio: Real, batch_size: Real) -> jax.Array:
    """(1 + pi kappa^2 / (2 B))^(-1/2), for erf(sqrt(B/2) / kappa).

    Args:
        noise_ratio: kappa > 0, noise over gradient of one sample.
        batch_size: B > 0.

    Returns:
        Array of the broadcast shape, in (0, 1).

    Raises:
        ValueError: if a number is not positive.

    Kind: lower bound of the error function, at most 0.108 below it (at B = 3.5 kappa^2); same
        first term as B -> 0.
    Valid: Gaussian noise.
    Source: Su (kexue.fm/archives/10542).
    """
    check_real("noise_ratio", noise_ratio, above=0.0)
    check_real("batch_size", batch_size, above=0.0)
    noise = jnp.asarray(noise_ratio, float) ** 2 / jnp.asarray(batch_size, float)
    return (1.0 + jnp.pi / 2.0 * noise) ** -0.5


def gain_noise_scale(gradient: Real, hessian: Real, noise_ratio: Real) -> jax.Array:
    """B_2 of the gain Delta_max / (1 + B_2 / B) of a sign step at its best learning rate.

    B_2 = pi kappa^2 D / (2 (D + C)) = pi kappa^2 beta_n^2 / (2 (1 + beta_n^2)).

    Args:
        gradient: g, [d], not zero.
        hessian: H, [d] or [d, d].
        noise_ratio: kappa > 0, noise over gradient of one sample.

    Returns:
        Array shaped like `noise_ratio`, in samples.

    Raises:
        ValueError: if a shape or a number is wrong.

    Kind: asymptotic: exact with `approximate_mean_sign` in place of the error function.
    Valid: one signal-to-noise ratio, D + C > 0.
    Source: Su (kexue.fm/archives/10542), re-derived: the gain is proportional to
        1 / (D / m^2 + C).
    """
    check_real("noise_ratio", noise_ratio, above=0.0)
    _, diagonal, coupled = _sums(gradient, hessian)
    kappa = jnp.asarray(noise_ratio, float)
    return jnp.pi / 2.0 * kappa**2 * diagonal / (diagonal + coupled)


def small_batch_surge(
    gradient: Real, hessian: Real, noise_std: Real
) -> tuple[jax.Array, jax.Array]:
    """Peak rate and batch of eta = 2 eta_peak / (sqrt(B_peak/B) + sqrt(B/B_peak)).

    B_peak = (pi/2) D / sum over i != j of (g_i g_j / (s_i s_j)) H_ij, eta_peak = sum g_i^2/s_i /
    (2 sqrt(D times that sum)): the error functions of `theory.batch_noise.sign_step` to first
    order, so every problem with a positive sum seems to surge.

    Args:
        gradient: g, [d], not zero.
        hessian: H, [d, d], not diagonal.
        noise_std: s > 0 of one sample, a scalar or [d].

    Returns:
        eta_peak and B_peak; NaN if the sum is not positive.

    Raises:
        ValueError: if a shape or a number is wrong.

    Kind: asymptotic (B -> 0).
    Valid: sqrt(B) |g_i| << s_i for every coordinate, at the peak too if that is to be believed.
    Source: Li et al. 2024 (arXiv 2405.14578) theorem 2, constants re-derived.
    """
    check_real("noise_std", noise_std, above=0.0)
    ratio = jnp.asarray(gradient, float) / jnp.asarray(noise_std, float)
    g, diagonal, _ = _sums(gradient, hessian)
    curve = jnp.asarray(hessian, float)
    if curve.ndim == 1:
        raise ValueError(f"`hessian` must be a matrix [d, d], got shape {curve.shape}.")
    coupled = ratio @ curve @ ratio - jnp.sum(jnp.diagonal(curve) * ratio**2)
    coupled = jnp.where(coupled > 0.0, coupled, jnp.nan)
    height = jnp.sum(g * ratio) / (2.0 * jnp.sqrt(diagonal * coupled))
    return height, jnp.pi * diagonal / (2.0 * coupled)


def _sums(gradient: Real, hessian: Real) -> tuple[jax.Array, jax.Array, jax.Array]:
    """g, D and C."""
    g, curve = jnp.asarray(gradient, float), jnp.asarray(hessian, float)
    if g.ndim != 1 or curve.shape not in (g.shape, g.shape * 2):
        raise ValueError(
            f"`hessian` must be [d] or [d, d] for `gradient` [d], got shapes {curve.shape} "
            f"and {g.shape}."
        )
    check_real("gradient", g)
    if not is_traced(g) and not bool(jnp.any(g != 0.0)):
        raise ValueError("`gradient` must not be zero, got all entries 0.")
    check_real("hessian", curve)
    check_real("hessian", curve if curve.ndim == 1 else jnp.diagonal(curve), at_least=0.0)
    if curve.ndim == 1:
        return g, jnp.sum(curve), jnp.zeros(())
    signs, diagonal = jnp.sign(g), jnp.diagonal(curve)
    return g, jnp.sum(diagonal), signs @ curve @ signs - jnp.sum(diagonal * signs**2)
