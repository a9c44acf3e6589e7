"""The DANA transformation: its recursion by hand, its mean loss by the exact moments."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from simulate.dana import dana
from simulate.least_squares import least_squares
from simulate.problems import diagonal_quadratic
from simulate.sweep import ensemble, sweep
from simulate.trajectory import simulate
from theory.dana import dana as exact_dana
from theory.problem import power_law

from .tolerances import SAME_MATHS, Z_SCORE


def test_the_recursion_against_numpy():
    rng = np.random.default_rng(2)
    gradients = [{"w": rng.normal(size=(3, 2)), "b": rng.normal(size=2)} for _ in range(6)]
    transformation = dana(0.3, 0.2, 4.0, 0.5)
    params: Any = {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}
    state = transformation.init(params)
    by_hand = {name: np.asarray(value) for name, value in params.items()}
    average = {name: 0 * value for name, value in by_hand.items()}
    for t, gradient in enumerate(gradients):
        tree = {name: jnp.asarray(value) for name, value in gradient.items()}
        updates, state = transformation.update(tree, state, params)
        params = optax.apply_updates(params, updates)
        for name, g in gradient.items():
            average[name] = (1 - 4.0 / (4.0 + t)) * average[name] + g
            by_hand[name] = by_hand[name] - 0.3 * g - 0.2 / np.sqrt(1 + t) * average[name]
    for name, value in by_hand.items():
        np.testing.assert_allclose(params[name], value, rtol=SAME_MATHS)


@pytest.mark.parametrize("decay", [0.0, 1 / 1.5])
def test_deterministic_runs_are_the_bias(decay):
    problem, steps = power_law(1.5, 1.8, 200, 0.1), [0, 1, 10, 300]
    run = simulate(
        diagonal_quadratic(problem),
        dana,
        steps,
        learning_rate=0.2,
        momentum_rate=0.05,
        damping=4.5,
        decay_exponent=decay,
    )
    # The fluctuations of a batch without end vanish.
    curve = exact_dana(
        problem, 0.2, 0.05, 1e300, np.array(steps), damping=4.5, decay_exponent=decay
    )
    np.testing.assert_allclose(run.loss, curve.total, rtol=10 * SAME_MATHS)


def test_one_pass_runs_average_to_the_exact_recursion():
    problem, steps = power_law(1.5, 1.8, 50, 0.1), np.array([1, 10, 100, 300])
    kappa, decay = np.array([0.02, 0.005]), np.array([1 / 1.5, 0.0])
    configurations = {
        "learning_rate": np.full(2, 0.1),
        "momentum_rate": kappa,
        "damping": np.full(2, 4.5),
        "decay_exponent": decay,
    }
    keys = jax.random.split(jax.random.key(11), 200)
    runs = ensemble(sweep(least_squares(problem, 2), dana, steps, configurations, keys))
    for row in range(2):
        curve = exact_dana(
            problem, 0.1, kappa[row], 2, steps, damping=4.5, decay_exponent=decay[row]
        )
        z = (runs.mean[row] - np.asarray(curve.total)) / runs.standard_error[row]
        assert np.all(np.abs(z) <= Z_SCORE)


@pytest.mark.parametrize(
    ("name", "value"),
    [("learning_rate", 0.0), ("momentum_rate", -1.0), ("damping", 0.0), ("decay_exponent", -1.0)],
)
def test_bad_hyperparameters_are_refused(name, value):
    good = {"learning_rate": 0.1, "momentum_rate": 0.1, "damping": 4.0}
    with pytest.raises(ValueError, match=f"`{name}`"):
        dana(**{**good, name: value})
