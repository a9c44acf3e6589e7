"""Tuned learning rates against golden-section search and closed forms."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from simulate.optimizers import sgd
from simulate.problems import diagonal_quadratic
from simulate.tuning import tune_learning_rate
from theory.problem import power_law

STEPS = [4, 16, 64]


@pytest.fixture(scope="module")
def problem():
    return diagonal_quadratic(power_law(1.5, 1.8, 64))


def best_rate(steps):
    """Golden-section search on the loss of GD over all 64 modes."""
    modes = np.arange(1, 65.0)

    def loss(rate):
        return np.sum(modes**-1.8 * (1 - rate * modes**-1.5) ** (2 * steps)) / 2

    return minimize_scalar(loss, bounds=(0.5, 2.0), method="bounded", options={"xatol": 1e-10})


def test_interpolated_optimum_lies_within_its_error_of_the_true_one(problem):
    rates = np.geomspace(0.5, 2.2, 40)
    tuned = tune_learning_rate(problem, sgd, STEPS, rates, floor=float(problem.floor))
    for place, steps in enumerate(STEPS):
        true = best_rate(steps)
        gap = abs(np.log(tuned.learning_rate[place] / true.x))
        assert gap <= tuned.log_error[place]
        assert tuned.log_error[place] <= np.log(rates[1] / rates[0]) / 3
        excess = tuned.loss[place] - float(problem.floor)
        assert excess == pytest.approx(true.fun, rel=0.01)
        assert tuned.loss[place] <= tuned.losses[:, place].min()
    assert not tuned.at_edge.any()


@pytest.mark.parametrize(("low", "high"), [(0.001, 0.02), (2.5, 80.0)])
def test_a_grid_that_misses_the_optimum_is_widened_until_it_holds_it(problem, low, high):
    rates = np.geomspace(low, high, 24)
    tuned = tune_learning_rate(problem, sgd, STEPS, rates)
    assert tuned.rates.size > rates.size
    assert not tuned.at_edge.any()
    np.testing.assert_allclose(
        tuned.learning_rate, [best_rate(steps).x for steps in STEPS], rtol=0.03
    )


def test_an_optimum_that_stays_at_the_edge_says_so(problem):
    rates = np.geomspace(1e-12, 1.1e-12, 5)
    assert tune_learning_rate(problem, sgd, STEPS, rates).at_edge.all()


@pytest.mark.parametrize(
    "rates", [[0.1, 0.2, 0.4], [0.1, 0.2, 0.3, 0.4, 0.5], [-1, 1, 2, 3, 4], [1, 1, 1, 1, 1]]
)
def test_bad_grids_are_refused(problem, rates):
    with pytest.raises(ValueError, match="`rates` must be"):
        tune_learning_rate(problem, sgd, STEPS, np.array(rates, dtype=float))
