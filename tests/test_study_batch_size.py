"""The study of batch sizes: Monte Carlo against formulas, surge, exponents, the hyperbola."""

from dataclasses import replace

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest

from experiments.batch_curves import critical_batches, parabola_minimum, tuned_sgd
from experiments.batch_tables import hyperbola_product, slope
from experiments.one_step import ADAM_SECOND, coupled_place, measured, predicted
from experiments.progress import Progress
from experiments.studies import batch_size
from experiments.studies.batch_size import CASES
from experiments.study import run_study
from paper_figures.figures.batch_size import draw
from theory.problem import power_law
from theory.sgd import sgd

from .presets import tiny_config
from .tolerances import Z_SCORE

TINY = tiny_config(batch_size.BatchSizeConfig)


@pytest.fixture(scope="module")
def dataset(results):
    return run_study(batch_size.STUDY, TINY, results, Progress())[0]


def test_measured_rates_agree_with_the_formulas(dataset):
    for case, (method, _) in CASES.items():
        at = dataset.sel({"case": case})
        # Finite averages of Adam, and a short side of four rows over 64 for Muon.
        slack = {"adam": 3 * (1 - ADAM_SECOND), "muon": 0.06}.get(
            method, dataset.attrs["resolution"]
        )
        allowed = Z_SCORE * at.error + slack * at.predicted_rate
        assert bool((abs(at.measured_rate - at.predicted_rate) <= allowed).all()), case


def test_a_surge_is_there_exactly_where_the_coupling_is(dataset):
    assert dataset.attrs["beta_n"] < 1
    for case, (method, place) in CASES.items():
        formula = dataset.predicted_rate.sel({"case": case}).values
        falls = formula[-1] < 0.9 * formula.max()
        assert falls == (place == "coupled" and method in ("sign", "adam")), case
    sign = dataset.measured_rate.sel({"case": "sign, coupled"}).values
    near = dataset.batch.values[sign.argmax()]
    assert 0.5 < near / dataset.attrs["peak_batch"] < 2.0


def test_the_square_root_rules(dataset):
    first = dataset.batch.values[:3]
    for case in ("sign, diagonal", "adam, diagonal"):
        rates = dataset.predicted_rate.sel({"case": case}).values[:3]
        assert slope(first, rates) == pytest.approx(0.5, abs=0.02)
    small = dataset.isel(sign_batch=slice(0, 3))
    assert slope(small.sign_batch.values, small.sign_rate.values) == pytest.approx(0.5, abs=0.03)


def test_the_critical_batch_of_sgd_grows_as_derived(dataset):
    measured_exponent = slope(dataset.tokens.values, dataset.critical_batch.values)
    assert measured_exponent == pytest.approx(float(dataset.critical_exponent), abs=0.03)
    rates = dataset.sgd_rate.values[-1, :4]
    assert slope(dataset.run_batch.values[:4], rates) == pytest.approx(1.0, abs=0.03)


def test_the_model_leaves_the_hyperbola(dataset):
    product = hyperbola_product(dataset)
    assert float(product.sel(model_batch=64)) < 0.7
    ends = dataset.model_steps.values[[0, -1]] / dataset.hyperbola.values[[0, -1]]
    np.testing.assert_allclose(ends, 1.0, atol=0.1)


def test_tuned_sgd_is_the_best_of_a_brute_grid():
    problem = power_law(1.5, 1.8, 1e4, 1.0)
    rates, losses = tuned_sgd(problem, np.array([4.0]), np.array([1e5]), 25)
    tried = np.geomspace(0.5, 2.0, 41) * rates[0, 0]
    brute = [float(sgd(problem, rate, 4.0, 2.5e4).total) - 0.5 for rate in tried]
    assert np.argmin(brute) in (19, 20, 21)
    assert min(brute) == pytest.approx(losses[0, 0], rel=2e-3)


def test_the_measured_rate_is_a_minimum_of_mean_losses():
    place, batches = coupled_place(6, 0.5, 3.0), np.array([2.0, 30.0])
    rate, error = measured("sign", place, batches, 4000, jax.random.key(1))
    assert np.all(np.abs(rate - predicted("sign", place, batches).learning_rate) < Z_SCORE * error)
    assert np.all(error > 0)
    _, halved = measured("sign", place, batches, 16_000, jax.random.key(1))
    np.testing.assert_allclose(halved, error / 2, rtol=0.1)


def test_a_parabola_is_found_and_an_end_is_refused():
    rates = np.geomspace(0.01, 1.0, 9)
    losses = np.exp(np.log(rates / 0.07) ** 2)
    best, loss = parabola_minimum(rates, np.stack([losses, rates]))
    assert best[0] == pytest.approx(0.07, rel=1e-9)
    assert loss == pytest.approx([1.0, 0.01], rel=1e-9)
    assert np.isnan(best[1])


def test_the_critical_batch_is_read_off_in_logarithms():
    batches = 2.0 ** np.arange(6)
    losses = np.stack([batches**0.5, np.ones(6)])
    found = critical_batches(batches, losses)
    assert found[0] == pytest.approx(1.44, rel=1e-9)
    assert np.isnan(found[1])


def test_tables_and_figure(dataset):
    steps, runs, model = batch_size.summary(dataset)
    assert [len(table.rows) for table in (steps, runs, model)] == [7, 3, 9]
    assert {row[0] for row in steps.rows if row[1] != "none"} == {"sign, coupled", "adam, coupled"}
    figure, plotted = draw({"batch_size": dataset})
    assert {"predicted_rate", "sgd_loss", "model_steps"} <= set(plotted.columns)
    plt.close(figure)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coupling": 1.0}, "`coupling`"),
        ({"draws": 1}, "`draws`"),
        ({"noise_ratio": 0.0}, "`noise_ratio`"),
        ({"sign_tokens": 300}, "`sign_tokens` must be a power of two from 256 on, got 300"),
        ({"rates": 3}, "`rates`"),
    ],
)
def test_bad_fields_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        batch_size.compute(replace(TINY, **change), Progress())
