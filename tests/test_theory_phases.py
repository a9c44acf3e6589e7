"""Compute-optimal phases: published exponents, continuity, balances, the random-feature floor."""

import numpy as np
import pytest

from theory.linear_methods import loss_exponents
from theory.phases import (
    BALANCES,
    PHASE_FOUR_SPLIT,
    compute_optimal,
    from_random_features,
    phase,
    random_feature_floor,
    random_feature_resolution,
    to_random_features,
)
from theory.problem import power_law

from .tolerances import SAME_MATHS, Z_SCORE

# (alpha, beta) of the paper, phase, loss and size exponent as printed to three digits.
PRINTED_ROWS = [
    (1.0, 0.3, "Ia", 0.533, 0.333),
    (0.4, 0.3, "Ib", 0.200, 0.500),
    (0.2, 0.9, "Ic", 0.231, 0.577),
    (1.0, 0.7, "II", 0.706, 0.412),
    (1.0, 1.3, "III", 0.750, 0.500),
    (0.4, 0.8, "IVa", 0.400, 0.500),
    (0.27, 0.9, "IVb", 0.295, 0.603),
    (0.7, 0.7, "II", 0.643, 0.500),
]


@pytest.mark.parametrize(("alpha", "beta", "name", "loss", "size"), PRINTED_ROWS)
def test_published_exponents(alpha, beta, name, loss, size):
    law = compute_optimal(*from_random_features(alpha, beta))
    assert law.phase == name
    assert law.loss_exponent == pytest.approx(loss, abs=5.1e-4)
    assert law.size_exponent == pytest.approx(size, abs=5.1e-4)
    assert law.proven == (name not in ("Ib", "Ic") or alpha >= 0.25)


def test_exponents_are_continuous_across_every_boundary():
    seen = set()
    for a in np.linspace(0.05, 3.0, 60):
        edges = {a + 1.0, 2.0 * a} | {1.2, 1.9, 2.7}
        for b in (edge for edge in edges if edge > 1.01):
            for shift in ((1e-9, 0.0), (0.0, 1e-9)):
                seen |= _agree((a - shift[0], b - shift[1]), (a + shift[0], b + shift[1]))
    for a in (0.5, PHASE_FOUR_SPLIT, 1.0):
        for b in np.linspace(1.1, 5.0, 40):
            seen |= _agree((a - 1e-9, b), (a + 1e-9, b))
    assert {frozenset(pair) for pair in (("Ia", "II"), ("II", "III"), ("Ib", "IVa"))} <= seen
    assert {frozenset(pair) for pair in (("Ic", "IVb"), ("IVa", "IVb"), ("III", "IVa"))} <= seen
    assert {frozenset(pair) for pair in (("Ib", "Ic"), ("Ib", "IVb"), ("Ia", "Ib"))} <= seen


def _agree(left, right):
    one, two = compute_optimal(*left), compute_optimal(*right)
    # Derivatives of the exponents are below ten here; denominators stay away from zero.
    assert one.loss_exponent == pytest.approx(two.loss_exponent, abs=1e-7)
    # Two splits of the compute tie between IVa and IVb: the size jumps there, the loss does not.
    if {one.phase, two.phase} != {"IVa", "IVb"}:
        assert one.size_exponent == pytest.approx(two.size_exponent, abs=1e-7)
    return {frozenset((one.phase, two.phase))}


@pytest.mark.parametrize(("a", "b"), [(1.5, 1.8), (2.0, 1.3), (1.2, 2.1), (3.0, 3.9)])
def test_phase_one_is_the_chinchilla_optimum_of_gradient_descent(a, b):
    law = compute_optimal(a, b)
    assert law.phase == "Ia"
    alpha, beta = (float(value) for value in loss_exponents(power_law(a, b, 10)))
    # min over N of N^-alpha + (f/N)^-beta.
    assert law.loss_exponent == pytest.approx(alpha * beta / (alpha + beta), rel=SAME_MATHS)
    assert law.size_exponent == pytest.approx(beta / (alpha + beta), rel=SAME_MATHS)


def _terms(a, b):
    """log P / log d of each term after d^x samples as (slope, constant), at step d^min(0, a-1)."""
    step = min(0.0, a - 1.0)
    return {
        "F_pp": (-(b - 1) / a, -(b - 1) / a * step),
        "F_ac": (-(1 - 1 / a), -1.0 - (1 - 1 / a) * step),
        "F_0": (0.0, -a + max(0.0, 1 - (b - a))),
        "K_pp": (-(2 - 1 / a), step - (2 - 1 / a) * step),
    }


@pytest.mark.parametrize(("alpha", "beta", "name", "loss", "size"), PRINTED_ROWS)
def test_exponents_balance_the_two_named_terms(alpha, beta, name, loss, size):
    a, b = from_random_features(alpha, beta)
    law = compute_optimal(a, b)
    first, second = (_terms(a, b)[term] for term in BALANCES[law.phase])
    # Equal powers of d at samples d^x; compute is d^(1 + x).
    x = (second[1] - first[1]) / (first[0] - second[0])
    assert law.size_exponent == pytest.approx(1 / (1 + x), rel=SAME_MATHS)
    loss_power = -(first[0] * x + first[1]) / (1 + x)
    assert law.loss_exponent == pytest.approx(loss_power, rel=SAME_MATHS)


def test_letters_translate_back():
    a, b = from_random_features(0.7, 0.45)
    assert (a, b) == (pytest.approx(1.4), pytest.approx(2.3))
    assert to_random_features(a, b) == (pytest.approx(0.7), pytest.approx(0.45))


def test_resolution_solves_its_equation_and_tends_to_the_closed_form():
    lam = np.arange(1, 2001) ** -1.4
    scale = float(random_feature_resolution(power_law(1.4, 2.0, 2000), 150))
    assert np.sum(lam * scale / (1 + lam * scale)) == pytest.approx(150, rel=SAME_MATHS)
    gaps = []
    for features in (1e2, 1e4, 1e6):
        scale = float(random_feature_resolution(power_law(2.0, 2.5, 1e15), features))
        closed = (np.pi / 2 / np.sin(np.pi / 2)) ** -2.0
        gaps.append(abs(scale * features**-2.0 / closed - 1))
    assert gaps[0] > 50 * gaps[1] > 2500 * gaps[2]


@pytest.mark.parametrize(("a", "b"), [(1.4, 2.0), (2.0, 2.6)])
def test_floor_matches_random_features(a, b):
    rng = np.random.default_rng(7)
    hidden, features, draws = 400, 60, 120
    j = np.arange(1, hidden + 1)
    target = j ** (-b / 2)
    floors = []
    for _ in range(draws):
        weights = rng.standard_normal((hidden, features))
        design = j[:, None] ** (-a / 2) * weights
        orthonormal, _ = np.linalg.qr(design)
        floors.append(np.sum((target - orthonormal @ (orthonormal.T @ target)) ** 2) / 2)
    exact = float(random_feature_floor(power_law(a, b, hidden), features))
    error = np.std(floors, ddof=1) / np.sqrt(draws)
    # The equivalent itself is off by a relative 1/d.
    assert abs(np.mean(floors) - exact) < Z_SCORE * error + exact / features


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`capacity_exponent`"):
        phase(0.0, 2.0)
    with pytest.raises(ValueError, match="`source_exponent`"):
        compute_optimal(1.0, 1.0)
    with pytest.raises(ValueError, match="`features`"):
        random_feature_floor(power_law(1.5, 1.8, 100), 100)
