"""The study of conditioning on a tiny design: known laws come back, and sharing narrows them."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from experiments.conditioning_runs import LAW, RESCALINGS, design, truth
from experiments.progress import Progress
from experiments.studies import conditioning
from experiments.study import run_study
from paper_figures.figures.conditioning import draw

from .presets import tiny_config
from .tolerances import SAME_MATHS

TINY = tiny_config(conditioning.ConditioningConfig)


@pytest.fixture(scope="module")
def dataset(results):
    return run_study(conditioning.STUDY, TINY, results, Progress())[0]


def test_the_law_of_a_design_is_the_one_stated():
    data = design("law", 12, 4.0)
    # Written out: E + A (rho_N N)^-alpha + B (rho_D D)^-beta.
    for row, name in enumerate(data.optimizers):
        rho_n, rho_d = RESCALINGS.get(name, (1.0, 1.0))
        by_hand = (
            1.69
            + 406.4 * (rho_n * data.cells.size) ** -0.34
            + 410.7 * (rho_d * data.cells.tokens) ** -0.28
        )
        np.testing.assert_allclose(data.losses[row], by_hand, rtol=SAME_MATHS)
    assert data.beyond.size.tolist() == [8 * data.cells.size.max()] * 4


def test_standard_errors_are_those_of_least_squares_by_finite_differences(dataset):
    data = design("law", 12, 4.0)
    n, d = data.cells.size, data.cells.tokens
    # The study centres on all runs; the optimizers share one design, so on this one.
    x, y = np.log(n) - np.log(n).mean(), np.log(d) - np.log(d).mean()
    law = LAW
    at = np.array(
        [
            np.log(1.69),
            np.log(406.4) - 0.34 * np.log(n).mean(),
            0.34,
            np.log(410.7) - 0.28 * np.log(d).mean(),
            0.28,
        ]
    )

    def log_loss(p):
        return np.log(np.exp(p[0]) + np.exp(p[1] - p[2] * x) + np.exp(p[3] - p[4] * y))

    np.testing.assert_allclose(np.exp(log_loss(at)), law.loss(n, d), rtol=SAME_MATHS)
    step = 1e-5
    jacobian = np.stack(
        [(log_loss(at + step * e) - log_loss(at - step * e)) / (2 * step) for e in np.eye(5)],
        axis=1,
    )
    covariance = np.linalg.inv(jacobian.T @ jacobian)
    here = dataset.sel(source="law", form="separate")
    expected = TINY.noise * np.sqrt(np.diag(covariance))
    # Differences of 1e-10 times the condition number of the Hessian, 1e5.
    np.testing.assert_allclose(here.standard_error, expected, rtol=1e-4)
    scale = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(scale, scale)
    np.testing.assert_allclose(here.correlation.sel(units="centred"), correlation, atol=1e-4)


def test_sharing_halves_the_standard_errors_of_four_optimizers(dataset):
    error = dataset.standard_error.sel(source="law")
    ratio = error.sel(form="separate") / error.sel(form="shared")
    # Four times the runs; the rescalings cost a little and their differences pay a little.
    exponents = ratio.sel(parameter=["alpha", "beta"])
    assert bool(((exponents > 1.8) & (exponents < 2.5)).all())


def test_centring_cuts_the_condition_number_on_a_grid(dataset):
    condition = dataset.condition.sel(source="law")
    centred, raw, plain = (condition.sel(scale=name) for name in dataset.scale.values)
    assert bool((raw > 100 * centred).all())
    assert bool((plain > raw).all())


def test_the_profile_of_a_separate_fit_finds_no_lower_end_for_the_floor(dataset):
    low, high = dataset.profile_interval.sel(source="law", profiled="log E").transpose("side", ...)
    separate, shared = (low.sel(form=form) for form in ("separate", "shared"))
    assert float(separate) == 0.0
    assert 1.2 < float(shared) < 1.69
    assert bool((high > 1.69).all())


def test_every_fit_is_an_optimum_and_sharing_extrapolates_better(dataset):
    assert float(dataset.agreement.min()) > 1 / TINY.starts
    error = np.sqrt((dataset.extrapolation**2).mean(("repeat", "optimizer", "cells", "span")))
    assert bool((error.sel(form="shared") < error.sel(form="separate")).all())


def test_the_far_cell_of_the_edges_follows_the_derived_law():
    data = design("edges", 12, 4.0)
    irreducible, size, alpha, steps, beta = truth("edges")
    # Euler-Maclaurin: the sum beyond N begins half a mode later.
    trained = irreducible + size * (data.beyond.size + 0.5) ** -alpha
    np.testing.assert_allclose(data.beyond_losses, np.tile(trained, (4, 1)), rtol=1e-6)
    late = irreducible + steps * (np.array([1.0, 0.4, 10.0, 4.0]) * data.cells.tokens[-1]) ** -beta
    # 8000 steps: momentum lags 9 of them, times beta.
    np.testing.assert_allclose(data.losses[:, -1], late, rtol=4e-4)


def test_a_bent_grid_has_less_loss_than_its_two_edges_add_up_to():
    data = design("bent", 12, 4.0)
    irreducible, size, alpha, steps, beta = truth("bent")
    by_size = size * (data.cells.size + 0.5) ** -alpha
    by_steps = steps * data.cells.tokens**-beta
    reference = data.losses[0] - irreducible
    assert np.all(reference > by_size)
    assert np.all(reference < 0.9 * (by_size + by_steps))


def test_tables_and_figure(dataset):
    tables = conditioning.summary(dataset)
    assert [len(table.rows) for table in tables] == [13, 3, 2, 1, 1]
    assert "sharing narrows the scatter of alpha" in str(tables[-1].rows[0][1])
    figure, plotted = draw({"conditioning": dataset})
    assert set(plotted.panel) == {"correlation", "fit", "profile"}
    plt.close(figure)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": ("text",)}, "`sources`"),
        ({"cells": (8,)}, "`cells`"),
        ({"cells": (14,)}, r"`cells` must be multiples of 4, got \(14,\)"),
        ({"spans": (16.0, 4.0)}, "`spans` must increase"),
        ({"spans": (128.0,)}, "`spans`"),
        ({"noise": 0.0}, "`noise`"),
        ({"repeats": 1}, "`repeats`"),
        ({"points": 3}, "`points`"),
    ],
)
def test_bad_fields_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        conditioning.compute(replace(TINY, **change), Progress())
