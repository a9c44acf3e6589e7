"""Chebyshev semi-iteration: exact loss at any horizon, the edge that suits it, its asymptote.

The residual polynomial ripples over the whole interval without dying, so the nodes are those of
`theory.oscillation`; the polynomial itself is a closed form.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, zeta

from theory.accelerated import check_whole_steps
from theory.checks import Real, check_real, is_traced
from theory.decomposition import Decomposition
from theory.linear_methods import deterministic_decomposition, loss_exponents
from theory.oscillation import resolved_spectrum
from theory.problem import PowerLawQuadratic
from theory.spectrum import Spectrum


def chebyshev_residual(
    eigenvalue: jax.Array, lower: jax.Array, upper: jax.Array, steps: jax.Array
) -> jax.Array:
    """|p_T| of Chebyshev semi-iteration, T_T(sigma(lam)) / T_T(sigma(0)).

    Here sigma(lam) = (upper + lower - 2 lam) / (upper - lower).

    Args:
        eigenvalue: lam in (0, upper].
        lower: lower edge m of the interval, in (0, upper).
        upper: upper edge L.
        steps: T >= 0, whole numbers; all arguments broadcast together.

    Returns:
        Array of the broadcast shape.

    Kind: exact; absolute error about T phi eps where it oscillates.
    Valid: 0 < lam <= L.
    Source: Golub and Varga 1961; cosh and cos forms of the Chebyshev polynomial, with the
        difference of the two arguments of cosh taken before multiplying by T.
    """
    width = upper - lower
    inside = eigenvalue >= lower
    edge = jnp.sqrt(lower / width)
    below = jnp.sqrt(jnp.where(inside, 0.0, lower - eigenvalue) / width)
    rate = 2.0 * jnp.arcsinh(edge)
    # asinh(below) - asinh(edge) = asinh(below sqrt(1 + edge^2) - edge sqrt(1 + below^2)), whose
    # argument is (below^2 - edge^2) over the sum of its two terms.
    terms = below * jnp.sqrt(1.0 + edge**2) + edge * jnp.sqrt(1.0 + below**2)
    fall = 2.0 * jnp.arcsinh(jnp.where(inside, 0.0, eigenvalue) / width / terms)
    norm = 1.0 + jnp.exp(-2.0 * steps * rate)
    outside_value = jnp.exp(-steps * fall) * (1.0 + jnp.exp(-4.0 * steps * jnp.arcsinh(below)))
    sine = jnp.sqrt(jnp.where(inside, eigenvalue - lower, 0.0) / width)
    angle = 2.0 * steps * jnp.arcsin(jnp.minimum(sine, 1.0))
    inside_value = 2.0 * jnp.exp(-steps * rate) * jnp.abs(jnp.cos(angle))
    return jnp.where(inside, inside_value, outside_value) / norm


def chebyshev(
    problem: PowerLawQuadratic | Spectrum, lower: Real, upper: Real, steps: Real
) -> Decomposition:
    """Loss of Chebyshev semi-iteration on [lower, upper] after `steps` steps.

    Args:
        problem: the quadratic, or any spectrum.
        lower: lower edge m of the interval, in (0, upper); a scalar or shaped like `steps`, for an
            edge chosen for each horizon (`chebyshev_edge`).
        upper: upper edge L >= lam_1, a scalar.
        steps: T >= 0, whole numbers, any shape.

    Returns:
        A `Decomposition` of arrays shaped like `steps`; noise is zero.

    Raises:
        ValueError: if an argument is outside its domain, or T is so large (about 1e9 at a = 1.5)
            that more than 4 million nodes would be needed.

    Kind: exact to quadrature error (1e-12 of the loss) and T eps.
    Valid: 0 < m < L, L >= lam_1.
    Source: derived; `chebyshev_residual` on nodes that resolve its oscillation.
    """
    check_whole_steps(steps)
    check_real("upper", upper, above=0.0)
    if not is_traced(upper):
        check_real("lower", lower, above=0.0, below=float(np.asarray(upper)))
    traced = is_traced(lower, upper, steps)
    spectrum = resolved_spectrum(
        problem, np.zeros_like if traced else _chebyshev_phase(lower, upper, steps)
    )
    if not is_traced(upper, spectrum.eigenvalues):
        check_real("upper", upper, at_least=float(np.max(np.asarray(spectrum.eigenvalues))))
    horizon = jnp.asarray(steps, float)
    edge = jnp.broadcast_to(jnp.asarray(lower, float), horizon.shape)
    return _chebyshev_loss(spectrum, edge, jnp.asarray(upper, float), horizon)


def _chebyshev_phase(lower: Real, upper: Real, steps: Real) -> Callable[[np.ndarray], np.ndarray]:
    low, high = float(np.min(np.asarray(lower))), float(np.asarray(upper))
    horizon = float(np.max(np.asarray(steps)))

    def phase(lam: np.ndarray) -> np.ndarray:
        sine = np.sqrt(np.clip((lam - low) / (high - low), 0.0, 1.0))
        return 2.0 * horizon * np.arcsin(sine)

    return phase


@jax.jit
def _chebyshev_loss(
    spectrum: Spectrum, lower: jax.Array, upper: jax.Array, steps: jax.Array
) -> Decomposition:
    def loss(pair: tuple[jax.Array, jax.Array]) -> Decomposition:
        residual = chebyshev_residual(spectrum.eigenvalues, pair[0], upper, pair[1])
        return deterministic_decomposition(spectrum, residual**2)

    flat = jax.lax.map(loss, (lower.ravel(), steps.ravel()))
    return jax.tree.map(lambda leaf: leaf.reshape(steps.shape), flat)


def chebyshev_edge(problem: PowerLawQuadratic, upper: Real, steps: Real) -> jax.Array:
    """A lower edge that suits a horizon, L (c / 2T)^2 with c ~ s log T, s = (b - 1)/a.

    Args:
        problem: the quadratic.
        upper: L > 0.
        steps: T >= 2, any shape.

    Returns:
        Array shaped like `steps`.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: asymptotic; the minimum over c of `chebyshev_asymptote`.
    Valid: T >> 1, N infinite.
    Source: derived; the ripple zeta(b) e^(-2c) falls and the unlearned part c^s T^(-2s) grows.
    """
    check_real("upper", upper, above=0.0)
    check_real("steps", steps, at_least=2.0)
    ratio = _chebyshev_strength(problem, jnp.asarray(upper, float), jnp.asarray(steps, float))
    return jnp.asarray(upper, float) * (ratio / (2.0 * jnp.asarray(steps, float))) ** 2


def _chebyshev_strength(
    problem: PowerLawQuadratic, upper: jax.Array, steps: jax.Array
) -> jax.Array:
    _, slope = loss_exponents(problem)
    ripple = zeta(jnp.asarray(problem.source_exponent, float), jnp.ones(()))
    unlearned = _log_unlearned(problem, upper, steps)

    def improve(_: int, c: jax.Array) -> jax.Array:
        return jnp.maximum(
            (jnp.log(2.0 * ripple / slope) - unlearned - (slope - 1.0) * jnp.log(c)) / 2, 1.0
        )

    return jax.lax.fori_loop(0, 50, improve, jnp.ones_like(unlearned))


def _log_unlearned(problem: PowerLawQuadratic, upper: jax.Array, steps: jax.Array) -> jax.Array:
    """Logarithm of Gamma(s)/(2a) (4 T^2 / L)^-s, the unlearned part over c^s."""
    _, slope = loss_exponents(problem)
    clock = jnp.log(4.0 * steps**2 / upper)
    return gammaln(slope) - jnp.log(2.0 * problem.capacity_exponent) - slope * clock


def chebyshev_asymptote(problem: PowerLawQuadratic, upper: Real, steps: Real) -> jax.Array:
    """Leading bias of Chebyshev at `chebyshev_edge`: T^(-2s) (log T)^s, s = (b - 1)/a.

    The sum of the unlearned part, that of GD with 2 eta T = 4 T^2 / (L c), and of the ripple
    zeta(b) e^(-2c), c = 2 T sqrt(m/L).

    Args:
        problem: the quadratic.
        upper: L > 0.
        steps: T >= 2, any shape.

    Returns:
        Array shaped like `steps`.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: asymptotic; corrections of relative order 1/c, c ~ s log T, and the ripple of the few
        largest modes taken at its mean.
    Valid: T >> 1, T^2 << N^a.
    Source: derived; for u = 2T sqrt(lam/L) << c the residual is exp(-u^2/2c).
    """
    check_real("upper", upper, above=0.0)
    check_real("steps", steps, at_least=2.0)
    top, horizon = jnp.asarray(upper, float), jnp.asarray(steps, float)
    c = _chebyshev_strength(problem, top, horizon)
    _, slope = loss_exponents(problem)
    ripple = zeta(jnp.asarray(problem.source_exponent, float), jnp.ones(()))
    unlearned = jnp.exp(_log_unlearned(problem, top, horizon) + slope * jnp.log(c))
    return unlearned + ripple * jnp.exp(-2.0 * c)
