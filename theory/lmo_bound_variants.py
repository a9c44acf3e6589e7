"""Bounds of LMO methods with weight decay: Frank-Wolfe gap, mu-KL and star-convex losses.

Weight decay lambda turns the LMO step into one of Frank-Wolfe on the ball of radius 1/lambda:
x_(k+1) = x_k + gamma (s_k - x_k), gamma = eta lambda, s_k = lmo(m_k) / lambda. All iterates stay in
the ball if x_0 is in it, a step is at most 2 eta long, and with the Frank-Wolfe gap
G(x) = max over |s| <= 1/lambda of <grad f(x), x - s>

    f(x_(k+1)) <= f(x_k) - eta lambda G(x_k) + 2 eta |m_k - grad f(x_k)|_* + 2 L eta^2.     (*)

The momentum error is that of `theory.lmo_bounds.sharper_bound` with steps twice as long.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import Real, check_real, is_traced
from theory.lmo_bounds import Bound, aligned, check_run, kept, summed_weights
from theory.lmo_constants import BoundConstants

# eta = 1/lambda, computed, may pass 1 by a rounding.
ROUNDING = 1e-12


class _Error(NamedTuple):
    """Factors of the momentum error: first noise, later noises, gradient changes."""

    start: jax.Array
    noise: jax.Array
    lag: jax.Array


def _momentum_error(alpha: jax.Array, nesterov: bool) -> _Error:
    momentum = 1.0 - alpha
    noise = jnp.sqrt(alpha / (2.0 - alpha))
    if not nesterov:
        return _Error(jnp.ones_like(alpha), noise, momentum / alpha)
    return _Error(momentum, momentum * noise + alpha, momentum**2 / alpha)


def frank_wolfe_bound(
    constants: BoundConstants,
    learning_rate: Real,
    alpha: Real,
    batch_size: Real,
    steps: Real,
    *,
    weight_decay: Real,
    nesterov: bool = False,
) -> Bound:
    """Bound on the mean over k < K of the expected Frank-Wolfe gap G(x_k).

    Delta/(lambda eta K) + (2 rho sigma/(lambda sqrt B)) [(1-(1-alpha)^K)/(alpha K)
    + sqrt(alpha/(2-alpha))] + 2 L eta/lambda + 4 L eta (1-alpha)/(lambda alpha).

    Args:
        constants: Delta, L, rho, sigma.
        learning_rate: eta > 0 with eta lambda <= 1.
        alpha: 1 - momentum, in (0, 1].
        batch_size: B > 0.
        steps: K >= 1.
        weight_decay: lambda > 0, inverse radius of the ball.
        nesterov: step along (1-alpha) m_k + alpha g_k instead of m_k.

    Returns:
        A `Bound` with terms initial_gap, burn_in, noise, smoothness, lag (loss units).

    Raises:
        ValueError: if a number is outside its domain.

    Kind: upper bound.
    Valid: |x_0| <= 1/lambda, L-smooth f, independent unbiased noise of bounded variance, m_0 = g_0.
    Source: derived: sum (*) of the module over k. With Nesterov momentum the terms in eta and B are
        those of the machine-checked library leloykun/steepest-descent-lean.
    """
    check_decayed_run(learning_rate, alpha, batch_size, steps, weight_decay)
    return _frank_wolfe(constants, learning_rate, alpha, batch_size, steps, weight_decay, nesterov)


@partial(jax.jit, static_argnums=6)
def _frank_wolfe(
    constants: BoundConstants,
    eta: Real,
    alpha: Real,
    batch: Real,
    steps: Real,
    decay: Real,
    nesterov: bool,
) -> Bound:
    eta, alpha, batch, steps, decay = aligned(eta, alpha, batch, steps, decay)
    error = _momentum_error(alpha, nesterov)
    noise = 2.0 * jnp.asarray(constants.norm_ratio) * constants.noise / (decay * jnp.sqrt(batch))
    slope = jnp.asarray(constants.smoothness) * eta / decay
    return Bound(
        {
            "initial_gap": jnp.asarray(constants.initial_gap) / (decay * eta * steps),
            "burn_in": noise * error.start * summed_weights(alpha, steps) / steps,
            "noise": noise * error.noise,
            "smoothness": 2.0 * slope,
            "lag": 4.0 * slope * error.lag,
        }
    )


def kl_bound(
    constants: BoundConstants,
    learning_rate: Real,
    alpha: Real,
    batch_size: Real,
    steps: Real,
    *,
    weight_decay: Real,
    kl_constant: Real,
    nesterov: bool = False,
) -> Bound:
    """Bound on E f(x_K) - f* where the Frank-Wolfe gap is at least mu (f - f*).

    With q = 1 - mu lambda eta: q^K Delta + (2 rho sigma/sqrt B) [eta (1-(1-alpha)^K)/alpha
    + (1-q^K) sqrt(alpha/(2-alpha)) / (mu lambda)] + (1-q^K) (2 L eta/(mu lambda))
    (1 + 2 (1-alpha)/alpha).

    Args:
        constants: Delta, L, rho, sigma.
        learning_rate: eta > 0 with eta lambda <= 1 and mu lambda eta <= 1.
        alpha: 1 - momentum, in (0, 1].
        batch_size: B > 0.
        steps: K >= 1.
        weight_decay: lambda > 0, inverse radius of the ball.
        kl_constant: mu > 0.
        nesterov: step along (1-alpha) m_k + alpha g_k instead of m_k.

    Returns:
        A `Bound` with terms initial_gap, burn_in, noise, smoothness, lag (loss units).

    Raises:
        ValueError: if a number is outside its domain.

    Kind: upper bound.
    Valid: as `frank_wolfe_bound`, and G >= mu (f - f*) in the ball.
    Source: derived: (*) of the module is then a contraction by q with forcing, unrolled. Setting of
        Islamov et al. 2026 (arXiv 2603.21191); with Nesterov momentum the terms are those of
        leloykun/steepest-descent-lean, sharpened by 1-q^K.
    """
    check_decayed_run(learning_rate, alpha, batch_size, steps, weight_decay)
    check_real("kl_constant", kl_constant, above=0.0)
    check_product(
        "kl_constant * weight_decay * learning_rate", kl_constant, weight_decay, learning_rate
    )
    return _kl(
        constants, learning_rate, alpha, batch_size, steps, weight_decay, kl_constant, nesterov
    )


@partial(jax.jit, static_argnums=7)
def _kl(
    constants: BoundConstants,
    eta: Real,
    alpha: Real,
    batch: Real,
    steps: Real,
    decay: Real,
    mu: Real,
    nesterov: bool,
) -> Bound:
    eta, alpha, batch, steps, decay, mu = aligned(eta, alpha, batch, steps, decay, mu)
    error = _momentum_error(alpha, nesterov)
    rate = mu * decay
    left = kept(rate * eta, steps)
    noise = 2.0 * jnp.asarray(constants.norm_ratio) * constants.noise / jnp.sqrt(batch)
    slope = (1.0 - left) * jnp.asarray(constants.smoothness) * eta / rate
    return Bound(
        {
            "initial_gap": left * constants.initial_gap,
            "burn_in": noise * eta * error.start * summed_weights(alpha, steps),
            "noise": (1.0 - left) * noise * error.noise / rate,
            "smoothness": 2.0 * slope,
            "lag": 4.0 * slope * error.lag,
        }
    )


def star_convex_bound(
    constants: BoundConstants,
    learning_rate: Real,
    alpha: Real,
    batch_size: Real,
    steps: Real,
    *,
    weight_decay: Real,
    nesterov: bool = False,
) -> Bound:
    """Bound on E f(x_K) - f* for a star-convex f with its minimizer in the ball of radius 1/lambda.

    `kl_bound` at mu = 1: star-convexity gives G(x) >= <grad f(x), x - x*> >= f(x) - f*.

    Args:
        constants: Delta, L, rho, sigma.
        learning_rate: eta > 0 with eta lambda <= 1.
        alpha: 1 - momentum, in (0, 1].
        batch_size: B > 0.
        steps: K >= 1.
        weight_decay: lambda > 0, inverse radius of the ball.
        nesterov: step along (1-alpha) m_k + alpha g_k instead of m_k.

    Returns:
        A `Bound` with terms initial_gap, burn_in, noise, smoothness, lag (loss units).

    Raises:
        ValueError: if a number is outside its domain.

    Kind: upper bound.
    Valid: |x_0| <= 1/lambda, |x*| <= 1/lambda, f star-convex and L-smooth; noise as before.
    Source: derived; see `kl_bound`.
    """
    run = (learning_rate, alpha, batch_size, steps)
    return kl_bound(constants, *run, weight_decay=weight_decay, kl_constant=1.0, nesterov=nesterov)


def check_decayed_run(
    learning_rate: Real, alpha: Real, batch_size: Real, steps: Real, weight_decay: Real
) -> None:
    """Refuse hyperparameters outside the domain of the bounds with weight decay.

    Raises:
        ValueError: naming the argument, its value and its range.
    """
    check_run(learning_rate, alpha, batch_size, steps)
    check_real("weight_decay", weight_decay, above=0.0)
    check_product("learning_rate * weight_decay", learning_rate, weight_decay)


def check_product(name: str, *factors: Real) -> None:
    """Refuse factors whose product exceeds one by more than a rounding; traced ones pass.

    Raises:
        ValueError: naming the product, its value and its range.
    """
    if not is_traced(*factors):
        check_real(
            name,
            np.prod(np.broadcast_arrays(*map(np.asarray, factors)), axis=0),
            at_most=1.0 + ROUNDING,
        )
