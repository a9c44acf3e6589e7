"""The last-iterate bound of convex nonsmooth optimisation for any learning-rate schedule."""

import jax.numpy as jnp
from jax import Array

from theory.checks import Real, check_float64, check_real


def convex_bound_terms(
    learning_rates: Real, gradient_norms: Real = 1.0, distance: Real = 1.0
) -> tuple[Array, Array]:
    """The bound on the last iterate's loss, as (term falling, term rising) in the base rate.

    Omega_T = D^2 / (2 sum eta) + [ sum eta^2 G^2 / (2 sum eta)
              + 1/2 sum_{k<T} eta_k / sum_{t>k} eta * sum_{t>=k} eta^2 G^2 / sum_{t>=k} eta ].

    Args:
        learning_rates: eta_t > 0, [T].
        gradient_norms: G_t >= 0, a scalar or [T].
        distance: D > 0, distance of the start from a minimiser.

    Returns:
        The first term and the bracket, scalars; Omega_T is their sum.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: upper bound.
    Valid: convex f, subgradient method, last iterate.
    Source: Defazio et al. 2023 (arXiv 2310.07831) theorem 10, as used by Schaipp et al. 2025
        (arXiv 2501.18965).
    """
    check_float64()
    check_real("learning_rates", learning_rates, above=0.0)
    check_real("gradient_norms", gradient_norms, at_least=0.0)
    check_real("distance", distance, above=0.0)
    rates = jnp.asarray(learning_rates, float)
    squares = rates**2 * jnp.asarray(gradient_norms, float) ** 2
    from_here, squares_from_here = _tail_sums(rates), _tail_sums(squares)
    last = rates[:-1] / from_here[1:] * squares_from_here[:-1] / from_here[:-1]
    falling = jnp.asarray(distance, float) ** 2 / (2 * from_here[0])
    return falling, squares_from_here[0] / (2 * from_here[0]) + jnp.sum(last) / 2


def _tail_sums(values: Array) -> Array:
    return jnp.cumsum(values[::-1])[::-1]


def tuned_convex_bound(
    shape: Real, gradient_norms: Real = 1.0, distance: Real = 1.0
) -> tuple[Array, Array]:
    """The least bound over the base learning rate of a schedule, and that base rate.

    Args:
        shape: schedule values before scaling, positive, [T].
        gradient_norms: G_t >= 0, a scalar or [T], not all zero.
        distance: D > 0.

    Returns:
        Base learning rate and Omega_T at it, scalars.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: upper bound.
    Valid: convex f, subgradient method, last iterate.
    Source: derived; A / eta + B eta is least at sqrt(A/B). Schaipp et al. 2025 (arXiv 2501.18965)
        print the values tested.
    """
    falling, rising = convex_bound_terms(shape, gradient_norms, distance)
    return jnp.sqrt(falling / rising), 2 * jnp.sqrt(falling * rising)
