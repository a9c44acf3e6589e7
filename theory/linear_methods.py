"""Deterministic linear methods: exact loss through the residual polynomial, and its asymptote.

A linear method started at x_0 = 0 leaves x_T - x* = -p_T(lam) x* in every eigendirection, so

    L(N, T) = sigma^2/2 + 1/2 zeta(b, N+1) + 1/2 sum_{i<=N} i^-b p_T(lam_i)^2.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, xlogy

from theory.checks import Real, check_real, is_traced
from theory.decomposition import Decomposition, decompose
from theory.problem import PowerLawQuadratic
from theory.spectrum import Spectrum, approximation_error, as_spectrum, mode_sum


def log_abs_one_minus(x: jax.Array) -> jax.Array:
    """Logarithm of |1 - x|, accurate for small x; -inf at x = 1.

    Args:
        x: any shape, real.

    Returns:
        Array shaped like `x`.

    Kind: exact.
    Valid: all real x.
    Source: none needed; log1p below 1/2, where 1 - x would lose digits.
    """
    small = x < 0.5
    # Each branch sees only arguments it can differentiate.
    return jnp.where(
        small,
        jnp.log1p(-jnp.where(small, x, 0.0)),
        jnp.log(jnp.abs(1.0 - jnp.where(small, 0.0, x))),
    )


def power_residual_squared(step: jax.Array, steps: jax.Array) -> jax.Array:
    """(1 - step)^(2 steps), the squared residual polynomial of a fixed contraction.

    Args:
        step: learning rate times (preconditioned) eigenvalue, broadcast against `steps`.
        steps: T >= 0, real.

    Returns:
        Array of the broadcast shape; one at T = 0 even where `step` is one.

    Kind: exact.
    Valid: T >= 0.
    Source: residual polynomial of gradient descent, textbook.
    """
    log_base = log_abs_one_minus(step)
    at_zero = jnp.isneginf(log_base)
    exponent = 2.0 * steps * jnp.where(at_zero, 0.0, log_base)
    return jnp.where(at_zero, jnp.where(steps > 0, 0.0, 1.0), jnp.exp(exponent))


def gd(
    problem: PowerLawQuadratic | Spectrum,
    learning_rate: Real,
    steps: Real,
) -> Decomposition:
    """Loss of gradient descent after `steps` steps, p_T = (1 - learning_rate lam)^T.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rate: eta in (0, 2 / lam_1), a scalar.
        steps: T >= 0, any shape; large floats such as 1e12 are exact.

    Returns:
        A `Decomposition` of arrays shaped like `steps`; noise is zero.

    Raises:
        ValueError: if `learning_rate` or `steps` is outside its domain.

    Kind: exact to quadrature error (below 1e-13 of the loss).
    Valid: 0 < eta < 2/lam_1; beyond it mode 1 grows and there is no limit to state.
    Source: derived; residual polynomial (1 - eta lam)^T on the spectrum.
    """
    return preconditioned_gd(problem, learning_rate, steps, 0.0)


def preconditioned_gd(
    problem: PowerLawQuadratic | Spectrum,
    learning_rate: Real,
    steps: Real,
    preconditioner_exponent: Real,
) -> Decomposition:
    """Loss of x <- x - eta H^-p grad f, p_T = (1 - eta lam^(1-p))^T.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rate: eta in (0, 2 / lam_1^(1-p)), a scalar.
        steps: T >= 0, any shape.
        preconditioner_exponent: p in [0, 1); 0 is gradient descent.

    Returns:
        A `Decomposition` of arrays shaped like `steps`; noise is zero.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact to quadrature error (below 1e-13 of the loss).
    Valid: 0 < eta < 2 / lam_1^(1-p), 0 <= p < 1.
    Source: derived; residual polynomial on the preconditioned spectrum.
    """
    check_real("preconditioner_exponent", preconditioner_exponent, at_least=0.0, below=1.0)
    check_real("steps", steps, at_least=0.0)
    spectrum = as_spectrum(problem)
    power = 1.0 - jnp.asarray(preconditioner_exponent, float)
    check_stable_learning_rate(learning_rate, spectrum.eigenvalues**power)
    return _fixed_step_loss(
        spectrum, jnp.asarray(learning_rate, float), jnp.asarray(steps, float), power
    )


@jax.jit
def _fixed_step_loss(
    spectrum: Spectrum, learning_rate: jax.Array, steps: jax.Array, power: jax.Array
) -> Decomposition:
    step = learning_rate * spectrum.eigenvalues**power
    return deterministic_decomposition(spectrum, power_residual_squared(step, steps[..., None]))


def check_stable_learning_rate(learning_rate: Real, effective: jax.Array) -> None:
    """Refuse a learning rate outside (0, 2 / largest eigenvalue).

    Args:
        learning_rate: eta; traced values pass unchecked.
        effective: eigenvalues seen by the method, [n]; traced values pass unchecked.

    Returns:
        Nothing.

    Raises:
        ValueError: naming the learning rate and the largest stable one.

    Kind: exact.
    Valid: fixed-step linear methods.
    Source: |1 - eta lam| < 1 for every lam.
    """
    check_real("learning_rate", learning_rate, above=0.0)
    if is_traced(effective):
        return
    check_real("learning_rate", learning_rate, below=2.0 / float(np.max(effective)))


def deterministic_decomposition(spectrum: Spectrum, residual_squared: jax.Array) -> Decomposition:
    """The decomposition of a method without noise from p_T(lam)^2.

    Args:
        spectrum: nodes, [n].
        residual_squared: p_T(lam)^2, [..., n].

    Returns:
        A `Decomposition` of arrays [...].

    Kind: exact to quadrature error.
    Valid: p_T smooth in log lam, or an explicit spectrum.
    Source: derived; L = E + approximation + 1/2 sum_i i^-b p_T(lam_i)^2.
    """
    bias = mode_sum(spectrum, spectrum.energies * residual_squared) / 2
    return decompose(spectrum, bias)


def loss_exponents(
    problem: PowerLawQuadratic, preconditioner_exponent: Real = 0.0
) -> tuple[jax.Array, jax.Array]:
    """Chinchilla exponents (alpha, beta) = (b - 1, (b - 1) / (a (1 - p))).

    Args:
        problem: the quadratic.
        preconditioner_exponent: p in [0, 1); 0 is gradient descent.

    Returns:
        alpha (loss against size) and beta (loss against steps), scalars.

    Raises:
        ValueError: if p is outside [0, 1).

    Kind: asymptotic.
    Valid: 1 << eta T << N^(a (1-p)) for beta; N >> 1 for alpha.
    Source: derived; Mellin transform of the mode sum, as in `gd_asymptote`.
    """
    check_real("preconditioner_exponent", preconditioner_exponent, at_least=0.0, below=1.0)
    alpha = jnp.asarray(problem.source_exponent) - 1.0
    effective = jnp.asarray(problem.capacity_exponent) * (
        1.0 - jnp.asarray(preconditioner_exponent, float)
    )
    return alpha, alpha / effective


def gd_asymptote(
    problem: PowerLawQuadratic,
    learning_rate: Real,
    steps: Real,
    preconditioner_exponent: Real = 0.0,
) -> jax.Array:
    """Leading bias of (preconditioned) GD, Gamma(s)/(2 a') (2 eta T)^-s.

    Here a' = a (1 - p) and s = (b - 1) / a'.

    Args:
        problem: the quadratic.
        learning_rate: eta > 0.
        steps: T > 0, any shape.
        preconditioner_exponent: p in [0, 1).

    Returns:
        Array shaped like `steps`.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: asymptotic; relative error s (s+1) / (4 T) at small step count plus the truncated tail,
        see `gd_asymptote_window`.
    Valid: 1 << eta T << N^a'.
    Source: derived. sum_i i^-b exp(-c i^-a') is the inverse Mellin transform of
        Gamma(z) zeta(b - a' z) c^-z; its only pole to the right is that of zeta, at z = s, so every
        further correction is exponentially small. Replacing (1 - eta lam)^2T by exp(-2 eta T lam)
        costs the factor 1 - s (s+1) / (4 T).
    """
    check_real("learning_rate", learning_rate, above=0.0)
    check_real("steps", steps, above=0.0)
    alpha, slope = loss_exponents(problem, preconditioner_exponent)
    effective = alpha / slope
    clock = 2.0 * jnp.asarray(learning_rate, float) * jnp.asarray(steps, float)
    return jnp.exp(gammaln(slope) - xlogy(slope, clock)) / (2.0 * effective)


def gd_asymptote_window(
    problem: PowerLawQuadratic,
    learning_rate: Real,
    tolerance: Real = 0.01,
    preconditioner_exponent: Real = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Steps between which `gd_asymptote` is within `tolerance` of the exact bias.

    Args:
        problem: the quadratic.
        learning_rate: eta in (0, 1 / lam_1].
        tolerance: relative, in (0, 1).
        preconditioner_exponent: p in [0, 1).

    Returns:
        First and last step count, scalars; an empty window has last < first.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: asymptotic at the early end, a guarantee at the late end.
    Valid: eta lam_1 <= 1, tolerance << 1.
    Source: derived. Early: the factor 1 - s (s+1) / (4 T). Late: the asymptote counts the modes
        beyond N, whose share is at most the approximation error.
    """
    check_real("tolerance", tolerance, above=0.0, below=1.0)
    _, slope = loss_exponents(problem, preconditioner_exponent)
    first = slope * (slope + 1.0) / (4.0 * jnp.asarray(tolerance, float))
    at_first = gd_asymptote(problem, learning_rate, jnp.ones(()), preconditioner_exponent)
    ratio = tolerance * at_first / approximation_error(problem)
    return first, jnp.exp(jnp.log(ratio) / slope)
