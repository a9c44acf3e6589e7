"""The study of shared exponents: it stands where it is right and is rejected where it is wrong."""

from dataclasses import replace
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest

from experiments.optimizer_runs import ENDLESS, derived_law, edge_cells, rescaled_optimizers
from experiments.optimizer_tables import preferred, rejections
from experiments.progress import Progress
from experiments.studies import optimizers
from experiments.study import run_study
from paper_figures.figures import rescaling
from theory.problem import MAX_SIZE, power_law

from .presets import tiny_config

TINY = tiny_config(optimizers.OptimizersConfig)


@pytest.fixture(scope="module")
def dataset(results):
    return run_study(optimizers.STUDY, TINY, results, Progress())[0]


def test_shared_exponents_are_not_rejected_where_only_constants_differ(dataset):
    right = {"case": "constants"}
    assert int(rejections(dataset).sel(right).sum()) == 0
    assert int(preferred(dataset, "bic").sel(right).sel(form="shared")) == dataset.repeat.size
    # The held-out runs have noise of their own: freeing an exponent gains nothing beyond it.
    error = dataset.held_out.sel(right).median("repeat")
    assert float(error.sel(form="shared")) < 1.1 * float(error.min())


def test_a_preconditioner_that_changes_the_exponent_is_caught(dataset):
    wrong = {"case": "p = 0.1"}
    assert int(rejections(dataset).sel(wrong).sel(form="beta free")) == dataset.repeat.size
    assert int(preferred(dataset, "bic").sel(wrong).sel(form="beta free")) == dataset.repeat.size
    error = dataset.held_out.sel(wrong)
    assert bool((error.sel(form="shared") > error.sel(form="beta free")).all())


def test_rescalings_are_the_ratios_of_effective_rates(dataset):
    here = dataset.sel(case="constants")
    np.testing.assert_allclose(here.speed, [1.0, 0.4, 10.0, 4.0, 1.0])
    # Steps from 1000 on: the momentum methods lag 9 and 3 steps, GD and its asymptote 1.
    np.testing.assert_allclose(here.tokens_rescaling, here.speed, rtol=0.01)
    np.testing.assert_allclose(here.size_rescaling, 1.0, rtol=0.01)
    low, middle, high = here.tokens_rescaling_interval
    assert bool(((low <= middle) & (middle <= high)).all())
    # Noise of 0.3 % in ten cells or so an optimizer: factors to a few percent.
    others = here.optimizer != "gd"
    width = ((high - low) / here.speed).where(others, drop=True)
    assert bool(((width > 0.003) & (width < 0.1)).all())


def test_the_law_without_noise_is_the_derived_one(dataset):
    here = dataset.sel(case="constants")
    np.testing.assert_allclose(here.law, dataset.derived, rtol=0.01)
    assert float(here.misfit.sel(form="shared")) < TINY.noise / 3
    # Where size and steps do not add up, no law of this form is so near.
    assert float(dataset.misfit.sel(case="bent", form="shared")) > TINY.noise


def test_the_derived_law_is_the_exact_loss_on_the_edges():
    irreducible, size, alpha, steps, beta = derived_law(1.5, 1.45, 0.1, 0.5)
    problem = partial(power_law, 1.5, 1.45, noise_variance=0.1)
    cells = edge_cells(1.5, 16, 64.0)
    for optimizer in rescaled_optimizers(0.5, 0.2, 0.9, 0.75).values():
        trained = optimizer.curve(problem(3200.0), np.array([ENDLESS])).total
        # Euler-Maclaurin: the sum beyond N begins half a mode later.
        expected = irreducible + size * 3200.5**-alpha
        np.testing.assert_allclose(trained, expected, rtol=1e-6)
        late = cells.tokens[-1:]
        exact = optimizer.curve(problem(MAX_SIZE), late).total
        expected = irreducible + steps * (optimizer.speed * late) ** -beta
        np.testing.assert_allclose(exact, expected, rtol=1e-4)


def test_tables_and_figure(dataset):
    tables = optimizers.summary(dataset)
    assert [len(table.rows) for table in tables] == [5, 4, 3, 3]
    words = [str(row[1]) for row in tables[-1].rows]
    assert words[0].startswith("sharing stands")
    assert words[1].startswith("sharing is rejected (4 of 4 for beta free)")
    assert words[2].startswith("size and steps do not add up")
    figure, axes = plt.subplots(1, 2)
    plotted = rescaling._rescalings(axes[0], dataset.sel(case="constants"))
    assert len(plotted) == 8
    detected = rescaling._detection(axes[1], dataset)
    shares = detected[detected.panel == "rejected"].value
    assert set(shares) == {0.0, 1.0}
    plt.close(figure)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"forms": ("beta free",)}, "`forms` must name `shared` first"),
        ({"forms": ("shared", "free")}, "`forms`"),
        ({"preconditioners": (1.0,)}, "`preconditioners`"),
        ({"preconditioners": (0.1, 0.1)}, "`preconditioners` must differ"),
        ({"cells": 4}, "`cells`"),
        ({"span": 2.0}, "`span`"),
        ({"noise": 0.0}, "`noise`"),
        ({"level": 1.0}, "`level`"),
        ({"repeats": 0}, "`repeats`"),
        ({"draws": 1}, "`draws`"),
        ({"noise_variance": 0.0}, "`noise_variance`"),
    ],
)
def test_bad_fields_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        optimizers.compute(replace(TINY, **change), Progress())
