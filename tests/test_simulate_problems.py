"""Problem oracles: losses against plain sums, gradients against derivatives and exact moments."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mpmath import zeta

from simulate.least_squares import least_squares
from simulate.problems import diagonal_quadratic, rotated_quadratic
from theory.problem import power_law

from .tolerances import FLOAT32_RUN, ROTATION, SAME_MATHS, Z_SCORE

PROBLEM = power_law(1.5, 1.8, 40, noise_variance=0.3)
SMALL = power_law(1.3, 1.6, 3, noise_variance=0.5)
START = jnp.asarray(np.array([0.3, 1.7, -0.4, 0.0]))
DRAWS = 20_000


@pytest.fixture
def params():
    return jnp.asarray(np.random.default_rng(0).normal(size=40))


def every_problem():
    return [
        diagonal_quadratic(PROBLEM),
        diagonal_quadratic(PROBLEM, total_size=60),
        rotated_quadratic(PROBLEM, jax.random.key(1)),
        least_squares(PROBLEM, 4),
        least_squares(PROBLEM, 4, total_size=60, sample_rows=True),
    ]


@pytest.mark.parametrize("which", range(5))
def test_initial_loss_is_the_whole_energy(which):
    problem = every_problem()[which]
    assert float(problem.loss(problem.init())) == pytest.approx(
        0.15 + float(zeta(1.8)) / 2, rel=SAME_MATHS
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_every_value_has_the_dtype_of_the_problem(dtype):
    for problem in (
        diagonal_quadratic(PROBLEM, dtype),
        rotated_quadratic(PROBLEM, jax.random.key(1), dtype),
        least_squares(PROBLEM, 4, dtype),
        least_squares(PROBLEM, 4, dtype, sample_rows=True),
    ):
        params = problem.init()
        gradient = problem.gradient(params, jax.random.key(0))
        assert params.dtype == gradient.dtype == problem.loss(params).dtype == dtype


@pytest.mark.parametrize("which", [0, 2])
def test_deterministic_gradient_is_the_derivative(which, params):
    problem = every_problem()[which]
    expected = jax.grad(problem.loss)(params)
    np.testing.assert_allclose(
        problem.gradient(params, jax.random.key(0)), expected, rtol=0, atol=SAME_MATHS
    )


def test_untrained_modes_have_no_gradient():
    for problem in (every_problem()[1], every_problem()[4]):
        gradient = problem.gradient(problem.init(), jax.random.key(0))
        assert np.all(np.asarray(gradient[40:]) == 0)
        assert np.all(np.asarray(gradient[:40]) != 0)


def test_rotated_loss_is_the_diagonal_loss_in_turned_coordinates(params):
    rotated, diagonal = every_problem()[2], every_problem()[0]
    np.testing.assert_allclose(rotated.basis @ rotated.basis.T, np.eye(40), atol=SAME_MATHS)
    assert float(rotated.loss(rotated.basis @ params)) == pytest.approx(
        float(diagonal.loss(params)), rel=ROTATION
    )


def test_size_by_mask_is_a_smaller_problem(params):
    small = power_law(1.5, 1.8, 25, noise_variance=0.3)
    key = jax.random.key(3)
    for masked, built in (
        (diagonal_quadratic(PROBLEM).with_size(25), diagonal_quadratic(small, total_size=40)),
        (least_squares(PROBLEM, 4).with_size(25.7), least_squares(small, 4, total_size=40)),
    ):
        np.testing.assert_array_equal(masked.gradient(params, key), built.gradient(params, key))
        assert float(masked.loss(params)) == pytest.approx(float(built.loss(params)), rel=1e-15)


def exact_moments(problem, params, batch):
    """Mean and covariance of a Gaussian mini-batch gradient, by Isserlis' theorem."""
    lam = np.asarray(problem.root_eigenvalues) ** 2
    error = np.asarray(params - problem.target)
    residual = np.sum(lam * error**2) + float(problem.noise_std) ** 2
    mean = lam * error
    covariance = (residual * np.diag(lam) + np.outer(mean, mean)) / batch
    trained = np.asarray(problem.trained)
    return mean * trained, covariance * np.outer(trained, trained)


@jax.jit
def gradients(problem, params, keys):
    return jax.vmap(problem.gradient, in_axes=(None, 0))(params, keys)


def draw(problem, params, seed=0):
    keys = jax.random.split(jax.random.key(seed), DRAWS)
    return np.asarray(gradients(problem, params, keys))


@pytest.mark.parametrize("sample_rows", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_gradient_has_the_mean_and_covariance_of_a_mini_batch(sample_rows, batch):
    problem = least_squares(SMALL, batch, total_size=4, sample_rows=sample_rows)
    mean, covariance = exact_moments(problem, START, batch)
    drawn = draw(problem, START)[:, :3]
    errors = drawn.std(axis=0) / np.sqrt(DRAWS)
    assert np.max(np.abs(drawn.mean(axis=0) - mean[:3]) / errors) < Z_SCORE
    centred = drawn - mean[:3]
    products = centred[:, :, None] * centred[:, None, :]
    errors = products.std(axis=0) / np.sqrt(DRAWS)
    assert np.max(np.abs(products.mean(axis=0) - covariance[:3, :3]) / errors) < Z_SCORE


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_both_samplers_draw_the_same_law(batch):
    """Beyond two moments: tails, skewness along the error, quantiles of the length."""
    rows = draw(least_squares(SMALL, batch, total_size=4, sample_rows=True), START, 1)[:, :3]
    summary = draw(least_squares(SMALL, batch, total_size=4), START, 2)[:, :3]
    length = [np.linalg.norm(drawn, axis=1) for drawn in (rows, summary)]
    cuts = np.quantile(np.concatenate(length), [0.05, 0.3, 0.7, 0.95])
    statistics = [
        np.column_stack([drawn**3, drawn[:, :1] ** 2 * drawn[:, 1:] ** 2, norm[:, None] < cuts])
        for drawn, norm in zip((rows, summary), length, strict=True)
    ]
    difference = statistics[0].mean(axis=0) - statistics[1].mean(axis=0)
    error = np.sqrt(sum(values.var(axis=0) for values in statistics) / DRAWS)
    assert np.max(np.abs(difference) / error) < Z_SCORE


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_gradient_at_the_optimum(noise):
    built = least_squares(power_law(1.3, 1.6, 4), 2)
    problem = replace(built, noise_std=jnp.sqrt(jnp.asarray(noise)))
    drawn = draw(problem, problem.target)
    expected = noise * np.asarray(problem.root_eigenvalues) ** 2 / 2
    squares = drawn**2
    error = squares.std(axis=0) / np.sqrt(DRAWS)
    assert np.all(np.abs(squares.mean(axis=0) - expected) <= Z_SCORE * error)


def test_large_float32_sum_keeps_its_digits():
    exact = 0.5 * float(zeta(1.2))
    problem = diagonal_quadratic(power_law(1.1, 1.2, 2**20), jnp.float32)
    assert float(problem.loss(problem.init())) == pytest.approx(exact, rel=FLOAT32_RUN)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: diagonal_quadratic(PROBLEM, total_size=10), "total_size"),
        (lambda: diagonal_quadratic(power_law(1.5, 1.8, 1e12)), "total_size"),
        (lambda: rotated_quadratic(power_law(1.5, 1.8, 1e5), jax.random.key(0)), "size"),
        (lambda: least_squares(PROBLEM, 0), "batch_size"),
        (lambda: least_squares(PROBLEM, float("nan")), "batch_size"),
        (lambda: least_squares(PROBLEM, 2.5, sample_rows=True), "batch_size"),
    ],
)
def test_bad_problems_are_refused(build, named):
    with pytest.raises(ValueError, match=named):
        build()
