"""The criterion for the Chinchilla form, on losses whose form is known."""

import numpy as np
import pytest

from experiments.criterion import judge, power_law_fit

SIZES = np.array([1e2, 1e3, 1e4])
STEPS = 2.0 ** np.arange(2, 11)


def losses(exponent, correction=0.0, order=0.5, growth=0.0):
    size, steps = SIZES[:, None], STEPS[None, :]
    return size**growth * steps**-exponent * (1 + correction * size**-order * steps**order)


def test_a_power_law_with_a_vanishing_size_correction_holds():
    found = judge(SIZES, STEPS, losses(0.7, 0.05), 0.7)
    assert found.holds == "holds"
    # The correction N^-1/2 of these losses is summed to its limit without error.
    assert found.exponent == pytest.approx(0.7, abs=1e-12)
    assert found.window == (STEPS[0], STEPS[-1])
    size_correction = -1 / (1 + 1 / (0.05 * (STEPS[-5:] / SIZES[-1]) ** 0.5))
    assert found.correction == pytest.approx(np.abs(size_correction).max(), rel=1e-9)


def test_the_window_ends_where_the_size_is_felt():
    found = judge(SIZES, STEPS, losses(0.7, 40.0, order=1.0), 0.7)
    assert found.holds == "in a window"
    # A correction x = 40 T/N of the limit is x / (1 + x) of the loss, at most a quarter: T <= 83.
    assert found.window == (4, 64)
    assert found.reason == "T <= 64 at N = 10000"
    assert found.exponent == pytest.approx(0.7, abs=1e-12)


@pytest.mark.parametrize("wrong", [0.5, 0.9, 1.4])
def test_another_exponent_fails(wrong):
    found = judge(SIZES, STEPS, losses(0.7), wrong)
    assert (found.holds, found.reason) == ("fails", f"exponent 0.70 instead of {wrong:.2f}")


def test_an_exponent_on_its_way_is_left_undecided():
    local = 0.9 - 0.25 * np.arange(STEPS.size) / STEPS.size
    curve = np.exp(-np.cumsum(local * np.log(2)))
    found = judge(SIZES, STEPS, np.tile(curve, (3, 1)), 0.62)
    assert found.holds == "undecided"
    assert "moving toward 0.62" in found.reason


def test_errors_that_grow_with_the_size_couple():
    found = judge(SIZES, STEPS, losses(0.7, growth=0.2), 0.7)
    assert found.holds == "fails"
    assert found.reason == "N and T couple, the optimization error grows as N^0.20"
    assert found.growth == pytest.approx(0.2, abs=1e-12)


def test_an_exponential_is_no_power_law():
    curve = np.tile(np.exp(-STEPS / 50), (3, 1))
    found = judge(SIZES, STEPS, curve, np.nan)
    assert found.holds == "fails"
    assert found.reason.startswith("no power law")
    assert judge(SIZES, STEPS, losses(0.7), np.nan).holds == "observed"


def test_losses_that_reach_zero_have_no_exponent():
    curve = losses(0.7)
    curve[:, 2:] = 0.0
    assert "smallest number" in judge(SIZES, STEPS, curve, 0.7).reason


def test_errors_that_depend_on_the_size_at_all_horizons_are_undecided():
    found = judge(SIZES, STEPS, losses(0.7, 30.0, order=0.2), 0.7)
    assert found.holds == "undecided"


def test_the_line_is_that_of_numpy_with_its_covariance():
    x = np.log(STEPS)
    y = -0.6 * x + 0.1 * np.cos(3 * x)
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    exponent, error, _ = power_law_fit(STEPS, np.exp(y))
    assert exponent == pytest.approx(-slope, rel=1e-12)
    assert error == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-12)


@pytest.mark.parametrize("sizes", [[1.0, 2.0, 3.0], [4.0, 2.0, 1.0], [1.0, 2.0]])
def test_sizes_must_grow_by_a_constant_ratio(sizes):
    with pytest.raises(ValueError, match="sizes"):
        judge(np.array(sizes), STEPS, np.ones((len(sizes), STEPS.size)), 1.0)
