"""The noisy quadratic model: independent modes whose gradient noise has the Hessian's covariance.

Mode i has curvature h_i, gradient h_i x_i + noise of variance h_i / B, and E x_i^2 = 1 before the
first step. Its second moment under SGD is, exactly and at any step T,

    v_i(T) = s_i + (1 - eta h_i)^(2T) (1 - s_i),   s_i = eta / (B (2 - eta h_i)).

Noise stays while the gradient shrinks: the noise scale grows along a run, and the trade-off between
steps and samples is no longer the hyperbola of `theory.critical_batch`.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp

from theory.checks import Real, check_real

# Steps are sought between 1 and 2^60, and bisected to a relative 2^-50.
LOG_MAX_STEPS = 60.0 * math.log(2.0)
HALVINGS = 56


def noisy_quadratic_loss(
    eigenvalues: Real, learning_rate: Real, batch_size: Real, steps: Real
) -> jax.Array:
    """Expected loss 1/2 sum h_i v_i(T) of SGD.

    Args:
        eigenvalues: h > 0, [d].
        learning_rate: eta > 0 with eta max h < 2.
        batch_size: B > 0.
        steps: T >= 0; these three of shapes that broadcast.

    Returns:
        Array of the broadcast shape.

    Raises:
        ValueError: if a number is outside its domain or the iteration diverges.

    Kind: exact.
    Valid: independent noise of variance h_i / B, E x_i(0)^2 = 1.
    Source: Zhang et al. 2019 (arXiv 1907.04164), re-derived: v' = (1 - eta h)^2 v + eta^2 h / B.
    """
    check_real("steps", steps, at_least=0.0)
    _check(eigenvalues, learning_rate, batch_size)
    numbers = (jnp.asarray(x, float) for x in (learning_rate, batch_size, steps))
    return _loss(jnp.asarray(eigenvalues, float), *jnp.broadcast_arrays(*numbers))


@jax.jit
def _loss(eigenvalues: jax.Array, eta: jax.Array, batch: jax.Array, steps: jax.Array) -> jax.Array:
    step = eta[..., None] * eigenvalues
    floor = eta[..., None] / (batch[..., None] * (2.0 - step))
    # log|1 - step| without cancellation, and without a pole where step is one.
    kept = jnp.where(step == 1.0, -jnp.inf, jnp.log1p(-jnp.where(step == 1.0, 0.5, _folded(step))))
    power = jnp.where(steps[..., None] > 0.0, 2.0 * steps[..., None] * kept, 0.0)
    return jnp.sum(eigenvalues * (floor + jnp.exp(power) * (1.0 - floor)), axis=-1) / 2.0


def _folded(step: jax.Array) -> jax.Array:
    """The step below one with the same |1 - step|."""
    return jnp.where(step > 1.0, 2.0 - step, step)


def steps_to_target(
    eigenvalues: Real, target: Real, learning_rates: Real, batch_size: Real
) -> jax.Array:
    """Steps (a real number) until the expected loss is down to a target, for every learning rate.

    Args:
        eigenvalues: h > 0, [d].
        target: loss above the minimum, positive.
        learning_rates: eta, [R], with eta max h < 2; the best is the user's to pick.
        batch_size: B > 0, a scalar.

    Returns:
        [R]; infinite where the loss settles above the target, zero where it starts below.

    Raises:
        ValueError: if a number is outside its domain.

    Kind: exact to a relative 2^-50.
    Valid: loss that falls to its plateau: eta max h not so near 2 that a mode settles above its
        start.
    Source: bisection of `noisy_quadratic_loss` in log(1 + T).
    """
    check_real("target", target, above=0.0)
    _check(eigenvalues, learning_rates, batch_size)
    rates, batch = jnp.broadcast_arrays(
        *(jnp.asarray(x, float) for x in (learning_rates, batch_size))
    )
    return _bisect(jnp.asarray(eigenvalues, float), jnp.asarray(target, float), rates, batch)


@jax.jit
def _bisect(
    eigenvalues: jax.Array, target: jax.Array, rates: jax.Array, batch: jax.Array
) -> jax.Array:
    loss = partial(_loss, eigenvalues, rates, batch)

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2.0
        above = loss(jnp.expm1(middle)) > target
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    ends = jnp.zeros_like(rates), jnp.full_like(rates, LOG_MAX_STEPS)
    _, high = jax.lax.fori_loop(0, HALVINGS, halve, ends)
    start, end = loss(jnp.zeros_like(rates)), loss(jnp.expm1(ends[1]))
    steps = jnp.where(end <= target, jnp.expm1(high), jnp.inf)
    return jnp.where(start <= target, 0.0, steps)


def _check(eigenvalues: Real, learning_rates: Real, batch_size: Real) -> None:
    check_real("eigenvalues", eigenvalues, above=0.0)
    check_real("batch_size", batch_size, above=0.0)
    largest = float(jnp.max(jnp.asarray(eigenvalues, float)))
    check_real("learning_rate", learning_rates, above=0.0, below=2.0 / largest)
