import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tolerances import SAME_MATHS, SPECTRAL_ROUTE
from theory.lmo_constants import (
    bound_constants,
    matrix_constants,
    norm_ratio,
    vector_constants,
    white_noise,
)
from theory.lmo_smoothness import (
    as_hessian,
    euclidean_smoothness,
    matrix_smoothness,
    max_smoothness,
    spectral_smoothness,
)
from theory.norms import NORMS, dual_norm, lmo, norm

# Fixed-point ascents stop within this of a maximum: the error of the point enters squared.
ASCENT = 1e-8


def random_psd(rng, size):
    root = rng.normal(size=(size, size))
    return root @ root.T / size


def ascend(image, direction, starts, rounds=200):
    """Largest value of a convex function met by repeated linear maximisation."""

    def climb(start):
        step = lambda _, v: direction(v)
        return image(jax.lax.fori_loop(0, rounds, step, direction(start)))

    return float(max(jax.lax.map(jax.jit(climb), starts)))


def largest_image(name, left, right, starts):
    """Largest |A D B|_* over the unit ball, met by ascent from random points."""
    dense = [jnp.diag(m) if m.ndim == 1 else m for m in map(jnp.asarray, (left, right))]
    curve = lambda d: dense[0] @ d @ dense[1]
    return ascend(lambda d: dual_norm(name, curve(d)), lambda d: -lmo(name, curve(d)), starts)


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("shape", [(3, 5), (4, 2)])
def test_the_norm_ratio_is_the_largest_ratio_found(name, shape):
    starts = jnp.asarray(np.random.default_rng(1).normal(size=(20, *shape)))

    def spread(v):
        u = -lmo(name, v)
        return u / norm("euclidean", u)

    found = ascend(lambda v: dual_norm(name, v) / norm("euclidean", v), spread, starts)
    assert found == pytest.approx(norm_ratio(name, shape), rel=ASCENT)


def test_the_norm_ratio_of_a_vector():
    assert norm_ratio("max", (7,)) == pytest.approx(7**0.5, rel=SAME_MATHS)
    assert norm_ratio("euclidean", (7,)) == 1.0


EXACT = {
    "euclidean": ("dense", "dense"),
    "max": ("diagonal", "diagonal"),
    "spectral": ("dense", "dense"),
    "one_to_rms": ("dense", "diagonal"),
    "rms_to_rms": ("dense", "dense"),
    "rms_to_inf": ("diagonal", "dense"),
}


def factors(kinds, rows=3, columns=4):
    rng = np.random.default_rng(11)
    return [
        rng.uniform(0.2, 2.0, size) if kind == "diagonal" else random_psd(rng, size)
        for kind, size in zip(kinds, (rows, columns), strict=True)
    ]


@pytest.mark.parametrize("name", NORMS)
def test_smoothness_is_the_largest_image_of_the_unit_ball(name):
    left, right = factors(EXACT[name])
    starts = jnp.asarray(np.random.default_rng(2).normal(size=(24, 3, 4)))
    found = largest_image(name, left, right, starts)
    assert found == pytest.approx(float(matrix_smoothness(name, left, right)), rel=ASCENT)


@pytest.mark.parametrize("name", ["max", "one_to_rms", "rms_to_inf"])
def test_smoothness_bounds_what_it_does_not_reach(name):
    left, right = factors(("dense", "dense"))
    starts = jnp.asarray(np.random.default_rng(2).normal(size=(24, 3, 4)))
    found = largest_image(name, left, right, starts)
    assert found <= float(matrix_smoothness(name, left, right)) <= 2.0 * found


def test_max_smoothness_against_every_sign_vector():
    matrix = random_psd(np.random.default_rng(3), 7)
    corners = np.array(np.meshgrid(*[[-1.0, 1.0]] * 7)).reshape(7, -1)
    brute = np.max(np.sum(np.abs(matrix @ corners), axis=0))
    assert float(max_smoothness(matrix)) == pytest.approx(brute, rel=SAME_MATHS)


def test_max_smoothness_of_many_coordinates_is_an_upper_bound():
    equal = 0.3 * np.ones((20, 20)) + 0.7 * np.eye(20)
    # Entries of one sign: the all-ones vector reaches the sum of them.
    assert float(max_smoothness(equal)) == pytest.approx(equal.sum(), rel=SAME_MATHS)
    flipped = np.outer(*[np.where(np.arange(20) % 2, -1.0, 1.0)] * 2) * equal
    assert float(max_smoothness(flipped)) == pytest.approx(equal.sum(), rel=SAME_MATHS)
    matrix = random_psd(np.random.default_rng(3), 20)
    signs = np.sign(np.random.default_rng(4).normal(size=(2000, 20)))
    found = np.max(np.sum(np.abs(signs @ matrix), axis=1))
    assert found <= float(max_smoothness(matrix)) <= 3.0 * found


def test_a_diagonal_and_its_matrix_have_one_smoothness():
    diagonal = np.array([0.3, 2.0, 1.1])
    for smoothness in (euclidean_smoothness, max_smoothness):
        assert float(smoothness(diagonal)) == pytest.approx(float(smoothness(np.diag(diagonal))))
    both = [float(spectral_smoothness(m, m)) for m in (diagonal, np.diag(diagonal))]
    assert both == pytest.approx([0.09 + 4.0 + 1.21] * 2, rel=SAME_MATHS)


def test_spectral_smoothness_of_a_column_is_euclidean():
    left = random_psd(np.random.default_rng(5), 4)
    largest = np.linalg.norm(left, 2)
    found = float(spectral_smoothness(left, np.array([3.0])))
    assert found == pytest.approx(3.0 * largest, rel=SPECTRAL_ROUTE)


def test_constants_of_a_vector_quadratic():
    hessian, error = random_psd(np.random.default_rng(6), 5), np.arange(1.0, 6.0)
    for name, smoothness in (("euclidean", euclidean_smoothness), ("max", max_smoothness)):
        for curvature in (hessian, np.diag(hessian)):
            built = vector_constants(name, curvature, error, 0.2)
            dense = curvature if curvature.ndim == 2 else np.diag(curvature)
            assert float(built.initial_gap) == pytest.approx(error @ dense @ error / 2)
            assert float(built.smoothness) == pytest.approx(float(smoothness(curvature)))
            assert float(built.norm_ratio) == norm_ratio(name, (5,))
            assert float(built.noise) == pytest.approx(0.2 * 5**0.5)


def test_the_gap_of_a_matrix_quadratic_is_its_kronecker_form():
    left, right = factors(("dense", "diagonal"))
    error = np.random.default_rng(7).normal(size=(3, 4))
    built = matrix_constants("one_to_rms", left, right, error, 0.5)
    hessian = np.kron(left, np.diag(right))
    assert float(built.initial_gap) == pytest.approx(error.ravel() @ hessian @ error.ravel() / 2)
    assert float(built.norm_ratio) == pytest.approx(12**0.5)
    assert float(built.noise) == pytest.approx(0.5 * 12**0.5)
    assert set(built.symbols) == {"Delta", "L", "rho", "sigma"}


def test_white_noise_is_the_root_mean_square_length_of_a_sample():
    draws = 0.7 * np.random.default_rng(8).uniform(-(3**0.5), 3**0.5, size=(20_000, 6))
    squares = np.sum(draws**2, axis=1)
    error = squares.std() / squares.size**0.5
    assert abs(squares.mean() - float(white_noise(0.7, (2, 3))) ** 2) < 5 * error


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: norm_ratio("nuclear", (2, 2)), "`norm` must be one of"),
        (lambda: norm_ratio("spectral", (4,)), "must be given a matrix"),
        (lambda: norm_ratio("max", (0,)), "`shape` must have no axis of length zero"),
        (lambda: norm_ratio("max", ()), "`shape` must have positive sides"),
        (lambda: bound_constants(0.0, 1.0), "`initial_gap` must be a finite number and positive"),
        (lambda: bound_constants(1.0, -1.0), "`smoothness`"),
        (lambda: bound_constants(1.0, 1.0, 0.0), "`norm_ratio`"),
        (lambda: bound_constants(1.0, 1.0, 1.0, np.nan), "`noise`"),
        (lambda: max_smoothness(np.ones((2, 3))), r"must be \[d\] or \[d, d\], got shape \(2, 3\)"),
        (lambda: max_smoothness(np.array([1.0, -1.0])), "`hessian` must be .* at least 0, got -1"),
        (lambda: as_hessian(np.array([[1.0, 2.0], [0.0, 1.0]])), "`hessian` must be symmetric"),
        (lambda: as_hessian(np.array([[1.0, 2.0], [2.0, 1.0]])), "got eigenvalue -1"),
        (lambda: vector_constants("spectral", np.ones(2), np.ones(2), 0.1), "`norm` must be one"),
        (lambda: vector_constants("max", np.ones(2), np.ones(3), 0.1), r"`error` must have shape"),
        (lambda: vector_constants("max", np.ones(2), np.ones(2), -0.1), "`noise_std`"),
        (
            lambda: matrix_constants("max", np.ones(2), np.ones(3), np.ones((3, 2)), 0.1),
            r"`error` must have shape \(2, 3\), got \(3, 2\)",
        ),
        (lambda: spectral_smoothness(np.ones(2), -np.ones(2)), "`right`"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_smoothness_has_a_gradient_where_the_top_is_simple():
    gradient = jax.grad(lambda h: matrix_smoothness("spectral", h, jnp.array([2.0, 1.0])))
    assert np.allclose(gradient(jnp.array([3.0, 1.0])), [2.0, 1.0])
