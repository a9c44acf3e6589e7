"""Claims about linear methods: residual polynomials against the engine and against closed forms."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.special import eval_gegenbauer, eval_jacobi, zeta

from experiments.compare import Verdict, relative_within
from simulate.problems import diagonal_quadratic
from simulate.trajectory import simulate
from theory.acceleration_schedules import jacobi_heavy_ball, nesterov_growing
from theory.chebyshev import chebyshev
from theory.linear_methods import preconditioned_gd
from theory.problem import PowerLawQuadratic, power_law

A, B, NOISE = 1.5, 1.8, 0.02
STEPS = np.array([1, 10, 100, 400])
# Rounding of T steps whose residual oscillates: T phi eps with phi below pi.
SAME_MATHS = 1e-12


def _problem(size: int) -> PowerLawQuadratic:
    return power_law(A, B, size, NOISE)


def preconditioned_descent(quick: bool) -> list[Verdict]:
    """GD with gradients times H^-p, an optax chain: p = 1/4 and 1/2."""
    problem = _problem(2_000 if quick else 200_000)
    held = diagonal_quadratic(problem)
    verdicts = []
    for power, rate in ((0.25, 0.9), (0.5, 0.6)):
        run = simulate(held, _behind(held.eigenvalues**-power), STEPS, learning_rate=rate)
        verdicts.append(
            relative_within(
                f"preconditioned GD: exact loss equals simulation, p = {power:g}",
                preconditioned_gd(problem, rate, STEPS, power).total,
                np.asarray(run.loss),
                SAME_MATHS,
                "rounding",
            )
        )
    return verdicts


def _behind(scale: jax.Array) -> Callable[[jax.Array], optax.GradientTransformation]:
    """GD with every gradient multiplied by `scale`."""

    def scaled(updates: Any, params: Any) -> Any:
        del params
        return scale * updates

    def factory(learning_rate: jax.Array) -> optax.GradientTransformation:
        step = optax.scale_by_learning_rate(learning_rate)
        return optax.chain(optax.stateless(scaled), step)

    return factory


def accelerated_methods(quick: bool) -> list[Verdict]:
    """Chebyshev, Jacobi and Nesterov's t/(t+3)."""
    problem = _problem(5_000 if quick else 100_000)
    lam = np.arange(1, int(problem.size) + 1) ** -A
    verdicts = [_chebyshev_claim(problem)]
    for shape, second in ((0.6, 0.0), (1.0, 0.5)):
        stated = jacobi_heavy_ball(problem, 1.9, shape, STEPS, second)
        closed = [_jacobi_residual(int(t), lam, 1.9, shape, second) for t in STEPS]
        verdicts.append(
            _closed_form_claim(f"Jacobi schedule p = {shape:g}, q = {second:g}", stated, closed)
        )
    closed = [_gegenbauer_residual(int(t), 0.9 * lam) for t in STEPS]
    stated = nesterov_growing(problem, 0.9, STEPS)
    return [*verdicts, _closed_form_claim("Nesterov t/(t+3)", stated, closed)]


def _chebyshev_claim(problem: PowerLawQuadratic) -> Verdict:
    lower, upper = 0.002, 1.0
    method = _stepped(*_chebyshev_coefficients(lower, upper, int(STEPS[-1])))
    run = simulate(diagonal_quadratic(problem), method, STEPS)
    return relative_within(
        "Chebyshev: closed polynomial equals stepping its own coefficients in the engine",
        chebyshev(problem, lower, upper, STEPS).total,
        np.asarray(run.loss),
        SAME_MATHS,
        "rounding",
    )


def _chebyshev_coefficients(
    lower: float, upper: float, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rates and momenta of the semi-iteration: omega_{t+1} = 1 / (1 - rho^2 omega_t / 4)."""
    centre, ratio = (upper + lower) / 2, (upper - lower) / (upper + lower)
    omega = [1.0, 2.0 / (2.0 - ratio**2)]
    while len(omega) < steps:
        omega.append(1.0 / (1.0 - ratio**2 * omega[-1] / 4))
    weights = np.array(omega[:steps])
    return weights / centre, weights - 1.0


def _stepped(rates: np.ndarray, momenta: np.ndarray) -> Callable[[], optax.GradientTransformation]:
    """Heavy ball with coefficients for every step: u_t = momenta_t u_{t-1} - rates_t g."""
    rate, momentum = jnp.asarray(rates), jnp.asarray(momenta)

    def factory() -> optax.GradientTransformation:
        def init(params: jax.Array) -> tuple[jax.Array, jax.Array]:
            return jnp.zeros_like(params), jnp.zeros((), int)

        def update(
            updates: jax.Array, state: tuple[jax.Array, jax.Array], params: object = None
        ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            del params
            change = momentum[state[1]] * state[0] - rate[state[1]] * updates
            return change, (change, state[1] + 1)

        return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]

    return factory


def _jacobi_residual(
    steps: int, lam: np.ndarray, rate: float, shape: float, second: float
) -> np.ndarray:
    """P_T(1 - l lam) / P_T(1) with SciPy's Jacobi polynomials."""
    polynomial = eval_jacobi(steps, shape, second, 1.0 - rate * lam)
    return polynomial / eval_jacobi(steps, shape, second, 1.0)


def _gegenbauer_residual(steps: int, step: np.ndarray) -> np.ndarray:
    """(1 - h)^(T/2) C_T(sqrt(1 - h)) / C_T(1) with SciPy's Gegenbauer polynomials, order 3/2."""
    polynomial = eval_gegenbauer(steps, 1.5, np.sqrt(1.0 - step))
    return (1.0 - step) ** (steps / 2) * polynomial / eval_gegenbauer(steps, 1.5, 1.0)


def _closed_form_claim(name: str, stated: object, residuals: list[np.ndarray]) -> Verdict:
    size = residuals[0].size
    energy = np.arange(1, size + 1) ** -B
    tail = NOISE / 2 + zeta(B, size + 1.0) / 2
    closed = [tail + np.sum(energy * residual**2) / 2 for residual in residuals]
    return relative_within(
        f"{name}: stepped nodes equal the closed polynomial, {size} modes",
        stated.total,  # pyright: ignore[reportAttributeAccessIssue]
        closed,
        SAME_MATHS,
        "rounding",
    )
