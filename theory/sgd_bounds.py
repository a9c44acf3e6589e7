"""Classical bounds of plain SGD, x_(k+1) = x_k - eta g_k, to set beside those of LMO methods."""

import jax.numpy as jnp

from theory.checks import Real, check_real
from theory.lmo_bound_variants import check_product
from theory.lmo_bounds import Bound, aligned, check_run
from theory.lmo_constants import BoundConstants


def sgd_bound(
    constants: BoundConstants, learning_rate: Real, batch_size: Real, steps: Real
) -> Bound:
    """Bound of plain SGD on the mean over k < K of E |grad f(x_k)|_2^2: note the square.

    2 Delta/(eta K) + L eta sigma^2 / B.

    Args:
        constants: Delta, sigma, L of the Euclidean norm; rho is not used.
        learning_rate: eta in (0, 1/L].
        batch_size: B > 0.
        steps: K >= 1.

    Returns:
        A `Bound` with terms initial_gap and noise.

    Raises:
        ValueError: if a number is outside its domain.

    Kind: upper bound.
    Valid: L-smooth f, unbiased noise of bounded variance, x_(k+1) = x_k - eta g_k, eta <= 1/L.
    Source: Ghadimi and Lan 2013 (arXiv 1309.5549) theorem 2.1, re-derived: f(x_(k+1)) <= f(x_k)
        - eta (1 - L eta/2) |grad f|^2 + L eta^2 sigma^2 / (2 B) in the mean.
    """
    check_run(learning_rate, 1.0, batch_size, steps)
    check_product("learning_rate * smoothness", learning_rate, constants.smoothness)
    eta, batch, steps = aligned(learning_rate, batch_size, steps)
    noise = jnp.asarray(constants.smoothness) * jnp.asarray(constants.noise) ** 2
    return Bound(
        {
            "initial_gap": 2.0 * jnp.asarray(constants.initial_gap) / (eta * steps),
            "noise": noise * eta / batch,
        }
    )


def sgd_convex_bound(
    constants: BoundConstants,
    learning_rate: Real,
    batch_size: Real,
    steps: Real,
    *,
    distance: Real,
) -> Bound:
    """Bound of plain SGD on the mean over k < K of E f(x_k) - f* (hence at the mean iterate).

    R^2/(2 eta K) + eta sigma^2/(2 B).

    Args:
        constants: sigma, and L of the Euclidean norm for the check; the others are not used.
        learning_rate: eta in (0, 1/L].
        batch_size: B > 0.
        steps: K >= 1.
        distance: R = |x_0 - x*|_2 > 0.

    Returns:
        A `Bound` with terms distance and noise.

    Raises:
        ValueError: if a number is outside its domain.

    Kind: upper bound.
    Valid: convex L-smooth f, unbiased noise of bounded variance, eta <= 1/L.
    Source: textbook; re-derived: |x_(k+1) - x*|^2 falls by 2 eta <grad f, x_k - x*> - eta^2 |g|^2,
        and <grad f, x - x*> >= f - f* + |grad f|^2 / (2 L) pays for eta^2 |grad f|^2.
    """
    check_run(learning_rate, 1.0, batch_size, steps)
    check_real("distance", distance, above=0.0)
    check_product("learning_rate * smoothness", learning_rate, constants.smoothness)
    eta, batch, steps, radius = aligned(learning_rate, batch_size, steps, distance)
    noise = jnp.asarray(constants.noise) ** 2 * eta / (2.0 * batch)
    return Bound({"distance": radius**2 / (2.0 * eta * steps), "noise": noise})
