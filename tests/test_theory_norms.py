from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tolerances import SAME_MATHS, SPECTRAL_ROUTE
from theory.newton_schulz import (
    MUON,
    check_coefficients,
    cubic,
    newton_schulz,
    polynomial,
    quintic,
    reached_range,
)
from theory.norms import NORMS, ROLE_NORMS, dual_norm, find_norm, lmo, norm, polar_factor, sign
from theory.operator_norms import (
    HARD,
    OPERATOR_NORMS,
    dual_operator_norm,
    find_operator_norm,
    operator_lmo,
    operator_norm,
)

# One compilation each: step by step the Euclidean norm compiles its branches anew at every call.
QUICK_NORM, QUICK_DUAL, QUICK_LMO = (jax.jit(f, static_argnums=0) for f in (norm, dual_norm, lmo))
MATRIX_NORMS = [name for name, entry in NORMS.items() if entry.matrix_only]
SHAPES = [(3, 5), (5, 3), (4, 4), (1, 6), (6, 1), (1, 1)]


def numpy_norm(name, v):
    """The definitions, with NumPy's own norms."""
    rows, columns = v.shape
    rms = lambda x: np.sqrt(np.mean(x**2))
    return {
        "euclidean": lambda: np.linalg.norm(v),
        "max": lambda: np.abs(v).max(),
        "spectral": lambda: np.linalg.norm(v, 2),
        "one_to_rms": lambda: max(rms(v[:, j]) for j in range(columns)),
        "rms_to_rms": lambda: np.sqrt(columns / rows) * np.linalg.norm(v, 2),
        "rms_to_inf": lambda: max(columns * rms(v[i]) for i in range(rows)),
    }[name]()


def random_matrix(seed, shape):
    """Gaussian or, every third time, of rank one; entries of very different sizes."""
    rng = np.random.default_rng(seed)
    if seed % 3 == 0:
        return np.outer(rng.normal(size=shape[0]), rng.normal(size=shape[1]))
    return rng.normal(size=shape) * np.exp(rng.normal(size=shape))


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_norms_are_their_definitions(name, shape):
    v = random_matrix(7, shape)
    np.testing.assert_allclose(norm(name, jnp.asarray(v)), numpy_norm(name, v), rtol=SAME_MATHS)


@pytest.mark.parametrize(
    ("name", "inner", "outer"),
    [("one_to_rms", 1, "rms"), ("rms_to_rms", "rms", "rms"), ("rms_to_inf", "rms", np.inf)],
)
def test_operator_norms_bound_the_output_and_are_reached(name, inner, outer):
    rng = np.random.default_rng(3)
    w = rng.normal(size=(4, 6))
    length = lambda x, kind: np.sqrt(np.mean(x**2)) if kind == "rms" else np.linalg.norm(x, kind)
    gains = [length(w @ x, outer) / length(x, inner) for x in rng.normal(size=(500, 6))]
    bound = float(norm(name, jnp.asarray(w)))
    assert max(gains) <= bound
    # One of these inputs reaches each norm: a coordinate, a singular vector, a row.
    best = [*np.eye(6), np.linalg.svd(w)[2][0], *w]
    reached = max(length(w @ x, outer) / length(x, inner) for x in best)
    assert reached == pytest.approx(bound, rel=SAME_MATHS)


@pytest.mark.parametrize("name", NORMS)
@given(seed=st.integers(0, 10_000), shape=st.sampled_from([(3, 5), (5, 3), (1, 6)]))
@settings(max_examples=15, deadline=None)
def test_no_point_of_the_ball_goes_further_down_than_the_lmo(name, seed, shape):
    g = random_matrix(seed, shape)
    direction = np.asarray(QUICK_LMO(name, jnp.asarray(g)))
    assert numpy_norm(name, direction) == pytest.approx(1.0, rel=SPECTRAL_ROUTE)
    reached = -np.sum(g * direction)
    assert reached == pytest.approx(float(QUICK_DUAL(name, jnp.asarray(g))), rel=SPECTRAL_ROUTE)
    rng = np.random.default_rng(seed + 1)
    # Also near the answer, where a wrong one would be beaten most easily.
    for spread in (np.inf, 1.0, 0.1, 1e-3):
        for _ in range(25):
            noise = rng.normal(size=shape)
            point = noise if np.isinf(spread) else direction + spread * noise
            feasible = point / numpy_norm(name, point)
            assert -np.sum(g * feasible) <= reached * (1 + SPECTRAL_ROUTE)


@pytest.mark.parametrize("name", NORMS)
@given(seed=st.integers(0, 10_000), factor=st.sampled_from([1e-250, 1e-9, 0.3, 1e9, 1e200]))
@settings(max_examples=10, deadline=None)
def test_lmo_ignores_scale_and_norms_are_homogeneous(name, seed, factor):
    g = jnp.asarray(random_matrix(3 * seed + 1, (3, 4)))
    scaled = g * factor
    np.testing.assert_allclose(QUICK_LMO(name, scaled), QUICK_LMO(name, g), atol=SPECTRAL_ROUTE)
    for measure in (QUICK_NORM, QUICK_DUAL):
        np.testing.assert_allclose(
            measure(name, scaled), factor * measure(name, g), rtol=SPECTRAL_ROUTE
        )


@pytest.mark.parametrize("name", NORMS)
def test_lmo_of_zero_is_zero(name):
    assert np.all(np.asarray(lmo(name, jnp.zeros((3, 5)))) == 0)
    assert float(norm(name, jnp.zeros((3, 5)))) == 0


def test_lmo_is_zero_where_the_gradient_determines_nothing():
    g = jnp.asarray([[3.0, 0.0, -1.0], [4.0, 0.0, 0.0]])
    np.testing.assert_allclose(lmo("max", g), [[-1, 0, 1], [-1, 0, 0]])
    columns = np.sqrt(2) * np.array([[-0.6, 0, 1], [-0.8, 0, 0]])
    np.testing.assert_allclose(lmo("one_to_rms", g), columns, rtol=SAME_MATHS)
    only_first_row = g.at[1].set(0.0)
    assert np.all(np.asarray(lmo("rms_to_inf", only_first_row))[1] == 0)
    rank_one = np.outer([3.0, 4.0], [1.0, 2.0, 2.0])
    np.testing.assert_allclose(
        lmo("spectral", jnp.asarray(rank_one)), -rank_one / 15, atol=SPECTRAL_ROUTE
    )


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_gradients_are_never_silent(name, bad):
    g = jnp.ones((3, 4)).at[1, 2].set(bad)
    direction = np.asarray(lmo(name, g))
    # The sign of infinity is one; every other direction is undefined.
    assert np.isnan(direction[1, 2]) or (name == "max" and np.isinf(bad))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_signs_are_those_of_numpy_for_every_kind_of_number(dtype):
    kinds = [0.0, -0.0, 1e-37, -1e-37, 3.0, -5.0, np.inf, -np.inf, np.nan]
    values = np.array(kinds, dtype)
    found = jax.jit(sign)(jnp.asarray(values))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.sign(values))
    np.testing.assert_array_equal(jax.vmap(jax.grad(sign))(jnp.asarray(values)), 0.0)


def test_polar_factor_is_the_orthogonal_part():
    rng = np.random.default_rng(0)
    orthogonal = np.linalg.qr(rng.normal(size=(6, 4)))[0]
    half = rng.normal(size=(4, 4))
    positive = half @ half.T + np.eye(4)
    recovered = polar_factor(jnp.asarray(orthogonal @ positive))
    np.testing.assert_allclose(recovered, orthogonal, atol=SPECTRAL_ROUTE)


def test_the_vector_norms_take_any_shape():
    g = jnp.asarray([3.0, -4.0])
    np.testing.assert_allclose(lmo("euclidean", g), [-0.6, 0.8], rtol=SAME_MATHS)
    np.testing.assert_allclose(lmo("max", g[:, None, None]).ravel(), [-1, 1])


@pytest.mark.parametrize("name", MATRIX_NORMS)
@pytest.mark.parametrize("shape", [(4,), (), (2, 3, 4)])
def test_matrix_norms_refuse_other_shapes(name, shape):
    with pytest.raises(ValueError, match="matrix"):
        lmo(name, jnp.ones(shape))


def test_unknown_norms_and_empty_arrays_are_refused():
    with pytest.raises(ValueError, match=r"`norm` must be one of euclidean.*'nuclear'"):
        norm("nuclear", jnp.ones((2, 2)))
    with pytest.raises(ValueError, match="zero"):
        find_norm("max", (0, 3))


def vector_norm(kind, x):
    return {"one": np.abs(x).sum, "rms": lambda: np.sqrt(np.mean(x**2)), "inf": np.abs(x).max}[
        kind
    ]()


def extreme_points(inner, w):
    """Inputs of norm one among which the largest output is, whatever the outer norm needs."""
    count = w.shape[1]
    if inner == "one":
        return np.eye(count)
    if inner == "inf":
        return np.array(list(product((-1.0, 1.0), repeat=count)))
    found = np.concatenate([w, np.linalg.svd(w)[2]])
    return found / np.sqrt(np.mean(found**2, axis=1, keepdims=True))


@pytest.mark.parametrize("pair", OPERATOR_NORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_operator_norm_is_the_largest_output(pair, shape):
    w = np.random.default_rng(4).normal(size=shape)
    largest = max(vector_norm(pair[1], w @ x) for x in extreme_points(pair[0], w))
    found = float(operator_norm(*pair, jnp.asarray(w)))
    assert found == pytest.approx(largest, rel=SAME_MATHS)
    for x in np.random.default_rng(5).normal(size=(200, shape[1])):
        bound = found * vector_norm(pair[0], x)
        assert vector_norm(pair[1], w @ x) <= bound * (1 + SAME_MATHS)


@pytest.mark.parametrize("pair", OPERATOR_NORMS)
@given(seed=st.integers(0, 10_000), shape=st.sampled_from([(3, 5), (5, 3), (1, 6)]))
@settings(max_examples=12, deadline=None)
def test_operator_norms_and_their_duals_are_a_pair(pair, seed, shape):
    g, v = random_matrix(seed, shape), random_matrix(seed + 1, shape)
    size, dual = operator_norm(*pair, jnp.asarray(v)), dual_operator_norm(*pair, jnp.asarray(g))
    assert abs(np.sum(g * v)) <= float(size * dual) * (1 + SPECTRAL_ROUTE)
    step = operator_lmo(*pair, jnp.asarray(g))
    assert float(operator_norm(*pair, step)) == pytest.approx(1.0, rel=SPECTRAL_ROUTE)
    assert -np.sum(g * np.asarray(step)) == pytest.approx(float(dual), rel=SPECTRAL_ROUTE)


@pytest.mark.parametrize("pair", OPERATOR_NORMS)
@given(seed=st.integers(0, 10_000), factor=st.sampled_from([-3.0, 1e-9, 1e9]))
@settings(max_examples=10, deadline=None)
def test_operator_norms_are_homogeneous_and_obey_the_triangle_inequality(pair, seed, factor):
    a, b = (jnp.asarray(random_matrix(seed + k, (3, 4))) for k in (0, 1))
    for measure in (operator_norm, dual_operator_norm):
        size = measure(*pair, a)
        np.testing.assert_allclose(
            measure(*pair, factor * a), abs(factor) * size, rtol=SPECTRAL_ROUTE
        )
        assert float(measure(*pair, a + b)) <= float(size + measure(*pair, b)) * (1 + SAME_MATHS)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_the_norm_of_a_product_is_at_most_the_product_through_the_norm_between(seed):
    outer, inner = (jnp.asarray(random_matrix(seed + k, s)) for k, s in enumerate([(3, 4), (4, 5)]))
    for first, last in OPERATOR_NORMS:
        whole = float(operator_norm(first, last, outer @ inner))
        for middle in ("one", "rms", "inf"):
            if (first, middle) in OPERATOR_NORMS and (middle, last) in OPERATOR_NORMS:
                parts = operator_norm(middle, last, outer) * operator_norm(first, middle, inner)
                assert whole <= float(parts) * (1 + SPECTRAL_ROUTE)


SUBMULTIPLICATIVE = ["euclidean", "spectral", "rms_to_rms", "rms_to_inf"]


@pytest.mark.parametrize("name", SUBMULTIPLICATIVE)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_where_a_norm_is_submultiplicative(name, seed):
    a, b = (jnp.asarray(random_matrix(seed + k, s)) for k, s in enumerate([(3, 4), (4, 5)]))
    parts = QUICK_NORM(name, a) * QUICK_NORM(name, b)
    assert float(QUICK_NORM(name, a @ b)) <= float(parts) * (1 + SPECTRAL_ROUTE)


@pytest.mark.parametrize("name", sorted(set(NORMS) - set(SUBMULTIPLICATIVE)))
def test_where_a_norm_is_not_submultiplicative(name):
    # All ones: the square is three times as large, the norm is one.
    ones = jnp.ones((3, 3))
    assert float(norm(name, ones)) == pytest.approx(1.0, rel=SAME_MATHS)
    assert float(norm(name, ones @ ones)) == pytest.approx(3.0, rel=SAME_MATHS)


def test_the_largest_entries_of_a_column_or_row_share_its_step():
    g = jnp.asarray([[3.0, 0.0, -1.0], [-3.0, 0.0, -2.0]])
    np.testing.assert_allclose(operator_lmo("one", "one", g), [[-0.5, 0, 0], [0.5, 0, 1]])
    np.testing.assert_allclose(operator_lmo("inf", "inf", g), [[-1, 0, 0], [1, 0, 0]])
    assert np.isnan(np.asarray(operator_lmo("one", "one", g.at[0, 0].set(jnp.nan)))).any()


def test_the_norm_of_a_role_is_that_of_its_vectors():
    vectors = {"input": ("one", "rms"), "hidden": ("rms", "rms"), "output": ("rms", "inf")}
    assert set(ROLE_NORMS) == set(vectors)
    for role, pair in vectors.items():
        assert OPERATOR_NORMS[pair] is NORMS[ROLE_NORMS[role]]


@pytest.mark.parametrize("pair", HARD)
def test_norms_without_a_formula_are_refused(pair):
    with pytest.raises(ValueError, match=f"from {pair[0]} to {pair[1]} is NP-hard"):
        operator_norm(*pair, jnp.ones((2, 2)))


@pytest.mark.parametrize("shape", [(4,), (), (2, 3, 4), (0, 3)])
def test_operator_norms_refuse_what_is_no_matrix(shape):
    with pytest.raises(ValueError, match=r"one_to_inf must be given a matrix.*got shape"):
        find_operator_norm("one", "inf", shape)
    with pytest.raises(ValueError, match="`outer` must be one of one, rms, inf, got 'two'"):
        find_operator_norm("one", "two", (2, 2))


@pytest.mark.parametrize("coefficients", [MUON, cubic(4), quintic(3)])
@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 6)])
def test_newton_schulz_is_its_polynomial_on_the_singular_values(coefficients, shape):
    matrix = np.random.default_rng(1).normal(size=shape)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    scaled = values / np.linalg.norm(values)
    expected = (left * np.asarray(polynomial(jnp.asarray(scaled), coefficients))) @ right
    result = newton_schulz(jnp.asarray(matrix), coefficients)
    np.testing.assert_allclose(result, expected, atol=SPECTRAL_ROUTE)


@pytest.mark.parametrize(
    ("coefficients", "smallest", "tolerance"),
    # Stated distances from the polar factor, in spectral norm.
    [(MUON, 0.02, 0.32), (cubic(12), 0.05, 1e-6), (quintic(10), 0.05, 1e-12)],
)
def test_newton_schulz_against_svd(coefficients, smallest, tolerance):
    low, high = reached_range(coefficients, smallest)
    stated = max(1 - low, high - 1)
    assert stated <= tolerance
    rng = np.random.default_rng(2)
    left, right = (np.linalg.qr(rng.normal(size=(20, 20)))[0] for _ in range(2))
    values = np.geomspace(smallest, 1, 20)
    values *= np.sqrt(1 / np.sum(values**2))
    matrix = (left * np.maximum(values, smallest)) @ right
    matrix /= max(1.0, np.linalg.norm(matrix))
    relative = np.linalg.svd(matrix)[1].min() / np.linalg.norm(matrix)
    low, high = reached_range(coefficients, relative)
    distance = np.linalg.norm(
        np.asarray(
            newton_schulz(jnp.asarray(matrix), coefficients) - polar_factor(jnp.asarray(matrix))
        ),
        2,
    )
    assert distance <= max(1 - low, high - 1) + SPECTRAL_ROUTE


@pytest.mark.parametrize("coefficients", [MUON, cubic(3), quintic(2), ((-1.0, 2.0, 0.0),)])
@pytest.mark.parametrize("smallest", [1e-3, 0.1, 0.9])
def test_reached_range_is_that_of_a_dense_grid(coefficients, smallest):
    grid = polynomial(jnp.linspace(smallest, 1, 200_001), coefficients)
    low, high = reached_range(coefficients, smallest)
    # A grid of spacing h misses an interior extremum by p'' h^2 / 8; p'' is below 1e4 here.
    np.testing.assert_allclose([low, high], [grid.min(), grid.max()], atol=1e-6)
    assert low <= grid.min() + SAME_MATHS
    assert high >= grid.max() - SAME_MATHS


def test_newton_schulz_of_zero_is_zero_and_of_nan_is_nan():
    assert np.all(np.asarray(newton_schulz(jnp.zeros((3, 4)))) == 0)
    assert np.all(np.isnan(newton_schulz(jnp.ones((3, 4)).at[0, 0].set(jnp.nan))))


@pytest.mark.parametrize("bad", [(), ((1.0, 2.0),), (1.0, 2.0, 3.0), ((1.0, np.nan, 0.0),)])
def test_bad_coefficients_are_refused(bad):
    with pytest.raises(ValueError, match="coefficients"):
        check_coefficients(bad)


@pytest.mark.parametrize("smallest", [0.0, -1.0, 1.5, np.nan])
def test_bad_smallest_singular_values_are_refused(smallest):
    with pytest.raises(ValueError, match="smallest"):
        reached_range(MUON, smallest)


@pytest.mark.parametrize("build", [cubic, quintic])
def test_at_least_one_step(build):
    with pytest.raises(ValueError, match="steps"):
        build(0)
