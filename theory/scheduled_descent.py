"""GD and one-pass SGD under any sequence of learning rates, stepped exactly on the nodes."""

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import Real, check_real
from theory.decomposition import Decomposition, decompose
from theory.problem import PowerLawQuadratic
from theory.spectrum import Spectrum, as_spectrum, mode_sum


def scheduled_gd(
    problem: PowerLawQuadratic | Spectrum, learning_rates: Real, record: Real | None = None
) -> Decomposition:
    """Loss of gradient descent under any sequence of learning rates.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rates: one a step, [T], each >= 0.
        record: step counts in 0..T at which to give the loss, [R]; default: T alone.

    Returns:
        A `Decomposition` of arrays [R], scalars if `record` is not given; noise is zero.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact to quadrature error and rounding (1e-12 of the loss up to a million steps).
    Valid: any rates; a run that diverges gives the large loss it has.
    Source: derived; p_T = prod_t (1 - eta_t lam).
    """
    return _scheduled(problem, learning_rates, np.inf, record)


def scheduled_sgd(
    problem: PowerLawQuadratic | Spectrum,
    learning_rates: Real,
    batch_size: Real,
    record: Real | None = None,
) -> Decomposition:
    """Expected loss of one-pass SGD under any sequence of learning rates.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rates: one a step, [T], each >= 0.
        batch_size: B >= 1, a scalar or one a step, [T].
        record: step counts in 0..T at which to give the loss, [R]; default: T alone.

    Returns:
        A `Decomposition` of arrays [R], scalars if `record` is not given. Bias is the loss of the
        mean iterate, noise the rest.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact to quadrature error and rounding (1e-12 of the loss up to a million steps).
    Valid: Gaussian data, fresh samples.
    Source: derived; the recursion of `theory.sgd` stepped on the nodes.
    """
    check_real("batch_size", batch_size, at_least=1.0)
    return _scheduled(problem, learning_rates, batch_size, record)


def _scheduled(
    problem: PowerLawQuadratic | Spectrum,
    learning_rates: Real,
    batch_size: Real,
    record: Real | None,
) -> Decomposition:
    check_real("learning_rates", learning_rates, at_least=0.0)
    rates = jnp.asarray(learning_rates, float)
    if rates.ndim != 1:
        raise ValueError(f"`learning_rates` must be a vector, got shape {rates.shape}.")
    stops = np.asarray(rates.size if record is None else record)
    check_real("record", stops, at_least=0, at_most=rates.size)
    noise_scale = jnp.broadcast_to(1.0 / jnp.asarray(batch_size, float), rates.shape)
    order = np.argsort(stops.ravel(), kind="stable")
    curve = step_moments(
        as_spectrum(problem), rates, noise_scale, jnp.asarray(stops.ravel()[order].astype(int))
    )
    back = np.argsort(order)
    return jax.tree.map(lambda leaf: leaf[back].reshape(stops.shape), curve)


@jax.jit
def step_moments(
    spectrum: Spectrum, rates: jax.Array, noise_scale: jax.Array, stops: jax.Array
) -> Decomposition:
    """Steps mean and second moments of every node; the core of the scheduled curves.

    Args:
        spectrum: nodes, [n].
        rates: learning rate of each step, [T].
        noise_scale: 1/B of each step, [T]; zero for gradient descent.
        stops: ascending step counts in 0..T, integers, [R].

    Returns:
        A `Decomposition` of arrays [R]. May be vmapped over `rates`.

    Kind: exact to quadrature error and rounding.
    Valid: Gaussian data, fresh samples.
    Source: derived; see `theory.sgd`.
    """
    lam, target = spectrum.eigenvalues, spectrum.energies / spectrum.eigenvalues
    label_noise = spectrum.noise_variance + 2.0 * spectrum.approximation

    def advance(t: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        mean, extra = state
        step, share = rates[t] * lam, noise_scale[t]
        # Second moment = mean^2 + extra: the noise is carried by itself and never cancels.
        drive = mode_sum(spectrum, lam * (target * mean**2 + extra)) + label_noise
        kick = share * rates[t] ** 2 * lam * (drive + lam * (target * mean**2 + extra))
        # x - s x, not (1 - s) x: rounding 1 - s would repeat the same error every step.
        return mean - step * mean, extra - step * (2.0 - step) * extra + kick

    def segment(carry: tuple, stop: jax.Array) -> tuple[tuple, tuple[jax.Array, jax.Array]]:
        start, state = carry
        state = jax.lax.fori_loop(start, stop, advance, state)
        bias = mode_sum(spectrum, spectrum.energies * state[0] ** 2) / 2
        return (stop, state), (bias, mode_sum(spectrum, lam * state[1]) / 2)

    begin = (jnp.zeros_like(stops[0]), (jnp.ones_like(lam), jnp.zeros_like(lam)))
    _, (bias, noise) = jax.lax.scan(segment, begin, stops)
    return decompose(spectrum, bias, noise)
