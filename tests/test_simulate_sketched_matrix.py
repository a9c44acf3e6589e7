"""The sketched matrix problem: loss, gradient, mini-batches, the error of the best model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulate.matrix_problems import matrix_least_squares, matrix_quadratic
from simulate.optimizers import sgd
from simulate.sketched_matrix import sketched_matrix
from simulate.sweep import sweep
from simulate.trajectory import simulate
from theory.problem import power_law

from .tolerances import FINITE_DIFFERENCE, SAME_MATHS, SPECTRAL_ROUTE, Z_SCORE

PROBLEM = power_law(1.5, 1.8, 6, 0.1)
KEY = jax.random.key(4)


def parts(problem):
    fields = problem.left, problem.right, problem.whole.left, problem.whole.right
    return (*(np.asarray(field) for field in fields), np.asarray(problem.target))


def test_loss_is_its_formula_and_gradient_its_difference():
    problem = sketched_matrix(matrix_quadratic(PROBLEM, left_share=0.3, rows=9), 3, KEY)
    s, r, a, b, target = parts(problem)
    rng = np.random.default_rng(1)
    v, direction = rng.normal(size=(2, 3, 3))
    error = s @ v @ r.T - target
    formula = np.sum(a[:, None] * error**2 * b) / 2 + float(problem.whole.floor)
    assert float(problem.loss(jnp.asarray(v))) == pytest.approx(formula, rel=SAME_MATHS)
    width = 1e-5
    ends = [float(problem.loss(jnp.asarray(v + sign * width * direction))) for sign in (1, -1)]
    slope = float(jnp.sum(problem.gradient(jnp.asarray(v), KEY) * direction))
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * width), rel=FINITE_DIFFERENCE)


@pytest.mark.parametrize("alignment", ["aligned", "crossed"])
def test_best_model_leaves_the_residual_of_the_projection(alignment):
    whole = matrix_quadratic(PROBLEM, alignment=alignment, key=KEY)
    problem = sketched_matrix(whole, 3, jax.random.key(7))
    s, r, a, b, target = parts(problem)
    # Row-major vec: vec(S V R^T) = (S kron R) vec V.
    weight = np.sqrt(np.kron(a, b))
    matrix, goal = weight[:, None] * np.kron(s, r), weight * target.ravel()
    best, left_over, *_ = np.linalg.lstsq(matrix, goal)
    floor = float(left_over[0]) / 2 + float(whole.floor)
    optimum = jnp.asarray(best.reshape(3, 3))
    assert float(problem.loss(optimum)) == pytest.approx(floor, rel=SPECTRAL_ROUTE)
    np.testing.assert_allclose(problem.gradient(optimum, KEY), 0.0, atol=1e-10)
    # The same by two projections, one a side.
    bases = [np.linalg.qr(np.sqrt(d)[:, None] * m)[0] for d, m in ((a, s), (b, r))]
    scaled = np.sqrt(a)[:, None] * target * np.sqrt(b)
    kept = bases[0].T @ scaled @ bases[1]
    assert floor - float(whole.floor) == pytest.approx(
        (np.sum(scaled**2) - np.sum(kept**2)) / 2, rel=SPECTRAL_ROUTE
    )
    # Descent with a step within its limit falls towards it and never below.
    top = float(np.linalg.norm(matrix, 2)) ** 2
    run = simulate(problem, sgd, [0, 10, 100, 3000], learning_rate=1.0 / top)
    losses = np.asarray(run.loss)
    assert np.all(np.diff(losses) < 0)
    assert losses[-1] >= floor * (1 - SAME_MATHS)
    assert losses[-1] - floor < 0.5 * (losses[0] - floor)


def test_mini_batch_gradients_average_to_the_exact_one():
    exact = sketched_matrix(matrix_quadratic(PROBLEM), 2, KEY)
    noisy = sketched_matrix(matrix_least_squares(PROBLEM, 3), 2, KEY)
    v = jnp.asarray(np.random.default_rng(2).normal(size=(2, 2)))
    keys = jax.random.split(jax.random.key(0), 20_000)
    draws = np.asarray(jax.vmap(lambda key: noisy.gradient(v, key))(keys))
    z = (draws.mean(axis=0) - np.asarray(exact.gradient(v, KEY))) / (
        draws.std(axis=0) / 20_000**0.5
    )
    assert np.all(np.abs(z) <= Z_SCORE)
    assert float(noisy.loss(v)) == pytest.approx(float(exact.loss(v)), rel=SAME_MATHS)


def test_a_sweep_takes_it():
    problem = sketched_matrix(matrix_quadratic(PROBLEM), 2, KEY)
    runs = sweep(problem, sgd, [0, 5], {"learning_rate": np.array([0.01, 0.02])})
    assert runs.loss.shape == (2, 2)
    assert float(runs.loss[1, 1]) < float(runs.loss[0, 1]) < float(runs.loss[0, 0])


@pytest.mark.parametrize("size", [0, 1.5, 7])
def test_bad_sizes_are_refused(size):
    with pytest.raises(ValueError, match="`size`"):
        sketched_matrix(matrix_quadratic(PROBLEM), size, KEY)
