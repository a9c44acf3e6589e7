"""Convergence bounds of LMO methods with momentum, every one returned term by term.

    m_k = (1 - alpha) m_(k-1) + alpha g_k,   x_(k+1) = x_k + eta lmo(m_k),   m_0 = g_0,

|lmo| = 1, alpha = 1 - momentum, g_k the mean of B samples, K steps. Constants Delta, L, rho, sigma
per norm: `theory.lmo_constants`. The bounded quantity is the mean over k < K of E |grad f(x_k)|_*
(hence also the smallest). Weight decay: `theory.lmo_bound_variants`; SGD: `theory.sgd_bounds`.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from theory.checks import Real, check_real
from theory.lmo_constants import BoundConstants


@partial(jax.tree_util.register_dataclass, data_fields=["terms"], meta_fields=[])
@dataclass(frozen=True)
class Bound:
    """A bound as its named terms.

    Attributes:
        terms: name to value; all of one shape.
    """

    terms: dict[str, jax.Array]

    @property
    def total(self) -> jax.Array:
        """The bound itself."""
        return sum(self.terms.values(), start=jnp.zeros(()))


@dataclass(frozen=True)
class Coefficients:
    """Numbers c_1..c_4 of the five-term bound.

    Attributes:
        burn_in: c_1, of rho sigma / (alpha sqrt(B) K).
        noise: c_2, of rho sigma sqrt(alpha / B).
        smoothness: c_3, of L eta.
        lag: c_4, of L eta / alpha.
    """

    burn_in: float
    noise: float
    smoothness: float
    lag: float


KOVALEV = Coefficients(2.0, 2.0, 3.5, 2.0)  # later versions of arXiv 2503.12645
KOVALEV_V1 = Coefficients(2.0, 2.0, 1.5, 2.0)  # version 1, theorem 2
# What is left of `sharper_bound` where every factor is replaced by a monomial: c_3 is not needed.
RELAXED = Coefficients(2.0, 2.0, 0.0, 2.0)


def kovalev_bound(
    constants: BoundConstants,
    learning_rate: Real,
    alpha: Real,
    batch_size: Real,
    steps: Real,
    coefficients: Coefficients = KOVALEV,
) -> Bound:
    """The five-term bound on the dual gradient norm.

    Delta/(eta K) + c1 rho sigma/(alpha sqrt(B) K) + c2 rho sigma sqrt(alpha/B)
    + c3 L eta + c4 L eta/alpha.

    Args:
        constants: Delta, L, rho, sigma.
        learning_rate: eta > 0, norm of a step.
        alpha: 1 - momentum, in (0, 1].
        batch_size: B > 0.
        steps: K >= 1.
        coefficients: c_1..c_4.

    Returns:
        A `Bound` with terms initial_gap, burn_in, noise, smoothness, lag, of the broadcast shape.

    Raises:
        ValueError: if a number is outside its domain.

    Kind: upper bound.
    Valid: L-smooth f, unbiased noise of bounded variance, constant learning rate, m_0 = g_0.
    Source: Kovalev 2025 (arXiv 2503.12645) theorem 2 with sigma / sqrt(B) for sigma, proxy of
        Shulgin et al. 2026 (arXiv 2603.15958); `RELAXED` is derived in `sharper_bound`.
    """
    check_run(learning_rate, alpha, batch_size, steps)
    return _five_terms(constants, learning_rate, alpha, batch_size, steps, coefficients)


@partial(jax.jit, static_argnums=5)
def _five_terms(
    constants: BoundConstants, eta: Real, alpha: Real, batch: Real, steps: Real, c: Coefficients
) -> Bound:
    eta, alpha, batch, steps = aligned(eta, alpha, batch, steps)
    noise = jnp.asarray(constants.norm_ratio) * constants.noise / jnp.sqrt(batch)
    slope = jnp.asarray(constants.smoothness) * eta
    return Bound(
        {
            "initial_gap": jnp.asarray(constants.initial_gap) / (eta * steps),
            "burn_in": c.burn_in * noise / (alpha * steps),
            "noise": c.noise * noise * jnp.sqrt(alpha),
            "smoothness": c.smoothness * slope,
            "lag": c.lag * slope / alpha,
        }
    )


def sharper_bound(
    constants: BoundConstants, learning_rate: Real, alpha: Real, batch_size: Real, steps: Real
) -> Bound:
    """The five-term bound with the factors that its proof really needs; not a posynomial.

    Delta/(eta K) + L eta/2 + 2 L eta (1-alpha)/alpha
    + (2 rho sigma/sqrt B) [(1-(1-alpha)^K)/(alpha K) + sqrt(alpha/(2-alpha))].

    Proof. Let e_k = m_k - grad f(x_k). By smoothness and because lmo(m) minimises <m, .>,
    f(x_(k+1)) <= f(x_k) - eta |grad f(x_k)|_* + 2 eta |e_k|_* + L eta^2 / 2: sum over k and divide
    by eta K. Unrolled, e_k is the first sample's noise times (1-alpha)^k, plus later noises times
    alpha (1-alpha)^(k-j), plus gradient changes (of dual norm at most L eta a step) times
    (1-alpha)^(k-j+1). The three sums are at most (1-alpha)^k, sqrt(alpha/(2-alpha)) in root mean
    square, and (1-alpha)/alpha; rho turns the Euclidean norm of the noise into the dual norm.

    Since 1/alpha - 1 < 1/alpha, the terms in L eta together are L eta (2/alpha - 3/2): where the
    printed bound adds c_3 L eta, the proof subtracts 3/2 L eta. `RELAXED` drops that.

    Args:
        constants: Delta, L, rho, sigma.
        learning_rate: eta > 0.
        alpha: 1 - momentum, in (0, 1].
        batch_size: B > 0.
        steps: K >= 1.

    Returns:
        A `Bound` with terms initial_gap, burn_in, noise, smoothness, lag, of the broadcast shape.

    Raises:
        ValueError: if a number is outside its domain.

    Kind: upper bound; never above `kovalev_bound` with any of the three coefficient sets.
    Valid: as `kovalev_bound`, noises independent between steps.
    Source: derived, proof above.
    """
    check_run(learning_rate, alpha, batch_size, steps)
    return _sharper(constants, learning_rate, alpha, batch_size, steps)


@jax.jit
def _sharper(constants: BoundConstants, eta: Real, alpha: Real, batch: Real, steps: Real) -> Bound:
    eta, alpha, batch, steps = aligned(eta, alpha, batch, steps)
    noise = 2.0 * jnp.asarray(constants.norm_ratio) * constants.noise / jnp.sqrt(batch)
    slope = jnp.asarray(constants.smoothness) * eta
    return Bound(
        {
            "initial_gap": jnp.asarray(constants.initial_gap) / (eta * steps),
            "burn_in": noise * summed_weights(alpha, steps) / steps,
            "noise": noise * jnp.sqrt(alpha / (2.0 - alpha)),
            "smoothness": slope / 2.0,
            "lag": 2.0 * slope * (1.0 - alpha) / alpha,
        }
    )


def kept(rate: jax.Array, steps: jax.Array) -> jax.Array:
    """(1 - rate)^K, what K steps leave of something that loses this share each step.

    Args:
        rate: in [0, 1].
        steps: K >= 0.

    Returns:
        Array of the broadcast shape.

    Kind: exact.
    Valid: also for rates far below 1/K; at rate 1 it is 1e-16^K instead of zero.
    Source: none needed; by log1p.
    """
    return jnp.exp(steps * _log_kept(rate))


def summed_weights(alpha: jax.Array, steps: jax.Array) -> jax.Array:
    """Sum over k < K of (1-alpha)^k: the weight of the first gradient in all averages together.

    Args:
        alpha: in (0, 1].
        steps: K >= 0.

    Returns:
        (1 - (1-alpha)^K) / alpha, of the broadcast shape.

    Kind: exact.
    Valid: also for alpha far below 1/K, where it tends to K.
    Source: geometric sum, by log1p and expm1.
    """
    return -jnp.expm1(steps * _log_kept(alpha)) / alpha


def _log_kept(rate: jax.Array) -> jax.Array:
    # At rate 1 nothing is kept; the clip keeps the logarithm, and its gradient, finite there.
    return jnp.log1p(-jnp.minimum(rate, 1.0 - 1e-16))


def aligned(*numbers: Real) -> list[jax.Array]:
    """The numbers as float arrays of one shape.

    Args:
        *numbers: that broadcast against each other.

    Returns:
        List of arrays.

    Kind: definition.
    Valid: numbers whose shapes broadcast.
    Source: none needed.
    """
    return list(jnp.broadcast_arrays(*(jnp.asarray(number, float) for number in numbers)))


def check_run(learning_rate: Real, alpha: Real, batch_size: Real, steps: Real) -> None:
    """Refuse hyperparameters outside the domain of every bound.

    Raises:
        ValueError: naming the argument, its value and its range.
    """
    check_real("learning_rate", learning_rate, above=0.0)
    check_real("alpha", alpha, above=0.0, at_most=1.0)
    check_real("batch_size", batch_size, above=0.0)
    check_real("steps", steps, at_least=1.0)
