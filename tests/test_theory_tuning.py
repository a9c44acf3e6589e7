"""The engine on the bounds that it was made for: exponents, ties, constants, thresholds."""

import time
from fractions import Fraction as Fr

import mpmath as mp
import numpy as np
import pytest

from theory.bound_formula import Range, bound_formula, budget
from theory.bound_library import BOUNDS, five_terms, sgd_power_law
from theory.lmo_bounds import KOVALEV, kovalev_bound
from theory.lmo_constants import bound_constants
from theory.tuned_optimum import optimum
from theory.tuning import derive
from theory.tuning_threshold import threshold

CONSTANTS = {"Delta": 3.0, "L": 2.0, "rho": 1.5, "sigma": 0.7}
LMO = BOUNDS["kovalev"]
ALL = ("learning_rate", "momentum", "batch_size")


def exponents(laws):
    return {law.variable: law.exponent for law in laws.laws}


def point(**powers):
    return {name: Fr(value) for name, value in powers.items()}


@pytest.mark.parametrize(
    ("tune", "budget_word", "hold", "expected", "rate"),
    [
        (["eta"], "steps", {"momentum": 0.9, "B": 8}, point(eta="-1/2"), 0),
        (["eta"], "tokens", {"momentum": 0.9, "B": 8}, point(eta="-1/2"), 0),
        (["eta", "B"], "tokens", {"momentum": 0.9}, point(eta="-1/4", B="1/2"), Fr(-1, 4)),
        (["eta", "alpha"], "tokens", {"B": 8}, point(eta="-3/4", alpha="-1/2"), Fr(-1, 4)),
        (["eta", "alpha"], "steps", {"B": 8}, point(eta="-3/4", alpha="-1/2"), Fr(-1, 4)),
        (ALL, "tokens", {}, point(eta="-7/12", alpha="-1/3", B="1/6"), Fr(-1, 4)),
        (["eta"], "tokens", {"B": "T^(1/2)"}, point(eta="-1/4"), Fr(-1, 4)),
        (["eta"], "tokens", {"B": "3*tokens^(1/4)"}, point(eta="-3/8"), Fr(-1, 8)),
    ],
)
def test_the_table_of_regimes_is_found(tune, budget_word, hold, expected, rate):
    laws = derive(LMO, tune, budget_word, hold, CONSTANTS)
    assert exponents(laws) == expected
    assert all(isinstance(law.exponent, Fr) for law in laws.laws)
    assert laws.rate.order == rate


def test_tuning_all_three_finds_the_tie_and_what_breaks_it():
    laws = derive(LMO, ALL, "tokens", constants=CONSTANTS)
    assert set(laws.levels[0].face.vertices) == {
        (Fr(-3, 4), Fr(-1, 2), Fr(0)),
        (Fr(-1, 4), Fr(0), Fr(1, 2)),
    }
    assert not laws.levels[0].face.rays
    assert not laws.levels[0].face.lines
    assert laws.rates[0].terms == ("initial_gap", "noise", "lag")
    assert laws.rates[1].terms == ("burn_in", "smoothness")
    assert laws.decided == 2
    assert laws.active == laws.tight == ()
    family = laws.family
    assert family is not None
    assert family.free == ("B",)
    assert family.ends == {"B": (Fr(0), Fr(1, 2))}
    assert family.relations["eta"][1] == {"T": Fr(-3, 4), "B": Fr(1)}
    assert family.relations["alpha"][1] == {"T": Fr(-1, 2), "B": Fr(1)}


def test_every_member_of_the_family_has_the_leading_constant():
    laws = derive(LMO, ALL, "tokens", constants=CONSTANTS)
    constants = bound_constants(3.0, 2.0, 1.5, 0.7)
    tokens = 1e40
    for batch in (1e4, 1e8, 1e12):
        members = {
            name: constant * tokens ** float(powers["T"]) * batch ** float(powers["B"])
            for name, (constant, powers) in laws.family.relations.items()
        }
        bound = kovalev_bound(constants, members["eta"], members["alpha"], batch, tokens / batch)
        # The next order is T^(-1/2) B^(-1/2) + B T^(-3/4) against T^(-1/4).
        assert float(bound.total) * tokens**0.25 == pytest.approx(laws.rate.constant, rel=1e-6)


def test_without_the_smoothness_term_the_tie_breaks_toward_no_momentum():
    laws = derive(BOUNDS["relaxed"], ALL, "tokens", constants=CONSTANTS)
    assert exponents(laws) == point(eta="-1/4", alpha="0", B="1/2")
    assert laws.active == laws.tight == ("1 - momentum <= 1",)
    assert laws.law("alpha").constant == pytest.approx(1.0, rel=1e-9)
    assert derive(LMO, ALL, constants=CONSTANTS).rate.constant == pytest.approx(
        laws.rate.constant, rel=1e-9
    )


def test_constants_depend_on_the_problem_by_exact_powers():
    laws = derive(LMO, ALL, "tokens", constants=CONSTANTS)
    assert laws.law("B").dependence == {
        "Delta": Fr(-5, 6), "L": Fr(-5, 6), "rho": Fr(5, 3), "sigma": Fr(5, 3)
    }  # fmt: skip
    assert laws.rate.dependence == {
        "Delta": Fr(1, 4), "L": Fr(1, 4), "rho": Fr(1, 2), "sigma": Fr(1, 2)
    }  # fmt: skip


@pytest.mark.parametrize("name", ["Delta", "L", "rho", "sigma"])
@pytest.mark.parametrize("tune", [ALL, ("eta", "alpha"), ("eta", "B"), ("eta",)])
def test_a_stated_power_is_that_of_the_constants_themselves(tune, name):
    first = derive(LMO, tune, "tokens", constants=CONSTANTS)
    other = derive(LMO, tune, "tokens", constants={**CONSTANTS, name: 5.0 * CONSTANTS[name]})
    for one, two in [*zip(first.laws, other.laws, strict=True)]:
        factor = 5.0 ** float(one.dependence[name])
        assert two.constant == pytest.approx(one.constant * factor, rel=1e-9)
    for one, two in zip(first.rates, other.rates, strict=True):
        factor = 5.0 ** float(one.dependence[name])
        assert two.constant == pytest.approx(one.constant * factor, rel=1e-9)


def test_the_power_of_a_held_batch_size_is_found_and_momentum_has_none():
    laws = derive(LMO, ["eta", "alpha"], "tokens", {"B": 8}, CONSTANTS)
    assert laws.law("eta").dependence["B"] == laws.law("alpha").dependence["B"] == 1
    assert laws.rate.dependence["B"] == 0
    root = derive(LMO, ["eta"], "tokens", {"B": 8, "momentum": 0.9}, CONSTANTS)
    assert root.law("eta").dependence["B"] == Fr(1, 2)
    # Smoothness and lag scale differently with alpha: c3 + c4/alpha is no power.
    assert root.law("eta").dependence["alpha"] is None
    steps = derive(LMO, ["eta"], "steps", {"B": 8}, CONSTANTS)
    assert steps.law("eta").dependence["B"] == 0
    assert steps.rate.dependence["B"] == Fr(-1, 2)


def reference_optimum(tokens, coefficients=(2, 2, 3.5, 2)):
    """Stationary point of the five-term bound over eta, alpha, B, with 60 digits."""
    c1, c2, c3, c4 = map(mp.mpf, coefficients)
    gap, slope, noise = mp.mpf(3), mp.mpf(2), mp.mpf("1.05")
    total = mp.mpf(tokens)

    def gradient(log_eta, log_alpha, log_batch):
        eta, alpha, batch = mp.exp(log_eta), mp.exp(log_alpha), mp.exp(log_batch)
        steps = total / batch
        first = gap / (eta * steps)
        burn = c1 * noise / (alpha * mp.sqrt(batch) * steps)
        loud = c2 * noise * mp.sqrt(alpha / batch)
        smooth, lag = c3 * slope * eta, c4 * slope * eta / alpha
        return (
            smooth + lag - first,
            loud / 2 - burn - lag,
            first + burn / 2 - loud / 2,
        )

    start = (mp.log(0.15) - 7 * mp.log(total) / 12, mp.log(0.31) - mp.log(total) / 3,
             mp.log(0.094) + mp.log(total) / 6)  # fmt: skip
    with mp.workdps(60):
        found = mp.findroot(gradient, start, tol=mp.mpf(10) ** -70, maxsteps=200)
        return [float(x) for x in found]


@pytest.mark.parametrize("tokens", ["1e12", "1e20", "1e30"])
def test_the_optimum_at_a_budget_agrees_with_sixty_digits(tokens):
    laws = derive(LMO, ALL, "tokens", constants=CONSTANTS)
    best = optimum(laws, float(tokens))
    expected = reference_optimum(tokens)
    found = [np.log(best.values[name]) for name in ("eta", "alpha", "B")]
    assert found == pytest.approx(expected, abs=1e-8)


def test_numeric_optima_follow_the_exponents_and_constants():
    laws = derive(LMO, ALL, "tokens", constants=CONSTANTS)
    low, high = optimum(laws, 1e28), optimum(laws, 1e30)
    for law in laws.laws:
        slope = np.log(high.values[law.variable] / low.values[law.variable]) / np.log(100.0)
        assert slope == pytest.approx(float(law.exponent), abs=1e-6)
        at = law.constant * 1e30 ** float(law.exponent)
        assert high.values[law.variable] == pytest.approx(at, rel=1e-6)
    assert high.bound == pytest.approx(laws.rate.constant * 1e30**-0.25, rel=1e-8)


def test_the_optimum_reports_terms_that_add_up_and_budgets_that_match():
    laws = derive(LMO, ALL, "tokens", constants=CONSTANTS)
    best = optimum(laws, 1e9)
    assert sum(best.terms.values()) == pytest.approx(1.0, rel=1e-12)
    assert best.values["B"] * best.values["K"] == pytest.approx(1e9, rel=1e-12)
    bound = kovalev_bound(
        bound_constants(3.0, 2.0, 1.5, 0.7),
        *(best.values[name] for name in ("eta", "alpha", "B", "K")),
    )
    assert float(bound.total) == pytest.approx(best.bound, rel=1e-12)
    for name, share in best.terms.items():
        assert float(bound.terms[name]) == pytest.approx(share * best.bound, rel=1e-11)
    assert best.log_bound == pytest.approx(np.log(best.bound), rel=1e-12)


def test_a_small_budget_holds_the_batch_at_one_sample():
    laws = derive(LMO, ALL, "tokens", constants=CONSTANTS)
    best = optimum(laws, 1e4)
    assert best.active == ("batch_size >= 1",)
    assert best.values["B"] == pytest.approx(1.0, abs=1e-12)
    assert best.multipliers[0] > 0
    held = optimum(derive(LMO, ["eta", "alpha"], hold={"B": 1}, constants=CONSTANTS), 1e4)
    assert held.bound == pytest.approx(best.bound, rel=1e-10)


def test_the_limit_of_momentum_is_where_the_multiplier_starts():
    tune = ["eta", "momentum"]
    batch = threshold(
        LMO, tune, "momentum", "batch_size", (1, 1e7), amount=1e8, constants=CONSTANTS
    )
    noise, gap_slope = 1.05, 6.0
    expected = noise / (2 * noise / 1e8 + 2 * np.sqrt(gap_slope / (1e8 * 5.5)))
    assert batch == pytest.approx(expected, rel=1e-9)
    below, above = (
        optimum(derive(LMO, tune, hold={"B": factor * batch}, constants=CONSTANTS), 1e8)
        for factor in (0.99, 1.01)
    )
    assert below.active == ()
    assert above.active == ("1 - momentum <= 1",)


def test_the_threshold_in_the_budget_separates_one_sample_from_more():
    tokens = threshold(LMO, ALL, "batch_size", "tokens", (1e2, 1e12), constants=CONSTANTS)
    laws = derive(LMO, ALL, constants=CONSTANTS)
    assert optimum(laws, 0.99 * tokens).active == ("batch_size >= 1",)
    assert optimum(laws, 1.01 * tokens).active == ()


def test_a_threshold_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="binds at neither end"):
        threshold(LMO, ["eta", "alpha"], "alpha", "B", (1, 2), amount=1e12)
    with pytest.raises(ValueError, match="binds at both ends"):
        threshold(LMO, ["eta", "alpha"], "alpha", "B", (1e7, 1e8), amount=1e9)
    with pytest.raises(ValueError, match="must have one end"):
        threshold(LMO, ["eta", "alpha"], "eta", "B", (1, 2), amount=1e12)
    with pytest.raises(ValueError, match="`amount`"):
        threshold(LMO, ["eta", "alpha"], "alpha", "B", (1, 2))
    with pytest.raises(ValueError, match="`limit`"):
        threshold(LMO, ["eta", "alpha"], "B", "B", (1, 2), amount=1e12)


def test_a_largest_learning_rate_binds_and_changes_the_law():
    capped = bound_formula("capped", "1/(eta*K) + eta/B", ranges={"eta": Range(None, 0.5)})
    laws = derive(capped, ["eta"], hold={"B": "T^(9/10)"})
    assert laws.law("eta").exponent == 0
    assert laws.law("eta").constant == pytest.approx(0.5, rel=1e-9)
    assert laws.active == laws.tight == ("learning_rate <= 0.5",)
    assert laws.rate.order == Fr(-1, 10)


def test_the_kexue_algebra_is_reproduced():
    text = "(eta*K)^(-1) + B^(-1/2) + eta"
    laws = derive(bound_formula("kexue", text), ["eta", "B"])
    assert exponents(laws) == point(eta="-1/4", B="1/2")
    flops = {"flops": budget("C", {"K": "C/(N*B)"})}
    sized = bound_formula("sized", text + " + N^(-1/3)", budgets=flops)
    laws = derive(sized, ["eta", "B", "N"], "flops")
    assert exponents(laws) == point(eta="-1/7", B="2/7", N="3/7")
    assert laws.rate.order == Fr(-1, 7)


@pytest.mark.parametrize("gammas", [("1", "1/2", "1"), ("1/2", "1/3", "2"), ("3/4", "1", "1/5")])
def test_general_powers_give_the_general_exponents(gammas):
    one, two, three = map(Fr, gammas)
    bound = bound_formula("powers", f"(eta*K)^(-{one}) + B^(-{two}) + eta^({three})")
    laws = derive(bound, ["eta", "B"])
    joint = one * three / (one + three)
    share = joint / (joint + two)
    assert laws.law("B").exponent == share
    assert laws.law("eta").exponent == -one / (one + three) * (1 - share)
    assert laws.rate.order == -two * share


@pytest.mark.parametrize(("a", "b"), [("3/2", "9/5"), ("6/5", "8/5"), ("2", "5/2")])
def test_tuned_sgd_has_its_laws(a, b):
    beta = (Fr(b) - 1) / Fr(a)
    constant = derive(sgd_power_law(a, b), ["eta"])
    assert constant.rate.order == constant.law("eta").exponent == -beta / (1 + beta)
    assert constant.law("eta").dependence["B"] == 1
    assert constant.rate.dependence["B"] == 0
    free = derive(sgd_power_law(a, b), ["eta", "B"])
    # Flat in B up to the critical batch size; no order decides.
    assert free.decided == 0
    assert free.law("B").exponent is None
    assert free.family.ends == {"B": (Fr(0), beta / (1 + beta))}
    linear = derive(sgd_power_law(a, b, "linear"), ["eta"])
    assert linear.rate.order == -(Fr(b) - 1) / Fr(b)
    assert linear.law("eta").exponent == -(Fr(b) - Fr(a)) / Fr(b)


def test_sgd_bounds_are_flat_in_the_batch_up_to_the_square_root_of_the_tokens():
    for name in ("sgd", "sgd_convex"):
        laws = derive(BOUNDS[name], ["eta", "B"])
        assert laws.rate.order == Fr(-1, 2)
        assert laws.family.ends == {"B": (Fr(0), Fr(1, 2))}
        best = optimum(laws, 1e10)
        assert best.bound == pytest.approx(laws.rate.constant * 1e-5, rel=1e-9)


def test_the_frank_wolfe_bound_has_the_laws_of_the_ridge():
    laws = derive(BOUNDS["frank_wolfe"], ["eta", "alpha"], hold={"B": 4})
    assert exponents(laws) == point(eta="-3/4", alpha="-1/2")
    assert laws.law("eta").dependence["B"] == laws.law("alpha").dependence["B"] == 1
    laws = derive(BOUNDS["frank_wolfe"], ["eta"], "steps", hold={"B": 4, "alpha": 0.5})
    assert laws.law("eta").exponent == Fr(-1, 2)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((["eta", "B"], "steps"), "no minimum: it falls for ever as batch_size grows"),
        ((["eta", "L"], "tokens"), "learning_rate grows and L falls"),
        ((["eta", "width"], "tokens"), "'width' is in no term of kovalev"),
        ((["eta", "eta"], "tokens"), "names 'eta' twice"),
        ((["eta", "steps"], "tokens"), "'steps' cannot be tuned: it is"),
        ((["tokens"], "tokens"), "is the budget"),
        (([], "tokens"), "at least one"),
        ((["eta"], "flops"), "`budget` must be one of"),
        ((["alpha"], "tokens"), "`learning_rate` must be tuned or held"),
        ((["eta"], "tokens", {"eta": 1.0}), "cannot be held"),
        ((["eta"], "tokens", {"width": 1.0}), "in no term"),
        ((["eta"], "tokens", {"momentum": 1.0}), "`momentum` must be"),
        ((["eta"], "tokens", {"momentum": "T^-1"}), "hold alpha"),
        ((["eta"], "tokens", {"alpha": 1.5}), "1 - momentum <= 1 is broken"),
        ((["eta"], "tokens", {"B": "T^2"}), "steps >= 1 is broken at large budgets"),
        ((["eta"], "tokens", {"B": "sigma"}), "a power of T only"),
        ((["eta"], "tokens", {"B": -1.0}), "`B` must be"),
        ((["eta"], "tokens", {}, {"Delta": 0.0}), "`Delta` must be"),
        ((["eta"], "tokens", {}, {"mu": 1.0}), "no constant of kovalev"),
    ],
)
def test_impossible_requests_are_refused_in_one_line(arguments, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        derive(LMO, *arguments)
    assert "\n" not in str(caught.value)


def test_a_bound_free_of_the_budget_is_refused():
    with pytest.raises(ValueError, match="does not depend on the budget"):
        derive(bound_formula("flat", "eta + 1/eta"), ["eta"])
    with pytest.raises(ValueError, match="falls for ever as learning_rate falls"):
        derive(bound_formula("falling", "eta/K + 1/K"), ["eta"], "steps")


def test_a_budget_below_the_smallest_batch_is_refused():
    large = bound_formula("large", "1/(eta*K) + 1/B + eta", ranges={"B": Range(64.0, None)})
    laws = derive(large, ["eta", "B"])
    assert optimum(laws, 100.0).values["B"] == pytest.approx(64.0, rel=1e-12)
    with pytest.raises(ValueError, match=r"budget 50 leaves no room.*batch_size >= 64"):
        optimum(laws, 50.0)
    held = derive(large, ["eta"], hold={"B": 64})
    with pytest.raises(ValueError, match="budget is too small: steps >= 1"):
        optimum(held, 50.0)
    for bad in ({}, {"amount": 1.0, "log_budget": 1.0}, {"amount": -1.0}):
        with pytest.raises(ValueError, match=r"amount"):
            optimum(laws, **bad)


def test_a_budget_that_leaves_a_single_point_is_solved():
    exact = bound_formula("exact", "1/(eta*K) + 1/B + eta", ranges={"B": Range(64.0, None)})
    best = optimum(derive(exact, ["eta", "B"]), 64.0)
    assert best.values["B"] == pytest.approx(64.0, rel=1e-6)
    assert best.values["eta"] == pytest.approx(1.0, rel=1e-6)


def test_a_law_takes_less_than_fifty_milliseconds():
    derive(LMO, ALL, constants=CONSTANTS)
    start = time.process_time()
    for _ in range(5):
        derive(LMO, ALL, constants=CONSTANTS)
    assert (time.process_time() - start) / 5 < 0.05


def test_the_data_are_the_functions_of_the_same_name():
    values = {**CONSTANTS, "eta": 0.03, "alpha": 0.2, "B": 12.0, "K": 340.0}
    data = five_terms("again", KOVALEV).terms
    expected = kovalev_bound(bound_constants(3.0, 2.0, 1.5, 0.7), 0.03, 0.2, 12.0, 340.0).terms
    assert set(data) == set(expected)
    for name, term in data.items():
        assert term.at(values) == pytest.approx(float(expected[name]), rel=1e-13)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("3/2", "9/5", "cosine"), "`schedule`"),
        (("1/2", "9/5"), "capacity, source > 1"),
        (("2", "9/5", "linear"), "1 < capacity < source"),
    ],
)
def test_sgd_laws_state_their_domain(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        sgd_power_law(*arguments)
