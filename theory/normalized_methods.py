"""Normalized gradient descent and one-pass normalized SGD, stepped exactly on the nodes.

Normalized descent x <- x - eta g/|g| is gradient descent with the step eta/|g|: its residual is
prod_t (1 - h_t lam), a polynomial, so the compressed spectrum carries it exactly. The step h_t
grows as the gradient shrinks until h_t lam_1 = 2; from there |g| stays at eta lam_1 / 2 (the edge
of stability) and the constant step can only be paid off by decaying it.
"""

import jax
import jax.numpy as jnp

from theory.checks import Real, check_real
from theory.decomposition import Decomposition, decompose
from theory.problem import PowerLawQuadratic
from theory.sign_sgd import plateau_risk
from theory.spectrum import Spectrum, as_spectrum, mode_sum


def normalized_gd(problem: PowerLawQuadratic | Spectrum, learning_rates: Real) -> Decomposition:
    """Loss of normalized gradient descent after each step of a schedule.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rates: eta_t >= 0 of the steps t = 0 .. T-1, [T].

    Returns:
        A `Decomposition` of arrays [T + 1]; noise is zero.

    Raises:
        ValueError: if `learning_rates` is not a vector of non-negative numbers.

    Kind: exact to quadrature error; the gradient of zero norm makes no step. At the edge of
        stability h lam_1 > 2 in single steps amplifies rounding, so that late curves of two
        routes agree in the mean, not in every digit.
    Valid: any schedule.
    Source: derived; a time change of gradient descent.
    """
    spectrum, rates = as_spectrum(problem), _schedule(learning_rates)
    bias, _ = _normalized_path(spectrum, rates)
    return decompose(spectrum, bias)


def normalized_gd_steps(problem: PowerLawQuadratic | Spectrum, learning_rates: Real) -> jax.Array:
    """Step h_t = eta_t / |g_t| of the gradient descent that normalized descent is, [T].

    Args:
        problem: the quadratic, or any spectrum.
        learning_rates: eta_t >= 0, [T].

    Returns:
        Array [T]; zero where the gradient is zero.

    Raises:
        ValueError: if `learning_rates` is not a vector of non-negative numbers.

    Kind: exact to quadrature error.
    Valid: any schedule.
    Source: derived; cumulative sums of it are the time of the equivalent gradient flow.
    """
    return _normalized_path(as_spectrum(problem), _schedule(learning_rates))[1]


def normalized_gd_floor(problem: PowerLawQuadratic | Spectrum, learning_rate: Real) -> jax.Array:
    """Least mean loss of two successive steps once only mode 1 is left, lam_1 eta^2 / 8.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rate: eta > 0, any shape.

    Returns:
        Array shaped like `learning_rate`.

    Raises:
        ValueError: if `learning_rate` is not positive.

    Kind: lower bound as T -> infinity (of the mean over two steps; the upper one is twice it).
        Slowly decaying other modes lead to it: while |g| > eta lam_1 / 2 mode 1 contracts, below
        it grows, so |g| is pinned there.
    Valid: constant step, T long enough for mode 1 to carry the gradient.
    Source: derived. A single coordinate alternates between r and eta - r on the two sides of the
        optimum, and r^2 + (eta - r)^2 is in [eta^2/2, eta^2].
    """
    check_real("learning_rate", learning_rate, above=0.0)
    largest = jnp.max(as_spectrum(problem).eigenvalues)
    return largest * jnp.asarray(learning_rate, float) ** 2 / 8


@jax.jit
def _normalized_path(spectrum: Spectrum, rates: jax.Array) -> tuple[jax.Array, jax.Array]:
    lam = spectrum.eigenvalues

    # A mode falls by exp(-const T) before the step grows past its stability limit and brings it
    # back: the residual itself would underflow, its logarithm does not.
    def step(log_residual: jax.Array, rate: jax.Array) -> tuple:
        squared = mode_sum(spectrum, lam * spectrum.energies * jnp.exp(2.0 * log_residual))
        moving = squared > 0.0
        size = jnp.where(moving, rate / jnp.sqrt(jnp.where(moving, squared, 1.0)), 0.0)
        log_residual = log_residual + jnp.log(jnp.abs(1.0 - size * lam))
        energies = spectrum.energies * jnp.exp(2.0 * log_residual)
        return log_residual, (mode_sum(spectrum, energies) / 2, size)

    _, (bias, sizes) = jax.lax.scan(step, jnp.zeros_like(lam), rates)
    first = mode_sum(spectrum, spectrum.energies) / 2
    return jnp.concatenate([first[None], bias]), sizes


def normalized_sgd(problem: PowerLawQuadratic | Spectrum, learning_rates: Real) -> Decomposition:
    """Loss of one-pass normalized SGD with batch one on Gaussian least squares.

    g/|g| = sign(r) x/|x|: v' = v - 2 eta sqrt(2 / (pi S tr)) lam v + eta^2 lam / tr with
    S = sum lam v + sigma^2 + untrained energy and tr = sum lam.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rates: eta_t >= 0 of the steps t = 0 .. T-1, [T].

    Returns:
        A `Decomposition` of arrays [T + 1].

    Raises:
        ValueError: if `learning_rates` is not a vector of non-negative numbers.

    Kind: asymptotic: |x|^2 and S are replaced by their means; relative error of the order of
        sum lam^2 / (sum lam)^2, the inverse effective dimension.
    Valid: many modes in the trace; a <= 1, roughly.
    Source: derived; E sign(r) r = sqrt(2 S / pi) for Gaussian r.
    """
    return _normalized_sgd(as_spectrum(problem), _schedule(learning_rates))


@jax.jit
def _normalized_sgd(spectrum: Spectrum, rates: jax.Array) -> Decomposition:
    lam = spectrum.eigenvalues
    trace = mode_sum(spectrum, lam)
    hidden = spectrum.noise_variance + 2.0 * spectrum.approximation

    def loss(moments: jax.Array) -> jax.Array:
        return mode_sum(spectrum, lam * moments) / 2

    def step(parts: tuple, rate: jax.Array) -> tuple:
        bias, noise = parts
        risk = 2.0 * loss(bias + noise) + hidden
        safe = jnp.where(risk > 0.0, risk, 1.0)
        keep = 1.0 - 2.0 * rate * jnp.sqrt(2.0 / (jnp.pi * safe * trace)) * lam
        parts = (keep * bias, keep * noise + rate**2 * lam / trace)
        return parts, (loss(parts[0]), loss(parts[1]))

    start = spectrum.energies / lam
    _, (bias, noise) = jax.lax.scan(step, (start, jnp.zeros_like(lam)), rates)
    bias = jnp.concatenate([loss(start)[None], bias])
    noise = jnp.concatenate([jnp.zeros(1), noise])
    return decompose(spectrum, bias, noise)


def normalized_sgd_plateau(problem: PowerLawQuadratic | Spectrum, learning_rate: Real) -> jax.Array:
    """Stationary optimization loss of `normalized_sgd` at a constant step.

    (S - s^2)/2 with S - s^2 = eta sqrt(pi tr / 8) sqrt(S), s^2 all noise of the labels.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rate: eta > 0.

    Returns:
        A scalar, without irreducible and approximation parts.

    Raises:
        ValueError: if `learning_rate` is not positive.

    Kind: asymptotic (T -> infinity) of `normalized_sgd`.
    Valid: as `normalized_sgd`.
    Source: derived; the fixed point is v_i = eta sqrt(pi S / (8 tr)) for every mode.
    """
    check_real("learning_rate", learning_rate, above=0.0)
    spectrum = as_spectrum(problem)
    trace = mode_sum(spectrum, spectrum.eigenvalues)
    gain = jnp.asarray(learning_rate, float) * jnp.sqrt(jnp.pi * trace / 8.0)
    return plateau_risk(gain, spectrum) / 2


def _schedule(learning_rates: Real) -> jax.Array:
    check_real("learning_rates", learning_rates, at_least=0.0)
    rates = jnp.asarray(learning_rates, float)
    if rates.ndim != 1:
        raise ValueError(f"`learning_rates` must be a vector [T], got shape {rates.shape}.")
    return rates
