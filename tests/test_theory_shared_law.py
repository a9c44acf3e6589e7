"""The shared-exponent law, its contours, speed-ups and compute form, against root finding."""

import numpy as np
import pytest
from scipy.optimize import brent, brentq

from theory.laws import chinchilla, compute_optimal, isoloss_size, isoloss_tokens
from theory.shared_law import (
    compute_loss,
    equal_loss_speedup,
    shared_compute_optimal,
    shared_law,
    tokens_saved,
)

from .tolerances import SAME_MATHS

E, A, B, ALPHA, BETA = 1.66, 18.7, 291.0, 0.145, 0.283
RHO = {"muon": (0.84, 1.71), "lion": (1.03, 0.9), "equal": (1.0, 2.5)}


@pytest.fixture(name="law")
def _law():
    return shared_law(chinchilla(E, A, B, ALPHA, BETA), RHO, "adamw")


def by_hand(optimizer, size, tokens):
    rho_n, rho_d = RHO.get(optimizer, (1.0, 1.0))
    return E + A * (rho_n * size) ** -ALPHA + B * (rho_d * tokens) ** -BETA


def test_each_optimizer_sees_a_rescaled_size_and_rescaled_tokens(law):
    assert law.optimizers == ("adamw", "muon", "lion", "equal")
    size, tokens = np.geomspace(1e7, 1e10, 4), np.geomspace(1e9, 1e12, 4)
    for place, name in enumerate(law.optimizers):
        expected = by_hand(name, size, tokens)
        np.testing.assert_allclose(law.of(name).loss(size, tokens), expected, rtol=SAME_MATHS)
        np.testing.assert_allclose(law.loss(place, size, tokens), expected, rtol=SAME_MATHS)
    mixed = law.loss(np.array([1, 0]), 1e8, 1e10)
    np.testing.assert_allclose(
        mixed, [by_hand("muon", 1e8, 1e10), by_hand("adamw", 1e8, 1e10)], rtol=SAME_MATHS
    )


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "lion"])
def test_isoloss_contours_are_the_roots_of_the_law(law, optimizer):
    alone, loss = law.of(optimizer), 3.0
    root = brentq(lambda x: by_hand(optimizer, 3e8, np.exp(x)) - loss, 10, 60, xtol=1e-13)
    assert float(isoloss_tokens(alone, loss, 3e8)) == pytest.approx(np.exp(root), rel=1e-10)
    root = brentq(lambda x: by_hand(optimizer, np.exp(x), 1e10) - loss, 10, 60, xtol=1e-13)
    assert float(isoloss_size(alone, loss, 1e10)) == pytest.approx(np.exp(root), rel=1e-10)
    floor = float(alone.loss(3e8, 1e300))
    assert float(isoloss_tokens(alone, floor - 0.01, 3e8)) == np.inf
    assert float(isoloss_size(alone, E, 1e10)) == np.inf


def test_speedup_is_the_ratio_of_tokens_at_one_loss(law):
    loss = by_hand("adamw", 3e8, 2e10)
    root = brentq(lambda x: by_hand("muon", 3e8, np.exp(x)) - loss, 10, 40, xtol=1e-13)
    found = float(equal_loss_speedup(law, "muon", "adamw", 3e8, loss))
    assert found == pytest.approx(2e10 / np.exp(root), rel=1e-10)
    saved = float(tokens_saved(law, "muon", "adamw", 3e8, 2e10))
    assert saved == pytest.approx(1 - np.exp(root) / 2e10, rel=1e-10)


def test_speedup_is_the_ratio_of_token_rescalings_where_sizes_count_alike(law):
    for size, loss in ((1e8, 3.4), (1e9, 2.7), (1e9, 4.0)):
        found = float(equal_loss_speedup(law, "equal", "adamw", size, loss))
        assert found == pytest.approx(2.5, rel=1e-12)
        inverse = float(equal_loss_speedup(law, "adamw", "equal", size, loss))
        assert inverse == pytest.approx(1 / 2.5, rel=1e-12)


def test_a_loss_that_only_one_optimizer_reaches_has_no_finite_speedup(law):
    size = 3e8
    floors = {name: by_hand(name, size, np.inf) for name in ("adamw", "muon", "lion")}
    between = (floors["lion"] + floors["adamw"]) / 2
    assert float(equal_loss_speedup(law, "lion", "adamw", size, between)) == np.inf
    assert float(equal_loss_speedup(law, "adamw", "lion", size, between)) == 0.0
    assert np.isnan(float(equal_loss_speedup(law, "adamw", "lion", size, 1.0)))
    assert float(tokens_saved(law, "muon", "adamw", size, 1e30)) == -np.inf


def test_compute_form_charges_each_token_its_measured_cost(law):
    size, flops, kappa = 3e8, 1e20, 1.3
    found = float(compute_loss(law, "muon", size, flops, kappa))
    expected = by_hand("muon", size, flops / (kappa * 6 * size))
    assert found == pytest.approx(expected, rel=SAME_MATHS)
    # As dear as it is efficient: where sizes count alike nothing is gained.
    same = float(compute_loss(law, "equal", size, flops, 2.5))
    assert same == pytest.approx(float(compute_loss(law, "adamw", size, flops)), rel=SAME_MATHS)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_allocation_minimises_the_compute_form(law, optimizer):
    flops, kappa = 1e22, 1.4

    def reducible(log_size):
        return float(compute_loss(law, optimizer, np.exp(log_size), flops, kappa)) - E

    best = float(np.asarray(brent(reducible, brack=(15, 30), tol=1e-13)))
    found = shared_compute_optimal(law, optimizer, flops, kappa)
    # A minimum is flat: its place is known to the square root of its value's precision.
    assert float(found.size) == pytest.approx(np.exp(best), rel=1e-6)
    assert float(found.loss) == pytest.approx(E + reducible(best), rel=1e-13)
    assert 6 * kappa * float(found.size * found.tokens) == pytest.approx(flops, rel=1e-13)


def test_a_saving_of_tokens_is_partly_spent_on_size(law):
    reference = compute_optimal(law.of("adamw"), 1e22)
    rho_n, rho_d = RHO["muon"]
    total = ALPHA + BETA
    growth = rho_n ** (-ALPHA / total) * rho_d ** (BETA / total)
    found = shared_compute_optimal(law, "muon", 1e22)
    assert float(found.size / reference.size) == pytest.approx(growth, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda law: law.of("sgd"), "`optimizer` must be one of adamw, muon"),
        (lambda law: shared_law(law.of("adamw"), {"x": (0.0, 1.0)}, "r"), r"`rescalings\['x'\]`"),
        (lambda law: shared_law(law.of("adamw"), {"r": (2.0, 1.0)}, "r"), "reference must be 1"),
        (lambda law: isoloss_tokens(law.of("adamw"), 0.0, 1e9), "`loss` must be"),
        (lambda law: isoloss_size(law.of("adamw"), 3.0, -1.0), "`tokens` must be"),
        (lambda law: isoloss_tokens(law.of("adamw"), 3.0, np.nan), "`size` must be"),
        (lambda law: equal_loss_speedup(law, "muon", "adam", 1e9, 3.0), "`optimizer` must be"),
        (lambda law: tokens_saved(law, "muon", "adamw", 1e9, 0.0), "`tokens` must be"),
        (lambda law: compute_loss(law, "muon", 1e9, 1e20, 0.0), "`relative_cost` must be"),
        (lambda law: compute_loss(law, "muon", 1e9, -1e20), "`flops` must be"),
        (lambda law: shared_compute_optimal(law, "muon", 1e20, -1.0), "`relative_cost` must be"),
    ],
)
def test_bad_arguments_are_refused_by_name(law, call, message):
    with pytest.raises(ValueError, match=message):
        call(law)
