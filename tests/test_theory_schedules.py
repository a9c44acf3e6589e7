"""Schedules: stepping, propagator, published losses and bounds, tuned exponents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar

from theory.linear_methods import gd
from theory.optimal_schedule import memory_root, optimal_schedule
from theory.problem import power_law
from theory.schedule_bounds import convex_bound_terms, tuned_convex_bound
from theory.scheduled_descent import scheduled_gd, scheduled_sgd, step_moments
from theory.schedules import (
    constant,
    cosine,
    linear_decay,
    power_decay,
    schedule_rates,
    tuned_sgd_exponents,
    warmup_stable_decay,
)
from theory.sgd import sgd
from theory.spectrum import approximation_error, compress, explicit_spectrum

from .tolerances import LAST_DIGIT, REFERENCE, SAME_MATHS


def stepped(a, b, size, rates, batches, noise):
    """Bias and excess loss after 0..T steps, all modes in extended precision."""
    index = np.arange(1, size + 1, dtype=np.longdouble)
    lam, mean, v = index ** -np.longdouble(a), np.ones_like(index), index ** np.longdouble(a - b)
    energy = index ** -np.longdouble(b)
    noise = noise + 2 * float(approximation_error(power_law(a, b, size)))
    losses = [(np.sum(energy) / 2, np.sum(energy) / 2)]
    for rate, batch in zip(rates, batches, strict=True):
        drive = np.sum(lam * v) + noise
        v = (1 - rate * lam) ** 2 * v + rate**2 / batch * lam * (lam * v + drive)
        mean = mean * (1 - rate * lam)
        losses.append((np.sum(energy * mean**2) / 2, np.sum(lam * v) / 2))
    return np.array(losses, dtype=float)


def test_scheduled_descent_matches_stepping_every_mode():
    rng = np.random.default_rng(3)
    rates = np.longdouble(rng.uniform(0.0, 0.4, 300))
    batches = np.longdouble(rng.integers(1, 9, 300))
    exact = stepped(1.4, 1.7, 3000, rates, batches, 0.1)
    problem, record = power_law(1.4, 1.7, 3000, 0.1), np.array([300, 0, 1, 17])
    curve = scheduled_sgd(problem, rates.astype(float), batches.astype(float), record)
    np.testing.assert_allclose(curve.bias, exact[record, 0], rtol=SAME_MATHS)
    np.testing.assert_allclose(curve.optimization, exact[record, 1], rtol=SAME_MATHS)
    plain = scheduled_gd(problem, rates.astype(float), record)
    np.testing.assert_allclose(plain.total, curve.total - curve.noise, rtol=REFERENCE)
    assert np.all(np.asarray(plain.noise) == 0)
    last = scheduled_sgd(problem, rates.astype(float), batches.astype(float))
    assert float(last.total) == float(curve.total[0])


def test_a_hundred_thousand_equal_steps_match_the_propagator():
    problem = power_law(1.5, 1.8, 1e12, 0.1)
    record = np.array([10, 1000, 100_000])
    rates = schedule_rates(constant, 0.3, 100_000)
    walked, leapt = scheduled_sgd(problem, rates, 4, record), sgd(problem, 0.3, 4, record)
    np.testing.assert_allclose(walked.optimization, leapt.optimization, rtol=SAME_MATHS)
    np.testing.assert_allclose(
        scheduled_gd(problem, rates, record).bias, gd(problem, 0.3, record).bias, rtol=SAME_MATHS
    )


def test_shapes_at_hand_picked_fractions():
    u = jnp.array([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
    for schedule, values in (
        (constant, [1, 1, 1, 1, 1, 1]),
        (linear_decay, [1, 0.9, 0.75, 0.5, 0.1, 0]),
        (cosine, [1, 0.975528258147577, 0.853553390593274, 0.5, 0.024471741852423, 0]),
        (power_decay(2.0), [1, 0.81, 0.5625, 0.25, 0.01, 0]),
        (warmup_stable_decay(0.2, 0.2), [0, 0.5, 1, 1, 0.5, 0]),
        (warmup_stable_decay(0.2), [1, 1, 1, 1, 0.5, 0]),
    ):
        np.testing.assert_allclose(schedule(u), values, atol=SAME_MATHS, rtol=0)
    rates = schedule_rates(linear_decay, np.array([0.5, 2.0]), 4)
    np.testing.assert_allclose(rates, [[0.5, 0.375, 0.25, 0.125], [2, 1.5, 1, 0.5]])


def tuned(problem, schedule, steps, guess):
    """Least optimisation error over the peak rate, and that rate."""
    spectrum = compress(problem, 8)

    def log_loss(log_peak):
        rates = schedule_rates(schedule, float(np.exp(log_peak)), steps)
        curve = step_moments(spectrum, rates, jnp.ones_like(rates), jnp.array([steps]))
        loss = float(curve.optimization[0])
        return np.log(loss) if np.isfinite(loss) else 100.0

    middle = np.log(guess)
    best = minimize_scalar(
        log_loss, bounds=(middle - 1.5, middle + 1.5), method="bounded", options={"xatol": 1e-3}
    )
    assert middle - 1.4 < best.x < middle + 1.4
    return float(np.exp(best.fun)), float(np.exp(best.x))


@pytest.mark.parametrize(
    ("schedule", "losses", "peak"),
    [
        (constant, (1.048e-2, 2.905e-3), 0.00309),
        (linear_decay, (7.847e-3, 1.820e-3), 0.0103),
        (cosine, (8.269e-3, 1.868e-3), 0.0103),
        (warmup_stable_decay(0.2), (8.991e-3, 2.151e-3), 0.00455),
        (power_decay(2.0), (8.446e-3, 1.879e-3), 0.0155),
    ],
)
def test_tuned_sgd_reproduces_tabulated_losses(schedule, losses, peak):
    # a = 1.5, b = 3, sigma = 1, B = 1, 3000 modes; the table tuned on a grid of 40 peaks.
    problem = power_law(1.5, 3.0, 3000, 1.0)
    for steps, printed in zip((1000, 10_000), losses, strict=True):
        loss, best = tuned(problem, schedule, steps, peak * (10_000 / steps) ** 0.54)
        assert 0.996 * printed < loss < 1.0001 * printed
    assert best == pytest.approx(peak, rel=0.15)


def test_optimal_schedule_reproduces_tabulated_losses_and_beats_the_others():
    problem = power_law(1.5, 3.0, 3000, 1.0)
    for steps, bound, run in ((1000, 7.348e-3, 7.600e-3), (10_000, 1.732e-3, 1.7505e-3)):
        rates, least = optimal_schedule(problem, 1, steps)
        assert abs(float(least) - bound) <= LAST_DIGIT * 1e-6
        loss = float(scheduled_sgd(problem, rates, 1).optimization)
        assert loss == pytest.approx(run, abs=LAST_DIGIT * 1e-6)
        assert loss > float(least)
    assert loss < tuned(problem, linear_decay, 10_000, 0.01)[0]


def test_optimal_schedule_is_the_minimum_of_the_continuous_loss():
    lam, energy = np.arange(1, 31.0) ** -1.5, np.arange(1, 31.0) ** -2.5
    noise, batch, steps, pieces = 1.0, 2.0, 1000, 60
    spectrum = explicit_spectrum(lam, energy, noise_variance=noise)
    # Pieces of constant rate, shorter towards the end where the schedule falls fastest.
    width = np.diff(steps * (1 - np.linspace(1, 0, pieces + 1) ** 3))

    def loss(log_rates):
        rates = jnp.exp(log_rates)
        passed = rates * width
        remaining = jnp.concatenate([jnp.cumsum(passed[::-1])[::-1], jnp.zeros(1)])
        decay = jnp.exp(-2 * lam * remaining[:, None])
        memory = jnp.sum(lam / 2 * (decay[1:] - decay[:-1]), axis=1)
        bias = jnp.sum(energy * decay[0]) / 2
        return bias + noise / (2 * batch) * jnp.sum(rates * memory)

    rates, bound = optimal_schedule(spectrum, batch, steps)
    middles = np.cumsum(width) - width / 2
    start = np.log(np.interp(middles, np.arange(steps) + 0.5, rates)) + 0.3
    value = jax.jit(jax.value_and_grad(lambda x: jnp.log(loss(x))))

    def both(x):
        return tuple(np.asarray(part, dtype=float) for part in value(jnp.asarray(x)))

    best = minimize(both, start, jac=True, method="L-BFGS-B", options={"maxiter": 300})
    least = float(np.exp(best.fun))
    assert float(bound) < least < 1.001 * float(bound)
    assert float(loss(start)) > 1.005 * least
    np.testing.assert_allclose(np.exp(best.x[3:30]), np.exp(start[3:30] - 0.3), rtol=0.02)


def test_memory_is_the_sum_over_modes():
    index = np.arange(1, 5001.0)
    for time in (0.0, 3.0, 500.0):
        brute = np.sum(index**-3 * np.exp(-2 * index**-1.5 * time))
        value = memory_root(compress(power_law(1.5, 2.0, 5000)), jnp.array(time)) ** 2
        assert float(value) == pytest.approx(brute, rel=SAME_MATHS)


def test_exponents_of_the_design_cases():
    for a, b in ((1.5, 1.8), (1.8, 3.0), (1.2, 2.0)):
        problem, beta = power_law(a, b, 10), (b - 1) / a
        loss, rate = tuned_sgd_exponents(problem, np.array([0.0, 1.0, 2 * a - 1]))
        easy = b > a
        assert float(loss[0]) == pytest.approx(beta / (1 + beta))
        assert float(rate[0]) == pytest.approx(beta / (1 + beta))
        assert float(loss[1]) == pytest.approx((b - 1) / b if easy else beta)
        assert float(rate[1]) == pytest.approx((b - a) / b if easy else 0.0)
        assert float(loss[2]) == pytest.approx(float(loss[1]))
    loss, rate = tuned_sgd_exponents(power_law(2.0, 1.5, 10), np.array([1.0, 5.0]))
    np.testing.assert_allclose(loss, [0.25, 0.25])
    np.testing.assert_allclose(rate, [0.0, 0.0])


@pytest.mark.parametrize(("a", "b"), [(2.0, 2.0), (1.5, 3.0)])
def test_constant_rate_tuned_exactly_tends_to_its_exponents(a, b):
    problem = power_law(a, b, 1e15, 1.0)
    exponents = [float(value) for value in tuned_sgd_exponents(problem, 0.0)]
    points, guess = [], 0.005
    for steps in (1e4, 1e6, 1e8, 1e10):
        best = minimize_scalar(
            lambda x, steps=steps: float(jnp.log(sgd(problem, np.exp(x), 1, steps).optimization)),
            bounds=(np.log(guess) - 2, np.log(guess) + 2),
            method="bounded",
            options={"xatol": 1e-4},
        )
        points.append((best.fun, best.x))
        guess = np.exp(best.x) * 100 ** -exponents[1]
    slopes = -np.diff(np.array(points), axis=0) / np.log(100)
    gaps = np.abs(slopes - exponents)
    assert np.all(gaps[0] > gaps[1])
    assert np.all(gaps[1] > gaps[2])
    assert np.all(gaps[2] < 0.01)


@pytest.mark.parametrize(
    ("a", "b", "power", "tolerance"),
    [(1.5, 3.0, 2.0, 0.02), (1.5, 3.0, 1.0, 0.035), (4.0, 5.0, 0.0, 0.03), (4.0, 5.0, 1.0, 0.03)],
)
def test_decaying_rates_tuned_exactly_approach_their_exponents(a, b, power, tolerance):
    problem = power_law(a, b, 1e15, 1.0)
    loss_exponent, rate_exponent = (float(x) for x in tuned_sgd_exponents(problem, power))
    guess, points = 0.02 * (1 + power), []
    for steps in (1024, 16_384):
        loss, guess = tuned(problem, power_decay(power), steps, guess)
        points.append((np.log(loss), np.log(guess)))
        guess *= 16**-rate_exponent
    slope = -np.diff(np.array(points), axis=0)[0] / np.log(16)
    assert slope[0] == pytest.approx(loss_exponent, abs=tolerance)
    assert slope[1] == pytest.approx(rate_exponent, abs=2 * tolerance)


TABLE = {
    "constant": (constant, (2.4854, 2.7509, 2.9128), 0.018176),
    "linear": (linear_decay, (2.0361, 2.0126, 2.0060), 0.049563),
    "decay 10 %": (warmup_stable_decay(0.1), (2.3798, 2.3227, 2.3022), 0.022630),
    "decay 20 %": (warmup_stable_decay(0.2), (2.2303, 2.1865, 2.1727), 0.025374),
    "decay 50 %": (warmup_stable_decay(0.5), (2.0772, 2.0484, 2.0402), 0.032491),
    "cosine": (cosine, (2.0911, 2.0677, 2.0632), 0.048242),
}


@pytest.mark.parametrize("name", [*TABLE, "inverse root"])
def test_convex_bound_reproduces_its_table(name):
    schedule, printed, base = TABLE.get(name, (None, (2.2531, 2.4453, 2.5701), 0.212086))
    for steps, value in zip((100, 400, 1000), printed, strict=True):
        if schedule is None:
            shape = np.arange(1.0, steps + 1) ** -0.5
        else:
            shape = schedule_rates(schedule, 1.0, steps)
        rate, bound = tuned_convex_bound(shape)
        assert abs(float(bound) * steps**0.5 - value) <= LAST_DIGIT * 1e-4
        if steps == 400:
            assert abs(float(rate) - base) <= LAST_DIGIT * 1e-6


def test_convex_bound_is_its_double_sum():
    rng = np.random.default_rng(5)
    rates, norms, distance = rng.uniform(0.1, 1, 30), rng.uniform(0, 2, 30), 1.7
    falling, rising = convex_bound_terms(rates, norms, distance)
    squares = rates**2 * norms**2
    brute = sum(squares) / (2 * sum(rates)) + sum(
        rates[k] / sum(rates[k + 1 :]) * sum(squares[k:]) / sum(rates[k:]) / 2 for k in range(29)
    )
    assert float(rising) == pytest.approx(brute, rel=SAME_MATHS)
    assert float(falling) == pytest.approx(distance**2 / (2 * sum(rates)), rel=SAME_MATHS)
    base, bound = tuned_convex_bound(rates, norms, distance)
    for factor in (0.99, 1.01):
        other = convex_bound_terms(rates * factor * float(base), norms, distance)
        assert float(sum(other)) > float(bound)


def test_convex_bound_holds_for_subgradient_descent():
    # f = max |x_i| from all ones: 99 subgradients leave one of the 100 coordinates untouched.
    for schedule in (constant, linear_decay, warmup_stable_decay(0.2)):
        shape, x = schedule_rates(schedule, 1.0, 100), np.ones(100)
        base, bound = tuned_convex_bound(shape, 1.0, 10.0)
        # The bound is on the iterate at which the last of the T subgradients is taken.
        for rate in np.asarray(base * shape)[:-1]:
            worst = np.argmax(np.abs(x))
            x[worst] -= rate * np.sign(x[worst])
        assert 0.3 * float(bound) < np.max(np.abs(x)) <= float(bound)


def test_bad_arguments_are_refused():
    problem = power_law(1.5, 1.8, 100, 0.1)
    with pytest.raises(ValueError, match="`learning_rates`"):
        scheduled_gd(problem, np.array([0.1, -0.1]))
    with pytest.raises(ValueError, match="must be a vector"):
        scheduled_gd(problem, 0.1)
    with pytest.raises(ValueError, match="`record`"):
        scheduled_gd(problem, np.array([0.1, 0.1]), 3)
    with pytest.raises(ValueError, match="`batch_size`"):
        scheduled_sgd(problem, np.array([0.1]), 0.5)
    with pytest.raises(ValueError, match="`cooldown`"):
        warmup_stable_decay(0.0)
    with pytest.raises(ValueError, match="`warmup`"):
        warmup_stable_decay(0.5, 0.6)
    with pytest.raises(ValueError, match="`exponent`"):
        power_decay(-1.0)
    with pytest.raises(ValueError, match="`noise_variance`"):
        optimal_schedule(explicit_spectrum(np.ones(2), np.ones(2)), 1, 10)
    with pytest.raises(ValueError, match="`decay_power`"):
        tuned_sgd_exponents(problem, -1.0)
    with pytest.raises(ValueError, match="`capacity_exponent`"):
        tuned_sgd_exponents(power_law(1.0, 1.8, 100), 1.0)
    with pytest.raises(ValueError, match="`learning_rates`"):
        convex_bound_terms(np.array([0.1, 0.0]))
