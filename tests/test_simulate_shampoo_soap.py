import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from simulate.adaptive import adam
from simulate.matrix_problems import matrix_quadratic
from simulate.problems import diagonal_quadratic
from simulate.shampoo import Shampoo, inverse_fourth_root, shampoo
from simulate.soap import Soap, soap
from simulate.sweep import sweep
from simulate.trajectory import simulate
from tests.tolerances import SPECTRAL_ROUTE
from theory.problem import power_law

PROBLEM = power_law(1.5, 1.8, 5)
SHAPES = [(4, 4), (5, 5)]


def gradients(shape, steps=7, seed=0):
    """Well-conditioned, so that the eigenvectors of both sides are."""
    return np.random.default_rng(seed).normal(size=(steps, *shape)) + 2 * np.eye(*shape)


def run(transformation, steps, start):
    params, path = jnp.asarray(start), []
    with jax.numpy_dtype_promotion("standard"):
        state = transformation.init(params)
        for g in steps:
            updates, state = transformation.update(jnp.asarray(g), state, params)
            params = optax.apply_updates(params, updates)
            path.append(np.asarray(params))
    return np.stack(path)


def numpy_root(matrix, damping):
    values, vectors = np.linalg.eig(matrix)
    return (vectors * (values + damping * values.max()) ** -0.25) @ np.linalg.inv(vectors)


def numpy_shampoo(steps, start, rate, momentum, second, damping):
    """Sums (second None) or corrected averages, written out term by term."""
    params, path = start.copy(), []
    for t in range(1, len(steps) + 1):
        seen = steps[:t]
        ages = np.arange(t)[::-1]
        weights = (1 - momentum) * momentum**ages if momentum else (ages == 0).astype(float)
        mean = np.einsum("t,tij->ij", weights / weights.sum(), seen)
        square = np.ones(t) if second is None else second**ages / np.sum(second**ages)
        left = np.einsum("t,tij,tkj->ik", square, seen, seen)
        right = np.einsum("t,tij,tik->jk", square, seen, seen)
        params = params - rate * numpy_root(left, damping) @ mean @ numpy_root(right, damping)
        path.append(params)
    return np.stack(path)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("momentum", [None, 0.6])
@pytest.mark.parametrize("second", [None, 0.8])
def test_shampoo_against_numpy(shape, momentum, second):
    steps, start = gradients(shape), np.ones(shape)
    path = run(shampoo(0.1, momentum, second, 1e-3), steps, start)
    expected = numpy_shampoo(steps, start, 0.1, momentum or 0.0, second, 1e-3)
    np.testing.assert_allclose(path, expected, atol=SPECTRAL_ROUTE)


def test_first_shampoo_step_is_the_polar_factor():
    g = gradients((4, 6), 1)
    path = run(shampoo(1.0, damping=0.0), g, np.zeros((4, 6)))
    left, _, right = np.linalg.svd(g[0], full_matrices=False)
    # The null space of the larger side is only damped, and the gradient has no part in it.
    np.testing.assert_allclose(path[0], -left @ right, atol=1e-9)


def test_inverse_fourth_root():
    half = np.random.default_rng(4).normal(size=(5, 5))
    matrix = half @ half.T + np.eye(5)
    root = np.asarray(inverse_fourth_root(jnp.asarray(matrix), 0.0))
    np.testing.assert_allclose(np.linalg.matrix_power(root, 4) @ matrix, np.eye(5), atol=1e-11)
    identity = inverse_fourth_root(jnp.zeros((3, 3)), 1e-3)
    np.testing.assert_array_equal(identity, np.eye(3))


class NumpySoap:
    """Algorithm 3 of the paper, a plain loop."""

    def __init__(self, rate, momentum, second, basis, epsilon, interval):
        self.rate, self.m1, self.m2, self.mb = rate, momentum, second, basis
        self.epsilon, self.interval = epsilon, interval

    def path(self, steps, start):
        params, path = start.copy(), []
        average, square = np.zeros_like(start), np.zeros_like(start)
        left, right = steps[0] @ steps[0].T, steps[0].T @ steps[0]
        ql, qr = (np.linalg.eigh(side)[1][:, ::-1] for side in (left, right))
        for t, g in enumerate(steps, start=1):
            average = self.m1 * average + (1 - self.m1) * g
            square = self.m2 * square + (1 - self.m2) * (ql.T @ g @ qr) ** 2
            mean = ql.T @ average @ qr / (1 - self.m1**t)
            root = np.sqrt(square / (1 - self.m2**t))
            params = params - self.rate * ql @ (mean / (root + self.epsilon)) @ qr.T
            path.append(params)
            if t > 1:
                left = self.mb * left + (1 - self.mb) * g @ g.T
                right = self.mb * right + (1 - self.mb) * g.T @ g
                if t % self.interval == 0:
                    ql, rows = self.refresh(left, ql)
                    qr, columns = self.refresh(right, qr)
                    square = square[np.ix_(rows, columns)]
        return np.stack(path)

    @staticmethod
    def refresh(moment, basis):
        order = np.argsort(-np.diag(basis.T @ moment @ basis), kind="stable")
        return np.linalg.qr(moment @ basis[:, order])[0], order


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("interval", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_soap_against_numpy(shape, interval):
    steps, start = gradients(shape, 9), np.ones(shape)
    numbers = (0.1, 0.7, 0.8, 0.6, 1e-6)
    path = run(Soap(interval)(*numbers), steps, start)
    expected = NumpySoap(*numbers, interval).path(steps, start)
    np.testing.assert_allclose(path, expected, atol=SPECTRAL_ROUTE)


def test_soap_reorders_the_square_with_the_bases():
    """Two directions swap their order of size: a square left behind would be the wrong one."""
    steps = np.array([np.diag([3.0, 1.0])] * 3 + [np.diag([1.0, 9.0])] * 6)
    numbers = (0.1, 0.5, 0.9, 0.5, 1e-8)
    path = run(Soap()(*numbers), steps, np.zeros((2, 2)))
    with jax.numpy_dtype_promotion("standard"):
        plain = run(adam(0.1, 0.5, 0.9, 1e-8), steps, np.zeros((2, 2)))
    np.testing.assert_allclose(path, plain, atol=SPECTRAL_ROUTE)


def test_soap_is_adam_after_a_change_of_coordinates():
    """Turning the problem turns the path."""
    steps = gradients((4, 4), 6)
    rng = np.random.default_rng(8)
    left, right = (np.linalg.qr(rng.normal(size=(4, 4)))[0] for _ in range(2))
    numbers = (0.1, 0.7, 0.8, 0.6, 1e-6)
    straight = run(soap(*numbers), steps, np.zeros((4, 4)))
    turned = run(soap(*numbers), left @ steps @ right.T, np.zeros((4, 4)))
    np.testing.assert_allclose(turned, left @ straight @ right.T, atol=SPECTRAL_ROUTE)


@pytest.mark.parametrize("factory", [shampoo, Shampoo(), soap, Soap(4)])
def test_the_engine_sweeps_them(factory):
    problem = matrix_quadratic(PROBLEM, alignment="crossed", key=jax.random.key(1))
    grid = {"learning_rate": [0.02, 0.05], "momentum": [0.5, 0.8], "second_momentum": [0.9, 0.9]}
    swept = sweep(problem, factory, [0, 2, 9], grid)
    assert np.all(np.diff(np.asarray(swept.loss), axis=1) < 0)
    single = simulate(
        problem, factory, [0, 2, 9], learning_rate=0.05, momentum=0.8, second_momentum=0.9
    )
    np.testing.assert_allclose(swept.loss[1], single.loss, rtol=1e-9)


@pytest.mark.parametrize("factory", [shampoo, soap])
def test_zero_gradients_move_nothing_and_bad_ones_are_not_silent(factory):
    still = run(factory(0.1), np.zeros((3, 2, 3)), np.ones((2, 3)))
    np.testing.assert_array_equal(still, np.ones((3, 2, 3)))
    bad = np.ones((1, 2, 3))
    bad[0, 0, 1] = np.nan
    assert np.all(np.isnan(run(factory(0.1), bad, np.ones((2, 3)))))


@pytest.mark.parametrize("factory", [shampoo, soap])
def test_rank_deficient_gradients_stay_finite(factory):
    rank_one = np.outer([1.0, 2.0, 3.0], [1.0, -1.0])
    path = run(factory(0.1), np.stack([rank_one] * 5), np.zeros((3, 2)))
    assert np.all(np.isfinite(path))
    assert np.all(np.abs(path) < 1)


@pytest.mark.parametrize("factory", [shampoo, soap])
def test_vectors_are_refused(factory):
    with pytest.raises(ValueError, match="matrices"):
        simulate(diagonal_quadratic(PROBLEM), factory, [0, 1], learning_rate=0.1)


@pytest.mark.parametrize(
    ("factory", "numbers", "named"),
    [
        (shampoo, {"momentum": 1.0}, "momentum"),
        (shampoo, {"second_momentum": -0.1}, "second_momentum"),
        (shampoo, {"damping": -1.0}, "damping"),
        (soap, {"basis_momentum": 1.0}, "basis_momentum"),
        (soap, {"epsilon": float("nan")}, "epsilon"),
        (Soap(0), {}, "interval"),
    ],
)
def test_bad_numbers_are_refused(factory, numbers, named):
    with pytest.raises(ValueError, match=named):
        factory(0.1, **numbers)
