"""The study of exponents: verdicts that are known, vector forms of matrix methods, bad input."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from experiments.aligned_methods import aligned_muon, aligned_shampoo
from experiments.padding import padded_error
from experiments.progress import Progress
from experiments.studies import exponents
from experiments.studies.exponents import ExponentsConfig
from experiments.study import run_study
from experiments.tuned_curves import off_exact, rate_grid, tuned_curve
from simulate.least_squares import least_squares
from simulate.lmo import muon, signum
from simulate.matrix_problems import matrix_quadratic
from simulate.optimizers import sgd
from simulate.problems import diagonal_quadratic, rotated_quadratic
from simulate.shampoo import shampoo
from simulate.sweep import sweep
from simulate.trajectory import simulate
from simulate.tuning import tune_learning_rate
from theory.problem import power_law

from .presets import tiny_config
from .tolerances import SAME_MATHS

KEY = jax.random.key(0)
STEPS = np.array([1, 4, 20])


@pytest.fixture(scope="module")
def record(results):
    return run_study(exponents.STUDY, tiny_config(ExponentsConfig), results, Progress())[0]


def test_gradient_descent_holds_with_its_exponent_and_a_preconditioner_doubles_it(record):
    for problem, beta in zip(record.problem.values, (1.2 / 1.5, 0.9 / 0.9), strict=True):
        plain, bent = (
            record.sel({"method": name, "problem": problem}) for name in ("gd", "preconditioned")
        )
        assert (str(plain.form.values), str(bent.form.values)) == ("holds", "holds")
        # The next order of the asymptote is 1/T, and T is 256 where the fit begins.
        assert float(plain.exponent) == pytest.approx(beta, abs=1 / 256)
        assert float(bent.exponent) == pytest.approx(2 * beta, abs=2 / 256)


def test_sign_descent_holds_for_bounded_targets_and_couples_below_a_equal_one(record):
    bounded, heavy = (
        record.sel({"method": "sign", "problem": problem}) for problem in record.problem.values
    )
    assert str(bounded.form.values) == "holds"
    assert str(heavy.form.values) == "fails"
    assert "couple" in str(heavy.reason.values)
    # sum lam_i over N modes grows as N^(1-a), the walk of far coordinates adds to that.
    assert float(heavy.growth) > 0.08


def test_sign_descent_loses_its_exponent_in_a_rotated_basis(record):
    row = record.sel({"method": "rotated sign"}).isel(problem=0)
    assert str(row.form.values) == "fails"
    assert float(row.exponent) < 1.2


def test_simulations_reproduce_the_exact_curves_and_the_size_exponent(record):
    known = record.sel({"method": ["gd", "preconditioned", "sign"]})
    assert float(known.off_exact.max()) < SAME_MATHS
    # One part in a hundred of the approximation error is left to optimize.
    np.testing.assert_allclose(record.alpha, record.alpha_exact, atol=0.02)


def test_summary_has_a_row_for_every_method(record):
    for table in exponents.summary(record):
        assert len(table.rows) == record.method.size
        assert all(len(row) == len(table.columns) for row in table.rows)


@pytest.mark.parametrize(
    ("vector", "whole", "rate"), [(aligned_muon, muon, 0.03), (aligned_shampoo, shampoo, 0.3)]
)
def test_vector_forms_equal_the_matrix_methods_on_aligned_problems(vector, whole, rate):
    problem = power_law(1.5, 1.8, 12)
    held, matrix = diagonal_quadratic(problem), matrix_quadratic(problem, alignment="aligned")
    # The square of a distance of 1e-3 keeps ten digits less three of the distance itself.
    np.testing.assert_allclose(
        simulate(held, vector, STEPS, learning_rate=rate).loss,
        simulate(matrix, whole, STEPS, learning_rate=rate).loss,
        rtol=1e-9,
    )


@pytest.mark.slow
def test_padding_changes_no_error_and_drops_the_constant_part():
    problem, key = power_law(1.5, 1.8, 10, 0.02), jax.random.key(1)
    crossed = matrix_quadratic(problem, alignment="crossed", key=key)
    for stated in (diagonal_quadratic(problem), rotated_quadratic(problem, key), crossed):
        wide = padded_error(stated, 16)
        plain = simulate(stated, signum, STEPS, learning_rate=0.02).loss
        padded = simulate(wide, signum, STEPS, learning_rate=0.02).loss
        np.testing.assert_allclose(padded, plain - stated.floor, rtol=1e-10)
    noisy = least_squares(problem, 2.0)
    wide = padded_error(noisy, 16)
    assert float(wide.noise_std) == float(noisy.noise_std)
    assert np.all(np.asarray(wide.gradient(wide.init(), key))[10:] == 0)
    with pytest.raises(ValueError, match="`held` must be at least 10, got 9"):
        padded_error(noisy, 9)


@pytest.mark.slow
def test_tuning_reports_the_standard_error_over_seeds():
    problem, keys = least_squares(power_law(1.5, 1.8, 8, 0.5), 2.0), jax.random.split(KEY, 16)
    rates = rate_grid(0.01, 0.1, 0.5)
    tuned = tune_learning_rate(problem, sgd, STEPS, rates, keys=keys)
    assert tuned.errors is not None
    runs = np.asarray(sweep(problem, sgd, STEPS, {"learning_rate": rates}, keys).loss)
    at = np.searchsorted(tuned.rates, rates * (1 - 1e-9))
    spread = np.sqrt(np.sum((runs - runs.mean(axis=1, keepdims=True)) ** 2, axis=1) / (15 * 16))
    np.testing.assert_allclose(tuned.errors[at], spread, rtol=SAME_MATHS)
    alone = tune_learning_rate(diagonal_quadratic(power_law(1.5, 1.8, 8)), sgd, STEPS, rates)
    assert alone.errors is None


def test_tuned_curves_judge_rates_by_their_neighbours():
    losses = np.array([[5.0], [1.0], [6.0], [2.0], [2.0], [2.0], [np.inf]])
    assert tuned_curve(losses, 0) == [1.0]
    assert tuned_curve(losses, 1) == [2.0]
    wrong = np.where(np.isfinite(losses), losses * 1.01, np.nan)
    assert off_exact(wrong, losses) == pytest.approx(0.01, rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("gd", "sgdd")}, "`methods` must be some of"),
        ({"methods": ()}, "`methods` must be some of"),
        ({"sources": (2.0,)}, "`sources` must have one value for each"),
        ({"capacities": (), "sources": ()}, "`sources` must have one value for each"),
        ({"seeds": 1}, "`seeds` must be"),
        ({"horizons": 2}, "`horizons` must be"),
        ({"capacities": (-1.0, 2.0, 0.9)}, "`capacity_exponent` must be"),
    ],
)
def test_bad_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        exponents.compute(replace(ExponentsConfig.quick(), **changes), Progress())
