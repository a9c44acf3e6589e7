"""Descent with weights on a grid: where stochastic and nearest rounding stop. Float64.

Every mode of a quadratic by itself: the weight x is a multiple of the spacing u, the gradient
lam (x - x*) is exact, and each step ends in rounding, x <- round(x - eta lam (x - x*)). The mean
square of an error that rounding makes at one step is no guide to the floor: these errors are not
independent, and the floor of unbiased rounding does not depend on the step size.
"""

import jax
import jax.numpy as jnp

from theory.checks import Real, check_real


def cell_position(target: Real, spacing: Real) -> jax.Array:
    """Distance of x* from the grid point below, in units of the spacing, x*/u - floor(x*/u).

    Args:
        target: x*, any shape.
        spacing: u > 0, broadcast.

    Returns:
        f in [0, 1).

    Raises:
        ValueError: if a spacing is not positive.

    Kind: definition.
    Valid: always.
    Source: derived.
    """
    check_real("target", target)
    check_real("spacing", spacing, above=0.0)
    scaled = jnp.asarray(target, float) / spacing
    return scaled - jnp.floor(scaled)


def stochastic_rounding_variance(position: Real, spacing: Real) -> jax.Array:
    """Stationary E (x - x*)^2 of stochastic rounding, u^2 f (1 - f); its mean error is zero.

    Args:
        position: f in [0, 1], see `cell_position`.
        spacing: u > 0.

    Returns:
        Array, broadcast.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact.
    Valid: 0 < eta lam <= 1/max(f, 1 - f), so every f for eta lam <= 1; unbiased stochastic
        rounding, exact gradients, one mode. Every step size in this range gives the same value.
    Source: derived. From either neighbour of x* the step of length eta lam |x - x*| < u ends on
        one of the two: up with probability eta lam f, down with eta lam (1 - f). The stationary
        weights are 1 - f (lower) and f, for eta lam cancels; the start is forgotten like
        (1 - eta lam)^t.
    """
    check_real("position", position, at_least=0.0, at_most=1.0)
    check_real("spacing", spacing, above=0.0)
    place = jnp.asarray(position, float)
    return jnp.asarray(spacing, float) ** 2 * place * (1.0 - place)


def stochastic_rounding_risk(eigenvalues: Real, target: Real, spacing: Real) -> jax.Array:
    """Stationary loss at a given target, 1/2 sum_k lam_k u_k^2 f_k (1 - f_k).

    Args:
        eigenvalues: lam > 0, [n].
        target: x*, [n].
        spacing: u > 0, [n] or a scalar.

    Returns:
        Scalar.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact.
    Valid: 0 < eta lam <= 1 for every mode, unbiased stochastic rounding of weights in the
        eigenbasis, exact gradients.
    Source: derived.
    """
    check_real("eigenvalues", eigenvalues, above=0.0)
    variance = stochastic_rounding_variance(cell_position(target, spacing), spacing)
    return jnp.sum(jnp.asarray(eigenvalues, float) * variance) / 2


def stochastic_rounding_floor(eigenvalues: Real, spacing: Real) -> jax.Array:
    """Stationary loss in the mean over targets, 1/12 sum_k lam_k u_k^2.

    Args:
        eigenvalues: lam > 0, [n].
        spacing: u > 0, [n] or a scalar.

    Returns:
        Scalar: twice that of the nearest grid point, 1/24 sum lam u^2.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact.
    Valid: as `stochastic_rounding_risk`, targets uniform in their cells.
    Source: derived; the mean of f (1 - f) is 1/6.
    """
    check_real("eigenvalues", eigenvalues, above=0.0)
    check_real("spacing", spacing, above=0.0)
    return jnp.sum(jnp.asarray(eigenvalues, float) * jnp.asarray(spacing, float) ** 2) / 12


def independent_error_floor(eigenvalues: Real, variance: Real, learning_rate: Real) -> jax.Array:
    """Stationary loss if each step added an independent error, sum_k v_k/(2 eta (2 - eta lam_k)).

    It grows like 1/eta: a model of rounding that must not be confused with rounding itself.

    Args:
        eigenvalues: lam > 0, [n].
        variance: v >= 0 of the error of one step, [n] or a scalar.
        learning_rate: eta > 0.

    Returns:
        Scalar.

    Raises:
        ValueError: if an argument is outside its domain or eta lam reaches 2.

    Kind: exact.
    Valid: 0 < eta lam < 2, independent errors of mean zero.
    Source: derived; 1/2 sum lam v / (1 - (1 - eta lam)^2).
    """
    check_real("eigenvalues", eigenvalues, above=0.0)
    check_real("variance", variance, at_least=0.0)
    check_real("learning_rate", learning_rate, above=0.0)
    product = jnp.asarray(learning_rate, float) * jnp.asarray(eigenvalues, float)
    check_real("learning_rate * eigenvalues", product, below=2.0)
    return jnp.sum(variance / (2.0 - product)) / (2.0 * jnp.asarray(learning_rate, float))


def nearest_stalls(eigenvalues: Real, error: Real, spacing: Real, learning_rate: Real) -> jax.Array:
    """Whether nearest rounding undoes the step, eta lam |x - x*| < u / 2.

    Args:
        eigenvalues: lam > 0.
        error: x - x* with x on the grid.
        spacing: u > 0.
        learning_rate: eta > 0.

    Returns:
        Boolean array, broadcast; exactly at equality it depends on how ties are rounded.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact.
    Valid: x on the grid, exact gradient.
    Source: derived; the grid point nearest to x - eta lam (x - x*) is x itself.
    """
    _check_step(eigenvalues, spacing, learning_rate)
    check_real("error", error)
    step = learning_rate * eigenvalues * jnp.abs(jnp.asarray(error, float))
    return jnp.asarray(step < spacing / 2.0)


def nearest_stall_risk(
    eigenvalues: Real, start: Real, spacing: Real, learning_rate: Real
) -> jax.Array:
    """Bound on the loss where nearest rounding stops, 1/2 sum lam min(|d|, u/(2 eta lam))^2.

    Args:
        eigenvalues: lam > 0, [n].
        start: d = x_0 - x*, x_0 on the grid, [n].
        spacing: u > 0, [n] or a scalar.
        learning_rate: eta > 0.

    Returns:
        Scalar: unlike the floor of stochastic rounding it grows as the step shrinks.

    Raises:
        ValueError: if an argument is outside its domain or eta lam exceeds 1.

    Kind: upper bound.
    Valid: 0 < eta lam <= 1, x_0 on the grid, exact gradients.
    Source: derived; errors never grow, and a mode moves until it stalls. It does in steps of u at
        the end, so that |x - x*| > u/(2 eta lam) - u for every mode that has moved.
    """
    _check_step(eigenvalues, spacing, learning_rate)
    check_real("start", start)
    lam, eta = jnp.asarray(eigenvalues, float), jnp.asarray(learning_rate, float)
    check_real("learning_rate * eigenvalues", lam * eta, at_most=1.0)
    reach = jnp.asarray(spacing, float) / (2.0 * eta * lam)
    return jnp.sum(lam * jnp.minimum(jnp.abs(jnp.asarray(start, float)), reach) ** 2) / 2


def _check_step(eigenvalues: Real, spacing: Real, learning_rate: Real) -> None:
    check_real("eigenvalues", eigenvalues, above=0.0)
    check_real("spacing", spacing, above=0.0)
    check_real("learning_rate", learning_rate, above=0.0)
