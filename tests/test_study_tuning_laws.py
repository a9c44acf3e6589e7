"""Tuned hyperparameters over budgets: the proxies, the tuning, the fits, the verdicts."""

import dataclasses
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

from experiments.progress import Progress
from experiments.studies import tuning_laws
from experiments.studies.tuning_laws import TuningLawsConfig
from experiments.study import run_study
from experiments.tuning_bounds import derived_exponents, other_tie_break, valley
from experiments.tuning_exponents import laws, verdict
from experiments.tuning_optima import QUANTITIES, REGIMES, Grid, lowest
from experiments.tuning_proxies import inverse_gaussian, proxy_ensemble, proxy_quadratic
from experiments.tuning_published import best_batches
from experiments.tuning_runs import (
    METHODS,
    OBSERVERS,
    POINTS,
    measure,
    nuclear,
    polar,
    recording_steps,
    run_means,
)
from experiments.tuning_tables import cell, flatness, rows, summary
from paper_figures.figures import strategies
from paper_figures.figures import tuning_laws as figure
from paper_figures.style import paper_style
from simulate.lmo import normalized_sgd, signum, spectral_descent
from simulate.trajectory import simulate
from theory.lmo_bounds import sharper_bound
from theory.lmo_constants import bound_constants
from theory.norms import dual_norm, polar_factor
from theory.published import LOSS_TABLE
from theory.tuned_laws import tuned_jointly, tuned_without_momentum

from .presets import tiny_config
from .tolerances import SPECTRAL_ROUTE, Z_SCORE

GRID = Grid(
    2.0 ** np.arange(-16, 4.1, 0.5),
    0.5 ** np.arange(14),
    2.0 ** np.arange(10),
    2.0 ** np.arange(16, 24),
    0.25,
)
TINY = tiny_config(TuningLawsConfig)


@pytest.fixture(scope="module")
def record(results):
    return run_study(tuning_laws.STUDY, TINY, results, Progress())[0]


def quadratic():
    return proxy_quadratic(1.0, 1.2, 8, 0.5, jax.random.key(0))


def leading(eta, alpha, batch, tokens):
    """Leading terms of the bound: their optima are exact power laws."""
    return batch / (eta * tokens) + 0.5 * np.sqrt(alpha / batch) + eta / alpha


def runs_of(criterion, grid=GRID, seeds=3):
    """Runs of which each seed is off by a little factor of its own."""
    eta = np.exp(grid.log_rates())
    mesh = eta, grid.alphas[:, None, None], grid.batches[:, None], grid.budgets
    values = criterion(*mesh)
    off = 1 + 1e-3 * np.arange(seeds)
    return values[:, :, :, None, :] * off[:, None]


def test_inverse_gaussian_noise_has_the_stated_law():
    for shape in (0.01, 3.0):
        drawn = np.asarray(inverse_gaussian(jax.random.key(1), jnp.full(10_000, shape)))
        law = stats.invgauss(1 / shape, scale=shape)
        assert law.mean() == pytest.approx(1.0)
        assert law.var() == pytest.approx(1 / shape)
        assert stats.kstest(drawn, law.cdf).pvalue > 1e-4


def test_the_mean_of_a_batch_is_one_draw_of_a_larger_shape():
    samples = np.asarray(inverse_gaussian(jax.random.key(2), jnp.full((2_000, 16), 0.05)))
    batch = np.asarray(inverse_gaussian(jax.random.key(3), jnp.full(2_000, 16 * 0.05)))
    assert stats.ks_2samp(samples.mean(axis=1), batch).pvalue > 1e-4


@pytest.mark.parametrize("noise", ["normal", "skewed"])
def test_both_noises_have_the_variance_that_the_bound_is_told(noise):
    batch, seeds = 4.0, 1024
    point = jnp.zeros((2, 8, 1, 1, seeds))
    ensemble = proxy_ensemble(quadratic(), noise, (1, 1, seeds), jax.random.key(3))
    ensemble = replace(ensemble, batch_size=jnp.asarray(batch))
    drawn = ensemble.gradient(point, jax.random.key(4)) - ensemble.exact_gradient(point)
    flat = np.asarray(drawn).reshape(16, seeds)
    shape = np.full(16, np.inf) if ensemble.shape is None else np.ravel(ensemble.shape)
    # Skewness 3/sqrt(B phi) and excess kurtosis 15/(B phi); rare entries are too wild to average.
    tame = shape > 0.1
    spread = np.sqrt((2 + 15 / (batch * shape)) / seeds)
    std = 0.5 / np.sqrt(batch)
    assert np.all(np.abs(flat.mean(axis=1)[tame]) < Z_SCORE * std / np.sqrt(seeds))
    assert np.all(np.abs(flat.var(axis=1) / std**2 - 1)[tame] < Z_SCORE * spread[tame])
    below = np.mean(flat < 0, axis=1)
    if noise == "normal":
        assert np.all(np.abs(below - 0.5) < Z_SCORE * 0.5 / np.sqrt(seeds))
    else:
        # Most samples of a rare entry are on one side of its mean.
        assert below[np.argmin(shape)] > 0.95


def test_two_rows_have_closed_forms():
    stacked = jax.random.normal(jax.random.key(0), (2, 8, 2, 1))
    for place in np.ndindex(2, 1):
        matrix = stacked[(slice(None), slice(None), *place)]
        found = polar(stacked)[(slice(None), slice(None), *place)]
        np.testing.assert_allclose(found, polar_factor(matrix), atol=SPECTRAL_ROUTE)
        expected = dual_norm("spectral", matrix)
        assert float(nuclear(stacked)[place]) == pytest.approx(float(expected), rel=SPECTRAL_ROUTE)


@pytest.mark.parametrize(
    ("method", "reference"),
    [("normalized_sgd", normalized_sgd), ("sign", signum), ("muon", spectral_descent)],
)
def test_runs_side_by_side_are_those_of_the_engine_one_by_one(method, reference):
    problem = replace(quadratic(), batch_size=jnp.asarray(3.0))
    ensemble = proxy_ensemble(quadratic(), "normal", (2, 2, 1), jax.random.key(9))
    ensemble = replace(ensemble, batch_size=jnp.asarray(3.0))
    rates = np.array([[0.02, 0.05], [0.03, 0.1]])
    momenta, key, steps = np.array([0.0, 0.7]), jax.random.key(5), [0, 1, 7, 20]
    hyper = {"learning_rate": rates[:, :, None], "momentum": momenta[:, None]}
    side = simulate(ensemble, METHODS[method], steps, key=key, observe=OBSERVERS[method], **hyper)
    for row, column in np.ndindex(2, 2):
        alone = simulate(
            problem,
            reference,
            steps,
            key=key,
            learning_rate=rates[row, column],
            momentum=momenta[column],
        )
        found = np.asarray(side.observed[1])[:, row, column, 0] + float(problem.floor)
        np.testing.assert_allclose(found, alone.loss, rtol=1e-9)


def test_the_mean_over_a_run_is_that_of_all_its_steps():
    ensemble = proxy_ensemble(quadratic(), "skewed", (3, 2, 2), jax.random.key(9))
    rates, alphas = np.array([0.003, 0.01, 0.03])[:, None] * np.ones(2), np.array([1.0, 0.1])
    horizons, key = (128, 2), jax.random.key(5)
    found = measure(ensemble, "sign", rates, alphas, horizons, key)
    every = simulate(
        ensemble,
        METHODS["sign"],
        np.arange(513),
        key=key,
        observe=OBSERVERS["sign"],
        learning_rate=rates[:, :, None],
        momentum=(1 - alphas)[:, None],
    )
    duals, losses = (np.moveaxis(np.asarray(leaf), 0, -1) for leaf in every.observed)
    for place, steps in enumerate((128, 256, 512)):
        # Sixteen points a doubling: their scatter against the 512 steps, and the trapezoids' error.
        np.testing.assert_allclose(found[0, ..., place], duals[..., :steps].mean(-1), rtol=0.08)
        last = losses[..., [steps - max(steps // 2, 128) // POINTS, steps]].mean(-1)
        np.testing.assert_allclose(found[1, ..., place], last, rtol=1e-12)


def test_trapezoids_are_exact_for_straight_lines():
    steps = recording_steps(32, 3)
    assert steps[-1] == 256
    assert len(steps) == 4 * POINTS + 1
    np.testing.assert_allclose(
        run_means(steps, 3.0 + 2.0 * steps), 3.0 + np.array([32, 64, 128, 256])
    )


def test_a_parabola_gives_its_vertex_and_an_end_gives_itself():
    x = np.arange(9.0)
    weights, place = lowest(np.stack([(x - 3.3) ** 2, x, -x], axis=1))
    np.testing.assert_allclose(place, [3.3, 0.0, 8.0], atol=1e-9)
    np.testing.assert_allclose(x @ weights, [3.3, 0.0, 8.0], atol=1e-9)
    with pytest.raises(ValueError, match="`values`"):
        lowest(np.ones(4))


@pytest.mark.parametrize(
    ("regime", "expected"),
    [
        ("eta, by steps", {"eta": (-0.5, 0.0)}),
        ("eta, by tokens", {"eta": (-0.5, 0.5)}),
        ("eta, B", {"eta": (-0.25,), "B": (0.5,), "value": (-0.25,)}),
        ("eta, alpha", {"eta": (-0.75, 1.0), "alpha": (-0.5, 1.0), "value": (-0.25, 0.0)}),
    ],
)
def test_exponents_of_a_known_criterion_are_found(regime, expected):
    law = laws(runs_of(leading), GRID)[regime]
    assert law.points >= 8
    for quantity, values in expected.items():
        row = QUANTITIES.index(quantity)
        found, error = law.exponents[row, : len(values)], law.errors[row, : len(values)]
        np.testing.assert_allclose(found, values, atol=0.01)
        assert np.all(error < 0.01)


def test_optima_of_a_known_criterion_are_found():
    law = laws(runs_of(leading), GRID)["eta, alpha"]
    batch, tokens = GRID.batches[3], GRID.budgets[4]
    best = minimize(
        lambda x: np.log(leading(np.exp(x[0]), np.exp(x[1]), batch, tokens)), [-6.0, -3.0]
    )
    # A parabola over two octaves of a minimum that is none: off by a constant factor, the same
    # everywhere.
    np.testing.assert_allclose(law.logs[[0, 1], 3, 4], best.x, atol=0.1)
    assert law.logs[3, 3, 4] == pytest.approx(best.fun, abs=0.01)
    # A factor common to all rates moves no optimum.
    assert np.nanmax(law.log_errors[:3]) < 1e-9
    assert law.log_errors[3, 3, 4] == pytest.approx(1e-3 / np.sqrt(3), rel=0.01)


def test_optima_at_the_limits_of_the_problem_count_and_others_do_not():
    # Momentum and batches only harm: alpha = 1 and B = 1 are the best at all budgets.
    def harmed(eta, alpha, batch, tokens):
        return (batch / (eta * tokens) + eta) * batch**0.1 / alpha**0.1

    law = laws(runs_of(harmed), GRID)["eta, alpha, B"]
    assert law.at_limit == 1.0
    assert law.points == GRID.budgets.size
    np.testing.assert_allclose(law.exponents[:3, 0], [-0.5, 0.0, 0.0], atol=0.01)
    # The other way there is no limit but the grid's.
    other = laws(runs_of(lambda *at: harmed(*at) / at[2] ** 0.9), GRID)["eta, B"]
    assert other.points == 0
    assert np.isnan(other.exponents).all()


@pytest.mark.parametrize(
    ("measured", "half", "derived", "word"),
    [
        (0.45, 0.06, 0.5, "agrees"),
        (0.46, 0.01, 0.5, "near"),
        (0.60, 0.09, 0.5, "differs"),
        (-0.5, 0.2, 0.5, "differs"),
        (0.50, 0.30, 0.5, "undecided"),
        (np.nan, np.nan, 0.5, "undecided"),
    ],
)
def test_verdicts(measured, half, derived, word):
    assert verdict(measured, half, derived) == word


def test_derived_exponents_are_those_of_the_table_of_regimes():
    found = {name: derived_exponents(regime, GRID) for name, regime in REGIMES.items()}
    np.testing.assert_array_equal(found["eta, by steps"][0], [-1 / 2, 0])
    np.testing.assert_array_equal(found["eta, by tokens"][0], [-1 / 2, 1 / 2])
    np.testing.assert_array_equal(found["eta, B"][[0, 2, 3], 0], [-1 / 4, 1 / 2, -1 / 4])
    np.testing.assert_array_equal(found["eta, alpha"][[0, 1]], [[-3 / 4, 1], [-1 / 2, 1]])
    np.testing.assert_allclose(found["eta, alpha, B"][:3, 0], [-7 / 12, -1 / 3, 1 / 6], rtol=1e-15)
    np.testing.assert_array_equal(other_tie_break(), [-1 / 4, 0, 1 / 2, -1 / 4])


def test_the_valley_has_its_bottom_where_the_closed_forms_say():
    amounts, places = np.array([1e8, 1e16]), np.linspace(0.0, 0.65, 131)
    curves = valley(amounts, places)
    constants = bound_constants(1.0, 1.0)
    for row, closed in enumerate((tuned_jointly, tuned_without_momentum)):
        expected = np.log(np.asarray(closed(constants, amounts).batch_size)) / np.log(amounts)
        np.testing.assert_allclose(places[curves[row].argmin(axis=1)], expected, atol=0.012)
    # The sharper bound: rho sigma (2/alpha)^(1/2) less in the noise, then 2^(-1/4) from alpha.
    assert 1 + curves[1, 1].min() == pytest.approx(1 / np.sqrt(2), rel=1e-3)
    tokens, batch = 1e8, 1e8 ** places[50]
    best = minimize(
        lambda x: float(
            sharper_bound(
                constants, np.exp(x[0]), np.exp(min(x[1], 0.0)), batch, tokens / batch
            ).total
        ),
        [-6.0, -3.0],
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 2000},
    )
    lead = 2 * np.sqrt(2) * 2**0.25 * np.sqrt(2) * tokens**-0.25
    assert 1 + curves[1, 0, 50] == pytest.approx(best.fun / lead, rel=1e-6)


def test_published_losses_have_the_square_root_batch_within_their_error():
    bottoms, ratios, slope, error = best_batches()
    # Printed in bold: the best batch of the grid is the nearest, or next to it.
    assert np.all(np.abs(np.log2(bottoms / np.array(LOSS_TABLE.best))) < 1)
    assert abs(slope - 0.5) < 2 * error < 0.2
    assert ratios.min() == 1.0


def test_a_small_record_is_whole(record):
    assert record.optimum.dims == (
        "method", "noise", "criterion", "regime", "quantity", "batch", "budget"
    )  # fmt: skip
    assert record.optimum.shape == (1, 2, 2, 5, 4, 5, 4)
    assert record.bound_value.shape == (1, 5, 4)
    eta = record.optimum.sel({"quantity": "eta"})
    assert np.all(eta > 0)
    alpha = record.optimum.sel({"quantity": "alpha", "regime": "eta, alpha"})
    assert np.all((alpha >= 0.5**4 - 1e-9) & (alpha <= 1 + 1e-9))
    # Tuning more cannot be worse, but for the parabolas.
    value = record.optimum.sel({"quantity": "value", "criterion": "mean gradient"})
    more, less = (value.sel({"regime": name}) for name in ("eta, alpha", "eta, by tokens"))
    assert np.all(more.values <= 1.02 * less.values)
    assert float(flatness(record).min()) == 1.0


def test_every_derived_exponent_has_a_row_and_a_verdict(record):
    at = {"method": "sign", "noise": "skewed", "criterion": "mean gradient"}
    found = [cell(record.sel(at), *row) for row in rows(record)]
    assert len(found) == 4 + 4 + 3 + 6 + 4
    assert {word for *_, word in found} <= {"agrees", "near", "differs", "undecided"}
    tables = summary(record)
    assert len(tables[0].rows) == len(found)
    counts = next(table for table in tables if table.title == "Bound against measurement")
    assert sum(counts.rows[0][3:7]) == len(found)
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)


def test_figures_plot_every_optimum_of_the_record(record):
    with paper_style():
        _, tuned = figure.draw({"tuning_laws": record})
        _, flat = strategies.draw({"tuning_laws": record})
    assert len(tuned) == 2 * 4 * (1 + 2 + 2 + 3)
    assert set(flat.panel) == {"bound", "measured"}
    assert (flat.panel == "measured").sum() == 2 * 5


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"methods": ("adam",)}, "methods"),
        ({"methods": ()}, "methods"),
        ({"noises": ("skewed", "skewed")}, "noises"),
        ({"seeds": 1}, "seeds"),
        ({"doublings": 2}, "doublings"),
        ({"alphas": 4}, "alphas"),
        ({"columns": 1}, "columns"),
        ({"batches": (1, 2, 4, 8)}, "batches"),
        ({"batches": (2, 4, 8, 16, 32)}, "batches"),
        ({"tokens": 2000}, "tokens"),
        ({"held_alpha": 0.3}, "held_alpha"),
        ({"noise_std": 0.0}, "noise_std"),
    ],
)
def test_fields_outside_their_domain_are_named(change, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        tuning_laws.compute(dataclasses.replace(TuningLawsConfig(), **change), Progress())
