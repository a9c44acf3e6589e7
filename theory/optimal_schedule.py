"""The learning-rate schedule that minimises the loss of SGD with label noise, in closed form.

In continuous time the loss after intrinsic time tau = integral of eta is

    1/2 sum_i i^-b e^(-2 lam tau) + sigma^2/(2B) integral K(r) eta dr,

with K(r) = sum lam^2 e^(-2 lam r) and r the remaining intrinsic time. By Cauchy-Schwarz the noise
is least when sqrt(K) eta is constant along the run, and equals
sigma^2/(2 B T) (integral_0^tau sqrt K)^2.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import Real, check_real
from theory.problem import PowerLawQuadratic
from theory.spectrum import Spectrum, as_spectrum, mode_sum

# Panels of a geometric grid in remaining time, ten Gauss points each: sqrt(K) is smooth on them.
PANELS = 400
HALVINGS = 70


def optimal_schedule(
    problem: PowerLawQuadratic | Spectrum, batch_size: Real, steps: int
) -> tuple[jax.Array, jax.Array]:
    """The best learning rates for a horizon, and the loss they tend to.

    Args:
        problem: the quadratic, or any spectrum, with label noise or untrained modes.
        batch_size: B >= 1.
        steps: T >= 1.

    Returns:
        Learning rates [T], at the middle of each step, and the optimisation error (bias + noise)
        of continuous time, a scalar.

    Raises:
        ValueError: if an argument is outside its domain or there is no label noise.

    Kind: exact for continuous time with label noise alone; the discrete run is above it by
        O(eta lam_1) relative, as it should be (1 % at T = 1e4, a = 1.5, b = 3).
    Valid: noise of the gradient dominated by the label noise; eta_0 lam_1 << 1.
    Source: derived by Cauchy-Schwarz, module docstring; the problem is that of Bordelon and Mori
        2026 (arXiv 2602.04774).
    """
    check_real("batch_size", batch_size, at_least=1.0)
    check_real("steps", steps, at_least=1)
    spectrum = as_spectrum(problem)
    noise = spectrum.noise_variance + 2.0 * spectrum.approximation
    check_real("noise_variance", noise, above=0.0)
    return _optimal(spectrum, noise / jnp.asarray(batch_size, float), int(steps))


def memory_root(spectrum: Spectrum, remaining: jax.Array) -> jax.Array:
    """sqrt(K(r)), K(r) = sum lam^2 exp(-2 lam r): how much of a kick is left after time r.

    Args:
        spectrum: nodes.
        remaining: r >= 0, any shape.

    Returns:
        Array shaped like `remaining`.

    Kind: exact to quadrature error.
    Valid: r >= 0.
    Source: gradient flow of a Gaussian kick with covariance proportional to lam.
    """
    lam = spectrum.eigenvalues
    return jnp.sqrt(mode_sum(spectrum, lam**2 * jnp.exp(-2.0 * lam * remaining[..., None])))


@partial(jax.jit, static_argnames="steps")
def _optimal(spectrum: Spectrum, noise: jax.Array, steps: int) -> tuple[jax.Array, jax.Array]:
    edges, cumulated = _cumulated_root(spectrum, float(steps))
    scale = noise / steps

    def slope(tau: jax.Array, integral: jax.Array) -> jax.Array:
        lam = spectrum.eigenvalues
        gain = mode_sum(spectrum, lam * spectrum.energies * jnp.exp(-2.0 * lam * tau))
        return scale * memory_root(spectrum, tau) * integral - gain

    # The slope of the loss in tau crosses zero once from below within one panel.
    rising = jax.lax.map(lambda pair: slope(*pair), (edges, cumulated)) > 0
    panel = jnp.clip(jnp.argmax(rising) - 1, 0, PANELS - 1)

    def halve(_: int, bracket: tuple) -> tuple:
        low, high = bracket
        middle = (low + high) / 2
        up = slope(middle, _integral_to(spectrum, edges, cumulated, middle)) > 0
        return jnp.where(up, low, middle), jnp.where(up, middle, high)

    start = (edges[panel], edges[panel + 1])
    tau = jnp.where(jnp.any(rising), jax.lax.fori_loop(0, HALVINGS, halve, start)[0], edges[-1])
    whole = _integral_to(spectrum, edges, cumulated, tau)
    left = 1.0 - (jnp.arange(float(steps)) + 0.5) / steps
    remaining = jnp.interp(left * whole, cumulated, edges)
    # One Newton step takes the interpolated remaining time to rounding of the panel integrals.
    value = jax.lax.map(partial(_integral_to, spectrum, edges, cumulated), remaining, batch_size=64)
    root = jax.lax.map(partial(memory_root, spectrum), remaining, batch_size=64)
    remaining = jnp.maximum(remaining - (value - left * whole) / root, 0.0)
    root = jax.lax.map(partial(memory_root, spectrum), remaining, batch_size=64)
    energy = spectrum.energies * jnp.exp(-2.0 * spectrum.eigenvalues * tau)
    bound = mode_sum(spectrum, energy) / 2 + scale * whole**2 / 2
    return whole / (steps * root), bound


def _cumulated_root(spectrum: Spectrum, steps: float) -> tuple[jax.Array, jax.Array]:
    """Panel edges up to the longest stable time 2 T / lam_1, and the integrals up to each."""
    longest = 2.0 * steps / jnp.max(spectrum.eigenvalues)
    smallest = 1e-3 / jnp.max(spectrum.eigenvalues)
    ratio = jnp.log(longest / smallest) / (PANELS - 1)
    grid = smallest * jnp.exp(ratio * jnp.arange(float(PANELS)))
    edges = jnp.concatenate([jnp.zeros(1), grid])
    parts = jax.lax.map(lambda pair: _gauss(spectrum, pair[0], pair[1]), (edges[:-1], edges[1:]))
    return edges, jnp.concatenate([jnp.zeros(1), jnp.cumsum(parts)])


def _gauss(spectrum: Spectrum, low: jax.Array, high: jax.Array) -> jax.Array:
    nodes, weights = np.polynomial.legendre.leggauss(10)
    half = (high - low) / 2
    points = low + half * (1.0 + jnp.asarray(nodes))
    return half * jnp.sum(jnp.asarray(weights) * memory_root(spectrum, points))


def _integral_to(
    spectrum: Spectrum, edges: jax.Array, cumulated: jax.Array, time: jax.Array
) -> jax.Array:
    panel = jnp.clip(jnp.searchsorted(edges, time, side="right") - 1, 0, PANELS - 1)
    return cumulated[panel] + _gauss(spectrum, edges[panel], time)
