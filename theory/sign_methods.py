"""Sign descent in the eigenbasis, x <- x - eta sign(grad f), exactly at any horizon.

Every coordinate moves alone. Its distance |x_i - x*_i| starts at u_i = sqrt(energy_i / lam_i) =
i^-(b-a)/2, falls by eta a step while it is at least eta, and then alternates for ever between
r = u mod eta and eta - r (it stays at zero where u is a multiple of eta, sign(0) = 0).

The residual is a triangle wave in the mode number, so the compression of `theory.spectrum` does
not apply: up to `EXPLICIT_MODES` every mode is held. Beyond, the modes that still walk and those
that were closer than one step from the start are smooth in log i and stay exact; between them the
wave is replaced by its mean, eta^2/3 (r is uniform on [0, eta): E r^2 = E (eta - r)^2 = eta^2/3;
the value eta^2/4 that is often quoted is the time average at r = eta/2, the smallest one), and
`sign_descent_error` says how far that can be off.
"""

import math
from itertools import pairwise
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import Real, check_float64, check_real
from theory.decomposition import Decomposition, decompose
from theory.problem import PowerLawQuadratic, eigenvalues, energies, mode_index
from theory.spectrum import Spectrum, approximation_error, explicit_spectrum, range_nodes

EXPLICIT_MODES = 2**17
# Beyond this many steps a step count is not an exact integer any more.
MAX_STEPS = 2.0**53


class SignExponents(NamedTuple):
    """How tuned sign descent scales, L = E + A N^-alpha + B T^-beta.

    Attributes:
        alpha: exponent of the size.
        beta: exponent of the horizon, NaN where there is no such law.
        holds: whether the Chinchilla form holds.
        reason: why, and in which window.
    """

    alpha: float
    beta: float
    holds: bool
    reason: str


def sign_residual(distance: jax.Array, learning_rate: jax.Array, steps: jax.Array) -> jax.Array:
    """Distance to the optimum of one coordinate after `steps` sign steps.

    Args:
        distance: u = |x_0 - x*| >= 0.
        learning_rate: eta > 0.
        steps: T >= 0, whole; all three broadcast.

    Returns:
        Array of the broadcast shape.

    Kind: exact.
    Valid: u/eta < 2^53. u and eta are taken as the float64 numbers they are: a target that is a
        multiple of eta only up to rounding is not one (`fmod` itself is exact).
    Source: derived; walk of floor(u/eta) steps, then the two-cycle r, eta - r.
    """
    return _walked(jnp, distance, learning_rate, steps)


def _walked(arrays: ModuleType, distance: Any, learning_rate: Any, steps: Any) -> Any:
    """`sign_residual` in NumPy or JAX."""
    rest = arrays.fmod(distance, learning_rate)
    walk = arrays.round((distance - rest) / learning_rate)
    odd = arrays.fmod(steps - walk, 2.0) == 1.0
    landed = arrays.where(odd & (rest > 0.0), learning_rate - rest, rest)
    return arrays.where(steps <= walk, distance - steps * learning_rate, landed)


def sign_descent(
    problem: PowerLawQuadratic | Spectrum, learning_rate: Real, steps: Real
) -> Decomposition:
    """Loss of sign descent after `steps` steps from x_0 = 0.

    Args:
        problem: the quadratic, or an explicit spectrum (weights 0 or 1).
        learning_rate: eta > 0, a scalar.
        steps: T >= 0, whole numbers below 2^53, any shape.

    Returns:
        A `Decomposition` of arrays shaped like `steps`; noise is zero.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact for explicit spectra and for sizes up to `EXPLICIT_MODES`; beyond, exact but for the
        oscillating modes above `EXPLICIT_MODES`, whose mean square residual is taken as eta^2/3.
    Valid: any eta > 0: sign descent never diverges.
    Source: derived; see the module's docstring.
    """
    check_float64()
    check_real("learning_rate", learning_rate, above=0.0)
    _check_steps(steps)
    held = _held_modes(problem)
    rate, horizon = jnp.asarray(learning_rate, float), jnp.asarray(steps, float)
    bias = _explicit_bias(held, rate, horizon)
    if isinstance(problem, PowerLawQuadratic) and problem.size > EXPLICIT_MODES:
        bias = bias + _beyond(problem, float(learning_rate), np.asarray(steps, float))[0]
    return decompose(held, bias)


def sign_descent_error(
    problem: PowerLawQuadratic | Spectrum, learning_rate: Real, steps: Real
) -> np.ndarray:
    """Error estimate (one standard deviation) of the bias of `sign_descent`.

    Args:
        problem: the quadratic, or an explicit spectrum.
        learning_rate: eta > 0, a scalar.
        steps: T >= 0, whole numbers, any shape.

    Returns:
        Array shaped like `steps`; zero where every mode is held.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: asymptotic (a standard deviation, not a bound).
    Valid: as `sign_descent`.
    Source: derived. Narrow teeth: independent uniform phases, r^2 has variance 4/45 eta^4, so the
        sum has standard deviation eta^2/2 sqrt(4/45 sum lam^2). Wide teeth: the residual is a
        triangle wave in u of period 2 eta, the density of modes varies by a fraction of order
        eta/u over a tooth, and neighbouring teeth cancel its first order: relative (eta/u)^2. A
        tooth cut at the end of the range costs at most 0.128 of its width times lam eta^2/2. The
        three are added in squares (the last two first in a plain sum).
    """
    check_real("learning_rate", learning_rate, above=0.0)
    _check_steps(steps)
    counts = np.asarray(steps, float)
    if not isinstance(problem, PowerLawQuadratic) or problem.size <= EXPLICIT_MODES:
        return np.zeros(counts.shape)
    return _beyond(problem, float(learning_rate), counts)[1]


def scheduled_sign_descent(
    problem: PowerLawQuadratic | Spectrum, learning_rates: Real
) -> Decomposition:
    """Loss of sign descent after each step of a schedule.

    Args:
        problem: the quadratic (size at most `EXPLICIT_MODES`), or an explicit spectrum.
        learning_rates: eta_t >= 0 of the steps t = 0 .. T-1, [T].

    Returns:
        A `Decomposition` of arrays [T + 1]; entry t is the loss after t steps.

    Raises:
        ValueError: if the problem is too large to hold every mode, or a rate is negative.

    Kind: exact.
    Valid: any schedule.
    Source: derived; u <- |u - eta_t| where u > 0, mode by mode.
    """
    check_float64()
    check_real("learning_rates", learning_rates, at_least=0.0)
    rates = jnp.asarray(learning_rates, float)
    if rates.ndim != 1:
        raise ValueError(f"`learning_rates` must be a vector [T], got shape {rates.shape}.")
    if isinstance(problem, PowerLawQuadratic):
        check_real("size", problem.size, at_most=EXPLICIT_MODES)
    held = _held_modes(problem)
    return decompose(held, _scheduled_bias(held, rates))


def sign_floor(problem: PowerLawQuadratic | Spectrum, learning_rate: Real) -> jax.Array:
    """Largest loss that oscillation at step size eta can leave, eta^2/2 sum_i lam_i.

    Args:
        problem: the quadratic, or any spectrum.
        learning_rate: eta > 0, any shape.

    Returns:
        Array shaped like `learning_rate`.

    Raises:
        ValueError: if `learning_rate` is not positive.

    Kind: upper bound of the bias once eta T >= max_i u_i; a third of it is the mean over phases.
    Valid: eta T >= max_i u_i.
    Source: derived; a coordinate that has landed is never farther than eta.
    """
    check_real("learning_rate", learning_rate, above=0.0)
    held = _held_modes(problem) if isinstance(problem, Spectrum) else None
    if held is None:
        assert isinstance(problem, PowerLawQuadratic)
        index, weights = range_nodes(1, int(problem.size))
        trace = jnp.sum(jnp.asarray(weights) * eigenvalues(problem, jnp.asarray(index)))
    else:
        trace = jnp.sum(held.weights * held.eigenvalues)
    return jnp.asarray(learning_rate, float) ** 2 * trace / 2


def sign_descent_exponents(problem: PowerLawQuadratic) -> SignExponents:
    """Chinchilla exponents of sign descent with a constant step tuned to the horizon.

    Args:
        problem: the quadratic, with concrete exponents.

    Returns:
        A `SignExponents`.

    Kind: asymptotic. beta is that of the mean over phases; at single horizons a tuned step can land
        below it, and a = b, where every target is 1, lands on the optimum at eta = 1/T.
    Valid: generic targets; basis-dependent: rotate the Hessian and none of it holds.
    Source: derived. a > 1, b >= a: all targets are at most 1, so eta = 1/T finishes every mode and
        leaves at most eta^2/2 zeta(a). 1 < b < a: targets grow as i^(a-b)/2; finishing those up to
        the distance s takes eta = s/T, leaves s^-2(b-1)/(a-b) in the others and s^2/T^2 in
        oscillation; balanced, s = T^((a-b)/(a-1)). For s = N^((a-b)/2), T = N^((a-1)/2), both meet
        the approximation error. a <= 1: a finished coordinate holds up to eta whatever its energy,
        and sum lam_i grows with N.
    """
    a, b = float(problem.capacity_exponent), float(problem.source_exponent)
    alpha = b - 1.0
    if a <= 1.0:
        return SignExponents(
            alpha,
            math.nan,
            False,
            "the oscillation floor eta^2 sum_{i<=N} lam_i grows with N for a <= 1, so N and T do "
            "not separate (at even T only, modes nearer than one step are back at their start and "
            "the loss falls as T^-2(b-1)/(b-a) for N >> T^(2/(b-a)))",
        )
    if b >= a:
        return SignExponents(
            alpha, 2.0, True, "targets are bounded and sum lam_i converges: eta* ~ 1/T for every N"
        )
    return SignExponents(
        alpha,
        2.0 * (b - 1.0) / (a - 1.0),
        True,
        "in the window T << N^((a-1)/2) only, with eta* ~ T^-(b-1)/(a-1); beyond it targets of "
        "size N^((a-b)/2) make the optimization error N^(a-b) T^-2, coupled but below the "
        "approximation error",
    )


def _check_steps(steps: Real) -> None:
    check_real("steps", steps, at_least=0.0, below=MAX_STEPS)
    values = np.asarray(steps, float)
    if not np.all(values == np.floor(values)):
        raise ValueError(f"`steps` must be whole numbers, got {steps!r}.")


def _held_modes(problem: PowerLawQuadratic | Spectrum) -> Spectrum:
    if isinstance(problem, PowerLawQuadratic):
        index = mode_index(min(problem.size, EXPLICIT_MODES))
        return explicit_spectrum(
            eigenvalues(problem, index),
            energies(problem, index),
            approximation_error(problem),
            problem.noise_variance,
        )
    if not np.all(np.isin(np.asarray(problem.weights), (0.0, 1.0))):
        raise ValueError(
            "`problem` must hold every mode (weights 0 or 1): the residual of sign descent is not "
            "smooth in the mode number, so a compressed spectrum cannot carry it."
        )
    return problem


@jax.jit
def _explicit_bias(held: Spectrum, rate: jax.Array, steps: jax.Array) -> jax.Array:
    distance = jnp.sqrt(held.energies / held.eigenvalues)
    mass = held.weights * held.eigenvalues

    def one(count: jax.Array) -> jax.Array:
        return jnp.sum(mass * sign_residual(distance, rate, count) ** 2) / 2

    return jax.lax.map(one, steps.ravel()).reshape(steps.shape)


@jax.jit
def _scheduled_bias(held: Spectrum, rates: jax.Array) -> jax.Array:
    mass = held.weights * held.eigenvalues

    def step(distance: jax.Array, rate: jax.Array) -> tuple:
        moved = jnp.where(distance > 0.0, jnp.abs(distance - rate), 0.0)
        return moved, jnp.sum(mass * moved**2) / 2

    start = jnp.sqrt(held.energies / held.eigenvalues)
    first = jnp.sum(mass * start**2) / 2
    return jnp.concatenate([first[None], jax.lax.scan(step, start, rates)[1]])


def _beyond(
    problem: PowerLawQuadratic, rate: float, steps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Loss of the modes above `EXPLICIT_MODES` and its error estimate, shaped like `steps`."""
    pairs = np.array([_beyond_once(problem, rate, float(count)) for count in steps.ravel()])
    return pairs[:, 0].reshape(steps.shape), pairs[:, 1].reshape(steps.shape)


def _beyond_once(problem: PowerLawQuadratic, rate: float, steps: float) -> tuple[float, float]:
    a, b = float(problem.capacity_exponent), float(problem.source_exponent)
    total, variance = 0.0, 0.0
    for left, right in _zones(problem, rate, steps):
        index, weights = range_nodes(left, right)
        lam, distance = index**-a, index ** ((a - b) / 2)
        middle = math.sqrt(float(left) * float(right)) ** ((a - b) / 2)
        if a == b or middle >= steps * rate or middle < rate:
            # In NumPy: the zones differ in length from rate to rate, and each would compile.
            residual = _walked(np, distance, rate, steps)
            total += float(np.sum(weights * lam * residual**2)) / 2
        else:
            total += float(np.sum(weights * lam)) * rate**2 / 6
            variance += _phase_variance(index, weights, a, (a - b) / 2, rate)
    return total, math.sqrt(variance)


def _phase_variance(
    index: np.ndarray, weights: np.ndarray, capacity: float, power: float, rate: float
) -> float:
    """Squared error of replacing the triangle wave by its mean; see `sign_descent_error`."""
    lam, distance = index**-capacity, index**power
    independent = 4.0 / 45.0 * float(np.sum(weights * lam**2)) * rate**4 / 4
    skew = abs((capacity - 1.0) / power + 1.0) / 4.0
    smooth = float(np.sum(weights * lam * np.minimum(skew * (rate / distance) ** 2, 1.0)))
    width = np.minimum(rate / (abs(power) * distance / index), np.sum(weights))[[0, -1]]
    edges = 0.128 * float(np.sum(np.where(width > 1.0, width, 0.0) * lam[[0, -1]]))
    return independent + (rate**2 / 6 * smooth + rate**2 / 2 * edges) ** 2


def _zones(problem: PowerLawQuadratic, rate: float, steps: float) -> list[tuple[int, int]]:
    """Ranges of modes above `EXPLICIT_MODES` cut where u = eta T and where u = eta."""
    power = (float(problem.capacity_exponent) - float(problem.source_exponent)) / 2
    first, last = EXPLICIT_MODES + 1, int(problem.size)
    cuts = {first, last + 1}
    if power != 0.0:
        for level in (rate, rate * max(steps, 1.0)):
            log_index = math.log(level) / power
            if math.log(first) < log_index < math.log(last):
                # u falls for power < 0: the mode at the cut belongs to its left side.
                cuts.add(math.floor(math.exp(log_index)) + 1)
    edges = sorted(cuts)
    return [(left, right - 1) for left, right in pairwise(edges)]
