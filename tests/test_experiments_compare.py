"""Comparators: right predictions pass, and every way to be wrong or undecided fails."""

import inspect

import numpy as np
import pytest

from experiments import compare
from experiments.compare import (
    AGREES,
    DISAGREES,
    OPEN,
    Verdict,
    agree_within,
    bound_holds,
    bound_tight,
    finding_above,
    finding_below,
    finding_near,
    gap_shrinks,
    relative_within,
    z_score,
)

NAN, INF = float("nan"), float("inf")

# Arguments after the claim that a comparator has to pass.
RIGHT = {
    "agree_within": [
        (1.0, 1.1, 0.2, "b"),
        ([1.0, 2.0], [1.1, 2.1], 0.11, "b"),
        (1.0, 1.0, 1e-300, "b"),
    ],
    "relative_within": [(100.0, 101.0, 0.011, "b"), ([1.0, -1e9], [1.0, -1.0001e9], 1e-3, "b")],
    "z_score": [(1.0, 1.4, 0.1), ([1.0, 2.0], [1.2, 2.0], [0.1, 0.2]), (1.0, 1.5, 0.2, 3.0)],
    "bound_holds": [(1.0, 0.9), ([1.0, 2.0], [1.0, 1.9]), (1.0, 1.04, 0.01), (-1.0, -1.0)],
    "bound_tight": [(2.0, 1.0, 2.5), ([2.0, 3.0], [1.0, 2.0], 2.0)],
    "gap_shrinks": [(1.0, [1.4, 1.2, 1.1], 0.15), (0.0, [-1.0, 0.5, -0.2, 0.1], 0.1001)],
}

# Arguments after the claim that a comparator must fail, with what is wrong.
WRONG = {
    "agree_within": {
        "wrong prediction": (1.3, 1.0, 0.2, "b"),
        "one wrong point": ([1.0, 2.0], [1.0, 2.3], 0.2, "b"),
        "prediction not a number": (NAN, 1.0, 0.2, "b"),
        "measurement not a number": (1.0, NAN, 0.2, "b"),
        "one point not a number": ([1.0, 1.0], [1.0, NAN], 0.2, "b"),
        "both infinite": (INF, INF, 0.2, "b"),
        "error not a number": (1.0, 1.0, NAN, "b"),
        "error infinite": (1.0, 1.0, INF, "b"),
        "error zero": (1.0, 1.0, 0.0, "b"),
        "error negative": (1.0, 1.0, -0.1, "b"),
    },
    "relative_within": {
        "wrong prediction": (1.3, 1.0, 0.01, "b"),
        "prediction zero": (0.0, 0.0, 0.1, "b"),
        "prediction not a number": (NAN, 1.0, 0.1, "b"),
        "measurement infinite": (1.0, INF, 0.1, "b"),
        "tolerance not a number": (1.0, 1.0, NAN, "b"),
        "tolerance infinite": (1.0, 1.0, INF, "b"),
        "tolerance negative": (1.0, 1.0, -0.1, "b"),
    },
    "z_score": {
        "wrong prediction": (1.0, 1.6, 0.1),
        "one wrong time": ([1.0, 1.0], [1.0, 1.6], 0.1),
        "mean not a number": (1.0, NAN, 0.1),
        "prediction not a number": (NAN, 1.0, 0.1),
        "standard error zero": (1.0, 1.0, 0.0),
        "standard error not a number": (1.0, 1.0, NAN),
        "standard error infinite": (1.0, 1.0, INF),
        "limit infinite": (1.0, 2.0, 0.1, INF),
        "limit negative": (1.0, 1.0, 0.1, -5.0),
    },
    "bound_holds": {
        "bound below the measurement": (1.0, 1.1),
        "one point above": ([1.0, 1.0], [0.5, 1.01]),
        "more than five standard errors above": (1.0, 1.06, 0.01),
        "bound not a number": (NAN, 0.5),
        "bound infinite": (INF, 0.5),
        "measurement not a number": (1.0, NAN),
        "measurement minus infinity": (1.0, -INF),
        "both infinite": (INF, INF),
        "standard error not a number": (1.0, 0.5, NAN),
        "standard error infinite": (1.0, 2.0, INF),
        "standard error negative": (1.0, 0.5, -0.1),
    },
    "bound_tight": {
        "vacuous bound": (100.0, 1.0, 2.0),
        "one vacuous point": ([1.0, 100.0], [1.0, 1.0], 2.0),
        "bound infinite": (INF, 1.0, 2.0),
        "bound not a number": (NAN, 1.0, 2.0),
        "negative bound": (-1.0, 1.0, 2.0),
        "measurement zero": (1.0, 0.0, 2.0),
        "measurement not a number": (1.0, NAN, 2.0),
        "factor infinite": (1.0, 1.0, INF),
        "factor not a number": (1.0, 1.0, NAN),
        "factor below one": (0.1, 1.0, 0.5),
    },
    "gap_shrinks": {
        "wrong prediction": (2.0, [1.4, 1.2, 1.1], 0.15),
        "ends above the limit": (1.0, [1.4, 1.3, 1.2], 0.15),
        "does not shrink": (1.0, [1.1, 1.1, 1.1], 0.15),
        "grows at the end": (1.0, [1.4, 1.05, 1.1], 0.15),
        "two sizes": (1.0, [1.2, 1.1], 0.15),
        "none": (1.0, [], 0.15),
        "prediction not a number": (NAN, [1.4, 1.2, 1.1], 0.15),
        "measurement not a number": (1.0, [1.4, NAN, 1.1], 0.15),
        "both infinite": (INF, [INF, INF, INF], 0.15),
        "limit not a number": (1.0, [1.4, 1.2, 1.1], NAN),
        "limit infinite": (1.0, [1.4, 1.2, 1.1], INF),
        "limit zero": (1.0, [1.4, 1.2, 1.0], 0.0),
    },
}


def comparators():
    """Every public function of the module that returns a verdict on a claim of ours."""
    return {
        name: function
        for name, function in inspect.getmembers(compare, inspect.isfunction)
        if inspect.signature(function).return_annotation is Verdict
        and not name.startswith(("_", "finding_"))
    }


def test_every_comparator_has_a_right_case_and_wrong_ones():
    assert set(comparators()) == set(RIGHT) == set(WRONG)
    public = {
        name
        for name, function in inspect.getmembers(compare, inspect.isfunction)
        if function.__module__ == compare.__name__ and not name.startswith("_")
    }
    findings = {"finding_near", "finding_above", "finding_below"}
    assert public == set(comparators()) | findings
    for name, cases in WRONG.items():
        assert any("wrong prediction" in case or "bound" in case for case in cases), name
        assert any("not a number" in case for case in cases), name


@pytest.mark.parametrize(
    ("name", "arguments"), [(name, case) for name, cases in RIGHT.items() for case in cases]
)
def test_a_right_prediction_passes(name, arguments):
    assert comparators()[name]("claim", *arguments).passed is True


@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name, cases in WRONG.items() for case in cases]
)
def test_a_wrong_or_undecided_comparison_fails(name, case):
    verdict = comparators()[name]("claim", *WRONG[name][case])
    assert verdict.passed is False
    assert verdict.claim == "claim"


def test_the_worst_point_is_the_one_shown():
    verdict = agree_within("c", [1.0, 2.0, 3.0], [1.0, 2.5, 3.1], [1.0, 1.0, 0.05], "b")
    assert (verdict.prediction, verdict.measurement, verdict.error) == (3.0, 3.1, 0.05)
    verdict = relative_within("c", [1.0, 10.0], [1.2, 10.5], 0.1, "b")
    assert (verdict.prediction, verdict.measurement) == (1.0, 1.2)
    verdict = z_score("c", [1.0, 1.0], [1.1, 1.2], [0.01, 0.1])
    assert (verdict.measurement, verdict.error) == (1.1, pytest.approx(0.05))
    verdict = bound_holds("c", [1.0, 2.0], [0.9, 1.99])
    assert (verdict.prediction, verdict.measurement) == (2.0, 1.99)
    verdict = bound_tight("c", [2.0, 9.0], [1.0, 9.0], 3.0)
    assert (verdict.prediction, verdict.measurement) == (2.0, 1.0)
    verdict = gap_shrinks("c", 1.0, [1.4, 1.2, 1.1], 0.2)
    assert verdict.measurement == 1.1


@pytest.mark.parametrize("limit", [2.0, 5.0])
def test_z_score_passes_up_to_its_limit_and_not_beyond(limit):
    assert z_score("c", 0.0, limit * (1 - 1e-9), 1.0, limit).passed
    assert not z_score("c", 0.0, limit * (1 + 1e-9), 1.0, limit).passed


def test_z_score_rejects_at_the_rate_of_a_normal_variable():
    draws = np.random.default_rng(0).standard_normal(4000)
    rejected = np.mean([not z_score("c", 0.0, draw, 1.0, 2.0).passed for draw in draws])
    # 4.55 % two-sided beyond two; five standard errors of 4000 draws are 1.6 %.
    assert abs(rejected - 0.0455) < 0.0165


@pytest.mark.parametrize(
    ("kind", "published", "measured", "outcome"),
    [
        (finding_near, 0.62, 0.55, AGREES),
        (finding_near, 0.62, 0.51, DISAGREES),
        (finding_above, 0.5, 0.61, AGREES),
        (finding_above, 0.5, 0.59, OPEN),
        (finding_above, 0.5, 0.41, OPEN),
        (finding_above, 0.5, 0.39, DISAGREES),
        (finding_below, 0.5, 0.39, AGREES),
        (finding_below, 0.5, 0.41, OPEN),
        (finding_below, 0.5, 0.61, DISAGREES),
    ],
)
def test_findings_of_others_agree_disagree_or_stay_open_and_never_fail(
    kind, published, measured, outcome
):
    verdict = kind("claim", published, measured, 0.1, "two standard errors")
    assert (verdict.finding, verdict.word, verdict.passed) == (outcome, outcome, True)


@pytest.mark.parametrize("kind", [finding_near, finding_above, finding_below])
@pytest.mark.parametrize("numbers", [(np.nan, 1.0, 0.1), (1.0, np.inf, 0.1), (1.0, 1.0, 0.0)])
def test_a_finding_without_numbers_or_an_error_fails(kind, numbers):
    verdict = kind("claim", *numbers, "nothing")
    assert not verdict.passed
    assert verdict.word == "FAILS"
