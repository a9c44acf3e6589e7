"""Steps along an LMO where noise fills the gradient: every method is SGD, with its own efficiency.

One sample's gradient has independent Gaussian noise of standard deviation s in every entry, B is
the batch, and the exact gradient is small beside s / sqrt(B). A step of rate eta is then one of SGD
with rate h = eta gamma sqrt(B)/s and noise variance eta^2 q an entry (`theory.noise_gain`), that is
h^2 s^2/(e B) with the efficiency e = gamma^2/q. Hence, at D = B K tokens, the loss depends on
x = h/B and D alone while h lam_1 << 1: the tuned rate is eta* = x* s B^(1/2)/gamma ~ B^(1/2) at
given D, the tuned loss ties for all such B, and so does the norm of the weights. Exponents in D are
those of the problem (`transfer_exponents`). The tie ends where h lam_1 ~ 1.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gamma

from theory.checks import Real, check_real
from theory.noise_gain import noise_gain, step_square
from theory.problem import PowerLawQuadratic
from theory.tuned_laws import two_power_minimum


@partial(jax.tree_util.register_dataclass, data_fields=["mean", "variance"], meta_fields=[])
@dataclass(frozen=True)
class NoisyWeights:
    """Weights after K steps.

    Attributes:
        mean: [m, n] (or whatever shape they have).
        variance: of each entry, the same shape.
    """

    mean: jax.Array
    variance: jax.Array

    def loss(self, curvature: jax.Array, target: jax.Array) -> jax.Array:
        """Mean of 1/2 sum lam (w - w*)^2."""
        return jnp.sum(curvature * ((self.mean - target) ** 2 + self.variance)) / 2

    @property
    def square(self) -> jax.Array:
        """Mean of every squared entry."""
        return self.mean**2 + self.variance


def small_batch_weights(
    norm: str,
    curvature: Real,
    target: Real,
    noise_std: Real,
    learning_rate: Real,
    batch_size: Real,
    steps: Real,
) -> NoisyWeights:
    """Mean and variance of the weights after K steps from zero, in the limit of small batches.

    Args:
        norm: key of `theory.norms.NORMS`.
        curvature: lam >= 0 of every entry, shaped like the weights.
        target: w* of every entry, the same shape.
        noise_std: s > 0, of every entry of one sample's gradient.
        learning_rate: eta > 0, a scalar.
        batch_size: B > 0, a scalar.
        steps: K >= 0, a scalar.

    Returns:
        `NoisyWeights`: w* (1 - (1 - h lam)^K), and eta^2 q (1 - c^K)/(1 - c) with c = (1 - h lam)^2
        and h lam > 1 counted as 1.

    Raises:
        ValueError: if shapes differ or a number is outside its domain.

    Kind: asymptotic, gradients small beside the noise; first order in |g| sqrt(B)/s.
    Valid: as the module; the Hessian diagonal in these coordinates.
    Source: derived; see the module.
    """
    for name, value in (("noise_std", noise_std), ("learning_rate", learning_rate)):
        check_real(name, value, above=0.0)
    check_real("batch_size", batch_size, above=0.0)
    check_real("steps", steps, at_least=0.0)
    check_real("curvature", curvature, at_least=0.0)
    lam, goal = jnp.asarray(curvature, float), jnp.asarray(target, float)
    if lam.shape != goal.shape:
        raise ValueError(f"`target` must have shape {lam.shape} like the curvature.")
    eta, count = jnp.asarray(learning_rate, float), jnp.asarray(steps, float)
    gain = noise_gain(norm, lam.shape) / jnp.asarray(noise_std, float)
    pull = jnp.minimum(eta * gain * jnp.sqrt(jnp.asarray(batch_size, float)) * lam, 1.0)
    log_kept = count * jnp.log1p(-jnp.where(pull < 1.0, pull, 0.0))
    log_kept = jnp.where((pull < 1.0) | (count == 0.0), log_kept, -jnp.inf)
    still = pull * (2.0 - pull)
    moving = still > 0.0
    grown = jnp.where(moving, -jnp.expm1(2.0 * log_kept) / jnp.where(moving, still, 1.0), count)
    square = eta**2 * step_square(norm, lam.shape) / float(lam.size)
    return NoisyWeights(-goal * jnp.expm1(log_kept), square * grown)


def small_batch_optimum(
    problem: PowerLawQuadratic, noise_square: Real, tokens: Real
) -> tuple[jax.Array, jax.Array]:
    """x* = h*/B of the tuned constant rate, and the loss there, for a power law of modes.

    loss = P tau^-s + (Q/D) tau^(1 + 1/a),  tau = 2 x D,  s = (b - 1)/a,  P = Gamma(s)/(2 a),
    Q = Gamma(1 - 1/a) v/8, v the noise of one mode over the efficiency.

    Args:
        problem: the quadratic, a > 1; modes beyond its size count too.
        noise_square: v = M s^2/e > 0, M the number of weights that share an eigenvalue.
        tokens: D > 0, any shape.

    Returns:
        (x*, loss), shaped like `tokens`; the rate is eta* = x* s B^(1/2) / gamma.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: asymptotic; relative corrections of the order of tau^(-1/a), the few modes that count.
    Valid: h lam_1 << 1, 1 << tau << N^a, a > 1.
    Source: derived. Bias as in `theory.linear_methods.gd_asymptote`; a mode has the noise
        h v (1 - exp(-tau lam)) / (4 B), and sum_i (1 - exp(-tau i^-a)) is
        Gamma(1 - 1/a) tau^(1/a) to leading order.
    """
    check_real("noise_square", noise_square, above=0.0)
    check_real("tokens", tokens, above=0.0)
    check_real("capacity_exponent", problem.capacity_exponent, above=1.0)
    a, b = (float(np.asarray(p)) for p in (problem.capacity_exponent, problem.source_exponent))
    slope, count = (b - 1.0) / a, jnp.asarray(tokens, float)
    fall = float(gamma(slope)) / (2.0 * a)
    rise = float(gamma(1.0 - 1.0 / a)) * jnp.asarray(noise_square, float) / (8.0 * count)
    clock, loss = two_power_minimum(rise, 1.0 + 1.0 / a, fall, slope)
    return clock / (2.0 * count), loss


@dataclass(frozen=True)
class TransferExponents:
    """Powers at the tuned optimum; D tokens, B batch.

    Attributes:
        rate_batch: of B in the rate at given D.
        rate_tokens: of D in the rate at given B.
        batch_tokens: of D in the largest batch without loss.
        best_rate_tokens: of D in the rate at that batch.
        norm_tokens: of D in the Frobenius norm of the modes learned.
        walk_tokens: of D in that of the modes not learned yet, a random walk.
    """

    rate_batch: float
    rate_tokens: float
    batch_tokens: float
    best_rate_tokens: float
    norm_tokens: float
    walk_tokens: float


def transfer_exponents(problem: PowerLawQuadratic) -> TransferExponents:
    """Exponents in the limit of small batches: with r = b/(a + b), 1/2, -r, r, -r/2.

    What is learned has a norm ~ D^u, u = (a + 1 - b)_+ / (2 (a + b)): constant only if the target
    has a finite norm, b > a + 1, and then r > (a + 1)/(2 a + 1) > 1/2. What is not learned walks:
    its norm eta (q K)^(1/2) an entry ~ D^(1/2 - r), constant if and only if eta* ~ (B/D)^(1/2), the
    square-root rule. At b = a the exponents are 1/2, -1/2, 1/2, -1/4, those of the convergence
    bound.

    Args:
        problem: the quadratic, a > 1.

    Returns:
        `TransferExponents`.

    Raises:
        ValueError: if a is 1 or less: the noise of the modes not yet learned then dominates.

    Kind: asymptotic.
    Valid: as `small_batch_optimum`.
    Source: derived; tau = 2 x D ~ D^(a/(a+b)) and x ~ D^(-b/(a+b)) there. The tie ends where
        x B lam_1 ~ 1. Learned modes, i < tau^(1/a), give the squared norm sum i^(a-b), and noise
        there x tau^(1 + 1/a), the same power; any other gets eta^2 q K ~ x^2 D.
    """
    check_real("capacity_exponent", problem.capacity_exponent, above=1.0)
    a, b = (float(np.asarray(p)) for p in (problem.capacity_exponent, problem.source_exponent))
    share = b / (a + b)
    learned = max(a + 1.0 - b, 0.0) / (2.0 * (a + b))
    return TransferExponents(0.5, -share, share, -share / 2.0, learned, 0.5 - share)
