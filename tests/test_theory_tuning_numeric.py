"""Bounds that are no posynomials, tuned numerically."""

import numpy as np
import pytest

from theory.bound_library import BOUNDS
from theory.lmo_bound_variants import kl_bound
from theory.lmo_bounds import kovalev_bound, sharper_bound
from theory.lmo_constants import bound_constants
from theory.numeric_tuning import numeric_exponents, numeric_optimum
from theory.tuned_laws import tuned_momentum, tuned_without_momentum
from theory.tuned_optimum import optimum
from theory.tuning import derive

CONSTANTS = bound_constants(3.0, 2.0, 1.5, 0.7)
BUDGETS = (1e12, 1e18, 1e24, 1e30)
ALL = ("learning_rate", "momentum", "batch_size")


def of(function, **more):
    return lambda v: function(CONSTANTS, v["eta"], v["alpha"], v["B"], v["K"], **more).total


def test_on_a_posynomial_it_agrees_with_the_engine():
    laws = derive(
        BOUNDS["kovalev"], ALL, constants={"Delta": 3.0, "L": 2.0, "rho": 1.5, "sigma": 0.7}
    )
    for tokens in (1e4, 1e8):
        found, best = numeric_optimum(of(kovalev_bound), ALL, tokens), optimum(laws, tokens)
        assert found.bound == pytest.approx(best.bound, rel=1e-10)
        assert found.values["eta"] == pytest.approx(best.values["eta"], rel=1e-5)
        assert ("B" in found.at_limit) == ("batch_size >= 1" in best.active)


def test_the_sharper_bound_breaks_the_tie_toward_no_momentum():
    exponents = numeric_exponents(of(sharper_bound), ALL, BUDGETS)
    for name, expected in {"eta": -0.25, "alpha": 0.0, "B": 0.5, "bound": -0.25}.items():
        assert exponents[name].value == pytest.approx(expected, abs=1e-6)
        assert abs(exponents[name].value - expected) <= 2 * exponents[name].error + 1e-12
    found = numeric_optimum(of(sharper_bound), ALL, 1e12)
    run = tuned_without_momentum(CONSTANTS, 1e12)
    assert found.at_limit == ("alpha",)
    assert found.values["alpha"] == 1.0
    assert found.values["B"] == pytest.approx(float(run.batch_size), rel=1e-6)
    assert found.bound == pytest.approx(float(run.bound), rel=1e-12)
    # The other end of the ridge is worse by the fourth root of two.
    ridge = float(tuned_momentum(CONSTANTS, 1.0, 1e12).bound)
    assert found.bound == pytest.approx(ridge * 2**-0.25 * 2**-0.25, rel=1e-3)


def test_at_fixed_batch_the_sharper_bound_has_the_laws_of_the_ridge():
    exponents = numeric_exponents(of(sharper_bound), ["eta", "alpha"], BUDGETS, {"B": 4.0})
    assert exponents["eta"].value == pytest.approx(-0.75, abs=1e-4)
    assert exponents["alpha"].value == pytest.approx(-0.5, abs=1e-4)
    assert exponents["bound"].value == pytest.approx(-0.25, abs=1e-4)


def test_under_the_kl_condition_the_rate_is_a_third_but_for_logarithms():
    bound = of(kl_bound, weight_decay=0.1, kl_constant=1.0)
    exponents = numeric_exponents(bound, ["eta", "B"], BUDGETS, eta_max=10.0)
    for name, expected in {"eta": -1 / 3, "B": 2 / 3, "bound": -1 / 3}.items():
        assert exponents[name].value == pytest.approx(expected, abs=exponents[name].error)
        assert 1e-3 < exponents[name].error < 0.02


def test_a_largest_learning_rate_is_respected():
    found = numeric_optimum(of(sharper_bound), ["eta"], 1e4, {"B": 2.0}, eta_max=1e-6)
    assert found.values["eta"] == pytest.approx(1e-6)
    assert found.at_limit == ("eta",)
    assert found.values["K"] == pytest.approx(5e3)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda f: numeric_optimum(f, ["eta", "width"], 1e4), "`tune`"),
        (lambda f: numeric_optimum(f, ["eta", "eta"], 1e4), "`tune`"),
        (lambda f: numeric_optimum(f, ["alpha"], 1e4), "`learning_rate`"),
        (lambda f: numeric_optimum(f, ["eta"], 1e4, {"alpha": 2.0}), "`alpha`"),
        (lambda f: numeric_optimum(f, ["eta"], 1e4, {"eta": 2.0}), "`hold`"),
        (lambda f: numeric_optimum(f, ["eta"], 0.5), "`tokens`"),
        (lambda f: numeric_optimum(f, ["eta"], 2.0, {"B": 4.0}), "`tokens`"),
        (lambda f: numeric_exponents(f, ["eta"], [1e3, 1e4, 1e5]), "`budgets`"),
        (lambda f: numeric_exponents(f, ["eta"], [1e3, 1e4, 1e5, 1e4]), "`budgets`"),
    ],
)
def test_wrong_requests_are_refused(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call(of(sharper_bound))


def test_values_at_the_optimum_belong_together():
    found = numeric_optimum(of(sharper_bound), ["eta", "B"], 1e6, {"alpha": 0.5})
    total = of(sharper_bound)(found.values)
    assert float(total) == pytest.approx(found.bound, rel=1e-12)
    assert found.values["B"] * found.values["K"] == pytest.approx(1e6, rel=1e-12)
    for name in ("eta", "B"):
        for factor in (0.99, 1.01):
            moved = {**found.values, name: found.values[name] * factor}
            moved["K"] = 1e6 / moved["B"]
            assert float(of(sharper_bound)(moved)) > found.bound
    assert np.isfinite(found.bound)
