"""Dimension-adapted momentum (DANA) on Gaussian least squares, exactly, by stepping the moments.

DANA (Ferbach et al. 2025, arXiv 2505.16098) averages gradients over a share of the whole past and
adds a step of plain SGD:

    y <- (1 - D_t) y + g,   x <- x - eta g - kappa_t y,
    D_t = delta / (delta + t),   kappa_t = kappa (1 + t)^-q,   t = 0, 1, ...

q = 0 is DANA-constant, q = 1/a DANA-decaying. With e = x - x*, the second moments v = E e^2,
c = E e y, w = E y^2 of each mode obey, with keep = 1 - D_t,

    G  = lam^2 (1 + 1/B) v + lam (sum_j lam_j v_j + s^2) / B,
    c* = keep c + lam v,         r = keep lam c + G,          w' = keep^2 w + 2 keep lam c + G,
    v' = v - 2 eta lam v - 2 kappa c* + eta^2 G + 2 eta kappa r + kappa^2 w',
    c' = c* - eta r - kappa w',

where s^2 = sigma^2 + sum_{i>N} i^-b is the label noise, untrained modes included, c* = E e y',
r = E g y'. The coefficients change with t, so the moments are stepped, not diagonalised.
"""

import jax
import jax.numpy as jnp
import numpy as np

from theory.accelerated import check_whole_steps
from theory.checks import Real, check_real
from theory.decomposition import Decomposition, decompose
from theory.linear_methods import loss_exponents
from theory.problem import PowerLawQuadratic
from theory.spectrum import Spectrum, as_spectrum, mode_sum


def dana(
    problem: PowerLawQuadratic | Spectrum,
    learning_rate: Real,
    momentum_rate: Real,
    batch_size: Real,
    steps: Real,
    *,
    damping: Real,
    decay_exponent: Real = 0.0,
) -> Decomposition:
    """Expected loss of one-pass DANA after each of a set of step counts.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rate: eta > 0, step along the gradient itself.
        momentum_rate: kappa >= 0, step along the averaged gradient at t = 0; zero is SGD.
        batch_size: B >= 1.
        steps: T >= 0, whole numbers up to about 1e6, any shape; not traced.
        damping: delta > 0; an average over the last 1/delta of the past.
        decay_exponent: q >= 0 of kappa_t = kappa (1 + t)^-q.

    Returns:
        A `Decomposition` of arrays shaped like `steps`; bias is the loss of the mean iterate,
        noise the rest; infinite once a diverging run overflows.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact to quadrature error and rounding.
    Valid: Gaussian data, fresh samples; until kappa_t T^2 lam oscillates within a block of nodes,
        which `theory.spectrum.compress` with more points a block resolves.
    Source: method of Ferbach et al. 2025 (arXiv 2505.16098); recursion derived, module docstring.
    """
    check_real("learning_rate", learning_rate, above=0.0)
    check_real("momentum_rate", momentum_rate, at_least=0.0)
    check_real("batch_size", batch_size, at_least=1.0)
    check_real("damping", damping, above=0.0)
    check_real("decay_exponent", decay_exponent, at_least=0.0)
    check_whole_steps(steps)
    spectrum, horizon = as_spectrum(problem), np.asarray(steps, float)
    stops, back = np.unique(horizon, return_inverse=True)
    numbers = (learning_rate, momentum_rate, batch_size, damping, decay_exponent)
    hyper = jnp.stack([jnp.asarray(number, float) for number in numbers])
    bias, excess = _losses(spectrum, hyper, jnp.asarray(stops.astype(int)))
    bias, excess = (part[back].reshape(horizon.shape) for part in (bias, excess))
    return decompose(spectrum, bias, jnp.maximum(excess - bias, 0.0))


def _step_moments(
    lam: jax.Array, moments: jax.Array, kick: jax.Array, rates: tuple[jax.Array, ...]
) -> jax.Array:
    """(v, c, w), [3, n], after a step with second moment `kick` of the gradient."""
    (v, c, w), (eta, kappa, keep) = moments, rates
    along = keep * c + lam * v
    cross = keep * lam * c + kick
    square = keep**2 * w + 2.0 * keep * lam * c + kick
    new_v = v - 2.0 * eta * lam * v - 2.0 * kappa * along
    new_v += eta**2 * kick + 2.0 * eta * kappa * cross + kappa**2 * square
    return jnp.stack([new_v, along - eta * cross - kappa * square, square])


def _step_mean(lam: jax.Array, mean: jax.Array, rates: tuple[jax.Array, ...]) -> jax.Array:
    """(E e / e_0, E y / e_0), [2, n], after a step."""
    (error, average), (eta, kappa, keep) = mean, rates
    gradient = lam * error
    average = keep * average + gradient
    return jnp.stack([error - eta * gradient - kappa * average, average])


@jax.jit
def _losses(spectrum: Spectrum, hyper: jax.Array, stops: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Loss of the mean iterate and excess loss at ascending step counts."""
    eta, kappa, batch, damping, decay = hyper
    lam, start = spectrum.eigenvalues, spectrum.energies / spectrum.eigenvalues
    label_noise = spectrum.noise_variance + 2.0 * spectrum.approximation

    def advance(step: jax.Array, state: tuple) -> tuple:
        mean, moments = state
        now = step.astype(float)
        rates = (eta, kappa * (1.0 + now) ** -decay, now / (damping + now))
        drive = mode_sum(spectrum, lam * moments[0]) + label_noise
        kick = lam**2 * (1.0 + 1.0 / batch) * moments[0] + lam * drive / batch
        return _step_mean(lam, mean, rates), _step_moments(lam, moments, kick, rates)

    def segment(carry: tuple, stop: jax.Array) -> tuple:
        mean, moments = state = jax.lax.fori_loop(carry[0], stop, advance, carry[1])
        losses = [
            mode_sum(spectrum, x) / 2 for x in (spectrum.energies * mean[0] ** 2, lam * moments[0])
        ]
        return (stop, state), [jnp.where(jnp.isnan(loss), jnp.inf, loss) for loss in losses]

    begin = (
        jnp.zeros((2, lam.size)).at[0].set(1.0),
        jnp.zeros((3, lam.size)).at[0].set(start),
    )
    bias, excess = jax.lax.scan(segment, (jnp.zeros_like(stops[0]), begin), stops)[1]
    return bias, excess


def dana_exponents(problem: PowerLawQuadratic) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Slopes of loss against steps of SGD, DANA-decaying, DANA-constant: s, (2 - 1/a) s, 2 s.

    Args:
        problem: the quadratic; s = (b - 1) / a.

    Returns:
        Three positive scalars, loss ~ T^-exponent.

    Raises:
        ValueError: if the capacity exponent is at most one.

    Kind: asymptotic.
    Valid: a > 1, no label noise, T << N^a; below the exponent of the gradient noise, and for
        DANA-constant T beyond 1/kappa, where kappa T^2 lam outgrows eta T lam.
    Source: Ferbach et al. 2025 (arXiv 2505.16098). Effective time sum_t t kappa_t ~ T^(2-q): loss
        ~ time^-s with q = 0 or q = 1/a, the least decay that is stable at every size.
    """
    check_real("capacity_exponent", problem.capacity_exponent, above=1.0)
    slope = loss_exponents(problem)[1]
    return slope, (2.0 - 1.0 / jnp.asarray(problem.capacity_exponent, float)) * slope, 2.0 * slope
