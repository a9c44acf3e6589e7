"""Momentum that grows with the step: Nesterov's t/(t+3) and the Jacobi schedule, stepped.

Their residual polynomials oscillate over the whole spectrum, so the nodes are those of
`theory.oscillation`; they are stepped exactly, and their asymptotes carry their constants.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from theory.accelerated import check_whole_steps
from theory.checks import Real, check_real, is_traced
from theory.decomposition import Decomposition
from theory.linear_methods import deterministic_decomposition, loss_exponents
from theory.oscillation import damped_phase, resolved_spectrum
from theory.problem import PowerLawQuadratic
from theory.spectrum import Spectrum


def nesterov_growing(
    problem: PowerLawQuadratic | Spectrum, learning_rate: Real, steps: Real
) -> Decomposition:
    """Loss of Nesterov's method with momentum t/(t+3), stepped on the nodes.

    y = x_t + t/(t+3) (x_t - x_{t-1}), x_{t+1} = y - eta grad f(y), loss at x_T.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rate: eta in (0, 1 / lam_1].
        steps: T >= 0, whole numbers up to about 1e6, any shape.

    Returns:
        A `Decomposition` of arrays shaped like `steps`; noise is zero.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact to quadrature error (1e-12 of the loss) and rounding.
    Valid: 0 < eta <= 1/lam_1.
    Source: Su, Boyd and Candes 2014 (arXiv 1503.01243). Derived: the residual is
        (1 - h)^(T/2) G_T(sqrt(1 - h)), G_T the Gegenbauer polynomial C_T^(3/2) with G_T(1) = 1.
    """
    check_whole_steps(steps)
    eta, horizon = float(np.asarray(learning_rate)), float(np.max(np.asarray(steps)))
    check_real("learning_rate", eta, above=0.0)
    spectrum = resolved_spectrum(problem, lambda lam: damped_phase(eta * lam, horizon))
    largest = float(np.max(np.asarray(spectrum.eigenvalues)))
    check_real("learning_rate", eta, above=0.0, at_most=1.0 / largest)
    return _recorded(spectrum, _growing, jnp.full(3, eta), steps)


def _growing(t: jax.Array, parameters: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    momentum = t / (t + 3.0)
    return parameters[0], momentum, momentum


def nesterov_growing_asymptote(
    problem: PowerLawQuadratic, learning_rate: Real, steps: Real
) -> jax.Array:
    """Leading bias of Nesterov's t/(t+3): ~ T^(-2s) for s < 3/2, ~ T^(-s-3/2) beyond.

    With Q = 1/(b-1) and s = (b-1)/a: for s < 3/2 it is `jacobi_constant` with p = 1 and rate eta/2
    times T^(-2s); for s > 3/2, 2 Q s/pi Gamma(s - 3/2) eta^-s T^(-s-3/2).

    Args:
        problem: the quadratic, s != 3/2.
        learning_rate: eta > 0.
        steps: T > 0, any shape.

    Returns:
        Array shaped like `steps`; infinite at s = 3/2, where a factor log T is missing.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: asymptotic.
    Valid: 1 << sqrt(eta) T << N^(a/2).
    Source: derived; p_T -> 2 J_1(u)/u, u = T sqrt(eta lam), damped by exp(-eta lam T / 2).
    """
    check_real("learning_rate", learning_rate, above=0.0)
    check_real("steps", steps, above=0.0)
    _, slope = loss_exponents(problem)
    log_eta = jnp.log(jnp.asarray(learning_rate, float))
    log_steps = jnp.log(jnp.asarray(steps, float))
    below = slope < 1.5
    safe = jnp.where(below, slope, 1.0)
    slow = _log_jacobi(problem, safe, jnp.ones(()), log_eta - jnp.log(2.0)) - 2.0 * safe * log_steps
    beyond = jnp.where(below, 2.0, slope)
    fast = jnp.log(2.0 / (jnp.pi * problem.capacity_exponent)) + gammaln(beyond - 1.5)
    fast = fast - beyond * log_eta - (beyond + 1.5) * log_steps
    return jnp.exp(jnp.where(below, slow, fast))


def jacobi_heavy_ball(
    problem: PowerLawQuadratic | Spectrum,
    learning_rate: Real,
    shape: Real,
    steps: Real,
    second_shape: Real = 0.0,
) -> Decomposition:
    """Loss of heavy ball with the Jacobi schedule, whose residual is P_T^(p,q)(1 - l lam).

    alpha_n = l (2n+p+q+1)(2n+p+q+2) / (2 (n+p+1)(n+p+q+1)),
    beta_n = n (n+q)(2n+p+q+2) / ((n+p+1)(n+p+q+1)(2n+p+q)),
    x_{n+1} = x_n - alpha_n grad f(x_n) + beta_n (x_n - x_{n-1}).

    Args:
        problem: the quadratic, or any spectrum.
        learning_rate: l in (0, 2 / lam_1].
        shape: p > -1/2; best just above s - 1/2.
        steps: T >= 0, whole numbers up to about 1e6, any shape.
        second_shape: q in (-1, p].

    Returns:
        A `Decomposition` of arrays shaped like `steps`; noise is zero.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact to quadrature error (1e-12 of the loss) and rounding.
    Valid: 0 < l lam_1 <= 2.
    Source: Velikanov and Yarotsky 2022 (arXiv 2202.00992).
    """
    check_whole_steps(steps)
    rate, horizon = float(np.asarray(learning_rate)), float(np.max(np.asarray(steps)))
    check_real("learning_rate", rate, above=0.0)
    check_real("shape", shape, above=-0.5)
    check_real("second_shape", second_shape, above=-1.0, at_most=float(np.asarray(shape)))

    def phase(lam: np.ndarray) -> np.ndarray:
        return 2.0 * horizon * np.arcsin(np.sqrt(np.clip(rate * lam / 2.0, 0.0, 1.0)))

    spectrum = resolved_spectrum(problem, phase)
    largest = float(np.max(np.asarray(spectrum.eigenvalues)))
    check_real("learning_rate", rate, above=0.0, at_most=2.0 / largest)
    parameters = jnp.asarray([rate, float(np.asarray(shape)), float(np.asarray(second_shape))])
    return _recorded(spectrum, _jacobi, parameters, steps)


def _jacobi(n: jax.Array, parameters: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    rate, p, q = parameters
    both = p + q
    common = (n + p + 1.0) * (n + both + 1.0)
    # At n = 0 the factor (n + p + q + 1) cancels and beta vanishes.
    first = rate * (both + 2.0) / (2.0 * (p + 1.0))
    later = rate * (2.0 * n + both + 1.0) * (2.0 * n + both + 2.0) / (2.0 * common)
    momentum = n * (n + q) * (2.0 * n + both + 2.0) / (common * jnp.maximum(2.0 * n + both, 1e-30))
    return (
        jnp.where(n > 0, later, first),
        jnp.where(n > 0, momentum, 0.0),
        jnp.zeros_like(momentum),
    )


def jacobi_constant(problem: PowerLawQuadratic, learning_rate: Real, shape: Real) -> jax.Array:
    """C_J in bias ~ C_J T^(-2s) of `jacobi_heavy_ball`, s = (b - 1)/a, Q = 1/(b - 1).

    C_J = Q s Gamma(p+1)^2 2^(2p) (2l)^-s Gamma(2p+1-2s) Gamma(s)
          / (2^(2p+1-2s) Gamma(p+1-s)^2 Gamma(2p+1-s)).

    Args:
        problem: the quadratic.
        learning_rate: l > 0.
        shape: p > s - 1/2.

    Returns:
        A scalar.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: asymptotic constant.
    Valid: p > s - 1/2; below that the exponent is -(2p+1) instead.
    Source: derived; Mehler-Heine limit Gamma(p+1) (2/u)^p J_p(u), u = T sqrt(2 l lam), and the
        Weber-Schafheitlin integral. The exponent is that of arXiv 2202.00992.
    """
    check_real("learning_rate", learning_rate, above=0.0)
    _, slope = loss_exponents(problem)
    if not is_traced(slope, shape):
        check_real("shape", shape, above=float(slope) - 0.5)
    log_rate = jnp.log(jnp.asarray(learning_rate, float))
    return jnp.exp(_log_jacobi(problem, slope, jnp.asarray(shape, float), log_rate))


def _log_jacobi(
    problem: PowerLawQuadratic, slope: jax.Array, p: jax.Array, log_rate: jax.Array
) -> jax.Array:
    # Q s = 1/a.
    value = 2.0 * gammaln(p + 1.0) - jnp.log(jnp.asarray(problem.capacity_exponent, float))
    value += gammaln(2.0 * p + 1.0 - 2.0 * slope) + gammaln(slope)
    value -= 2.0 * gammaln(p + 1.0 - slope) + gammaln(2.0 * p + 1.0 - slope)
    # 2^(2p) (2l)^-s / 2^(2p + 1 - 2s) = 2^(s - 1) l^-s.
    return value + (slope - 1.0) * jnp.log(2.0) - slope * log_rate


Coefficients = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]]


def _recorded(
    spectrum: Spectrum, coefficients: Coefficients, parameters: jax.Array, steps: Real
) -> Decomposition:
    horizon = np.asarray(steps, float)
    stops, back = np.unique(horizon, return_inverse=True)
    curve = _stepped(spectrum, coefficients, parameters, jnp.asarray(stops.astype(int)))
    return jax.tree.map(lambda leaf: leaf[back].reshape(horizon.shape), curve)


@partial(jax.jit, static_argnames="coefficients")
def _stepped(
    spectrum: Spectrum, coefficients: Coefficients, parameters: jax.Array, stops: jax.Array
) -> Decomposition:
    """Steps e and its increment: small increments keep their own digits over a million steps."""
    lam = spectrum.eigenvalues

    def advance(t: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        position, change = state
        rate, momentum, lookahead = coefficients(t.astype(float), parameters)
        change = momentum * change - rate * lam * (position + lookahead * change)
        return position + change, change

    def segment(carry: tuple, stop: jax.Array) -> tuple[tuple, Decomposition]:
        state = jax.lax.fori_loop(carry[0], stop, advance, carry[1])
        return (stop, state), deterministic_decomposition(spectrum, state[0] ** 2)

    begin = (jnp.zeros_like(stops[0]), (jnp.ones_like(lam), jnp.zeros_like(lam)))
    return jax.lax.scan(segment, begin, stops)[1]
