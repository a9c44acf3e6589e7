"""One-pass mini-batch SGD on Gaussian least squares, exactly, at any horizon.

Fresh samples x ~ N(0, diag lam), label noise sigma^2, batch B, constant learning rate eta. The
second moments v_i = E (x_i - x*_i)^2 of the trained modes obey exactly

    v' = (1 - 2 eta lam + eta^2 lam^2 (1 + 1/B)) v + (eta^2/B) lam (sum_j lam_j v_j + s^2),

where s^2 = sigma^2 + sum_{i>N} i^-b: untrained modes act as label noise. With y = sqrt(w) v on
weighted nodes the map is I - M, M = diag(d) - rho u u^T, u = sqrt(w) lam, rho = eta^2/B,
d = 2 eta lam - (1 + 1/B) eta^2 lam^2, and `theory.secular` diagonalises M once for every T.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from theory.checks import Real, check_real, is_traced
from theory.decomposition import Decomposition, decompose
from theory.linear_methods import power_residual_squared
from theory.problem import PowerLawQuadratic
from theory.secular import rank_one_eigen
from theory.spectrum import Spectrum, as_spectrum, mode_sum


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["rates", "amplitudes", "forcing"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Propagator:
    """The loss of SGD as a sum of exponentials, diagonalised once.

    The loss beyond irreducible + approximation after T steps is
    sum_j amplitudes_j (1 - rates_j)^T + forcing_j (1 - (1 - rates_j)^T) / rates_j.

    Attributes:
        rates: eigenvalues of M, [n]; all positive when stable.
        amplitudes: contribution of the initial energies, [n], loss units.
        forcing: loss added by the label noise of one step, [n], loss units.
    """

    rates: jax.Array
    amplitudes: jax.Array
    forcing: jax.Array

    def excess(self, steps: jax.Array) -> jax.Array:
        """Loss beyond irreducible + approximation after `steps` (any shape) steps."""
        log_decay = steps[..., None] * jnp.log1p(-self.rates)
        initial = jnp.sum(self.amplitudes * jnp.exp(log_decay), axis=-1)
        return initial + jnp.sum(self.forcing * (-jnp.expm1(log_decay) / self.rates), axis=-1)


def propagator(
    problem: PowerLawQuadratic | Spectrum,
    learning_rate: Real,
    batch_size: Real,
) -> Propagator:
    """Diagonalises the second-moment dynamics of SGD.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rate: eta, positive and below `critical_learning_rate`.
        batch_size: B >= 1.

    Returns:
        A `Propagator` with one rate a node.

    Raises:
        ValueError: if an argument is outside its domain or the iteration diverges in mean square.

    Kind: exact to rounding (1e-13 relative, any T) and quadrature error.
    Valid: Gaussian data, fresh samples, 0 < eta < critical learning rate.
    Source: derived; fourth moments of a Gaussian give the factor 1 + 1/B. The recursion is that of
        Bordelon and Pehlevan 2021 (arXiv 2106.02713) for diagonal covariance.
    """
    check_real("batch_size", batch_size, at_least=1.0)
    check_real("learning_rate", learning_rate, above=0.0)
    spectrum = as_spectrum(problem)
    eta, batch = jnp.asarray(learning_rate, float), jnp.asarray(batch_size, float)
    _check_stable(spectrum, eta, batch)
    return _diagonalise(spectrum, eta, batch)


@jax.jit
def _diagonalise(spectrum: Spectrum, eta: jax.Array, batch: jax.Array) -> Propagator:
    lam, root_weight = spectrum.eigenvalues, jnp.sqrt(spectrum.weights)
    coupling = root_weight * lam
    strength = eta**2 / batch
    poles = eta * lam * (2.0 - (1.0 + 1.0 / batch) * eta * lam)
    eigen = rank_one_eigen(poles, coupling, strength)
    loss_direction = eigen.project(coupling)
    initial = eigen.project(root_weight * spectrum.energies / lam)
    noise = spectrum.noise_variance + 2.0 * spectrum.approximation
    return Propagator(
        eigen.values,
        loss_direction * initial / 2,
        loss_direction**2 * strength * noise / 2,
    )


def sgd(
    problem: PowerLawQuadratic | Spectrum,
    learning_rate: Real,
    batch_size: Real,
    steps: Real,
) -> Decomposition:
    """Expected loss of one-pass SGD after `steps` steps of `batch_size` fresh samples.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rate: eta, positive and below `critical_learning_rate`.
        batch_size: B >= 1, samples a step; any real number.
        steps: T >= 0, any shape; the cost does not depend on its values.

    Returns:
        A `Decomposition` of arrays shaped like `steps`. Bias is the loss of the mean iterate (the
        curve of GD); noise is the rest, accurate to 1e-13 of the *loss*, so its relative accuracy
        degrades where it is a small part of it.

    Raises:
        ValueError: if an argument is outside its domain or the iteration diverges in mean square.

    Kind: exact to rounding and quadrature error.
    Valid: Gaussian data, fresh samples, 0 < eta < critical learning rate.
    Source: derived; see the module's docstring.
    """
    check_real("steps", steps, at_least=0.0)
    spectrum = as_spectrum(problem)
    modes = propagator(spectrum, learning_rate, batch_size)
    return _split(spectrum, modes, jnp.asarray(learning_rate, float), jnp.asarray(steps, float))


@jax.jit
def _split(
    spectrum: Spectrum, modes: Propagator, eta: jax.Array, steps: jax.Array
) -> Decomposition:
    excess = modes.excess(steps)
    residual = power_residual_squared(eta * spectrum.eigenvalues, steps[..., None])
    bias = mode_sum(spectrum, spectrum.energies * residual) / 2
    return decompose(spectrum, bias, jnp.maximum(excess - bias, 0.0))


def stability_sum(
    problem: PowerLawQuadratic | Spectrum,
    learning_rate: Real,
    batch_size: Real,
) -> jax.Array:
    """sum_k (eta/B) lam_k / (2 - eta lam_k (1 + 1/B)); SGD is stable exactly where it is below one.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rate: eta > 0.
        batch_size: B >= 1.

    Returns:
        A scalar; infinite where a single mode is unstable by itself.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact.
    Valid: Gaussian data, fresh samples.
    Source: derived; M is positive definite iff every pole is positive and the secular function is
        below 1/rho at zero.
    """
    check_real("learning_rate", learning_rate, above=0.0)
    check_real("batch_size", batch_size, at_least=1.0)
    return _stability_sum(
        as_spectrum(problem), jnp.asarray(learning_rate, float), jnp.asarray(batch_size, float)
    )


@jax.jit
def _stability_sum(spectrum: Spectrum, eta: jax.Array, batch: jax.Array) -> jax.Array:
    step = eta * spectrum.eigenvalues
    margin = 2.0 - step * (1.0 + 1.0 / batch)
    alone = jnp.all(margin > 0)
    total = mode_sum(spectrum, step / batch / jnp.where(margin > 0, margin, 1.0))
    return jnp.where(alone, total, jnp.inf)


def critical_learning_rate(problem: PowerLawQuadratic | Spectrum, batch_size: Real) -> jax.Array:
    """The learning rate at which `stability_sum` is one: SGD diverges from there on.

    Args:
        problem: the quadratic, or any spectrum.
        batch_size: B >= 1.

    Returns:
        A scalar, at most 2 / (lam_1 (1 + 1/B)).

    Raises:
        ValueError: if `batch_size` is below 1.

    Kind: exact to rounding, by 60 bisections of an increasing function.
    Valid: Gaussian data, fresh samples.
    Source: derived; isotropic case 2 / (1 + (n + 1)/B) as a check.
    """
    check_real("batch_size", batch_size, at_least=1.0)
    return _critical(as_spectrum(problem), jnp.asarray(batch_size, float))


@jax.jit
def _critical(spectrum: Spectrum, batch: jax.Array) -> jax.Array:
    largest = 2.0 / (jnp.max(spectrum.eigenvalues) * (1.0 + 1.0 / batch))

    def halve(_: int, bracket: tuple) -> tuple:
        low, high = bracket
        middle = (low + high) / 2
        unstable = _stability_sum(spectrum, middle, batch) >= 1.0
        return jnp.where(unstable, low, middle), jnp.where(unstable, middle, high)

    return jax.lax.fori_loop(0, 60, halve, (jnp.zeros_like(largest), largest))[0]


def _check_stable(spectrum: Spectrum, eta: jax.Array, batch: jax.Array) -> None:
    traced = is_traced(eta, batch, spectrum.eigenvalues)
    if traced or _stability_sum(spectrum, eta, batch) < 1.0:
        return
    limit = float(critical_learning_rate(spectrum, batch))
    raise ValueError(
        f"`learning_rate` must be positive and less than {limit:.6g}, where SGD with batch size "
        f"{float(batch):g} diverges in mean square, got {float(eta):g}."
    )
