from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulate.lmo import signum
from simulate.matrix_problems import ALIGNMENTS, matrix_least_squares, matrix_quadratic
from simulate.optimizers import sgd
from simulate.problems import diagonal_quadratic
from simulate.random_features import random_features
from simulate.sweep import ensemble, sweep
from simulate.trajectory import simulate
from tests.tolerances import SAME_MATHS, SPECTRAL_ROUTE, Z_SCORE
from theory.problem import power_law

PROBLEM = power_law(1.5, 1.8, 5, 0.3)
KEY = jax.random.key(4)


def dense(side):
    return np.diag(side) if side.ndim == 1 else np.asarray(side)


def power_of(matrix, exponent):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values**exponent) @ vectors.T


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_loss_is_its_definition_and_gradient_its_derivative(alignment, share):
    problem = matrix_quadratic(
        PROBLEM, left_share=share, rows=6, columns=7, alignment=alignment, key=KEY
    )
    left, right = dense(problem.left), dense(problem.right)
    weights = np.random.default_rng(0).normal(size=(6, 7))
    error = power_of(left, 0.5) @ (weights - np.asarray(problem.target)) @ power_of(right, 0.5)
    expected = float(problem.floor) + np.sum(error**2) / 2
    np.testing.assert_allclose(problem.loss(jnp.asarray(weights)), expected, rtol=SPECTRAL_ROUTE)
    slope = jax.grad(problem.loss)(jnp.asarray(weights))
    found = problem.gradient(jnp.asarray(weights), KEY)
    np.testing.assert_allclose(found, slope, atol=SPECTRAL_ROUTE)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_spectra_are_the_stated_power_laws(alignment):
    problem = matrix_quadratic(
        PROBLEM, left_share=0.4, rows=6, columns=7, alignment=alignment, key=KEY
    )
    spectrum = lambda matrix: np.linalg.svd(dense(matrix), compute_uv=False)
    np.testing.assert_allclose(spectrum(problem.left), np.arange(1, 7) ** -0.6, rtol=1e-11)
    np.testing.assert_allclose(spectrum(problem.right), np.arange(1, 8) ** -0.9, rtol=1e-11)
    singular = np.sort((np.arange(1, 6.0) ** (1.5 - 1.8)) ** 0.5)[::-1]
    np.testing.assert_allclose(spectrum(problem.target)[:5], singular, rtol=1e-11)


@pytest.mark.parametrize("alignment", ["aligned", "turned"])
def test_gradient_descent_is_that_of_the_vector_problem(alignment):
    matrix = matrix_quadratic(PROBLEM, rows=6, columns=5, alignment=alignment, key=KEY)
    options = {"learning_rate": 0.8, "momentum": 0.5}
    found = simulate(matrix, sgd, [0, 1, 40], **options)
    expected = simulate(diagonal_quadratic(PROBLEM), sgd, [0, 1, 40], **options)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=SPECTRAL_ROUTE)


def test_aligned_sign_descent_is_that_of_the_vector_problem():
    """Entries off the diagonal never move: the sign of zero is zero."""
    found = simulate(matrix_quadratic(PROBLEM), signum, [0, 1, 40], learning_rate=0.07)
    expected = simulate(diagonal_quadratic(PROBLEM), signum, [0, 1, 40], learning_rate=0.07)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=SAME_MATHS)


def test_crossing_changes_gradient_descent():
    crossed = matrix_quadratic(PROBLEM, alignment="crossed", key=KEY)
    found = simulate(crossed, sgd, [0, 40], learning_rate=0.8)
    straight = simulate(matrix_quadratic(PROBLEM), sgd, [0, 40], learning_rate=0.8)
    assert abs(float(found.loss[0] / straight.loss[0]) - 1) > 0.01


def scores(samples, expected):
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    return (samples.mean(axis=0) - expected) / error


def test_additive_noise_has_its_mean_and_variance():
    problem = matrix_quadratic(PROBLEM, noise_std=2.0, batch_size=4.0, alignment="turned", key=KEY)
    weights = jnp.ones((5, 5))
    keys = jax.random.split(jax.random.key(9), 20_000)
    drawn = np.asarray(jax.vmap(lambda key: problem.gradient(weights, key))(keys))
    exact = np.asarray(jax.grad(problem.loss)(weights))
    assert np.all(np.abs(scores(drawn, exact)) < Z_SCORE)
    assert np.all(np.abs(scores((drawn - exact) ** 2, 1.0)) < Z_SCORE)


@pytest.mark.parametrize("alignment", ["aligned", "turned"])
def test_minibatch_noise_has_its_mean_and_covariance(alignment):
    batch = 3
    problem = matrix_least_squares(
        power_law(1.5, 1.8, 2, 0.3), batch, left_share=0.4, columns=3, alignment=alignment, key=KEY
    )
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3)))
    keys = jax.random.split(jax.random.key(10), 40_000)
    drawn = np.asarray(jax.vmap(lambda key: problem.gradient(weights, key))(keys))
    exact = np.asarray(jax.grad(problem.loss)(weights))
    assert np.all(np.abs(scores(drawn, exact)) < Z_SCORE)
    # Wick's theorem for one sample A E x x^T - A^(1/2) z x^T.
    left, right = dense(problem.left), dense(problem.right)
    error = weights - problem.target
    spread = left @ error @ right @ error.T @ left + left * float(problem.floor)
    covariance = np.einsum("ik,jl->ijkl", spread, right) + np.einsum("il,kj->ijkl", exact, exact)
    centred = drawn - exact
    products = np.einsum("nij,nkl->nijkl", centred, centred)
    assert np.all(np.abs(scores(products, covariance / batch)) < Z_SCORE)


def test_minibatch_population_loss_is_the_quadratic_one():
    weights = jnp.asarray(np.random.default_rng(2).normal(size=(5, 5)))
    quadratic = matrix_quadratic(PROBLEM, alignment="crossed", key=KEY)
    sampled = matrix_least_squares(PROBLEM, 2, alignment="crossed", key=KEY)
    np.testing.assert_allclose(sampled.loss(weights), quadratic.loss(weights), rtol=SAME_MATHS)


def test_matrix_problems_sweep_over_noise_and_batch():
    problem = matrix_quadratic(PROBLEM, noise_std=1.0)
    grid = {"learning_rate": [0.2, 0.2], "batch_size": [1.0, 100.0]}
    mean = ensemble(sweep(problem, sgd, [0, 60], grid, jax.random.split(KEY, 50))).mean
    assert mean[1, 1] < mean[0, 1]
    sampled = matrix_least_squares(PROBLEM, 4, dtype=jnp.float32)
    losses = sweep(sampled, sgd, [0, 30], {"learning_rate": [0.1]}, jax.random.split(KEY, 3)).loss
    assert losses.dtype == jnp.float32
    assert np.all(np.diff(losses, axis=-1) < 0)


def test_random_features_loss_and_gradient():
    model = random_features(power_law(1.5, 1.8, 6, 0.3), KEY, total_size=20)
    sketch = np.asarray(model.sketch) / np.sqrt(6)
    index = np.arange(1, 21.0)
    params = np.random.default_rng(3).normal(size=6)
    error = sketch @ params - index ** ((1.5 - 1.8) / 2)
    held = float(diagonal_quadratic(power_law(1.5, 1.8, 20, 0.3)).floor)
    expected = held + np.sum(index**-1.5 * error**2) / 2
    np.testing.assert_allclose(model.loss(jnp.asarray(params)), expected, rtol=SAME_MATHS)
    found = model.gradient(jnp.asarray(params), KEY)
    slope = jax.grad(model.loss)(jnp.asarray(params))
    np.testing.assert_allclose(found, slope, atol=SAME_MATHS)
    np.testing.assert_allclose(found, sketch.T @ (index**-1.5 * error), atol=SAME_MATHS)


def test_random_features_descend_to_least_squares():
    model = random_features(power_law(1.1, 1.8, 4), KEY, total_size=30)
    design = np.sqrt(np.asarray(model.eigenvalues))[:, None] * np.asarray(model.sketch) / 2
    wanted = np.sqrt(np.asarray(model.eigenvalues)) * np.asarray(model.target)
    residual = wanted - design @ np.linalg.lstsq(design, wanted)[0]
    rate = 1 / np.linalg.norm(design, 2) ** 2
    final = simulate(model, sgd, [20_000], learning_rate=rate).loss[0]
    np.testing.assert_allclose(final, float(model.floor) + residual @ residual / 2, rtol=1e-10)


def test_random_features_sizes_sweep_as_separate_models():
    model = random_features(power_law(1.5, 1.8, 6), KEY, total_size=20)
    swept = sweep(model, sgd, [0, 9], {"learning_rate": [0.3, 0.3], "size": [6, 3]})
    small = random_features(power_law(1.5, 1.8, 3), KEY, total_size=20)
    same = replace(small, sketch=model.sketch[:, :3])
    alone = simulate(same, sgd, [0, 9], learning_rate=0.3)
    np.testing.assert_allclose(swept.loss[1], alone.loss, rtol=SAME_MATHS)
    assert abs(float(swept.loss[0, 1] / swept.loss[1, 1]) - 1) > 0.01


def test_random_feature_minibatches_have_their_mean_and_variance():
    model = random_features(power_law(1.5, 1.8, 3, 0.5), KEY, total_size=8, batch_size=2)
    params = jnp.asarray([0.5, -1.0, 2.0])
    keys = jax.random.split(jax.random.key(12), 40_000)
    drawn = np.asarray(jax.vmap(lambda key: model.gradient(params, key))(keys))
    exact = np.asarray(jax.grad(model.loss)(params))
    assert np.all(np.abs(scores(drawn, exact)) < Z_SCORE)
    features = np.asarray(model.sketch) / np.sqrt(3)
    second = features.T @ (np.asarray(model.eigenvalues)[:, None] * features)
    covariance = (2 * float(model.loss(params)) * second + np.outer(exact, exact)) / 2
    products = np.einsum("ni,nj->nij", drawn - exact, drawn - exact)
    assert np.all(np.abs(scores(products, covariance)) < Z_SCORE)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"left_share": 1.5}, "left_share"),
        ({"rows": 4}, "rows"),
        ({"columns": 100_000}, "columns"),
        ({"alignment": "random"}, "alignment"),
        ({"alignment": "turned"}, "key"),
        ({"noise_std": -1.0}, "noise_std"),
        ({"batch_size": 0.5}, "batch_size"),
    ],
)
def test_bad_matrix_problems_are_refused(options, named):
    with pytest.raises(ValueError, match=f"`{named}`"):
        matrix_quadratic(PROBLEM, **options)


@pytest.mark.parametrize("batch", [0, 1.5, float("nan")])
def test_bad_batch_sizes_are_refused(batch):
    with pytest.raises(ValueError, match="batch_size"):
        matrix_least_squares(PROBLEM, batch)
    with pytest.raises(ValueError, match="batch_size"):
        random_features(PROBLEM, KEY, total_size=9, batch_size=batch)


def test_random_features_need_as_many_modes_as_features():
    with pytest.raises(ValueError, match="total_size"):
        random_features(PROBLEM, KEY, total_size=4)
