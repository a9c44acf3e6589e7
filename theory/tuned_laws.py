"""Closed forms of the hyperparameters that minimise the five-term bound, named by what is tuned.

    F = Delta/(eta K) + c1 rho sigma/(alpha sqrt(B) K) + c2 rho sigma sqrt(alpha/B)
        + L eta (c3 + c4/alpha),   T = B K tokens,   C = c3 + c4/alpha.

The exact ones hold while the result keeps 1 <= B <= T; the asymptotic ones are the first order in
1/T. The same laws for any posynomial bound: `theory.tuning.derive`.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from theory.checks import Real, check_real
from theory.lmo_bounds import KOVALEV, Coefficients
from theory.lmo_constants import BoundConstants


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["learning_rate", "alpha", "batch_size", "bound"],
    meta_fields=[],
)
@dataclass(frozen=True)
class TunedRun:
    """Hyperparameters that minimise a bound, and the minimum.

    Attributes:
        learning_rate: eta.
        alpha: 1 - momentum.
        batch_size: B.
        bound: value of the bound; its leading order where the law is asymptotic.
    """

    learning_rate: jax.Array
    alpha: jax.Array
    batch_size: jax.Array
    bound: jax.Array


def tuned_learning_rate(
    constants: BoundConstants,
    alpha: Real,
    batch_size: Real,
    steps: Real,
    coefficients: Coefficients = KOVALEV,
) -> TunedRun:
    """Learning rate sqrt(Delta/(L K C)): free of B at given steps, (B/T)^(1/2) at given tokens.

    Args:
        constants: Delta, L, rho, sigma.
        alpha: 1 - momentum, in (0, 1].
        batch_size: B > 0.
        steps: K >= 1; T / B at given tokens.
        coefficients: c_1..c_4.

    Returns:
        `TunedRun`; its bound is 2 sqrt(Delta L C / K) plus the two terms in sigma.

    Raises:
        ValueError: if a number is outside its domain.

    Kind: exact minimum of the bound.
    Valid: no limit on eta.
    Source: derived; a/eta + b eta is smallest at sqrt(a/b). Square-root rule at given tokens.
    """
    _check_held(coefficients, alpha=alpha, batch_size=batch_size)
    check_real("steps", steps, at_least=1.0)
    alpha, batch, steps = _arrays(alpha, batch_size, steps)
    gap, slope, noise = _numbers(constants)
    pull = slope * (coefficients.smoothness + coefficients.lag / alpha)
    floor = coefficients.burn_in / (alpha * steps) + coefficients.noise * jnp.sqrt(alpha)
    return TunedRun(
        jnp.sqrt(gap / (pull * steps)),
        alpha,
        batch,
        2.0 * jnp.sqrt(gap * pull / steps) + noise * floor / jnp.sqrt(batch),
    )


def tuned_batch(
    constants: BoundConstants,
    alpha: Real,
    tokens: Real,
    coefficients: Coefficients = KOVALEV,
) -> TunedRun:
    """Learning rate and batch size at given momentum: B ~ T^(1/2), eta ~ T^(-1/4).

    B = c2 rho sigma sqrt(alpha) / (2 sqrt(L Delta C / T) + c1 rho sigma / (alpha T)).

    Args:
        constants: Delta, L, rho, sigma > 0.
        alpha: 1 - momentum, in (0, 1].
        tokens: T >= 1.
        coefficients: c_1..c_4.

    Returns:
        `TunedRun`; bound 2 sqrt(c2 rho sigma sqrt(alpha) (...)) with (...) the denominator of B.

    Raises:
        ValueError: if a number is outside its domain.

    Kind: exact minimum of the bound.
    Valid: 1 <= B <= T for the result.
    Source: derived; with eta tuned the bound is a sqrt(B) + b / sqrt(B).
    """
    _check_held(coefficients, alpha=alpha)
    check_real("tokens", tokens, at_least=1.0)
    alpha, tokens = _arrays(alpha, tokens)
    gap, slope, noise = _numbers(constants)
    pull = slope * (coefficients.smoothness + coefficients.lag / alpha)
    rising = 2.0 * jnp.sqrt(gap * pull / tokens) + coefficients.burn_in * noise / (alpha * tokens)
    falling = coefficients.noise * noise * jnp.sqrt(alpha)
    batch = falling / rising
    eta = jnp.sqrt(gap * batch / (pull * tokens))
    return TunedRun(eta, alpha, batch, 2.0 * jnp.sqrt(falling * rising))


def tuned_momentum(
    constants: BoundConstants,
    batch_size: Real,
    tokens: Real,
    coefficients: Coefficients = KOVALEV,
) -> TunedRun:
    """Learning rate and momentum at given batch size: eta ~ B T^(-3/4), alpha ~ B T^(-1/2).

    alpha = 2 sqrt(c4 L Delta)/(c2 rho sigma) B T^(-1/2),
    eta = sqrt(2) Delta^(3/4) (c4 L)^(-1/4) (c2 rho sigma)^(-1/2) B T^(-3/4),
    F = 2 sqrt(2) (c4 L Delta)^(1/4) (c2 rho sigma)^(1/2) T^(-1/4), the same for all B.

    Args:
        constants: Delta, L, rho, sigma > 0.
        batch_size: B >= 1.
        tokens: T >= 1.
        coefficients: c_1..c_4; c_1 and c_3 are of lower order.

    Returns:
        `TunedRun`.

    Raises:
        ValueError: if a number is outside its domain.

    Kind: asymptotic.
    Valid: alpha << 1, that is B far below `momentum_limit`.
    Source: derived; three terms at their geometric-program optimum with shares 1/4, 1/2, 1/4.
    """
    _check_held(coefficients, batch_size=batch_size)
    check_real("tokens", tokens, at_least=1.0)
    batch, tokens = _arrays(batch_size, tokens)
    gap, slope, noise = _numbers(constants)
    pull, loud = coefficients.lag * slope, coefficients.noise * noise
    return TunedRun(
        jnp.sqrt(2.0) * gap**0.75 * pull**-0.25 * loud**-0.5 * batch * tokens**-0.75,
        2.0 * jnp.sqrt(pull * gap) / loud * batch * tokens**-0.5,
        batch,
        2.0 * jnp.sqrt(2.0) * (pull * gap) ** 0.25 * loud**0.5 * tokens**-0.25,
    )


def tuned_jointly(
    constants: BoundConstants, tokens: Real, coefficients: Coefficients = KOVALEV
) -> TunedRun:
    """All three: B ~ T^(1/6), alpha ~ T^(-1/3), eta ~ T^(-7/12), F ~ T^(-1/4).

    B = [c1 c2^(3/2) (rho sigma)^(5/2) / (4 sqrt(2) c3 c4^(1/4) (L Delta)^(5/4))]^(2/3) T^(1/6),
    eta and alpha those of `tuned_momentum` at this B.

    Args:
        constants: Delta, L, rho, sigma > 0.
        tokens: T >= 1.
        coefficients: c_1..c_4, all positive.

    Returns:
        `TunedRun`.

    Raises:
        ValueError: if a number is outside its domain; c_3 = 0 has no such optimum (then alpha = 1).

    Kind: asymptotic.
    Valid: T large; decided by terms that are slack in the proof, see `theory.lmo_bounds`.
    Source: derived; along the ridge of `tuned_momentum` the terms of c_1 and c_3 are
        P B^(-1/2) T^(-1/2) + Q B T^(-3/4), smallest at B^(3/2) = (P/(2 Q)) T^(1/4).
    """
    _check_held(coefficients)
    check_real("coefficients.burn_in", coefficients.burn_in, above=0.0)
    check_real("coefficients.smoothness", coefficients.smoothness, above=0.0)
    check_real("tokens", tokens, at_least=1.0)
    (tokens,) = _arrays(tokens)
    gap, slope, noise = _numbers(constants)
    above = coefficients.burn_in * coefficients.noise**1.5 * noise**2.5
    below = 4.0 * jnp.sqrt(2.0) * coefficients.smoothness * coefficients.lag**0.25
    batch = (above / (below * (slope * gap) ** 1.25)) ** (2.0 / 3.0) * tokens ** (1.0 / 6.0)
    # T below the range of the law may give B < 1, which `tuned_momentum` would refuse.
    ridge = tuned_momentum(constants, 1.0, tokens, coefficients)
    return TunedRun(ridge.learning_rate * batch, ridge.alpha * batch, batch, ridge.bound)


def momentum_limit(
    constants: BoundConstants, tokens: Real, coefficients: Coefficients = KOVALEV
) -> jax.Array:
    """Batch size from which tuned momentum is zero: alpha = 1 for all larger B.

    B = (c2 rho sigma / 2) / (c1 rho sigma / T + c4 sqrt(L Delta / (T (c3 + c4)))), ~ T^(1/2).

    Args:
        constants: Delta, L, rho, sigma > 0.
        tokens: T >= 1.
        coefficients: c_1..c_4.

    Returns:
        B, of the broadcast shape.

    Raises:
        ValueError: if a number is outside its domain.

    Kind: exact.
    Valid: eta and alpha tuned at given B and T; 1 <= B <= T for the result.
    Source: derived; dF/dalpha = 0 at alpha = 1 with eta = sqrt(Delta B/(L T (c3 + c4))). Without
        c_1, c_3 it is where alpha of `tuned_momentum` reaches one.
    """
    _check_held(coefficients)
    check_real("tokens", tokens, at_least=1.0)
    (tokens,) = _arrays(tokens)
    gap, slope, noise = _numbers(constants)
    pull = coefficients.lag * jnp.sqrt(
        slope * gap / (tokens * (coefficients.smoothness + coefficients.lag))
    )
    return coefficients.noise * noise / 2.0 / (coefficients.burn_in * noise / tokens + pull)


def tuned_without_momentum(constants: BoundConstants, tokens: Real) -> TunedRun:
    """Optimum of the sharper bound over eta, B at alpha = 1: B = rho sigma sqrt(2 T/(L Delta)).

    B = 2 rho sigma/(sqrt(2 L Delta/T) + 2 rho sigma/T), eta = sqrt(2 Delta B/(L T)).

    Args:
        constants: Delta, L, rho, sigma > 0.
        tokens: T >= 1.

    Returns:
        `TunedRun` with alpha = 1; bound 2 sqrt(2 rho sigma (sqrt(2 L Delta/T) + 2 rho sigma/T)).

    Raises:
        ValueError: if a number is outside its domain.

    Kind: exact minimum of `theory.lmo_bounds.sharper_bound` at alpha = 1.
    Valid: 1 <= B <= T for the result.
    Source: derived; with eta tuned the bound is a sqrt(B) + b / sqrt(B). Over alpha too it is the
        minimum to leading order: the rate's constant is ((2 - 3 alpha/2)/(2 - alpha))^(1/4) times
        that of alpha -> 0, and falls.
    """
    check_real("noise", constants.noise, above=0.0)
    check_real("tokens", tokens, at_least=1.0)
    (tokens,) = _arrays(tokens)
    gap, slope, noise = _numbers(constants)
    rising = jnp.sqrt(2.0 * slope * gap / tokens) + 2.0 * noise / tokens
    batch = 2.0 * noise / rising
    eta = jnp.sqrt(2.0 * gap * batch / (slope * tokens))
    return TunedRun(eta, jnp.ones_like(batch), batch, 2.0 * jnp.sqrt(2.0 * noise * rising))


def two_power_minimum(
    rising: Real, rising_power: Real, falling: Real, falling_power: Real
) -> tuple[jax.Array, jax.Array]:
    """Minimum of a x^p + b x^-q: x = (b q/(a p))^(1/(p+q)), (p+q) (a^q b^p/(p^p q^q))^(1/(p+q)).

    Args:
        rising: a > 0.
        rising_power: p > 0.
        falling: b > 0.
        falling_power: q > 0.

    Returns:
        (x, minimum), of the broadcast shape.

    Raises:
        ValueError: if an argument is not positive.

    Kind: exact.
    Valid: positive arguments.
    Source: textbook; the terms at the minimum are in the ratio q : p.
    """
    names = {"rising": rising, "rising_power": rising_power}
    names |= {"falling": falling, "falling_power": falling_power}
    for name, value in names.items():
        check_real(name, value, above=0.0)
    a, p, b, q = _arrays(rising, rising_power, falling, falling_power)
    log_x = (jnp.log(b * q) - jnp.log(a * p)) / (p + q)
    least = (q * jnp.log(a / q) + p * jnp.log(b / p)) / (p + q)
    return jnp.exp(log_x), (p + q) * jnp.exp(least)


def _arrays(*numbers: Real) -> list[jax.Array]:
    return list(jnp.broadcast_arrays(*(jnp.asarray(number, float) for number in numbers)))


def _numbers(constants: BoundConstants) -> list[jax.Array]:
    """Delta, L, rho sigma."""
    gap, slope = _arrays(constants.initial_gap, constants.smoothness)
    return [gap, slope, jnp.asarray(constants.norm_ratio, float) * constants.noise]


def _check_held(coefficients: Coefficients, **held: Real) -> None:
    check_real("coefficients.noise", coefficients.noise, above=0.0)
    check_real("coefficients.lag", coefficients.lag, above=0.0)
    check_real("coefficients.burn_in", coefficients.burn_in, at_least=0.0)
    check_real("coefficients.smoothness", coefficients.smoothness, at_least=0.0)
    for name, value in held.items():
        check_real(name, value, above=0.0, at_most=1.0 if name == "alpha" else None)
