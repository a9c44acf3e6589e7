"""Outlier metrics: known samples, SciPy's moments, invariances, bad input."""

import numpy as np
import pytest
from scipy.stats import kurtosis

from theory.outliers import channel_kurtosis, excess_kurtosis, max_ratio, row_ratios

from .tolerances import SAME_MATHS

RNG = np.random.default_rng(5)
BATCH = RNG.standard_t(4, (40, 12)) * RNG.uniform(0.1, 5, (40, 1))


def by_hand(row, typical):
    sizes = sorted(abs(float(value)) for value in row)
    middle = len(sizes) // 2
    median = (sizes[(len(sizes) - 1) // 2] + sizes[middle]) / 2
    return sizes[-1] / (median if typical == "median" else sum(sizes) / len(sizes))


@pytest.mark.parametrize("typical", ["median", "mean"])
@pytest.mark.parametrize("columns", [11, 12])
def test_ratios_are_those_of_each_row(typical, columns):
    batch = BATCH[:, :columns]
    expected = [by_hand(row, typical) for row in batch]
    np.testing.assert_allclose(row_ratios(batch, typical), expected, rtol=SAME_MATHS)
    assert float(max_ratio(batch, typical)) == pytest.approx(np.mean(expected), rel=SAME_MATHS)


def test_one_large_channel_raises_the_ratio_in_proportion():
    batch = np.ones((3, 9))
    batch[:, 4] = -7.0
    assert float(max_ratio(batch)) == 7.0
    assert float(max_ratio(batch, "mean")) == pytest.approx(7 / (15 / 9), rel=SAME_MATHS)
    assert float(max_ratio(100 * batch)) == 7.0


def test_rows_without_a_typical_size_are_told_from_zero_rows():
    np.testing.assert_array_equal(row_ratios(np.array([[0, 0, 3.0], [1, 1, 2.0]])), [np.inf, 2])
    assert np.isnan(row_ratios(np.zeros((1, 4)))[0])
    assert float(max_ratio(np.array([[0, 0, 3.0]]), "mean")) == pytest.approx(3, rel=SAME_MATHS)


def test_kurtosis_is_that_of_the_moments():
    assert float(excess_kurtosis(BATCH)) == pytest.approx(kurtosis(BATCH.ravel()), rel=SAME_MATHS)
    sizes = np.sqrt((BATCH**2).mean(axis=0))
    assert float(channel_kurtosis(BATCH)) == pytest.approx(kurtosis(sizes), rel=1e-10)


def test_kurtosis_of_samples_with_known_moments():
    # Two points: the least there is. One of n: moments of a Bernoulli variable of mean 1/n.
    assert float(excess_kurtosis(np.array([1.0, -1.0, 1.0, -1.0]))) == pytest.approx(
        -2, rel=SAME_MATHS
    )
    p = 1 / 50
    spike = (1 - 6 * p * (1 - p)) / (p * (1 - p))
    assert float(excess_kurtosis(np.eye(50)[0])) == pytest.approx(spike, rel=1e-11)
    gaussian = RNG.standard_normal(40_000)
    assert abs(float(excess_kurtosis(gaussian))) < 5 * np.sqrt(24 / gaussian.size)


def test_channels_of_one_size_are_told_from_entries_of_one_size():
    signs = np.where(RNG.uniform(size=(64, 8)) < 0.5, -1.0, 1.0)
    signs[:, 0] *= 10
    assert float(channel_kurtosis(signs)) == pytest.approx(kurtosis(np.eye(8)[0]), rel=1e-10)
    assert np.isnan(channel_kurtosis(np.ones((3, 4))))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: max_ratio(np.ones(4)), "`values` must be a matrix of rows"),
        (lambda: channel_kurtosis(np.ones((0, 4))), "`values` must be a matrix of rows"),
        (lambda: max_ratio(np.ones((2, 2)), "mode"), "`typical` must be one of median, mean"),
    ],
)
def test_bad_arguments_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
