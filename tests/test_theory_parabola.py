"""Optima by parabolas, power laws by planes, constancy: against other solvers and Monte Carlo."""

import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.stats import chi2

from theory.parabola import HIGH, INSIDE, LOW, NO_VERTEX, find_optimum, fit_vertex, read_at
from theory.plane_fit import NO_CHANGE, constancy, fit_power

from .tolerances import SAME_MATHS, Z_SCORE

GRID = np.arange(-4.0, 4.5, 0.5)


def bowl(x, a=0.154, b=-2.128, c=11.765):
    """The coefficients that the source prints, in log2 of the norm."""
    return a * x**2 + b * x + c


def test_printed_coefficients_give_the_printed_minimum():
    x = np.arange(4.0, 10.0, 0.5)
    for pinned in (None, (0.0, 11.765)):
        vertex = fit_vertex(x, bowl(x), pinned=pinned)
        assert vertex.place == pytest.approx(2.128 / (2 * 0.154), rel=1e-10)
        assert vertex.value == pytest.approx(11.765 - 2.128**2 / (4 * 0.154), rel=1e-10)
        assert round(vertex.value, 1) == 4.4
        assert vertex.curvature == pytest.approx(2 * 0.154, rel=1e-10)
        assert vertex.place_error < 1e-10


@pytest.mark.parametrize("pinned", [None, (1.0, 2.0)])
@pytest.mark.parametrize("given", [False, True])
def test_a_vertex_and_its_errors_are_those_of_another_solver(pinned, given):
    rng = np.random.default_rng(3)
    x = np.array([0.0, 0.4, 1.1, 1.9, 3.0, 3.2, 4.1])
    bars = rng.uniform(0.01, 0.05, x.size)
    y = 0.7 * (x - 2.2) ** 2 + 1.0 + bars * rng.normal(size=x.size)

    def shape(x, place, curve, value):
        return curve * (x - place) ** 2 + value

    def through(x, place, curve):
        return pinned[1] + curve * ((x - place) ** 2 - (pinned[0] - place) ** 2)

    model, start = (shape, [2.0, 1.0, 1.0]) if pinned is None else (through, [2.0, 1.0])
    # Weights are inverse variances here, so that the sandwich covariance is the plain one.
    found, covariance = curve_fit(
        model, x, y, start, sigma=bars, absolute_sigma=given, xtol=1e-14, ftol=1e-14
    )
    vertex = fit_vertex(x, y, bars**-2, bars if given else None, pinned)
    assert vertex.place == pytest.approx(found[0], rel=1e-7)
    assert vertex.place_error == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-4)
    assert vertex.curvature == pytest.approx(2 * found[1], rel=1e-7)
    if pinned is None:
        assert vertex.value_error == pytest.approx(np.sqrt(covariance[2, 2]), rel=1e-4)


@pytest.mark.parametrize("given", [False, True])
def test_the_error_of_an_optimum_is_the_scatter_of_optima(given):
    rng = np.random.default_rng(8)
    noise, runs = 0.02, 1500
    weights = 1.0 / (1.0 + np.abs(np.arange(GRID.size) - 8.0)) if given else None
    places, bars = [], []
    for _ in range(runs):
        y = 0.3 * (GRID - 0.2) ** 2 + noise * rng.normal(size=GRID.size)
        vertex = fit_vertex(GRID, y, weights, np.full(GRID.size, noise) if given else None)
        places.append(vertex.place)
        bars.append(vertex.place_error)
    assert abs(np.mean(places) - 0.2) < Z_SCORE * np.std(places) / np.sqrt(runs)
    # A variance from n values is known to sqrt(2/n) of it.
    ratio = np.mean(np.square(bars)) / np.var(places)
    assert ratio == pytest.approx(1.0, abs=Z_SCORE * np.sqrt(2 / runs))


def test_an_optimum_inside_is_found_with_a_spread_of_its_variants():
    exact = find_optimum(GRID, (GRID - 0.3) ** 2 + 5.0)
    assert exact.edge == INSIDE
    assert exact.variants == 6
    assert exact.place == pytest.approx(0.3, rel=1e-9)
    assert exact.value == pytest.approx(5.0, rel=1e-9)
    assert exact.error < 1e-9
    # A lopsided bowl: wider windows see more of the steep side.
    lopsided = find_optimum(GRID, np.exp(GRID - 0.3) - (GRID - 0.3))
    assert lopsided.spread > 0.01
    assert abs(lopsided.place - 0.3) < 4 * lopsided.error
    by_hand = [
        fit_vertex(
            GRID[9 - k : 10 + k],
            (np.exp(GRID - 0.3) - GRID)[9 - k : 10 + k],
            1.0 / (1.0 + near * np.abs(np.arange(-k, k + 1.0))),
        ).place
        for k in (2, 3, 4)
        for near in (0.0, 1.0)
    ]
    assert lopsided.place == pytest.approx(np.mean(by_hand), rel=1e-9)
    assert lopsided.spread == pytest.approx(np.std(by_hand, ddof=1), rel=1e-7)


def test_diverged_points_are_left_out():
    loss = (GRID + 1.0) ** 2 + 1.0
    wall = np.where(GRID > 0.1, np.inf, loss)
    holes = np.where(np.arange(GRID.size) % 3 == 0, np.nan, loss)
    for losses in (wall, holes):
        found = find_optimum(GRID, losses)
        assert found.edge == INSIDE
        assert found.variants == 6
        assert found.place == pytest.approx(-1.0, rel=1e-9)


@pytest.mark.parametrize(
    ("loss", "side"),
    [
        (np.exp(GRID), LOW),
        (np.exp(-GRID), HIGH),
        # The last rate that does not diverge is the best: nothing is known beyond it.
        (np.where(GRID > 1.0, np.inf, -GRID), HIGH),
        # A plateau but for rounding: no parabola opens upwards.
        (np.where(GRID == 1.0, 1.0 - 1e-15, 1.0), HIGH),
    ],
)
def test_an_optimum_on_the_edge_is_no_number(loss, side):
    found = find_optimum(GRID, loss)
    assert found.edge == side
    assert np.isnan(found.place)
    assert np.isnan(found.value)
    assert np.isinf(found.error)
    assert found.variants == 0


def test_a_hill_has_no_lowest_point():
    assert fit_vertex(GRID, -(GRID**2)) is NO_VERTEX
    assert fit_vertex(GRID, 2.0 * GRID) is NO_VERTEX


def test_quantities_are_read_off_between_grid_points():
    values = 2.0 * GRID**2 - GRID
    assert read_at(GRID, values, 0.37) == pytest.approx(2 * 0.37**2 - 0.37, rel=1e-10)
    assert read_at(GRID, np.where(GRID > 0, np.inf, values), -0.2) == pytest.approx(0.28, rel=1e-10)
    assert np.isnan(read_at(GRID, np.where(GRID > 0, np.inf, values), 0.2))
    assert np.isnan(read_at(GRID, values, np.nan))
    with pytest.raises(ValueError, match="three"):
        read_at(GRID[:2], values[:2], 0.0)


@pytest.mark.parametrize("given", [False, True])
def test_a_power_law_is_that_of_another_solver(given):
    rng = np.random.default_rng(5)
    batch, tokens = 2.0 ** rng.uniform(0, 8, 20), 2.0 ** rng.uniform(10, 20, 20)
    bars = rng.uniform(0.05, 0.2, 20)
    y = 0.6 * np.log2(batch) - 0.55 * np.log2(tokens) + 9.0 + bars * rng.normal(size=20)

    def plane(logs, p, q, level):
        return p * logs[0] + q * logs[1] + level

    logs = np.log2([batch, tokens])
    sigma = bars if given else np.ones(20)
    found, covariance = curve_fit(plane, logs, y, sigma=sigma, absolute_sigma=False)
    if given:
        residual = (y - plane(logs, *found)) / bars
        covariance /= min(1.0, np.sum(residual**2) / 17)
    fit = fit_power(2.0**y, {"B": batch, "D": tokens}, bars if given else None)
    numbers = [fit.exponents["B"], fit.exponents["D"], fit.level]
    np.testing.assert_allclose(numbers, found, rtol=1e-6)
    errors = [fit.errors["B"], fit.errors["D"], fit.level_error]
    np.testing.assert_allclose(errors, np.sqrt(np.diag(covariance)), rtol=1e-5)
    assert fit.points == 20
    if not given:
        correlation = np.corrcoef(y, plane(logs, *found))[0, 1] ** 2
        assert fit.r_squared == pytest.approx(correlation, rel=1e-7)


def test_the_errors_of_a_power_law_cover_it():
    rng = np.random.default_rng(9)
    x, runs = 2.0 ** np.arange(8.0), 2000
    noise = np.full(8, 0.1)
    deviations = []
    for _ in range(runs):
        fit = fit_power(2.0 ** (0.5 * np.log2(x) + 0.1 * rng.normal(size=8)), {"x": x}, noise)
        deviations.append((fit.exponents["x"] - 0.5) / fit.errors["x"])
    # The scale factor, at least one, makes the errors a little too large.
    spread = np.std(deviations)
    assert 0.85 < spread < 1.0
    assert abs(np.mean(deviations)) < Z_SCORE * spread / np.sqrt(runs)
    assert np.isinf(fit_power(x[:2], {"x": x[:2]}).errors["x"])


def test_constancy_is_pearsons_test():
    values, errors = np.array([6.92, 7.29, 6.89, 6.95]), np.full(4, 0.2)
    found = constancy(values, errors, np.array([31.0, 33.0, 35.0, 37.0]))
    assert found.mean == pytest.approx(values.mean(), rel=SAME_MATHS)
    assert found.error == pytest.approx(0.1, rel=SAME_MATHS)
    assert found.scatter == pytest.approx(values.std(ddof=1), rel=SAME_MATHS)
    square = np.sum(((values - values.mean()) / 0.2) ** 2)
    assert found.chi_square == pytest.approx(square, rel=SAME_MATHS)
    assert found.p_value == pytest.approx(chi2.sf(square, 3), rel=1e-10)
    assert found.slope == pytest.approx(np.polyfit([31, 33, 35, 37], values, 1)[0], rel=1e-9)
    residual = values - np.polyval(np.polyfit(range(4), values, 1), range(4))
    factor = np.sqrt(np.sum((residual / 0.2) ** 2) / 2)
    assert factor > 1
    assert found.slope_error == pytest.approx(factor * 0.2 / np.sqrt(20), rel=1e-9)
    assert found.verdict == NO_CHANGE
    limit = np.max(np.abs(found.slope + found.slope_error * np.array([-2, 2])))
    assert found.slope_limit == pytest.approx(limit, rel=SAME_MATHS)


def test_verdicts_say_how_a_quantity_is_not_constant():
    along, errors = np.arange(5.0), np.full(5, 0.1)
    assert constancy(0.5 * along, errors, along).verdict == "rises"
    assert constancy(-0.5 * along, errors, along).verdict == "falls"
    assert constancy(np.array([0.0, 1.0, 0.0, 1.0, 0.0]), errors, along).verdict == "scatters"
    # Large numbers, which no power of two could hold.
    assert constancy(np.array([2e4, 2e4, 2e4]), np.ones(3), np.arange(3.0)).verdict == NO_CHANGE


def test_a_slope_that_chi_square_passes_is_seen():
    along = np.arange(7.0)
    found = constancy(0.6 * along, np.ones(7), along)
    assert found.p_value == pytest.approx(chi2.sf(0.36 * 28, 6), rel=1e-10)
    assert found.p_value > 0.1
    assert found.slope / found.slope_error == pytest.approx(0.6 * np.sqrt(28), rel=1e-9)
    assert found.verdict == "rises"
    assert constancy(-0.6 * along, np.ones(7), along).verdict == "falls"
    # Below 2 errors nothing is seen, and the limit says how much there may be.
    faint = constancy(0.3 * along, np.ones(7), along)
    assert faint.verdict == NO_CHANGE
    assert faint.slope_limit == pytest.approx(0.3 + 2 / np.sqrt(28), rel=1e-9)


def test_constant_values_are_called_otherwise_at_the_stated_rate():
    rng = np.random.default_rng(2)
    runs, along = 2000, np.arange(6.0)
    found = [constancy(rng.normal(size=6), np.ones(6), along) for _ in range(runs)]
    unlikely = sum(one.p_value < 0.05 for one in found)
    assert abs(unlikely / runs - 0.05) < Z_SCORE * np.sqrt(0.05 * 0.95 / runs)
    wrong = sum(one.verdict != NO_CHANGE for one in found)
    assert unlikely < wrong < 0.1 * runs


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="`places` must be 3 or more"):
        fit_vertex(np.arange(2.0), np.arange(2.0))
    with pytest.raises(ValueError, match="`places` must be 2 or more"):
        fit_vertex(np.zeros(3), np.arange(3.0), pinned=(0.0, 0.0))
    with pytest.raises(ValueError, match="`losses`"):
        fit_vertex(np.arange(3.0), np.array([1.0, np.inf, 2.0]))
    with pytest.raises(ValueError, match="`weights`"):
        fit_vertex(np.arange(3.0), np.arange(3.0), np.array([1.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match="`errors`"):
        fit_vertex(GRID, GRID**2, errors=np.full(GRID.size, -1.0))
    with pytest.raises(ValueError, match="three or more of increasing"):
        find_optimum(GRID, np.full(GRID.size, np.inf))
    with pytest.raises(ValueError, match="windows"):
        find_optimum(GRID, GRID**2, windows=(4,))
    with pytest.raises(ValueError, match="`values`"):
        fit_power(np.array([1.0, -1.0, 2.0]), {"x": np.arange(1.0, 4.0)})
    x = np.arange(1.0, 4.0)
    with pytest.raises(ValueError, match="`B, D` must vary independently over 3 points"):
        fit_power(x, {"B": x, "D": x**2})
    with pytest.raises(ValueError, match="`errors` must have shape"):
        fit_power(x, {"x": x}, np.ones(2))
    with pytest.raises(ValueError, match="three or more along"):
        constancy(np.ones(3), np.ones(3), np.ones(3))
