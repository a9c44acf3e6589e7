"""Rules for the batch size: noise scales, critical batch, square-root rule, what momentum is worth.

The trade-off between steps and samples, (S/S_min - 1)(E/E_min - 1) = 1, assumes one noise scale for
the whole run; `theory.noisy_quadratic` shows how far it is off where the scale grows.
"""

import jax
import jax.numpy as jnp

from theory.batch_noise import sgd_step
from theory.checks import Real, check_real


def simple_noise_scale(gradient: Real, covariance: Real) -> jax.Array:
    """tr(Sigma) / |g|^2, the batch at which noise and gradient have the same norm.

    Args:
        gradient: g, [d], not zero.
        covariance: Sigma of one sample's gradient, [d] (a diagonal) or [d, d].

    Returns:
        A scalar, in samples.

    Raises:
        ValueError: if shapes differ or the gradient is zero.

    Kind: definition.
    Valid: any finite covariance.
    Source: McCandlish et al. 2018 (arXiv 1812.06162) equation 2.9.
    """
    g = jnp.asarray(gradient, float)
    return curvature_noise_scale(g, covariance, jnp.ones_like(g))


def curvature_noise_scale(gradient: Real, covariance: Real, hessian: Real) -> jax.Array:
    """tr(H Sigma) / g' H g, the batch at which the best rate of SGD is half its maximum.

    Args:
        gradient: g, [d], not zero.
        covariance: Sigma of one sample's gradient, [d] or [d, d].
        hessian: H, [d] or [d, d], with g' H g > 0.

    Returns:
        A scalar, in samples.

    Raises:
        ValueError: if shapes differ or the gradient is zero.

    Kind: definition.
    Valid: g' H g > 0.
    Source: McCandlish et al. 2018 (arXiv 1812.06162) equation 2.8.
    """
    one_sample = sgd_step(gradient, covariance, hessian, 1.0).curvature
    exact = sgd_step(gradient, jnp.zeros(jnp.shape(covariance)), hessian, 1.0).curvature
    return (one_sample - exact) / exact


def mean_field_rate(max_learning_rate: Real, noise_scale: Real, batch_size: Real) -> jax.Array:
    """eta_max / sqrt(1 + B_simple / B), the square-root rule of Adam, sign and Muon steps.

    Args:
        max_learning_rate: eta_max > 0, best rate without noise.
        noise_scale: B_simple > 0; for a matrix step m n s^2 / |G|_F^2.
        batch_size: B > 0.

    Returns:
        Array of the broadcast shape.

    Raises:
        ValueError: if a number is not positive.

    Kind: asymptotic (uncoupled signs, one signal-to-noise ratio): E sign = g / sqrt(g^2 + s^2/B)
        instead of the error function of Gaussian noise: too large by the factor sqrt(pi/2) = 1.25
        as B -> 0, too small by at most 6.4 %, at B = 4.6 s^2/g^2.
    Valid: curvature of the mean direction negligible beside that of single coordinates.
    Source: Su (kexue.fm/archives/11280 and 11285), re-derived.
    """
    check_real("max_learning_rate", max_learning_rate, above=0.0)
    check_real("noise_scale", noise_scale, above=0.0)
    check_real("batch_size", batch_size, above=0.0)
    ratio = jnp.asarray(noise_scale, float) / jnp.asarray(batch_size, float)
    return jnp.asarray(max_learning_rate, float) / jnp.sqrt(1.0 + ratio)


def effective_batch_size(batch_size: Real, momentum: Real) -> jax.Array:
    """B (1 + momentum) / (1 - momentum), samples that an averaged gradient is worth.

    Args:
        batch_size: B > 0.
        momentum: 1 - alpha in [0, 1).

    Returns:
        Array of the broadcast shape.

    Raises:
        ValueError: if a number is outside its domain.

    Kind: exact for the variance of the average of independent noise, after many steps.
    Valid: the gradient itself changes little within 1 / alpha steps.
    Source: Su (kexue.fm/archives/11301); alpha / (2 - alpha) is the sum of the squared weights.
    """
    check_real("batch_size", batch_size, above=0.0)
    check_real("momentum", momentum, at_least=0.0, below=1.0)
    kept = jnp.asarray(momentum, float)
    return jnp.asarray(batch_size, float) * (1.0 + kept) / (1.0 - kept)


def critical_batch(steps_min: Real, examples_min: Real) -> jax.Array:
    """E_min / S_min, the batch at which both costs are twice their minimum.

    Args:
        steps_min: S_min > 0, steps to the target with an unlimited batch.
        examples_min: E_min > 0, samples to the target with the smallest batch.

    Returns:
        Array of the broadcast shape, in samples.

    Raises:
        ValueError: if a number is not positive.

    Kind: definition.
    Valid: the trade-off of `steps_needed`.
    Source: McCandlish et al. 2018 (arXiv 1812.06162) equation 2.12.
    """
    check_real("steps_min", steps_min, above=0.0)
    check_real("examples_min", examples_min, above=0.0)
    return jnp.asarray(examples_min, float) / jnp.asarray(steps_min, float)


def steps_needed(steps_min: Real, examples_min: Real, batch_size: Real) -> jax.Array:
    """S_min + E_min / B, steps to the target; samples are B times as many.

    The hyperbola (S/S_min - 1)(E/E_min - 1) = 1 with E = B S.

    Args:
        steps_min: S_min > 0.
        examples_min: E_min > 0.
        batch_size: B > 0.

    Returns:
        Array of the broadcast shape.

    Raises:
        ValueError: if a number is not positive.

    Kind: exact where every step gains 1 / (1 + B_noise/B) of its noiseless gain with one B_noise
        for the whole run; a fit elsewhere (a noise scale that grows along the run bends it).
    Valid: learning rate tuned at every step.
    Source: McCandlish et al. 2018 (arXiv 1812.06162) equation 2.11.
    """
    check_real("batch_size", batch_size, above=0.0)
    critical = critical_batch(steps_min, examples_min)
    return jnp.asarray(steps_min, float) * (1.0 + critical / jnp.asarray(batch_size, float))
