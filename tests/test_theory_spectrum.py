"""The compression of mode sums against brute force and against 40-digit sums."""

import csv
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from theory.gram_rules import gram_rule
from theory.linear_methods import gd
from theory.problem import eigenvalues, energies, mode_index, power_law
from theory.spectrum import (
    POINTS_PER_BLOCK,
    approximation_error,
    as_spectrum,
    compress,
    explicit_spectrum,
    mode_nodes,
    mode_sum,
)

from .tolerances import REFERENCE, SAME_MATHS

REFERENCE_FOLDER = Path(__file__).parent / "reference"


def reference_rows(name):
    with (REFERENCE_FOLDER / name).open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("count", "points"), [(20, 8), (33, 16), (1000, 16), (7, 7)])
def test_gram_rule_integrates_polynomials_below_twice_its_points(count, points):
    nodes, weights = gram_rule(count, points)
    integers = np.arange(count) - (count - 1) / 2
    for degree in range(2 * points):
        # Chebyshev polynomials on the block are bounded by one, so absolute errors mean something.
        basis = np.polynomial.Chebyshev.basis(degree, domain=[-count / 2, count / 2])
        exact = basis(integers).sum()
        assert abs((weights * basis(nodes)).sum() - exact) <= SAME_MATHS * count


@pytest.mark.parametrize("size", [1, 2, 31, 1e3, 1e6, 1e12, 1e15])
def test_weights_are_positive_and_count_the_modes(size):
    index, weights = mode_nodes(size)
    assert np.all(weights > 0)
    assert np.all(np.diff(index) > 0)
    assert weights.sum() == pytest.approx(int(size), rel=SAME_MATHS)
    assert index.size <= POINTS_PER_BLOCK * (np.log2(size) + 1)


def test_small_problems_are_not_compressed():
    index, weights = mode_nodes(31)
    np.testing.assert_array_equal(index, np.arange(1, 32))
    np.testing.assert_array_equal(weights, np.ones(31))


@pytest.mark.parametrize(
    "size", [10, 33, 1000, 12345, pytest.param(1_000_000, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(("a", "b"), [(1.1, 1.2), (1.5, 1.8), (3.0, 4.0), (0.5, 2.5)])
def test_gd_matches_a_sum_over_every_mode(size, a, b):
    modes = np.arange(1, size + 1, dtype=np.longdouble)
    problem = power_law(a, b, size)
    for rate in (0.3, 1.9):
        lam = modes ** -np.longdouble(a)
        pull = np.longdouble(rate) * lam
        near = np.minimum(pull, 0.5)
        # Logarithms: a power of extended numbers costs a microsecond each.
        contraction = np.where(pull > near, np.log(np.abs(1 - pull)), np.log1p(-near))
        for steps in (0, 100, 10**5, 10**8):
            exact = np.sum(modes ** -np.longdouble(b) * np.exp(2 * steps * contraction)) / 2
            curve = gd(problem, rate, steps)
            error = abs(float(curve.bias) - float(exact))
            assert error <= SAME_MATHS * (float(exact) + float(curve.approximation))


@pytest.mark.parametrize("row", reference_rows("gd.csv"))
def test_gd_matches_forty_digits(row):
    problem = power_law(float(row["a"]), float(row["b"]), float(row["size"]))
    curve = gd(problem, float(row["learning_rate"]), float(row["steps"]))
    exact = float(row["bias"]) + float(row["approximation"])
    assert float(curve.total) == pytest.approx(exact, rel=REFERENCE)
    assert float(curve.approximation) == pytest.approx(float(row["approximation"]), rel=REFERENCE)
    assert float(curve.bias) == pytest.approx(float(row["bias"]), rel=REFERENCE, abs=1e-13 * exact)


@hypothesis.settings(deadline=None, max_examples=25)
@hypothesis.given(b=st.floats(1.05, 6.0), size=st.sampled_from([1.0, 40.0, 999.0, 1e5]))
def test_approximation_error_and_trained_energy_make_up_zeta(b, size):
    problem = power_law(1.0, b, size)
    whole = approximation_error(power_law(1.0, b, 1.0)) + 0.5
    trained = mode_sum(compress(problem), compress(problem).energies) / 2
    assert float(trained + approximation_error(problem)) == pytest.approx(float(whole), rel=1e-13)


def test_size_between_integers_trains_the_whole_modes_below_it():
    assert float(gd(power_law(1.5, 1.8, 99.9), 0.5, 10).total) == float(
        gd(power_law(1.5, 1.8, 99), 0.5, 10).total
    )


def test_explicit_spectrum_is_the_same_problem_mode_by_mode():
    problem = power_law(1.5, 1.8, 500)
    index = mode_index(500)
    explicit = explicit_spectrum(
        eigenvalues(problem, index), energies(problem, index), approximation_error(problem)
    )
    steps = jnp.array([0.0, 3.0, 1e4])
    np.testing.assert_allclose(
        gd(explicit, 0.7, steps).total, gd(problem, 0.7, steps).total, rtol=REFERENCE
    )
    assert as_spectrum(explicit) is explicit


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"capacity_exponent": 0.0}, "capacity_exponent"),
        ({"capacity_exponent": -1.0}, "capacity_exponent"),
        ({"capacity_exponent": np.nan}, "capacity_exponent"),
        ({"source_exponent": 1.0}, "source_exponent"),
        ({"source_exponent": np.inf}, "source_exponent"),
        ({"size": 0.5}, "size"),
        ({"size": 2e15}, "size"),
        ({"noise_variance": -1e-9}, "noise_variance"),
    ],
)
def test_bad_problems_are_refused_by_name(arguments, name):
    good = {"capacity_exponent": 1.5, "source_exponent": 1.8, "size": 10.0}
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        power_law(**(good | arguments))


def test_bad_spectra_are_refused():
    with pytest.raises(ValueError, match="`eigenvalues`"):
        explicit_spectrum(jnp.array([1.0, 0.0]), jnp.array([1.0, 1.0]))
    with pytest.raises(ValueError, match="one length"):
        explicit_spectrum(jnp.array([1.0, 0.5]), jnp.array([1.0]))
    with pytest.raises(ValueError, match="`points_per_block`"):
        compress(power_law(1.5, 1.8, 100), 1)
    with pytest.raises(TypeError, match="`size` must be a real number"):
        power_law(1.5, 1.8, "many")  # pyright: ignore[reportArgumentType]
