"""Gradient descent and sign descent on Zipf-distributed tokens (Kunstner and Bach 2025).

A linear bigram model with squared loss over d tokens: Hessian eigenvalues pi_i and initial errors
pi_{j|i}, both proportional to k^-alpha. W_0 = 0, loss relative to its start. Sums over up to 1e12
tokens run on the nodes of `theory.spectrum.mode_nodes`. The exponent of this file is the paper's
alpha, Zipf's law at alpha = 1; `reach` is its phi.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln, exp1, gamma, zeta

from theory.checks import Real, check_float64, check_real
from theory.problem import MAX_SIZE
from theory.spectrum import mode_nodes

# Composite Gauss-Legendre rule for one smooth integral: panels x points.
PANELS, POINTS = 32, 16


def zipf_gd(exponent: float, vocabulary: float, steps: Real) -> jax.Array:
    """Relative loss of gradient descent at step size 1/pi_1.

    r_d(t) = sum_k k^-alpha (1 - k^-alpha)^2t / sum_k k^-alpha.

    Args:
        exponent: alpha > 0.
        vocabulary: d in [1, 1e15], tokens.
        steps: t >= 0, real, any shape.

    Returns:
        Array shaped like `steps`, one at t = 0.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact to quadrature error (1e-13).
    Valid: alpha > 0.
    Source: Kunstner and Bach 2025 (arXiv 2505.19227) section 3.
    """
    _check_zipf(exponent, vocabulary)
    check_real("steps", steps, at_least=0.0)
    index, weights = mode_nodes(float(vocabulary))
    return _relative_gd(
        jnp.asarray(index),
        jnp.asarray(weights),
        jnp.asarray(exponent, float),
        jnp.asarray(steps, float),
    )


@jax.jit
def _relative_gd(
    index: jax.Array, weights: jax.Array, exponent: jax.Array, steps: jax.Array
) -> jax.Array:
    logs = -exponent * jnp.log(index)
    mass = weights * jnp.exp(logs)
    # 1 - k^-alpha without cancellation; the first token is learned by the first step.
    first = logs == 0.0
    log_left = jnp.log(-jnp.expm1(jnp.where(first, -1.0, logs)))
    left = jnp.exp(2.0 * steps[..., None] * log_left)
    left = jnp.where(first, jnp.where(steps[..., None] > 0.0, 0.0, 1.0), left)
    return jnp.sum(mass * left, axis=-1) / jnp.sum(mass)


def zipf_gd_steps(exponent: float, vocabulary: float, tolerance: float) -> float:
    """Steps (a real number) after which `zipf_gd` equals `tolerance`.

    Args:
        exponent: alpha > 0.
        vocabulary: d in [2, 1e15].
        tolerance: relative loss in (0, 1).

    Returns:
        t with r_d(t) = tolerance; zero where already the first step goes below it.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact to 1e-12 relative, by bisection of a decreasing function.
    Valid: alpha > 0.
    Source: Kunstner and Bach 2025 (arXiv 2505.19227), figure 4.
    """
    check_real("vocabulary", vocabulary, at_least=2.0, at_most=MAX_SIZE)
    check_real("tolerance", tolerance, above=0.0, below=1.0)
    low, high = 0.0, 1.0
    while float(zipf_gd(exponent, vocabulary, high)) > tolerance:
        low, high = high, 2.0 * high
    while high - low > 1e-13 * high:
        middle = (low + high) / 2.0
        if middle in (low, high):
            break
        above = float(zipf_gd(exponent, vocabulary, middle)) > tolerance
        low, high = (middle, high) if above else (low, middle)
    return high


def zipf_gd_limit(exponent: float, scaled_time: Real) -> jax.Array:
    """Limit d -> infinity of `zipf_gd` in the time tau that the exponent asks for.

    alpha < 1: 2t = tau d^alpha, r = (1 - alpha)/alpha E_{1/alpha}(tau), with the generalised
    exponential integral; alpha = 1: 2t = d^tau, r = 1 - tau.

    Args:
        exponent: alpha in (0, 1].
        scaled_time: tau >= 0, any shape; at most 1 for alpha = 1.

    Returns:
        Array shaped like `scaled_time`.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: asymptotic (d -> infinity); for alpha = 1 the error decays only as 1/log d, see
        `zipf_gd_harmonic`.
    Valid: 0 < alpha <= 1.
    Source: Kunstner and Bach 2025 (arXiv 2505.19227) theorem 3.1, re-derived: the sum becomes
        (1 - alpha) int_0^1 x^-alpha exp(-tau x^-alpha) dx.
    """
    check_real("exponent", exponent, above=0.0, at_most=1.0)
    if exponent == 1.0:
        check_real("scaled_time", scaled_time, at_least=0.0, at_most=1.0)
        return 1.0 - jnp.asarray(scaled_time, float)
    check_real("scaled_time", scaled_time, at_least=0.0)
    return _scaled_exponential_integral(
        jnp.asarray(exponent, float), jnp.asarray(scaled_time, float)
    )


@jax.jit
def _scaled_exponential_integral(exponent: jax.Array, time: jax.Array) -> jax.Array:
    # x = exp(-y): (1 - alpha) int_0^inf exp(-(1 - alpha) y - tau exp(alpha y)) dy, cut where the
    # integrand is below 1e-17 of its start.
    slow = 40.0 / (1.0 - exponent)
    fast = jnp.log1p(40.0 / jnp.maximum(time, 1e-300)) / exponent
    cut = jnp.minimum(slow, fast)
    node, weight = np.polynomial.legendre.leggauss(POINTS)
    unit = ((np.arange(PANELS)[:, None] + (node + 1.0) / 2.0) / PANELS).ravel()
    y = cut[..., None] * unit
    power = -(1.0 - exponent) * y - time[..., None] * jnp.exp(exponent * y)
    rule = np.tile(weight, PANELS) / (2.0 * PANELS)
    return (1.0 - exponent) * cut * jnp.sum(rule * jnp.exp(power), axis=-1)


def zipf_gd_harmonic(vocabulary: Real, steps: Real) -> jax.Array:
    """Loss of gradient descent under Zipf's law proper, E_1(2t/d) / H_d.

    Args:
        vocabulary: d >= 1.
        steps: t > 0, broadcast against `vocabulary`.

    Returns:
        Array of the broadcast shape.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: asymptotic; error O(1 / (t log d)) at fixed 2t/d.
    Valid: alpha = 1, t >> 1.
    Source: derived; sum_k exp(-2t/k)/k is int_0^1 exp(-2t/(d x)) dx/x up to the first tokens, and
        H_d = log d + 0.5772... is the exact denominator.
    """
    check_real("vocabulary", vocabulary, at_least=1.0)
    check_real("steps", steps, above=0.0)
    size = jnp.asarray(vocabulary, float)
    harmonic = jax.scipy.special.digamma(size + 1.0) + np.euler_gamma
    return exp1(2.0 * jnp.asarray(steps, float) / size) / harmonic


def zipf_gd_constant(exponent: Real) -> jax.Array:
    """C = Gamma(1 - 1/alpha) / (alpha zeta(alpha)) of r(t) ~ C (2t)^-(1 - 1/alpha).

    Args:
        exponent: alpha > 1.

    Returns:
        A scalar.

    Raises:
        ValueError: if `exponent` is not above 1.

    Kind: asymptotic.
    Valid: alpha > 1, 1 << t << d^alpha.
    Source: Kunstner and Bach 2025 (arXiv 2505.19227) theorem 3.1.
    """
    check_real("exponent", exponent, above=1.0)
    alpha = jnp.asarray(exponent, float)
    return gamma(1.0 - 1.0 / alpha) / (alpha * zeta(alpha, 1.0))


def zipf_gd_integral(exponent: Real, steps: Real) -> jax.Array:
    """Integral form B(1 - 1/alpha, 2t + 1) / (alpha zeta(alpha)) of `zipf_gd` for alpha > 1.

    Args:
        exponent: alpha > 1.
        steps: t > 0, any shape.

    Returns:
        Array shaped like `steps`.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: asymptotic; keeps the 1/t correction that `zipf_gd_constant` drops.
    Valid: alpha > 1, t << d^alpha.
    Source: Kunstner and Bach 2025 (arXiv 2505.19227) theorem 3.1, the sum as an integral over k.
    """
    check_real("exponent", exponent, above=1.0)
    check_real("steps", steps, above=0.0)
    alpha = jnp.asarray(exponent, float)
    log_beta = betaln(1.0 - 1.0 / alpha, 2.0 * jnp.asarray(steps, float) + 1.0)
    return jnp.exp(log_beta) / (alpha * zeta(alpha, 1.0))


class SignDescent(NamedTuple):
    """Relative loss of sign descent and the reach phi of the step size that gives it.

    Attributes:
        loss: relative to the start.
        reach: phi >= 1 (tokens up to phi are still walking); phi/d for alpha < 1/2 in a limit.
    """

    loss: float
    reach: float


def zipf_sign(exponent: float, vocabulary: float, steps: float, reach: float) -> float:
    """Relative loss of idealised sign descent, eta = 1 / (z T phi^alpha), z = sum_k k^-alpha.

    [sum_{k<=phi} (k^-alpha - phi^-alpha)^2 + #{k > phi} / (4 T^2 phi^2alpha)] / sum_k k^-2alpha.

    Args:
        exponent: alpha > 0.
        vocabulary: d in [1, 1e15].
        steps: T > 0.
        reach: phi in [1, d].

    Returns:
        The relative loss.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact for the idealised method, whose finished coordinates sit at eta/2.
    Valid: 1 <= phi <= d.
    Source: Kunstner and Bach 2025 (arXiv 2505.19227) section 4. The exact two-cycle is in
        `theory.sign_methods`; its mean square is eta^2/3, not eta^2/4.
    """
    _check_zipf(exponent, vocabulary)
    check_real("steps", steps, above=0.0)
    check_real("reach", reach, at_least=1.0, at_most=vocabulary)
    level = reach**-exponent
    index, weights = mode_nodes(float(math.floor(reach)))
    walking = float(np.sum(weights * (index**-exponent - level) ** 2))
    finished = math.floor(vocabulary) - math.floor(reach)
    floor = finished * (level / (2.0 * steps)) ** 2
    return (walking + floor) / _power_sum(2.0 * exponent, vocabulary)


def zipf_sign_tuned(exponent: float, vocabulary: float, steps: float) -> SignDescent:
    """The best fixed step of idealised sign descent for a horizon.

    Between two integers the loss is a parabola in phi^-alpha; at every integer it drops, because
    one coordinate more is exact. The minimum is therefore an integer or the vertex of a parabola.

    Args:
        exponent: alpha > 0.
        vocabulary: d in [1, 1e15].
        steps: T > 0.

    Returns:
        The lowest relative loss over phi in [1, d], and its phi.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact for the idealised method (every phi up to 64 is tried; above, the integers next to
        the root of the derivative).
    Valid: alpha > 0.
    Source: derived. With m = floor(phi), S_m = sum_{k<=m} k^-alpha, n = 1/(4 T^2) the vertex is
        at phi^-alpha = S_m / (m + (d - m) n). Along the integers the derivative has the sign of
        2 alpha [sum_{k<=m} ((m/k)^alpha - 1) - (d - m) n] - n m, which changes once.
    """
    _check_zipf(exponent, vocabulary)
    check_real("steps", steps, above=0.0)
    size, noise = math.floor(vocabulary), 1.0 / (4.0 * steps**2)
    turn = _turning_point(exponent, size, noise)
    near = {*range(1, 65), *range(turn - 2, turn + 3)}
    candidates = []
    for m in sorted(m for m in near if 1 <= m <= size):
        level = _power_sum(exponent, m) / (m + (size - m) * noise)
        vertex = min(max(level ** (-1.0 / exponent), float(m)), math.nextafter(m + 1.0, 0.0))
        for reach in {float(m), min(vertex, float(size))}:
            candidates.append(SignDescent(zipf_sign(exponent, size, steps, reach), reach))
    return min(candidates)


def _turning_point(exponent: float, size: int, noise: float) -> int:
    low, high = 1, size
    while high - low > 1:
        middle = (low + high) // 2
        index, weights = mode_nodes(float(middle))
        growth = float(np.sum(weights * np.expm1(exponent * np.log(middle / index))))
        slope = 2.0 * exponent * (growth - (size - middle) * noise) - noise * middle
        low, high = (low, middle) if slope > 0.0 else (middle, high)
    return low


def zipf_sign_limit(exponent: float, scaled_time: float) -> SignDescent:
    """Limit d -> infinity of `zipf_sign_tuned` in the time tau that the exponent asks for.

    alpha < 1/2: 2T = tau, r = (c_1 + c_2 tau^2)^2alpha / tau^2, phi/d = 1/(c_1 + c_2 tau^2) with
    c_1 = 1 - 1/(2 alpha), c_2 = alpha/(1 - alpha); alpha = 1/2: 2T = d^(tau/2), r = 1 - tau;
    alpha > 1/2: 2T = tau sqrt(d), r = 1/(zeta(2 alpha)(1 + tau^2)), phi^alpha = 1 + 1/tau^2.

    Args:
        exponent: alpha in (0, 1) or above.
        scaled_time: tau > 0, large enough that the optimum is interior.

    Returns:
        Relative loss and reach (phi/d for alpha < 1/2, NaN for alpha = 1/2 where it is not fixed).

    Raises:
        ValueError: if `scaled_time` is below the threshold of the formula.

    Kind: asymptotic (d -> infinity).
    Valid: tau^2 >= 1/(2 alpha c_2), 0 <= tau <= 1, tau^2 >= 1/(2^alpha - 1) in the three cases.
    Source: Kunstner and Bach 2025 (arXiv 2505.19227) theorem 4.5, re-derived. (That phi < 2 for
        alpha > 1/2 is the threshold: only the first token still walks.)
    """
    check_real("exponent", exponent, above=0.0)
    alpha = float(exponent)
    if alpha == 0.5:
        check_real("scaled_time", scaled_time, at_least=0.0, at_most=1.0)
        return SignDescent(1.0 - scaled_time, math.nan)
    if alpha > 0.5:
        check_real("scaled_time", scaled_time, at_least=(2.0**alpha - 1.0) ** -0.5 * (1 - 1e-12))
        loss = 1.0 / (float(zeta(2.0 * alpha, 1.0)) * (1.0 + scaled_time**2))
        return SignDescent(loss, (1.0 + scaled_time**-2) ** (1.0 / alpha))
    ratio = alpha / (1.0 - alpha)
    check_real("scaled_time", scaled_time, at_least=(2.0 * alpha * ratio) ** -0.5 * (1 - 1e-12))
    scale = 1.0 - 1.0 / (2.0 * alpha) + ratio * scaled_time**2
    return SignDescent(scale ** (2.0 * alpha) / scaled_time**2, 1.0 / scale)


def zipf_sign_steps(exponent: float, vocabulary: Real, tolerance: Real) -> jax.Array:
    """Steps of tuned sign descent to a relative loss, for exponents above 1/2.

    T = sqrt(d)/2 sqrt(1 / (zeta(2 alpha) tolerance) - 1).

    Args:
        exponent: alpha > 1/2.
        vocabulary: d >= 1.
        tolerance: relative loss in (0, 2^-alpha (2^alpha - 1) / zeta(2 alpha)].

    Returns:
        Array of the broadcast shape.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: asymptotic (d -> infinity).
    Valid: as `zipf_sign_limit`.
    Source: Kunstner and Bach 2025 (arXiv 2505.19227) theorem 4.5 solved for T.
    """
    check_real("exponent", exponent, above=0.5)
    check_real("vocabulary", vocabulary, at_least=1.0)
    total = float(zeta(2.0 * float(exponent), 1.0))
    check_real("tolerance", tolerance, above=0.0, at_most=(1 - 2.0**-exponent) / total)
    ratio = 1.0 / (total * jnp.asarray(tolerance, float)) - 1.0
    return jnp.sqrt(jnp.asarray(vocabulary, float) * ratio) / 2.0


def _check_zipf(exponent: float, vocabulary: float) -> None:
    check_float64()
    check_real("exponent", exponent, above=0.0)
    check_real("vocabulary", vocabulary, at_least=1.0, at_most=MAX_SIZE)


def _power_sum(exponent: float, size: float) -> float:
    index, weights = mode_nodes(float(math.floor(size)))
    return float(np.sum(weights * index**-exponent))
