"""Heavy ball and Nesterov momentum: exact loss at any horizon, and its asymptote."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import Real, check_real, is_traced
from theory.decomposition import Decomposition
from theory.linear_methods import deterministic_decomposition, gd_asymptote, loss_exponents
from theory.oscillation import DEAD, damped_phase, resolved_spectrum
from theory.problem import PowerLawQuadratic
from theory.second_order import heavy_ball_residual, nesterov_residual
from theory.spectrum import Spectrum


def heavy_ball(
    problem: PowerLawQuadratic | Spectrum, learning_rate: Real, momentum: Real, steps: Real
) -> Decomposition:
    """Loss of gradient descent with heavy-ball momentum after `steps` steps.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rate: eta in (0, 2 (1 + mu) / lam_1), a scalar.
        momentum: mu in [0, 1), a scalar.
        steps: T >= 0, whole numbers, any shape.

    Returns:
        A `Decomposition` of arrays shaped like `steps`; noise is zero.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact to quadrature error (1e-12 of the loss).
    Valid: 0 < eta lam_1 < 2 (1 + mu). Traced arguments use 16 nodes an octave, which holds while
        T sqrt(eta lam_32) is below about 10 or mu^T is negligible.
    Source: derived; `heavy_ball_residual` on nodes that resolve its oscillation.
    """
    return _constant_momentum(
        problem, learning_rate, momentum, steps, heavy_ball_residual, lambda mu: 2 * (1 + mu)
    )


def nesterov(
    problem: PowerLawQuadratic | Spectrum, learning_rate: Real, momentum: Real, steps: Real
) -> Decomposition:
    """Loss of Nesterov's method with constant momentum, at the point where the gradient is taken.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rate: eta in (0, 2 (1 + mu) / ((1 + 2 mu) lam_1)), a scalar.
        momentum: mu in [0, 1), a scalar.
        steps: T >= 0, whole numbers, any shape.

    Returns:
        A `Decomposition` of arrays shaped like `steps`; noise is zero.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact to quadrature error (1e-12 of the loss).
    Valid: as `heavy_ball`, with this stability limit.
    Source: derived; `nesterov_residual` on nodes that resolve its oscillation.
    """
    return _constant_momentum(
        problem,
        learning_rate,
        momentum,
        steps,
        nesterov_residual,
        lambda mu: 2 * (1 + mu) / (1 + 2 * mu),
    )


Residual = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def _constant_momentum(
    problem: PowerLawQuadratic | Spectrum,
    learning_rate: Real,
    momentum: Real,
    steps: Real,
    residual: Residual,
    limit: Callable[[float], float],
) -> Decomposition:
    check_real("momentum", momentum, at_least=0.0, below=1.0)
    check_real("learning_rate", learning_rate, above=0.0)
    check_whole_steps(steps)
    spectrum = _momentum_nodes(
        problem, learning_rate, momentum, steps, damped=residual is nesterov_residual
    )
    if not is_traced(momentum, spectrum.eigenvalues):
        largest = float(np.max(np.asarray(spectrum.eigenvalues)))
        check_real("learning_rate", learning_rate, below=limit(float(momentum)) / largest)
    return _momentum_loss(
        spectrum,
        jnp.asarray(learning_rate, float),
        jnp.asarray(momentum, float),
        jnp.asarray(steps, float),
        residual,
    )


@partial(jax.jit, static_argnames="residual")
def _momentum_loss(
    spectrum: Spectrum,
    learning_rate: jax.Array,
    momentum: jax.Array,
    steps: jax.Array,
    residual: Residual,
) -> Decomposition:
    step = learning_rate * spectrum.eigenvalues

    def loss(horizon: jax.Array) -> Decomposition:
        return deterministic_decomposition(spectrum, residual(step, momentum, horizon) ** 2)

    flat = jax.lax.map(loss, steps.ravel(), batch_size=8)
    return jax.tree.map(lambda leaf: leaf.reshape(steps.shape), flat)


def _momentum_nodes(
    problem: PowerLawQuadratic | Spectrum,
    learning_rate: Real,
    momentum: Real,
    steps: Real,
    damped: bool,
) -> Spectrum:
    if is_traced(learning_rate, momentum, steps):
        return resolved_spectrum(problem, np.zeros_like)
    eta, mu = float(learning_rate), max(float(momentum), 1e-30)
    # The step count at which an undamped mode has died; more steps turn the phase of nothing.
    horizon = min(float(np.max(np.asarray(steps))), -2.0 * DEAD / np.log(mu))

    def phase(lam: np.ndarray) -> np.ndarray:
        if damped:
            return damped_phase(eta * lam, horizon)
        cosine = (1.0 + mu - eta * lam) / (2.0 * np.sqrt(mu))
        return horizon * np.arccos(np.clip(cosine, -1.0, 1.0))

    return resolved_spectrum(problem, phase)


def check_whole_steps(steps: Real) -> None:
    """Refuse step counts that are negative or not whole numbers.

    Args:
        steps: T, any shape; traced values pass unchecked.

    Raises:
        ValueError: naming `steps`.

    Kind: definition.
    Valid: always.
    Source: none needed.
    """
    check_real("steps", steps, at_least=0.0)
    if not is_traced(steps) and np.any(np.asarray(steps) % 1 != 0):
        raise ValueError(f"`steps` must be whole numbers, got {steps}.")


def momentum_asymptote(
    problem: PowerLawQuadratic, learning_rate: Real, momentum: Real, steps: Real
) -> jax.Array:
    """Leading bias of heavy ball and Nesterov: that of GD with learning rate eta / (1 - mu).

    Args:
        problem: the quadratic.
        learning_rate: eta > 0.
        momentum: mu in [0, 1).
        steps: T > 0, any shape.

    Returns:
        Array shaped like `steps`.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: asymptotic.
    Valid: 1 << (1 - mu) T, eta T / (1 - mu) << N^a.
    Source: derived; the slow root is 1 - h / (1 - mu) + O(h^2). Checked against theory.md table 5.
    """
    check_real("momentum", momentum, at_least=0.0, below=1.0)
    check_real("learning_rate", learning_rate, above=0.0)
    effective = jnp.asarray(learning_rate, float) / (1.0 - jnp.asarray(momentum, float))
    return gd_asymptote(problem, effective, steps)


def accelerated_exponent(problem: PowerLawQuadratic) -> jax.Array:
    """Exponent beta = 2 (b - 1)/a of accelerated methods, twice that of gradient descent.

    Args:
        problem: the quadratic.

    Returns:
        A scalar.

    Kind: asymptotic.
    Valid: Jacobi with p > s - 1/2, Nesterov's t/(t+3) for s < 3/2, Chebyshev with its edge chosen
        for each horizon (up to (log T)^s); 1 << T << N^(a/2), beyond which the size saturates it.
    Source: derived; the residual depends on T sqrt(lam) where that of GD depends on T lam.
    """
    return 2.0 * loss_exponents(problem)[1]
