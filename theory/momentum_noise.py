"""Where SGD with momentum comes to rest: noise floors and the exact stability threshold.

A mode at rest under gradient noise of variance s is an AR(2) process, whose variance is eta^2 s V
with V in closed form; the coupling of the modes through the loss then closes in one sum.
"""

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import Real, check_real, is_traced
from theory.problem import PowerLawQuadratic
from theory.spectrum import Spectrum, as_spectrum, mode_sum


def _loudness(step: jax.Array, mu: jax.Array, nesterov: bool) -> jax.Array:
    """x^2 V of one mode: lam E e^2 at rest over lam times the variance of the noise in g."""
    r = mu * (1.0 - step) if nesterov else jnp.broadcast_to(mu, step.shape)
    return step * (1.0 + r) / ((1.0 - r) * (2.0 * (1.0 + r) - step))


def _loudness_at_gradient(step: jax.Array, mu: jax.Array, nesterov: bool) -> jax.Array:
    """`_loudness` at the point where the gradient is taken."""
    loud = _loudness(step, mu, nesterov)
    if not nesterov:
        return loud
    # y = (1 + mu) x_t - mu x_{t-1} and corr(x_t, x_{t-1}) = 1 - h / (1 + r).
    return loud * (1.0 + 2.0 * mu * (1.0 + mu) * step / (1.0 + mu * (1.0 - step)))


def momentum_noise_floor(
    problem: PowerLawQuadratic | Spectrum,
    learning_rate: Real,
    momentum: Real,
    batch_size: Real,
    noise_variance: Real,
    *,
    nesterov: bool = False,
) -> jax.Array:
    """Stationary loss from label noise alone, sigma^2/(2 B) sum x^2 V, x = eta lam.

    V = (1 + r) / ((1 - r) x (2 (1 + r) - x)), r = mu (heavy ball) or mu (1 - x) (Nesterov, at the
    textbook's iterate, not at the extrapolated point where the gradient is taken).

    Args:
        problem: the quadratic, or any spectrum; its own noise variance is not used.
        learning_rate: eta in the stable range of the deterministic method.
        momentum: mu in [0, 1).
        batch_size: B >= 1.
        noise_variance: sigma^2 >= 0, additive.
        nesterov: Nesterov's form instead of heavy ball.

    Returns:
        A scalar.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact for additive noise; for least squares its leading order in eta/B, see
        `stationary_loss`.
    Valid: 0 < x < 2 (1 + mu), or 2 (1 + mu) / (1 + 2 mu) for Nesterov.
    Source: derived; variance of a stationary AR(2) process. Heavy ball ~ eta/(1 - mu), Nesterov
        ~ (eta/(1 - mu))^(1/a) as in Wang et al. 2026 (arXiv 2609.02728).
    """
    check_real("noise_variance", noise_variance, at_least=0.0)
    spectrum, step, mu, batch = _noise_arguments(
        problem, learning_rate, momentum, batch_size, nesterov
    )
    loud = _loudness(step, mu, nesterov)
    return jnp.asarray(noise_variance, float) / (2.0 * batch) * mode_sum(spectrum, loud)


def momentum_stability_sum(
    problem: PowerLawQuadratic | Spectrum,
    learning_rate: Real,
    momentum: Real,
    batch_size: Real,
    *,
    nesterov: bool = False,
) -> jax.Array:
    """sum_k q_k / (1 - q_k), q = x^2 V / B: SGD with momentum is stable iff it is below one.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rate: eta in the stable range of the deterministic method.
        momentum: mu in [0, 1).
        batch_size: B >= 1.
        nesterov: Nesterov's form instead of heavy ball.

    Returns:
        A scalar; infinite where a single mode is unstable by itself.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact.
    Valid: Gaussian data, fresh samples.
    Source: derived; at rest lam v = x^2 V (S + lam v)/B with S = sum lam v + s^2, so
        S = s^2 / (1 - kappa). Equals `theory.sgd.stability_sum` at mu = 0.
    """
    spectrum, step, mu, batch = _noise_arguments(
        problem, learning_rate, momentum, batch_size, nesterov
    )
    share = _loudness_at_gradient(step, mu, nesterov) / batch
    alone = jnp.all((share >= 0.0) & (share < 1.0))
    total = mode_sum(spectrum, share / jnp.where(share < 1.0, 1.0 - share, 1.0))
    return jnp.where(alone, total, jnp.inf)


def stationary_loss(
    problem: PowerLawQuadratic | Spectrum,
    learning_rate: Real,
    momentum: Real,
    batch_size: Real,
    *,
    nesterov: bool = False,
) -> jax.Array:
    """Loss beyond irreducible + approximation that SGD with momentum tends to, s^2/2 k/(1 - k).

    Here k is `momentum_stability_sum` and s^2 = sigma^2 + sum_{i>N} i^-b.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rate: eta with `momentum_stability_sum` below one.
        momentum: mu in [0, 1).
        batch_size: B >= 1.
        nesterov: Nesterov's form instead of heavy ball (at the point where the gradient is taken).

    Returns:
        A scalar; infinite where unstable.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact.
    Valid: Gaussian data, fresh samples, T -> infinity.
    Source: derived; see `momentum_stability_sum`.
    """
    total = momentum_stability_sum(problem, learning_rate, momentum, batch_size, nesterov=nesterov)
    spectrum = as_spectrum(problem)
    noise = spectrum.noise_variance + 2.0 * spectrum.approximation
    stable = total < 1.0
    safe = jnp.where(stable, total, 0.0)
    return jnp.where(stable, noise / 2 * safe / (1.0 - safe), jnp.inf)


def _noise_arguments(
    problem: PowerLawQuadratic | Spectrum,
    learning_rate: Real,
    momentum: Real,
    batch_size: Real,
    nesterov: bool,
) -> tuple[Spectrum, jax.Array, jax.Array, jax.Array]:
    check_real("momentum", momentum, at_least=0.0, below=1.0)
    check_real("batch_size", batch_size, at_least=1.0)
    check_real("learning_rate", learning_rate, above=0.0)
    spectrum = as_spectrum(problem)
    if not is_traced(momentum, spectrum.eigenvalues):
        mu = float(np.asarray(momentum))
        limit = 2 * (1 + mu) / (1 + 2 * mu if nesterov else 1.0)
        largest = float(np.max(np.asarray(spectrum.eigenvalues)))
        check_real("learning_rate", learning_rate, below=limit / largest)
    eta = jnp.asarray(learning_rate, float)
    step = eta * spectrum.eigenvalues
    return spectrum, step, jnp.asarray(momentum, float), jnp.asarray(batch_size, float)
