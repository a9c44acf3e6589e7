"""Claims about sign and normalized steps without noise: exact walks, exponents and floors."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.compare import Verdict, agree_within, bound_holds, bound_tight, relative_within
from simulate.lmo import normalized_sgd, signum
from simulate.problems import diagonal_quadratic
from simulate.trajectory import simulate
from simulate.tuning import tune_learning_rate
from theory.linear_methods import loss_exponents
from theory.normalized_methods import normalized_gd, normalized_gd_floor
from theory.problem import power_law
from theory.sign_methods import sign_descent, sign_descent_exponents, sign_floor

# Where the few coordinates that carry the loss stand in their last two-cycle scatters it about the
# law: r^2 + (eta - r)^2 lies in [eta^2/2, eta^2], up to 1.5 times its mean over phases.
PHASE_SCATTER = 1.5


def exact_walks(quick: bool) -> list[Verdict]:
    """Sign and normalized descent step by step, and what oscillation leaves at most."""
    problem, steps = (
        power_law(1.5, 1.8, 500 if quick else 20_000, 0.02),
        np.array([1, 10, 100, 400]),
    )
    held, rate = diagonal_quadratic(problem), 0.0137
    signed = simulate(held, signum, steps, learning_rate=rate)
    normalized = simulate(held, normalized_sgd, steps, learning_rate=rate)
    # Four hundred rounded multiples of the rate: eps times the steps, relative to a target.
    return [
        relative_within(
            "sign descent: exact walk equals simulation",
            sign_descent(problem, rate, steps).total,
            np.asarray(signed.loss),
            1e-11,
            "rounding of 400 steps",
        ),
        relative_within(
            "normalized GD: time change of GD equals simulation",
            normalized_gd(problem, np.full(steps[-1], rate)).total[steps],
            np.asarray(normalized.loss),
            1e-11,
            "rounding of 400 steps",
        ),
        *_sign_floor(0.01),
    ]


def _sign_floor(rate: float) -> list[Verdict]:
    """Sign descent stepped until every coordinate has landed, a hundred phases of its rates."""
    lam, target = np.arange(1, 51) ** -1.5, np.arange(1, 51) ** ((1.5 - 1.8) / 2)
    rates = rate * np.linspace(1.0, 1.5, 100)[:, None]
    error = np.tile(target, (100, 1))
    for _ in range(200):
        error = error - rates * np.sign(error)
    left = np.sum(lam * error**2, axis=1) / 2
    floors = np.asarray(sign_floor(power_law(1.5, 1.8, 50), rates[:, 0]))
    return [
        bound_holds("sign descent: loss of landed coordinates below eta^2/2 sum lam", floors, left),
        bound_tight(
            "sign descent: that bound is 3 times the mean over phases, within 10 %",
            np.mean(floors),
            np.mean(left),
            3.3,
        ),
    ]


def exponents(quick: bool) -> list[Verdict]:
    """Exponents of sign and normalized descent, tuned for every horizon."""
    horizons = np.array([32, 1024 if quick else 2048])
    verdicts = []
    for a, b, what in (
        (1.5, 1.8, "bounded targets"),
        (2.0, 3.0, "bounded targets"),
        (3.0, 2.0, "growing targets, T << N"),
    ):
        law = sign_descent_exponents(power_law(a, b, 1e6))
        measured = _tuned_sign_exponent(a, b, 500 if b > a else 8 * int(horizons[-1]), horizons)
        verdicts.append(
            agree_within(
                f"sign descent, {what}: exponent at a = {a:g}, b = {b:g}",
                law.beta,
                measured,
                np.log(PHASE_SCATTER) / np.log(horizons[-1] / horizons[0]),
                f"phases scatter the loss by a factor {PHASE_SCATTER:g}",
            )
        )
    return [*verdicts, _normalized_exponent(), *_normalized_floor()]


def _tuned_sign_exponent(a: float, b: float, size: int, horizons: np.ndarray) -> float:
    """Slope of the loss tuned over a band of rates, at the ends of `horizons`."""
    held = diagonal_quadratic(power_law(a, b, size))
    # With bounded targets the untrained modes only add to the loss; with growing ones they stand
    # for the modes that a longer spectrum would still be walking.
    floor = float(held.floor) if b > a else 0.0
    power = 1.0 if b > a else (b - 1.0) / (a - 1.0)
    lowest, highest = np.array([0.3, 4.0]) * horizons[[-1, 0]] ** -power
    rates = np.geomspace(lowest, highest, 50)
    tuned = tune_learning_rate(held, signum, horizons, rates, floor=floor, tolerance=0.3)
    excess = tuned.loss - floor
    return float(np.log(excess[0] / excess[-1]) / np.log(horizons[-1] / horizons[0]))


def _normalized_exponent() -> Verdict:
    # Beyond some 2000 steps mode 1 shrinks below the smallest float and never grows back.
    problem, horizons = power_law(1.5, 1.8, 1e12), (64, 1024)
    rates = jnp.asarray(np.geomspace(0.005, 0.2, 40))

    def last(rate: jax.Array, steps: int) -> jax.Array:
        return normalized_gd(problem, jnp.full(steps, rate)).bias[-1]

    first, final = (float(jnp.min(jax.vmap(lambda r, t=t: last(r, t))(rates))) for t in horizons)
    span = np.log(horizons[1] / horizons[0])
    return agree_within(
        "normalized GD, tuned: exponent of GD, (b - 1)/a",
        float(loss_exponents(problem)[1]),
        np.log(first / final) / span,
        np.log(1.02) / span,
        "2 % of either loss from the grid of rates",
    )


def _normalized_floor() -> list[Verdict]:
    """Ten thousand steps of constant length, far past the time at which mode 1 is left alone."""
    index = np.arange(1, 51)
    lam, error, rate, losses = index**-1.5, index ** ((1.5 - 6.0) / 2), 0.01, []
    for _ in range(10_000):
        gradient = lam * error
        error = error - rate * gradient / np.linalg.norm(gradient)
        losses.append(np.sum(lam * error**2) / 2)
    cycle = np.mean(losses[-2:])
    floor = float(normalized_gd_floor(power_law(1.5, 6.0, 50), rate))
    return [
        bound_holds("normalized GD, constant step: last cycle above lam eta^2/8", cycle, floor),
        bound_holds("normalized GD, constant step: last cycle below lam eta^2/4", 2 * floor, cycle),
    ]
