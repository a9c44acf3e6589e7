"""signSGD with Gaussian noise: second moments of every mode on the nodes of the spectrum.

Two noise models. Additive: the gradient of every coordinate carries independent N(0, s^2/B); modes
do not interact, and E sign(g) = erf(sqrt(B/2) g / s). One-pass least squares with batch one: the
gradient is x (x.e + noise), whose sign correlates with e through the arcsine law and couples the
modes through the whole loss. In both, v_i = E (x_i - x*_i)^2 gains eta^2 every step.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import erf

from theory.checks import Real, check_real
from theory.decomposition import Decomposition, decompose
from theory.problem import PowerLawQuadratic
from theory.spectrum import Spectrum, as_spectrum, mode_sum


def expected_sign(gradient: Real, noise_scale: Real, batch_size: Real = 1.0) -> jax.Array:
    """Mean of sign(g + noise), erf(sqrt(B/2) g / s).

    Args:
        gradient: g, any shape.
        noise_scale: standard deviation s > 0 of the noise of one sample.
        batch_size: B > 0; the noise of the mean has standard deviation s / sqrt(B).

    Returns:
        Array of the broadcast shape, in (-1, 1).

    Raises:
        ValueError: if `noise_scale` or `batch_size` is not positive.

    Kind: exact.
    Valid: Gaussian noise.
    Source: Li et al. 2024 (arXiv 2405.14578); P(noise > -g) - P(noise < -g).
    """
    check_real("noise_scale", noise_scale, above=0.0)
    check_real("batch_size", batch_size, above=0.0)
    signal = jnp.asarray(gradient, float) / jnp.asarray(noise_scale, float)
    return erf(signal * jnp.sqrt(jnp.asarray(batch_size, float) / 2.0))


def sign_sgd(
    problem: PowerLawQuadratic | Spectrum,
    learning_rates: Real,
    noise_scale: Real,
    batch_size: Real = 1.0,
) -> Decomposition:
    """Loss of signSGD under additive Gaussian gradient noise after each step of a schedule.

    With e ~ N(m, v), k = lam sqrt(B/2) / s and q = 1 + 2 k^2 v:
    E erf(k e) = erf(k m / sqrt q), E e erf(k e) = m erf(k m / sqrt q) + v (2k / sqrt(pi q))
    exp(-k^2 m^2 / q); one step subtracts eta from the mean and adds eta^2.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rates: eta_t >= 0 of the steps t = 0 .. T-1, [T].
        noise_scale: standard deviation s > 0 of one sample's gradient noise, every coordinate.
        batch_size: B > 0.

    Returns:
        A `Decomposition` of arrays [T + 1]; bias is the loss of the mean, noise that of the spread.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: asymptotic, Gaussian closure: exact for the first step, then e is taken as Gaussian;
        measured against the exact random walk on the lattice, the loss is off by at most 0.8 % on
        the way at k eta = 0.14, 0.07 % at 0.035 (about a third for each halving), and by
        0.04 (k eta)^2 at the plateau.
    Valid: k eta << 1 for every mode, i.e. eta lam_1 well below the noise of the gradient.
    Source: derived; the moments are Gaussian integrals by Stein's lemma.
    """
    check_real("learning_rates", learning_rates, at_least=0.0)
    check_real("noise_scale", noise_scale, above=0.0)
    check_real("batch_size", batch_size, above=0.0)
    sharpness = jnp.sqrt(jnp.asarray(batch_size, float) / 2.0) / jnp.asarray(noise_scale, float)
    return _additive(as_spectrum(problem), _schedule(learning_rates), sharpness)


@jax.jit
def _additive(spectrum: Spectrum, rates: jax.Array, sharpness: jax.Array) -> Decomposition:
    lam = spectrum.eigenvalues
    k = lam * sharpness

    def step(moments: tuple, rate: jax.Array) -> tuple:
        mean, variance = moments
        spread = 1.0 + 2.0 * k**2 * variance
        drift = erf(k * mean / jnp.sqrt(spread))
        gain = 2.0 * k / jnp.sqrt(jnp.pi * spread) * jnp.exp(-((k * mean) ** 2) / spread)
        # Var(e - eta sign) = v - 2 eta Cov(e, sign) + eta^2 (1 - drift^2), Cov = v gain.
        after = variance * (1.0 - 2.0 * rate * gain) + rate**2 * (1.0 - drift**2)
        moments = (mean - rate * drift, jnp.maximum(after, 0.0))
        return moments, (loss(moments[0] ** 2), loss(moments[1]))

    def loss(second_moment: jax.Array) -> jax.Array:
        return mode_sum(spectrum, lam * second_moment) / 2

    start = jnp.sqrt(spectrum.energies / lam)
    _, (bias, noise) = jax.lax.scan(step, (start, jnp.zeros_like(start)), rates)
    return _recorded(spectrum, bias, noise)


def sign_sgd_plateau(
    problem: PowerLawQuadratic | Spectrum,
    learning_rate: Real,
    noise_scale: Real,
    batch_size: Real = 1.0,
) -> jax.Array:
    """Stationary loss of signSGD under additive noise at a constant step.

    1/2 sum lam v with v = pi/16 (eta^2 + sqrt(eta^4 + 16 eta^2 / (pi k^2))), k = lam sqrt(B/2) / s:
    sqrt(pi/8) eta s / sqrt(B) / 2 for every mode when the noise is large.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rate: eta > 0.
        noise_scale: s > 0.
        batch_size: B > 0.

    Returns:
        A scalar, without irreducible and approximation parts.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: asymptotic (T -> infinity) within the Gaussian closure of `sign_sgd`.
    Valid: k eta << 1; as k eta -> infinity it gives pi/8 eta^2 where the truth is eta^2/3.
    Source: derived; the fixed point 2 v (2k/sqrt(pi)) = eta sqrt(1 + 2 k^2 v) of `sign_sgd`.
    """
    check_real("learning_rate", learning_rate, above=0.0)
    check_real("noise_scale", noise_scale, above=0.0)
    check_real("batch_size", batch_size, above=0.0)
    spectrum = as_spectrum(problem)
    rate = jnp.asarray(learning_rate, float)
    sharpness = jnp.sqrt(jnp.asarray(batch_size, float) / 2.0) / jnp.asarray(noise_scale, float)
    k = spectrum.eigenvalues * sharpness
    variance = jnp.pi / 16 * (rate**2 + rate * jnp.sqrt(rate**2 + 16.0 / (jnp.pi * k**2)))
    return mode_sum(spectrum, spectrum.eigenvalues * variance) / 2


def one_pass_sign_sgd(problem: PowerLawQuadratic | Spectrum, learning_rates: Real) -> Decomposition:
    """Loss of one-pass signSGD with batch one on Gaussian least squares, diagonal covariance.

    v' = v - (4 eta / pi) sqrt(lam / S) v + eta^2, S = sum lam v + sigma^2 + untrained energy.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rates: eta_t >= 0 of the steps t = 0 .. T-1, [T].

    Returns:
        A `Decomposition` of arrays [T + 1].

    Raises:
        ValueError: if a rate is negative.

    Kind: asymptotic (many comparable modes): E sign(g_i) = (2/pi) arcsin(sqrt(lam_i) e_i / sqrt S)
        is exact given the iterate; the arcsine is linearised and S replaced by its mean.
    Valid: lam_i v_i << S for every mode; eta sqrt(lam_1 / S) << 1.
    Source: Xiao et al. 2024 (arXiv 2411.12135), diagonal covariance and batch one, re-derived.
    """
    check_real("learning_rates", learning_rates, at_least=0.0)
    return _one_pass(as_spectrum(problem), _schedule(learning_rates))


@jax.jit
def _one_pass(spectrum: Spectrum, rates: jax.Array) -> Decomposition:
    lam = spectrum.eigenvalues
    hidden = spectrum.noise_variance + 2.0 * spectrum.approximation

    def step(parts: tuple, rate: jax.Array) -> tuple:
        bias, noise = parts
        risk = mode_sum(spectrum, lam * (bias + noise)) + hidden
        keep = 1.0 - 4.0 * rate / jnp.pi * jnp.sqrt(lam / jnp.where(risk > 0.0, risk, 1.0))
        parts = (keep * bias, keep * noise + rate**2)
        return parts, (
            mode_sum(spectrum, lam * parts[0]) / 2,
            mode_sum(spectrum, lam * parts[1]) / 2,
        )

    first = (spectrum.energies / lam, jnp.zeros_like(lam))
    _, (bias, noise) = jax.lax.scan(step, first, rates)
    return _recorded(spectrum, bias, noise)


def one_pass_sign_plateau(problem: PowerLawQuadratic | Spectrum, learning_rate: Real) -> jax.Array:
    """Stationary optimization loss of `one_pass_sign_sgd` at a constant step.

    (S - s^2)/2 with S - s^2 = k sqrt S, k = (pi eta / 4) sum sqrt(lam), s^2 all label noise.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rate: eta > 0.

    Returns:
        A scalar, without irreducible and approximation parts.

    Raises:
        ValueError: if `learning_rate` is not positive.

    Kind: asymptotic (T -> infinity) of `one_pass_sign_sgd`.
    Valid: as `one_pass_sign_sgd`.
    Source: Xiao et al. 2024 (arXiv 2411.12135), re-derived: the fixed point is
        v_i = (pi eta / 4) sqrt(S / lam_i).
    """
    check_real("learning_rate", learning_rate, above=0.0)
    spectrum = as_spectrum(problem)
    scale = mode_sum(spectrum, jnp.sqrt(spectrum.eigenvalues))
    return plateau_risk(jnp.pi / 4.0 * jnp.asarray(learning_rate, float) * scale, spectrum) / 2


def plateau_risk(gain: jax.Array, spectrum: Spectrum) -> jax.Array:
    """S - s^2 where S - s^2 = gain sqrt(S), s^2 = sigma^2 + energy of the untrained modes.

    Args:
        gain: positive.
        spectrum: gives s^2.

    Returns:
        Array shaped like `gain`.

    Kind: exact.
    Valid: gain >= 0.
    Source: derived; positive root of the quadratic in sqrt(S).
    """
    hidden = spectrum.noise_variance + 2.0 * spectrum.approximation
    return gain * (gain + jnp.sqrt(gain**2 + 4.0 * hidden)) / 2.0


def _schedule(learning_rates: Real) -> jax.Array:
    rates = jnp.asarray(learning_rates, float)
    if rates.ndim != 1:
        raise ValueError(f"`learning_rates` must be a vector [T], got shape {rates.shape}.")
    return rates


def _recorded(spectrum: Spectrum, bias: jax.Array, noise: jax.Array) -> Decomposition:
    bias = jnp.concatenate([mode_sum(spectrum, spectrum.energies)[None] / 2, bias])
    return decompose(spectrum, bias, jnp.concatenate([jnp.zeros(1), noise]))
