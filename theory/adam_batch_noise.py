"""One step of Adam at a standing gradient: what its two averages do to the noise of a batch.

With long averages of g^2, Adam steps along u_i = m_i / sqrt(g_i^2 + s_i^2 / B), and m_i, an average
over 1 / (1 - momentum) gradients, has the mean g_i and (1 - momentum) / (1 + momentum) of the
variance s_i^2 / B: as if the batch were that much larger in the numerator alone.
"""

import jax
import jax.numpy as jnp

from theory.batch_noise import OneStep, sgd_step
from theory.checks import Real, check_real


def adam_step(
    gradient: Real, noise_std: Real, hessian: Real, batch_size: Real, momentum: float = 0.0
) -> OneStep:
    """One step of Adam where the gradient has long stood still, second momentum near one.

    With r_i = g_i / sqrt(g_i^2 + s_i^2/B), c = (1 - momentum) / (1 + momentum): slope sum r_i g_i,
    curvature r' H r + sum H_ii c (1 - r_i^2).

    Args:
        gradient: g, [d], not zero.
        noise_std: s > 0 of one sample, a scalar or [d].
        hessian: H, [d] (a diagonal) or [d, d].
        batch_size: B > 0, any shape.
        momentum: in [0, 1), of the average gradient.

    Returns:
        `OneStep` of arrays shaped like `batch_size`.

    Raises:
        ValueError: if shapes differ, the gradient is zero, or a number is outside its domain.

    Kind: asymptotic (long averages): exact as second_momentum -> 1, relative error of the order of
        1 - second_momentum.
    Valid: unbiased noise of any distribution, independent between coordinates, a gradient that
        changes little within both averages, no epsilon.
    Source: derived; mean-field of Su (kexue.fm/archives/11280 and 11301) with the variance kept.
    """
    check_real("batch_size", batch_size, above=0.0)
    check_real("noise_std", noise_std, above=0.0)
    check_real("momentum", momentum, at_least=0.0, below=1.0)
    sgd_step(gradient, jnp.ones(jnp.shape(gradient)), hessian, 1.0)  # refuses bad shapes
    g, curve = jnp.asarray(gradient, float), jnp.asarray(hessian, float)
    variance = jnp.broadcast_to(jnp.asarray(noise_std, float) ** 2, g.shape)
    share = (1.0 - momentum) / (1.0 + momentum)

    def one(batch: jax.Array) -> OneStep:
        mean = g / jnp.sqrt(g**2 + variance / batch)
        curvature = sgd_step(mean, share * (1.0 - mean**2), curve, 1.0).curvature
        return OneStep(jnp.sum(mean * g), curvature)

    batch = jnp.asarray(batch_size, float)
    steps = jax.vmap(one)(batch.ravel())
    return OneStep(steps.slope.reshape(batch.shape), steps.curvature.reshape(batch.shape))
