"""Residual polynomials of constant-momentum methods, exact at any horizon.

With constant coefficients the residual of a mode obeys e_{t+1} = S e_t - M e_{t-1}. Its roots are
c +- sqrt(D), c = S/2, D = c^2 - M, and with r the larger root in magnitude

    e_T = r^T [ (1 + q)/2 + (e_1 - c) (1 - q) / (2 sqrt D) sign c ],   q = (other root / r)^T,

or M^(T/2) [cos(T phi) + (e_1 - c) sin(T phi) / sqrt(-D)] where the roots are complex. Both forms
pass smoothly through the double root. 1 - |r| is computed from its own quadratic, so that its
relative accuracy survives T = 1e12.
"""

import jax
import jax.numpy as jnp

# Stands for zero where a root would vanish; its square root is far below rounding of any loss.
TINY = 1e-200


def second_order_residual(
    total: jax.Array, product: jax.Array, gap: jax.Array, first: jax.Array, steps: jax.Array
) -> jax.Array:
    """|e_T| of e_{t+1} = total e_t - product e_{t-1} with e_0 = 1, e_1 = first.

    Args:
        total: S, sum of the roots.
        product: M, product of the roots, below one.
        gap: (1 - S + M, 1 + S + M, S^2/4 - M) stacked on a leading axis of three: distances of the
            characteristic polynomial from zero at 1 and -1, and the discriminant, each free of
            cancellation.
        first: e_1.
        steps: T >= 0, whole numbers; all arguments broadcast together.

    Returns:
        Absolute value of e_T, array of the broadcast shape.

    Kind: exact; relative error about (1 + T phi) eps where roots are complex, eps otherwise.
    Valid: both roots in the unit disc.
    Source: derived; solution of a second-order linear recurrence.
    """
    at_one, at_minus_one, discriminant = gap
    centre = total / 2
    root = jnp.sqrt(jnp.maximum(jnp.abs(discriminant), TINY**1.5))
    real = discriminant > 0
    # Complex roots: modulus sqrt(M).
    modulus = jnp.sqrt(jnp.where(real, 1.0, jnp.maximum(product, TINY**1.5)))
    angle = steps * jnp.arctan2(root, centre)
    waves = jnp.cos(angle) + (first - centre) * jnp.sin(angle) / root
    complex_value = jnp.exp(steps * jnp.log(modulus)) * waves
    # Real roots: 1 - |r| solves z^2 - (2 - |S|) z + P = 0, P the polynomial at the nearer of +-1.
    near = jnp.where(centre < 0, at_minus_one, at_one)
    lost = 2.0 * near / ((1.0 - product + near) + 2.0 * root)
    size = jnp.abs(centre) + root
    log_size = jnp.where(lost < 0.5, jnp.log1p(-jnp.minimum(lost, 0.5)), jnp.log(size))
    quotient = _quotient_power(centre, product, root, size, steps)
    slope = jnp.where(centre < 0, -1.0, 1.0) * (first - centre) / (2.0 * root)
    real_value = jnp.exp(steps * log_size) * ((1.0 + quotient[0]) / 2 + slope * quotient[1])
    return jnp.abs(jnp.where(real, real_value, complex_value))


def _quotient_power(
    centre: jax.Array, product: jax.Array, root: jax.Array, size: jax.Array, steps: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """(q, 1 - q) for q = (small root / large root)^T, exact when the roots nearly coincide."""
    ratio = root / jnp.maximum(jnp.abs(centre), root)
    close = (product > 0) & (ratio < 0.5)
    apart = jnp.log(jnp.maximum(jnp.abs(product), TINY)) - 2.0 * jnp.log(size)
    log_ratio = jnp.where(close, -2.0 * jnp.arctanh(jnp.where(close, ratio, 0.0)), apart)
    odd = (product < 0) & (steps % 2 == 1)
    power = jnp.exp(steps * log_ratio)
    return jnp.where(odd, -power, power), jnp.where(odd, 1.0 + power, -jnp.expm1(steps * log_ratio))


def heavy_ball_residual(step: jax.Array, momentum: jax.Array, steps: jax.Array) -> jax.Array:
    """|p_T| of heavy ball, p_{t+1} = (1 + mu - h) p_t - mu p_{t-1}, p_0 = 1, p_1 = 1 - h.

    Args:
        step: h = eta lam in (0, 2 (1 + mu)).
        momentum: mu in [0, 1).
        steps: T >= 0, whole numbers; all arguments broadcast together.

    Returns:
        Array of the broadcast shape.

    Kind: exact, see `second_order_residual`.
    Valid: 0 < h < 2 (1 + mu).
    Source: Polyak 1964; optax convention m <- mu m + g, x <- x - eta m.
    """
    root_momentum = jnp.sqrt(jnp.maximum(momentum, TINY))
    below = ((1.0 - momentum) / (1.0 + root_momentum)) ** 2 - step
    above = (1.0 + root_momentum) ** 2 - step
    gap = jnp.stack([step, 2.0 * (1.0 + momentum) - step, below * above / 4])
    return second_order_residual(
        1.0 + momentum - step, jnp.maximum(momentum, TINY), gap, 1.0 - step, steps
    )


def nesterov_residual(step: jax.Array, momentum: jax.Array, steps: jax.Array) -> jax.Array:
    """|p_T| of Nesterov's method at the point where the gradient is taken.

    p_{t+1} = (1 - h) ((1 + mu) p_t - mu p_{t-1}), p_0 = 1, p_1 = 1 - h (1 + mu).

    Args:
        step: h = eta lam in (0, 2 (1 + mu) / (1 + 2 mu)).
        momentum: mu in [0, 1).
        steps: T >= 0, whole numbers; all arguments broadcast together.

    Returns:
        Array of the broadcast shape.

    Kind: exact, see `second_order_residual`.
    Valid: 0 < h < 2 (1 + mu) / (1 + 2 mu).
    Source: Nesterov 1983; optax convention m <- mu m + g, x <- x - eta (g + mu m), whose x is the
        extrapolated point y. The textbook's other sequence has residual (1 - h) p_{T-1}.
    """
    left = jnp.where(step == 1.0, TINY, 1.0 - step)
    momentum = jnp.maximum(momentum, TINY)
    inner = (1.0 - momentum) ** 2 - step * (1.0 + momentum) ** 2
    gap = jnp.stack(
        [step, 2.0 * (1.0 + momentum) - step * (1.0 + 2.0 * momentum), left * inner / 4]
    )
    first = 1.0 - step * (1.0 + momentum)
    return second_order_residual((1.0 + momentum) * left, momentum * left, gap, first, steps)
