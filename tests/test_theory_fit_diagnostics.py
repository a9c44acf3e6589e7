"""Conditioning, identifiability, profiles, held-out fits, comparison, sensitivity, warnings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import huber as scipy_huber

from theory.fit_comparison import compare_forms, judged, log_likelihood, nested_test
from theory.fit_conditioning import form_conditioning
from theory.fit_covariance import covariance_of, smoothed_hessian
from theory.fit_held_out import (
    held_out,
    leave_largest_size_out,
    leave_one_group_out,
    leave_one_out,
    transferred,
)
from theory.fit_identifiability import unidentified
from theory.fit_losses import make_objective, run_terms
from theory.fit_profile import profile
from theory.fit_resampling import bootstrap_form
from theory.fit_sensitivity import compute_exponent, delta_sensitivity, influence
from theory.fit_warnings import bounds_hit, claim_warnings, form_warnings
from theory.grouped_runs import grouped_runs
from theory.law_forms import CHINCHILLA, ONE_TERM, SEPARATE, SHARED, law_form, positions
from theory.objectives import value_of
from theory.shared_fitting import fit_form

from .test_theory_fitting import design
from .test_theory_shared_fitting import synthetic
from .tolerances import SAME_MATHS

KEY = jax.random.key(0)


@pytest.fixture(scope="module", name="noisy")
def _noisy():
    return fit_form(synthetic(0.002), delta=0.01, starts=8, key=KEY)


@pytest.fixture(scope="module", name="separate")
def _separate():
    return fit_form(synthetic(0.002), SEPARATE, delta=0.01, starts=16, key=KEY)


@pytest.fixture(scope="module", name="one_out")
def _one_out(noisy):
    return leave_one_out(noisy)


@pytest.fixture(scope="module", name="rest_fit")
def _rest_fit(noisy):
    return fit_form(without(noisy.data, 5), delta=0.01, starts=8, key=KEY)


def without(data, rows):
    kept = np.setdiff1d(np.arange(data.loss.size), rows)
    names = np.array(data.groups)[data.group]
    return grouped_runs(data.size[kept], data.tokens[kept], data.loss[kept], names[kept])


def test_a_lower_envelope_weighs_the_runs_below_the_law():
    residual, predicted = np.array([-0.2, -0.01, 0.01, 0.2]), np.zeros(4)
    chosen = make_objective("envelope", 0.1, 10.0)
    value, slope, curvature = run_terms(jnp.asarray(residual), jnp.asarray(predicted), chosen)
    weight = np.array([1.0, 1.0, 10.0, 10.0])
    np.testing.assert_allclose(value, weight * scipy_huber(0.1, residual), rtol=SAME_MATHS)
    np.testing.assert_allclose(slope, weight * np.clip(residual, -0.1, 0.1), rtol=SAME_MATHS)
    np.testing.assert_allclose(curvature, weight * [0, 1, 1, 0])


@pytest.mark.slow
def test_an_envelope_leaves_its_share_of_the_runs_below():
    size, tokens, loss = design(0.01)
    data = grouped_runs(size, tokens, loss, np.full(loss.size, "all"))
    fit = fit_form(data, CHINCHILLA, delta=1e-5, kind="envelope", penalty=9.0, starts=4, key=KEY)
    # In the limit of absolute residuals the law is the 1 / (1 + 9) quantile, up to the runs it
    # passes through, at most its five parameters.
    below = np.mean(fit.residuals < 0)
    assert abs(below - 0.1) <= 5 / 240 + 1e-9


@pytest.mark.parametrize("penalty", [0.5, np.nan])
def test_a_bad_penalty_is_refused(penalty):
    with pytest.raises(ValueError, match="`penalty` must be"):
        make_objective("envelope", 1e-3, penalty)


def test_condition_numbers_are_those_of_the_mapped_objective(noisy):
    data = noisy.data
    log_n, log_d = np.log(float(data.runs.size_centre)), np.log(float(data.runs.tokens_centre))

    def centred(raw):
        alpha, beta = raw[4], raw[8]
        return raw.at[1:4].add(-alpha * log_n).at[5:8].add(-beta * log_d)

    def plain(raw):
        log = jnp.concatenate([jnp.log(raw[:4]), raw[4:5], jnp.log(raw[5:8]), raw[8:]])
        return centred(log)

    raw = jnp.asarray(noisy.parameters)
    raw = raw.at[1:4].add(raw[4] * log_n).at[5:8].add(raw[8] * log_d)
    amounts = jnp.concatenate([jnp.exp(raw[:4]), raw[4:5], jnp.exp(raw[5:8]), raw[8:]])
    found = form_conditioning(noisy)
    for mapping, at, number in ((centred, raw, found.logarithmic), (plain, amounts, found.plain)):

        def value(x, mapping=mapping):
            return value_of(mapping(x), noisy.terms.forms, noisy.log_loss, noisy.chosen)

        expected = np.linalg.cond(np.asarray(jax.jit(jax.hessian(value))(at)))
        assert number == pytest.approx(expected, rel=1e-3)


def test_runs_of_one_size_cannot_identify_alpha():
    data = synthetic()
    flat = grouped_runs(
        np.full(36, 1e9),
        np.tile(np.geomspace(1e9, 1e12, 12), 3),
        data.loss,
        np.array(data.groups)[data.group],
    )
    labels = unidentified(SHARED, flat)
    assert "alpha" in labels
    assert "beta" not in labels
    with pytest.raises(ValueError, match=r"`size` must vary, it is 1e\+09 in every run: alpha"):
        fit_form(flat, starts=2, key=KEY)


def test_what_two_sizes_leave_open_is_named():
    data = synthetic()
    two = data.size < 4e8
    pair = grouped_runs(
        data.size[two], data.tokens[two], data.loss[two], np.array(data.groups)[data.group[two]]
    )
    assert unidentified(SHARED, data) == ()
    # E + A N^-alpha at two sizes: a value each, three unknowns; beta is seen at every size.
    assert unidentified(CHINCHILLA, pair) == ("log E", "log A'", "alpha")
    with pytest.raises(ValueError, match="cannot identify log E, log A', alpha of the law"):
        fit_form(pair, CHINCHILLA, starts=2, key=KEY)
    assert unidentified(ONE_TERM, data) == ()


def test_a_profile_is_the_minimum_over_everything_else(noisy):
    found = profile(noisy, "beta", count=9)
    place = noisy.labels.index("beta")
    free = np.arange(9) != place

    def at(value):
        def objective(rest):
            point = np.empty(9)
            point[free], point[place] = rest, value
            terms = noisy.terms.forms
            return float(value_of(jnp.asarray(point), terms, noisy.log_loss, noisy.chosen)) / 0.01

        rough = minimize(objective, noisy.parameters[free], method="BFGS")
        tight = {"fatol": 1e-12, "xatol": 1e-8, "maxiter": 4000}
        return minimize(objective, rough.x, method="Nelder-Mead", options=tight).fun * 0.01

    variance = covariance_of(noisy)[place, place]
    scale = np.linalg.inv(smoothed_hessian(noisy))[place, place] / variance
    for k in (0, 6):
        theirs = 2 * (at(found.values[k]) - noisy.objective) * scale
        assert found.excess[k] <= theirs * (1 + 1e-6)
        assert found.excess[k] == pytest.approx(theirs, rel=1e-3)
    assert found.excess[4] == pytest.approx(0.0, abs=1e-6)
    # Rows that share a training run share their errors: the interval is theirs.
    units = np.arange(36) // 4
    together = profile(noisy, "beta", count=9, units=units)
    wider = covariance_of(noisy, units)[place, place] / variance
    # Both reach to four of their own standard errors.
    assert np.ptp(together.values) / np.ptp(found.values) == pytest.approx(wider**0.5, rel=1e-9)


@pytest.mark.slow
def test_a_profile_interval_is_two_standard_errors_where_the_objective_is_a_parabola():
    size, tokens, loss = design(0.001)
    data = grouped_runs(size, tokens, loss, np.full(loss.size, "all"))
    fit = fit_form(data, CHINCHILLA, kind="mse_log", starts=4, key=KEY)
    found, error = profile(fit, "beta"), form_conditioning(fit).standard_errors[4]
    ends = (np.array(found.interval) - fit.parameters[4]) / error
    np.testing.assert_allclose(ends, [-1.96, 1.96], rtol=0.1)


@pytest.mark.slow
def test_a_profile_says_where_there_is_no_bound():
    data = synthetic(0.003, seed=3)
    weak = fit_form(data, starts=8, delta=0.01, key=KEY)
    found = profile(weak, "log E")
    assert found.interval[0] == -np.inf
    assert np.isfinite(found.interval[1])
    with pytest.raises(ValueError, match="`label` must be one of"):
        profile(weak, "gamma")
    with pytest.raises(ValueError, match="`level` must be"):
        profile(weak, "beta", level=1.0)


@pytest.mark.slow
def test_leaving_one_out_is_a_fit_of_the_rest(noisy, one_out, rest_fit):
    data, row, rest = noisy.data, 5, rest_fit
    place = rest.data.groups.index(data.groups[data.group[row]])
    expected = float(rest.predict(place, data.size[row], data.tokens[row])) - data.loss[row]
    assert one_out.error[row, row] == pytest.approx(expected, rel=1e-5)
    assert np.isnan(one_out.error[row, (row + 1) % 36])
    assert one_out.rmse > np.sqrt(np.mean((data.loss * np.expm1(-noisy.residuals)) ** 2))


@pytest.mark.slow
def test_leaving_one_out_of_separate_laws_refits_its_own_group(separate):
    data, row = separate.data, 17
    mask = np.arange(36) == row
    found = held_out(separate, mask[None], ("17",))
    mine = np.flatnonzero((data.group == 1) & ~mask)
    alone = grouped_runs(
        data.size[mine], data.tokens[mine], data.loss[mine], np.full(mine.size, "x")
    )
    rest = fit_form(alone, CHINCHILLA, delta=0.01, starts=16, key=KEY)
    expected = float(rest.predict(0, data.size[row], data.tokens[row])) - data.loss[row]
    assert found.error[0, row] == pytest.approx(expected, rel=1e-4)
    others = positions(SEPARATE, 3)["beta"][[0, 2]]
    np.testing.assert_array_equal(found.parameters[0, others], separate.parameters[others])


@pytest.mark.slow
def test_what_the_rest_cannot_know_is_not_predicted(separate, noisy):
    # Without the largest of three sizes a separate law has two, too few for E, A and alpha.
    assert np.isnan(leave_largest_size_out(separate).rmse)
    one = transferred(noisy, "muon")
    assert np.count_nonzero(np.isfinite(one.error)) == 4
    assert one.rmse < 0.05
    groups = leave_one_group_out(noisy)
    assert groups.names == noisy.data.groups
    assert np.all(np.isnan(groups.each_rmse))
    with pytest.raises(ValueError, match="rows of 36 flags"):
        held_out(noisy, np.zeros((1, 5)), ("x",))


def test_likelihood_of_squares_is_the_normal_one():
    fit = fit_form(synthetic(0.002), kind="mse_log", starts=8, key=KEY)
    variance = np.mean(fit.residuals**2)
    expected = -18 * (np.log(2 * np.pi * variance) + 1)
    assert log_likelihood(fit) == pytest.approx(expected, rel=1e-8)
    found = judged(fit, None, leave_one_out(fit))
    assert found.bic == pytest.approx(10 * np.log(36) - 2 * expected, rel=1e-8)
    assert found.aic == pytest.approx(20 - 2 * expected + 220 / 25, rel=1e-8)


def test_likelihood_of_huber_integrates_its_density(noisy):
    rho = np.sum(scipy_huber(0.01, noisy.residuals))

    def negative(log_k):
        k = float(np.exp(log_k[0]))
        norm = quad(lambda r: np.exp(-k * scipy_huber(0.01, r)), -1, 1, points=[0.0], limit=200)[0]
        return k * rho + 36 * np.log(norm)

    best = minimize(negative, [np.log(36 / (2 * rho))], method="Nelder-Mead")
    assert log_likelihood(noisy) == pytest.approx(-best.fun, rel=1e-6)


def test_sharing_is_kept_where_it_is_true_and_rejected_where_it_is_not():
    true = synthetic(0.001)
    chosen = make_objective("huber", 0.01)
    shared, separate = compare_forms(true, (SHARED, SEPARATE), chosen, KEY, starts=8, one_out=False)
    kept = nested_test(shared.fit, separate.fit)
    assert kept.freed == 6
    assert kept.p_value > 0.01
    assert shared.aic < separate.aic
    # The second optimizer's tokens term falls by another exponent, equal at 1e10 tokens.
    loss, bent = true.loss.copy(), true.group == 1
    by_tokens = 291.0 * (1.71 * true.tokens[bent]) ** -0.283
    loss[bent] += by_tokens * ((true.tokens[bent] / 1e10) ** (0.283 - 0.35) - 1)
    names = np.array(true.groups)[true.group]
    other = grouped_runs(true.size, true.tokens, loss, names)
    shared, separate = compare_forms(other, (SHARED, SEPARATE), chosen, KEY, 8, one_out=False)
    assert nested_test(shared.fit, separate.fit).p_value < 1e-3
    assert separate.bic < shared.bic
    with pytest.raises(ValueError, match="must free parameters"):
        nested_test(separate.fit, shared.fit)


def test_the_exponent_moves_as_direct_refits_say(noisy, one_out, rest_fit):
    shifts = influence(noisy, one_out)
    alpha, beta = noisy.parameters[4], noisy.parameters[8]
    assert compute_exponent(SHARED, noisy.parameters, 3) == pytest.approx(beta / (alpha + beta))
    rest = rest_fit.parameters
    expected = rest[8] / (rest[4] + rest[8]) - beta / (alpha + beta)
    assert shifts[5] == pytest.approx(expected, rel=1e-4)
    moved = delta_sensitivity(noisy, KEY, (1e-3, 0.01), starts=8)
    assert moved.exponents[1] == pytest.approx(beta / (alpha + beta), rel=1e-8)
    assert moved.spread == pytest.approx(abs(moved.exponents[0] - moved.exponents[1]))
    with pytest.raises(ValueError, match="`form` must share one exponent"):
        compute_exponent(SEPARATE, noisy.parameters, 3)
    with pytest.raises(ValueError, match="`deltas` must be"):
        delta_sensitivity(noisy, KEY, (0.0,))


def test_a_floor_at_zero_and_a_weak_claim_are_told(noisy):
    assert form_warnings(noisy, form_conditioning(noisy)) == []
    parameters = noisy.parameters.copy()
    parameters[0] = -20.0
    parameters[8] = -0.1
    broken = dataclasses.replace(noisy, parameters=parameters, agreement=0.2)
    assert bounds_hit(broken) == ("log E", "beta")
    told = " ".join(form_warnings(broken, form_conditioning(broken)))
    for words in (
        "E is not identifiable: it ran to zero; the data show no floor",
        "beta = -0.1 is not positive",
        "only 20% of 8 starts agree",
    ):
        assert words in told
    said = claim_warnings(bootstrap_form(noisy, 100, KEY), "adamw")
    assert said == [] or "muon" not in said[0].split("these runs")[0]


def test_few_noisy_runs_are_told():
    size = np.geomspace(1e8, 1e9, 3).repeat(4)
    tokens = size * np.tile([20.0, 40.0, 80.0, 160.0], 3)
    noise = np.exp(0.006 * np.random.default_rng(0).standard_normal(12))
    loss = (1.69 + 406.4 * size**-0.34 + 410.7 * tokens**-0.28) * noise
    data = grouped_runs(size, tokens, loss, np.full(12, "all"))
    fit = fit_form(data, CHINCHILLA, starts=8, key=KEY)
    told = " ".join(form_warnings(fit, form_conditioning(fit)))
    assert "12 runs with noise of" in told
    five = law_form("twelve", [("E", {}), ("A", {"N": "a", "D": "b"})])
    assert five.evaluate({"E": 1.0, "A": 2.0, "a": 0.5, "b": 1.0}, 4.0, 10.0) == 1.1
