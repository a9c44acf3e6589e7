"""The study of convergence bounds on a tiny grid: it holds, adds up and refuses."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from experiments.progress import Progress
from experiments.studies import bounds
from experiments.study import run_study
from paper_figures.figures.bounds import draw

from .presets import tiny_config
from .tolerances import SAME_MATHS

TINY = tiny_config(bounds.BoundsConfig)


@pytest.fixture(scope="module")
def dataset(results):
    return run_study(bounds.STUDY, TINY, results, Progress())[0]


def test_no_run_breaks_a_bound(dataset):
    loose = bounds.looseness(dataset)
    assert loose.size == 3 * 2 * 2 * 2 * 2 * 3
    assert float(loose.min()) >= 1.0
    assert float(loose.min()) < 3.0
    sharper, printed = (loose.sel(bound=name) for name in ("sharper", "printed"))
    assert bool((sharper <= printed).all())


def test_the_smallest_norm_is_below_the_mean_and_falls_with_the_steps(dataset):
    assert bool((dataset.smallest <= dataset["mean"]).all())
    assert bool((dataset.smallest.diff("horizon") <= 0).all())


def test_the_constants_are_those_of_the_problem(dataset):
    # Diagonals i^-1/2 on both sides; capacity 1 shared evenly.
    left, right = np.arange(1, 4) ** -0.5, np.arange(1, 5) ** -0.5
    smooth = dataset.constants.sel(constant="smoothness").values
    expected = [1.0, left.sum() * right.sum(), np.sum(left * right[:3])]
    np.testing.assert_allclose(smooth, expected, rtol=SAME_MATHS)
    ratios = dataset.constants.sel(constant="norm_ratio").values
    np.testing.assert_allclose(ratios, [1.0, 12**0.5, 3**0.5], rtol=SAME_MATHS)


def test_before_the_first_step_all_runs_are_at_the_start(dataset):
    start = dataset["mean"].sel(horizon=1)
    for method in dataset.method.values:
        values = start.sel({"method": method}).values
        np.testing.assert_allclose(values, values.flat[0], rtol=1e-9)
    # A mean over four steps and the smallest of them leave the start behind.
    assert bool((dataset.smallest.sel(horizon=40) < start).all())


def test_tables_and_figure(dataset):
    tables = bounds.summary(dataset)
    assert [len(table.rows) for table in tables] == [3, 6, 9]
    assert all(row[2] == "0 of 24" for row in tables[1].rows)
    figure, plotted = draw({"bounds": dataset})
    assert len(plotted) == 144
    assert {"bounds", "mean", "smallest"} <= set(plotted.columns)
    plt.close(figure)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rates": (0.0,)}, "`rates`"),
        ({"alphas": (2.0,)}, "`alphas`"),
        ({"batches": (0.5,)}, "`batches`"),
        ({"horizons": (8, 4)}, r"`horizons` must increase, got \(8, 4\)"),
        ({"seeds": 1}, "`seeds`"),
        ({"noise_std": 0.0}, "`noise_std`"),
    ],
)
def test_bad_fields_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        bounds.compute(replace(TINY, **change), Progress())
