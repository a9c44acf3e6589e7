import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulate.lmo import signum
from simulate.optimizers import sgd
from simulate.problems import diagonal_quadratic
from simulate.schedules import (
    Scheduled,
    constant,
    cosine,
    inverse_power,
    linear,
    power,
    warmup_stable_decay,
)
from simulate.sweep import sweep
from simulate.trajectory import NEVER, run, simulate
from tests.tolerances import FLOAT32_RUN, SAME_MATHS
from theory.problem import power_law

PROBLEM = power_law(1.5, 1.8, 40)


def by_hand(name, rate, horizon, t, **options):
    """Each schedule as a sentence would put it, one step at a time."""
    left = 1 - t / horizon
    if name == "wsd":
        rise, fall = options["warmup"] * horizon, options["decay"] * horizon
        if t + 1 < rise:
            return rate * (t + 1) / rise
        return rate if t <= horizon - fall else rate * (horizon - t) / fall
    return {
        "constant": lambda: rate,
        "linear": lambda: rate * left,
        "cosine": lambda: rate * (1 + math.cos(math.pi * t / horizon)) / 2,
        "power": lambda: rate * left ** options["exponent"],
        "inverse_power": lambda: rate / (1 + t) ** options["exponent"],
    }[name]()


CASES = [
    ("constant", constant, {}),
    ("linear", linear, {}),
    ("cosine", cosine, {}),
    ("power", power, {"exponent": 2.5}),
    ("inverse_power", inverse_power, {"exponent": 0.5}),
    ("wsd", warmup_stable_decay, {"warmup": 0.1, "decay": 0.25}),
    ("wsd", warmup_stable_decay, {"warmup": 0.0, "decay": 1.0}),
    ("wsd", warmup_stable_decay, {"warmup": 0.3, "decay": 0.7}),
]


@pytest.mark.parametrize(("name", "schedule", "options"), CASES)
@pytest.mark.parametrize("horizon", [1, 40])
def test_schedules_are_their_formulas(name, schedule, options, horizon):
    rates = schedule(0.7, horizon, **options)
    expected = [by_hand(name, 0.7, horizon, t, **options) for t in range(horizon)]
    found = [float(rates(jnp.asarray(t, jnp.int32))) for t in range(horizon)]
    np.testing.assert_allclose(found, expected, rtol=SAME_MATHS)


def test_a_plateau_without_decay_is_constant():
    rates = warmup_stable_decay(0.5, 10, warmup=0.0, decay=0.0)
    assert [float(rates(t)) for t in range(10)] == [0.5] * 10


@pytest.mark.parametrize(
    ("schedule", "end"),
    [
        (constant, 1.0),
        (linear, 0.0),
        (cosine, 0.0),
        (power, 0.0),
        (inverse_power, 21**-0.5),
        (warmup_stable_decay, 0.0),
    ],
)
def test_past_the_horizon_the_end_value_stays(schedule, end):
    rates = schedule(1.0, 20)
    np.testing.assert_allclose([rates(t) for t in (20, 21, 1000)], end, atol=SAME_MATHS)


@pytest.mark.parametrize(("name", "schedule", "options"), CASES[:6])
def test_the_engine_steps_by_the_schedule(name, schedule, options):
    """Against a plain loop of gradient descent, over rates and horizons in one call."""
    method = Scheduled(sgd, schedule)
    rates, horizons = [0.9, 0.5], [16, 7]
    grid = {"learning_rate": rates, "horizon": horizons}
    grid |= {key: [value] * 2 for key, value in options.items()}
    swept = sweep(diagonal_quadratic(PROBLEM), method, [0, 5, 7], grid)
    index = np.arange(1, 41.0)
    floor = float(diagonal_quadratic(PROBLEM).floor)
    for which, (rate, horizon) in enumerate(zip(rates, horizons, strict=True)):
        error, losses = index ** ((1.5 - 1.8) / 2), []
        for t in range(8):
            losses.append(floor + np.sum(index**-1.5 * error**2) / 2)
            step = by_hand(name, rate, horizon, t, **options)
            error = error * (1 - step * index**-1.5)
        np.testing.assert_allclose(swept.loss[which], np.take(losses, [0, 5, 7]), rtol=SAME_MATHS)


def test_a_schedule_that_ends_at_zero_freezes_the_run():
    method = Scheduled(signum, linear)
    grid = {"learning_rate": [0.1] * 2, "horizon": [8, 30], "momentum": [0.5] * 2}
    swept = sweep(diagonal_quadratic(PROBLEM), method, [0, 8, 30], grid)
    alone = simulate(
        diagonal_quadratic(PROBLEM), method, [8], learning_rate=0.1, horizon=8, momentum=0.5
    )
    np.testing.assert_allclose(swept.loss[0, 1:], [alone.loss[0]] * 2, rtol=SAME_MATHS)
    assert abs(swept.loss[1, 2] - swept.loss[1, 1]) > 1e-3


def test_a_refused_schedule_says_so_before_and_during_the_run():
    method = Scheduled(sgd, cosine, beyond="refuse")
    method.check([0, 5, 10], horizon=np.array([10, 12]), learning_rate=0.1)
    with pytest.raises(ValueError, match=r"`horizon` must be .* at least 10, got 9"):
        method.check([0, 5, 10], horizon=np.array([10, 9]))
    grid = {"learning_rate": [0.1, 0.1], "horizon": [10.0, 9.0]}
    # The engine's core, as a caller that skips the check would run it.
    problem = diagonal_quadratic(PROBLEM)
    steps, key = jnp.asarray([0, 9, 10], jnp.int32), jax.random.key(0)
    core = jax.vmap(lambda numbers: run(problem, method, steps, key, numbers))
    grown = core({name: jnp.asarray(values) for name, values in grid.items()})
    assert grown.diverged_at.tolist() == [NEVER, 10]
    assert np.isfinite(grown.loss).tolist() == [[True] * 3, [True, True, False]]


def test_single_precision_and_long_counts():
    rates = linear(jnp.asarray(1.0, jnp.float32), jnp.asarray(2.0**24, jnp.float32))
    assert rates(jnp.asarray(5, jnp.int32)).dtype == jnp.float32
    np.testing.assert_allclose(rates(jnp.asarray(2**23, jnp.int32)), 0.5, rtol=FLOAT32_RUN)
    problem = diagonal_quadratic(PROBLEM, jnp.float32)
    grown = simulate(problem, Scheduled(sgd, cosine), [0, 9], learning_rate=0.5, horizon=9)
    assert grown.loss.dtype == jnp.float32


def test_equal_schedules_are_compiled_once():
    assert Scheduled(sgd, linear) == Scheduled(sgd, linear)
    assert hash(Scheduled(sgd, linear)) == hash(Scheduled(sgd, linear))
    assert Scheduled(sgd, linear) != Scheduled(sgd, cosine)


def test_schedules_trace_and_differentiate_in_the_peak_rate():
    total = jax.jit(lambda rate, horizon: jnp.sum(jax.vmap(linear(rate, horizon))(jnp.arange(4))))
    assert float(total(2.0, 4.0)) == pytest.approx(2 * (1 + 0.75 + 0.5 + 0.25))
    assert float(jax.grad(total)(2.0, 4.0)) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("schedule", "arguments", "named"),
    [
        (linear, {"horizon": 0}, "horizon"),
        (cosine, {"horizon": float("nan")}, "horizon"),
        (constant, {"learning_rate": -0.1}, "learning_rate"),
        (power, {"exponent": -1.0}, "exponent"),
        (inverse_power, {"exponent": float("inf")}, "exponent"),
        (warmup_stable_decay, {"warmup": 1.2}, "warmup"),
        (warmup_stable_decay, {"decay": -0.1}, "decay"),
        (warmup_stable_decay, {"warmup": 0.6, "decay": 0.6}, "warmup"),
    ],
)
def test_bad_schedules_are_refused(schedule, arguments, named):
    with pytest.raises(ValueError, match=named):
        schedule(**{"learning_rate": 0.1, "horizon": 10, **arguments})


def test_bad_choices_and_numbers_of_the_method_are_refused():
    with pytest.raises(ValueError, match="beyond"):
        Scheduled(sgd, linear, "stop")(0.1, 10)
    with pytest.raises(ValueError, match="momentum"):
        Scheduled(signum, linear).check(horizon=10, momentum=1.5)
    with pytest.raises(ValueError, match="horizon"):
        Scheduled(signum, linear).check(horizon=0.5)
