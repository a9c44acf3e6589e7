"""Closed forms of tuned hyperparameters against brute force, the engine and each other."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from scipy.optimize import minimize

from tests.tolerances import FINITE_DIFFERENCE, SAME_MATHS
from theory.bound_library import BOUNDS, five_terms
from theory.lmo_bounds import KOVALEV, KOVALEV_V1, RELAXED, kovalev_bound, sharper_bound
from theory.lmo_constants import bound_constants
from theory.tuned_laws import (
    momentum_limit,
    tuned_batch,
    tuned_jointly,
    tuned_learning_rate,
    tuned_momentum,
    tuned_without_momentum,
    two_power_minimum,
)
from theory.tuned_optimum import optimum
from theory.tuning import derive

NUMBERS = {"Delta": 3.0, "L": 2.0, "rho": 1.5, "sigma": 0.7}
CONSTANTS = bound_constants(3.0, 2.0, 1.5, 0.7)
SETS = {"kovalev": KOVALEV, "kovalev_v1": KOVALEV_V1}


def five(eta, alpha, batch, steps, c=KOVALEV):
    """The bound in plain arithmetic."""
    noise = 1.05 / np.sqrt(batch)
    return (
        3.0 / (eta * steps)
        + c.burn_in * noise / (alpha * steps)
        + c.noise * noise * np.sqrt(alpha)
        + 2.0 * eta * (c.smoothness + c.lag / alpha)
    )


def lowest(function, starts):
    """Smallest value from several Nelder-Mead searches in the logarithms, each restarted."""
    best = None
    for start in starts:
        point = np.log(start)
        for _ in range(4):
            found = minimize(
                lambda u: np.log(function(*np.exp(u))), point, method="Nelder-Mead",
                options={"xatol": 1e-12, "fatol": 1e-15, "maxiter": 4000, "maxfev": 8000},
            )  # fmt: skip
            point = found.x
        best = found if best is None or found.fun < best.fun else best
    return np.exp(best.x), np.exp(best.fun)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("steps", [1e3, 1e12, 1e30])
def test_the_learning_rate_alone_is_the_brute_force_minimum(name, steps):
    run = tuned_learning_rate(CONSTANTS, 0.1, 32.0, steps, SETS[name])
    pull = 2.0 * (SETS[name].smoothness + SETS[name].lag / 0.1)
    for factor in (0.999, 1.001):
        moved = five(float(run.learning_rate) * factor, 0.1, 32.0, steps, SETS[name])
        assert moved >= float(run.bound) * (1 - 1e-15)
    # The part that depends on eta is equally divided.
    assert 3.0 / (float(run.learning_rate) * steps) == pytest.approx(
        pull * float(run.learning_rate), rel=SAME_MATHS
    )
    assert float(run.bound) == pytest.approx(
        five(float(run.learning_rate), 0.1, 32.0, steps, SETS[name]), rel=SAME_MATHS
    )


@pytest.mark.parametrize("tokens", [1e4, 1e9, 1e30])
def test_learning_rate_and_batch_are_the_brute_force_minimum(tokens):
    run = tuned_batch(CONSTANTS, 0.1, tokens)

    def value(eta, batch):
        return five(eta, 0.1, batch, tokens / batch)

    start = (0.1 * tokens**-0.25, 0.3 * tokens**0.5)
    point, least = lowest(value, [start, (5 * start[0], start[1] / 7)])
    assert float(run.bound) == pytest.approx(least, rel=1e-12)
    assert [float(run.learning_rate), float(run.batch_size)] == pytest.approx(point, rel=1e-6)
    engine = optimum(
        derive(BOUNDS["kovalev"], ["eta", "B"], hold={"alpha": 0.1}, constants=NUMBERS), tokens
    )
    if "batch_size >= 1" not in engine.active:
        assert engine.values["B"] == pytest.approx(float(run.batch_size), rel=1e-9)
        assert engine.bound == pytest.approx(float(run.bound), rel=1e-12)


@pytest.mark.parametrize("name", SETS)
def test_learning_rate_and_momentum_tend_to_the_optimum(name):
    errors = []
    for tokens in (1e18, 1e24, 1e30):
        run = tuned_momentum(CONSTANTS, 8.0, tokens, SETS[name])
        laws = derive(BOUNDS[name], ["eta", "alpha"], hold={"B": 8}, constants=NUMBERS)
        best = optimum(laws, tokens)
        errors.append(best.bound / float(run.bound) - 1)
        assert best.values["eta"] == pytest.approx(float(run.learning_rate), rel=80 * tokens**-0.25)
        assert best.values["alpha"] == pytest.approx(float(run.alpha), rel=80 * tokens**-0.25)
        assert best.bound == pytest.approx(float(run.bound), rel=80 * tokens**-0.25)
    # The next order, burn-in, is T^(-1/4) smaller.
    assert errors[0] / errors[1] == pytest.approx(10**1.5, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(10**1.5, rel=0.05)


@pytest.mark.parametrize("name", SETS)
def test_all_three_tend_to_the_optimum(name):
    tokens = 1e30
    run = tuned_jointly(CONSTANTS, tokens, SETS[name])
    best = optimum(derive(BOUNDS[name], ["eta", "alpha", "B"], constants=NUMBERS), tokens)
    assert float(run.learning_rate) == pytest.approx(best.values["eta"], rel=1e-8)
    assert float(run.alpha) == pytest.approx(best.values["alpha"], rel=1e-8)
    assert float(run.batch_size) == pytest.approx(best.values["B"], rel=1e-8)
    assert float(run.bound) == pytest.approx(best.bound, rel=1e-9)


def test_all_three_agree_with_many_digits():
    with mp.workdps(60):
        total, noise = mp.mpf(10) ** 30, mp.mpf("1.05")

        def gradient(x, y, z):
            eta, alpha, batch = mp.exp(x), mp.exp(y), mp.exp(z)
            first, smooth, lag = 3 * batch / (eta * total), 7 * eta, 4 * eta / alpha
            burn = 2 * noise * mp.sqrt(batch) / (alpha * total)
            loud = 2 * noise * mp.sqrt(alpha / batch)
            return smooth + lag - first, loud / 2 - burn - lag, first + burn / 2 - loud / 2

        run = tuned_jointly(CONSTANTS, 1e30)
        start = [mp.log(float(x)) for x in (run.learning_rate, run.alpha, run.batch_size)]
        start = [x + d for x, d in zip(start, (0.1, -0.1, 0.2), strict=True)]
        found = mp.findroot(gradient, start, tol=mp.mpf(10) ** -70, maxsteps=200)
    assert [float(mp.exp(x)) for x in found] == pytest.approx(
        [float(run.learning_rate), float(run.alpha), float(run.batch_size)], rel=1e-8
    )


@pytest.mark.parametrize(
    ("tune", "hold", "law"),
    [
        (["eta", "alpha"], {"B": 1.0}, lambda T: tuned_momentum(CONSTANTS, 1.0, T)),
        (["eta", "alpha", "B"], {}, lambda T: tuned_jointly(CONSTANTS, T)),
        (["eta", "B"], {"alpha": 0.1}, lambda T: tuned_batch(CONSTANTS, 0.1, T)),
    ],
)
def test_the_engine_derives_the_constants(tune, hold, law):
    laws = derive(BOUNDS["kovalev"], tune, hold=hold, constants=NUMBERS)
    run = law(1e60)
    names = {"eta": run.learning_rate, "alpha": run.alpha, "B": run.batch_size}
    for found in laws.laws:
        at = found.constant * 1e60 ** float(found.exponent)
        assert at == pytest.approx(float(names[found.variable]), rel=1e-9)
    assert laws.rate.constant * 1e60**-0.25 == pytest.approx(float(run.bound), rel=1e-9)


@pytest.mark.parametrize("coefficients", [KOVALEV, KOVALEV_V1, RELAXED])
@pytest.mark.parametrize("tokens", [1e5, 1e12])
def test_momentum_vanishes_at_its_limit_and_not_before(coefficients, tokens):
    limit = float(momentum_limit(CONSTANTS, tokens, coefficients))
    bound = five_terms("again", coefficients)
    for factor, active in ((0.98, ()), (1.02, ("1 - momentum <= 1",))):
        laws = derive(bound, ["eta", "alpha"], hold={"B": factor * limit}, constants=NUMBERS)
        assert optimum(laws, tokens).active == active


def test_without_burn_in_and_smoothness_the_limit_is_where_alpha_reaches_one():
    tokens = 1e40
    limit = momentum_limit(CONSTANTS, tokens, RELAXED)
    run = tuned_momentum(CONSTANTS, limit, tokens, RELAXED)
    assert float(run.alpha) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("tokens", [1e4, 1e10, 1e30])
def test_without_momentum_the_sharper_bound_has_its_minimum(tokens):
    run = tuned_without_momentum(CONSTANTS, tokens)
    eta, batch = float(run.learning_rate), float(run.batch_size)
    here = sharper_bound(CONSTANTS, eta, 1.0, batch, tokens / batch).total
    assert float(run.bound) == pytest.approx(float(here), rel=SAME_MATHS)

    def value(eta, batch):
        noise = 2.1 / np.sqrt(batch)
        return 3.0 * batch / (eta * tokens) + eta + noise * (batch / tokens + 1.0)

    point, least = lowest(value, [(2 * eta, batch / 3)])
    assert least == pytest.approx(float(run.bound), rel=1e-12)
    assert point == pytest.approx([eta, batch], rel=1e-6)
    engine = optimum(derive(BOUNDS["no_momentum"], ["eta", "B"], constants=NUMBERS), tokens)
    assert engine.bound == pytest.approx(float(run.bound), rel=1e-12)
    if tokens > 1e9:
        assert batch == pytest.approx(1.05 * np.sqrt(2 * tokens / 6.0), rel=1e-3)


@pytest.mark.parametrize(("a", "p", "b", "q"), [(2.0, 1.0, 3.0, 0.5), (1e-8, 0.3, 1e9, 2.0)])
def test_two_powers_balance_at_the_stated_point(a, p, b, q):
    x, least = map(float, two_power_minimum(a, p, b, q))
    grid = x * np.exp(np.linspace(-1, 1, 2001))
    values = a * grid**p + b * grid**-q
    assert least <= values.min() * (1 + 1e-13)
    assert least == pytest.approx(a * x**p + b * x**-q, rel=SAME_MATHS)
    assert grid[np.argmin(values)] == pytest.approx(x, rel=1e-9)
    textbook = (p + q) * (a**q * b**p / (p**p * q**q)) ** (1 / (p + q))
    assert least == pytest.approx(textbook, rel=SAME_MATHS)


def test_tuned_runs_are_arrays_that_differentiate_and_vectorise():
    tokens = jnp.array([1e6, 1e9, 1e12])
    runs = jax.vmap(lambda t: tuned_jointly(CONSTANTS, t))(tokens)
    slope = jnp.diff(jnp.log(runs.learning_rate)) / jnp.diff(jnp.log(tokens))
    np.testing.assert_allclose(slope, -7 / 12, rtol=1e-12)
    for law in (
        lambda t: tuned_batch(CONSTANTS, 0.1, t).bound,
        lambda t: tuned_momentum(CONSTANTS, 4.0, t).alpha,
        lambda t: tuned_without_momentum(CONSTANTS, t).batch_size,
        lambda t: momentum_limit(CONSTANTS, t),
        lambda t: tuned_learning_rate(CONSTANTS, 0.1, 4.0, t).bound,
    ):
        step = 1e6 * 1e-5
        numeric = (law(1e6 + step) - law(1e6 - step)) / (2 * step)
        assert float(jax.grad(law)(1e6)) == pytest.approx(float(numeric), rel=FINITE_DIFFERENCE)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: tuned_learning_rate(CONSTANTS, 1.1, 4.0, 10.0), "alpha"),
        (lambda: tuned_learning_rate(CONSTANTS, 0.1, 0.0, 10.0), "batch_size"),
        (lambda: tuned_learning_rate(CONSTANTS, 0.1, 1.0, 0.5), "steps"),
        (lambda: tuned_batch(CONSTANTS, 0.0, 10.0), "alpha"),
        (lambda: tuned_batch(CONSTANTS, 0.1, 0.1), "tokens"),
        (lambda: tuned_momentum(CONSTANTS, -1.0, 10.0), "batch_size"),
        (lambda: tuned_momentum(CONSTANTS, 1.0, jnp.nan), "tokens"),
        (lambda: tuned_jointly(CONSTANTS, 0.0), "tokens"),
        (lambda: tuned_jointly(CONSTANTS, 10.0, RELAXED), r"coefficients\.smoothness"),
        (lambda: momentum_limit(CONSTANTS, 0.0), "tokens"),
        (lambda: tuned_without_momentum(CONSTANTS, 0.0), "tokens"),
        (lambda: tuned_without_momentum(bound_constants(1.0, 1.0, 1.0, 0.0), 10.0), "noise"),
        (lambda: two_power_minimum(1.0, 0.0, 1.0, 1.0), "rising_power"),
    ],
)
def test_arguments_outside_their_domain_are_refused(call, name):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        call()


def test_the_plain_arithmetic_is_the_bound():
    total = kovalev_bound(CONSTANTS, 0.01, 0.2, 16.0, 1e5).total
    assert five(0.01, 0.2, 16.0, 1e5) == pytest.approx(float(total), rel=SAME_MATHS)
