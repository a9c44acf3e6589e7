"""How decay changes exponents: tuning, exact losses, checks by simulation, verdicts."""

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from experiments.peak_tuning import search, tune_peaks
from experiments.progress import Progress
from experiments.schedule_tables import exponents, summary, verdict
from experiments.scheduled_curves import METHODS, final_losses, shape_of, walked_modes
from experiments.studies import schedules
from experiments.studies.schedules import SchedulesConfig
from experiments.study import run_study
from paper_figures.figures.schedules import draw
from paper_figures.style import paper_style
from theory.problem import power_law
from theory.schedules import schedule_rates
from theory.sgd import sgd

from .presets import tiny_config
from .tolerances import Z_SCORE


@pytest.fixture(scope="module")
def record(results):
    return run_study(schedules.STUDY, tiny_config(SchedulesConfig), results, Progress())[0]


def row(record, method, schedule):
    return record.sel({"method": method, "schedule": schedule}).isel(problem=0)


def test_tuned_sgd_falls_with_the_derived_exponents(record):
    # a = 1.5, b = 1.8: beta/(1 + beta) = 8/23 at a constant rate, (b - 1)/b = 4/9 under decay.
    for schedule, loss, rate in (("constant", 8 / 23, 8 / 23), ("linear", 4 / 9, 1 / 6)):
        for name, derived, tolerance in (("loss", loss, 0.02), ("peak", rate, 0.06)):
            fit, error, local = exponents(row(record, "sgd", schedule), name)
            assert fit == pytest.approx(derived, rel=tolerance)
            assert local.size == 3
            assert error < 0.01
        assert float(row(record, "sgd", schedule).derived_loss) == pytest.approx(loss)


def test_decay_doubles_the_exponent_of_sign_descent(record):
    fits = {s: exponents(row(record, "sign", s), "loss")[0] for s in ("constant", "linear")}
    assert fits["constant"] == pytest.approx(2.0, abs=0.25)
    assert fits["linear"] == pytest.approx(4.0, abs=0.25)
    assert exponents(row(record, "sign", "linear"), "peak")[0] == pytest.approx(1.0, abs=0.1)


def test_simulations_agree_with_exact_losses_at_the_same_rate_and_horizon(record):
    sign = record.sel({"method": "sign"}).isel(problem=0, schedule=slice(0, 2))
    assert np.all(np.abs(sign.off_exact) < 1e-11)
    assert np.all(sign.off_error == 0)
    stochastic = record.sel({"method": "sgd"}).isel(problem=0, schedule=slice(0, 2))
    assert np.all(np.abs(stochastic.off_exact / stochastic.off_error) < Z_SCORE)
    assert np.all((stochastic.off_error > 0) & (stochastic.off_error < 0.05))


def test_a_tuned_constant_rate_is_that_of_the_propagator(record):
    found = row(record, "sgd", "constant")
    problem = power_law(1.5, 1.8, 1e15, 1.0)
    steps = float(found.steps[3])
    best = minimize_scalar(
        lambda x: float(sgd(problem, np.exp(x), 1.0, steps).optimization),
        bounds=(np.log(1e-3), np.log(0.3)),
        method="bounded",
        options={"xatol": 1e-5},
    )
    # The untrained modes of 1e15 hold 6e-13, nothing here.
    assert float(found.loss[3]) == pytest.approx(best.fun, rel=1e-5)
    gap = abs(np.log(float(found.peak[3])) - best.x)
    assert gap <= float(found.log_error[3]) < 0.03


@pytest.fixture(scope="module")
def steep():
    """The problem of a published table: a = 1.5, b = 3, T = 1e3, 3.2e3, 1e4, 3.2e4."""
    config = SchedulesConfig(
        capacities=(1.5,),
        sources=(3.0,),
        methods=("sgd",),
        schedules=("constant", "linear"),
        horizons=4,
        check_size=128,
        seeds=2,
    )
    return schedules.compute(config, Progress())


@pytest.mark.slow
def test_the_best_schedule_beats_the_tuned_ones_where_its_assumptions_hold(steep):
    losses = steep.loss.isel(method=0, problem=0)
    for schedule, early, late in (
        ("constant", 1.048e-2, 2.905e-3),
        ("linear", 7.847e-3, 1.820e-3),
        ("optimal", 7.600e-3, 1.7505e-3),
    ):
        # The table tuned on a grid of 40 peaks, 0.4 % above the interpolated optimum at most.
        assert 0.996 * early < float(losses.sel({"schedule": schedule})[0]) < 1.0002 * early
        assert 0.996 * late < float(losses.sel({"schedule": schedule})[2]) < 1.0002 * late


def test_every_row_is_in_the_tables(record):
    tables = summary(record)
    assert [row[:2] for row in tables[0].rows] == [
        ("SGD", "constant"),
        ("SGD", "linear decay"),
        ("sign descent", "constant"),
        ("sign descent", "linear decay"),
    ]
    assert tables[0].rows[0][-1] == "agrees"
    assert tables[-1].rows[1][-1] == "linear < constant"


def test_the_figure_plots_the_exponents_of_the_tables(record):
    with paper_style():
        figure, plotted = draw({"schedules": record})
        shown = [panel.get_title() for panel in figure.axes[:4] if panel.get_visible()]
        plt.close(figure)
    assert shown == ["SGD", "sign descent"]
    assert len(plotted) == 2 * 2 * 4
    for keys, group in plotted.groupby(["method", "schedule"]):
        method, schedule = np.array(keys)
        fit, error, _ = exponents(row(record, method, schedule), "loss")
        np.testing.assert_allclose(group.exponent, fit, rtol=1e-9)
        np.testing.assert_allclose(group.exponent_error, error, rtol=1e-6)


@pytest.mark.parametrize(
    ("fit", "error", "local", "derived", "words"),
    [
        (0.50, 0.001, (0.5, 0.5, 0.5), 0.505, "agrees"),
        (0.60, 0.04, (0.5, 0.7, 0.6), 0.5, "agrees"),
        (0.60, 0.001, (0.59, 0.60, 0.61), 0.667, "within finite-size correction"),
        (0.60, 0.001, (0.61, 0.60, 0.59), 0.667, "differs"),
        (0.40, 0.001, (0.39, 0.40, 0.41), 0.667, "differs"),
        (0.60, 0.001, (0.6, 0.6, 0.6), np.nan, "no derived exponent"),
    ],
)
def test_verdicts(fit, error, local, derived, words):
    assert verdict(fit, error, np.array(local), derived).startswith(words)


def test_tuning_finds_the_minima_of_known_curves_and_says_where_it_cannot():
    best = np.array([0.02, 3.0])

    def losses(rates):
        return 1e-3 + np.log(rates / best[:, None]) ** 2 * np.array([[1.0], [4.0]])

    start = search(losses, 2, 1e-4, 100.0)
    tuned = tune_peaks(losses, start, 0.15, 0, zooms=3)
    np.testing.assert_allclose(tuned.rate, best, rtol=1e-3)
    np.testing.assert_allclose(tuned.loss, 1e-3, rtol=1e-2)
    assert np.all(np.abs(np.log(tuned.rate / best)) <= tuned.log_error)
    assert not tuned.at_edge.any()
    far = tune_peaks(losses, best * 0.05, 0.15, 0, zooms=3)
    np.testing.assert_allclose(far.rate, best, rtol=1e-3)
    endless = tune_peaks(lambda rates: 1 / rates, best, 0.15, 0)
    assert endless.at_edge.all()
    # A wall: the best rate is the last before it, and no parabola reaches through.
    walled = tune_peaks(lambda r: np.where(r <= 2.0, 1 / r, np.inf), np.ones(1), 0.15, 0, zooms=4)
    assert 1.99 < walled.rate[0] <= 2.0
    assert walled.loss[0] == pytest.approx(0.5, rel=2e-3)


def test_a_needle_narrower_than_the_tolerance_does_not_win():
    def losses(rates):
        return np.where(np.abs(rates / 3 - 1) < 0.02, 1e-9, 1.0 + np.log(rates) ** 2)

    assert tune_peaks(losses, np.ones(1), 0.05, 2).rate[0] == pytest.approx(1.0, rel=0.01)


def test_sign_descent_on_nodes_is_that_of_all_modes():
    # b > a: a large explicit model is as good as an infinite one, but for its last modes.
    a, b, steps, rate = 1.5, 1.8, 200, 0.0103
    index = np.arange(1.0, 1_000_001)
    walked, shape = index ** ((a - b) / 2), schedule_rates(shape_of("linear", a).shape, 1.0, steps)
    for value in rate * np.asarray(shape):
        walked = np.where(walked > 0, np.abs(walked - value), 0.0)
    brute = np.sum(index**-a * walked**2) / 2
    nodes = walked_modes(power_law(a, b, 4))
    found = final_losses(METHODS["sign"], nodes, np.asarray(shape)[None], np.array([[rate]]), 1.0)
    # Phases of the modes beyond 1024 are sampled; they hold 2.4 % of the trace.
    assert found[0, 0] == pytest.approx(brute, rel=0.01)


def test_gd_is_not_allowed_past_its_stability_limit():
    method = METHODS["gd"]
    modes = method.modes(power_law(1.5, 1.8, 4))
    found = final_losses(method, modes, np.ones((1, 50)), np.array([[1.9, 2.1]]), 1.0)[0]
    assert np.isfinite(found[0])
    assert np.isinf(found[1])


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"horizons": 2}, "horizons"),
        ({"seeds": 1}, "seeds"),
        ({"check_size": 3}, "check_size"),
        ({"noise_variance": 0.0}, "noise_variance"),
        ({"batch_size": 0.5}, "batch_size"),
        ({"capacities": (1.0, 1.5, 2.0)}, "capacities"),
        ({"sources": (1.8,)}, "sources"),
        ({"methods": ("adam",)}, "methods"),
        ({"schedules": ()}, "schedules"),
    ],
)
def test_fields_outside_their_domain_are_named(change, name):
    with pytest.raises(ValueError, match=f"`{name}"):
        schedules.compute(dataclasses.replace(SchedulesConfig(), **change), Progress())
