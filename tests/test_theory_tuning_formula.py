"""Bounds as data: files, ranges, budgets, names."""

from fractions import Fraction as Fr

import pytest

from theory.bound_file import bound_from_mapping, read_bound
from theory.bound_formula import Range, bound_formula, budget, letter
from theory.bound_library import BOUNDS
from theory.expressions import parse_monomial
from theory.tuned_optimum import optimum
from theory.tuning import derive

TOML = """
name = "mine"
expression = "Delta/(learning_rate*steps) + 2*sigma*sqrt(alpha/batch_size) + L*eta/alpha + L*eta"
at_most_one = ["L*eta"]
[constants]
Delta = 3
L = 2.0
[variables.alpha]
at_least = 0.01
at_most = 1
[budgets.flops]
name = "C"
replaced = {K = "C/(N*B)"}
"""


def test_a_file_is_read_and_gives_laws(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TOML)
    bound = read_bound(path)
    assert bound.name == "mine"
    assert bound.constants == {"Delta": 3.0, "L": 2.0}
    assert bound.ranges["alpha"] == Range(0.01, 1.0)
    assert bound.at_most_one == (parse_monomial("L*eta"),)
    assert set(bound.terms) == {"term_1", "term_2", "term_3", "term_4"}
    laws = derive(bound, ["eta", "B"], hold={"momentum": 0.5})
    assert {law.variable: law.exponent for law in laws.laws} == {"eta": Fr(-1, 4), "B": Fr(1, 2)}
    best = optimum(laws, 1e3)
    assert best.values["alpha"] == 0.5
    assert best.values["eta"] <= 0.5


def test_named_terms_keep_their_names_and_sums_are_numbered():
    bound = bound_formula("named", {"gap": "Delta/(eta*K)", "step": "L*eta*(1 + 2/alpha)"})
    assert list(bound.terms) == ["gap", "step_1", "step_2"]
    assert bound.names == ("Delta", "K", "L", "alpha", "eta")


def test_words_stand_for_letters():
    assert letter("batch-size") == letter("batch_size") == "B"
    assert letter("momentum") == "alpha"
    assert letter("width") == "width"
    bound = bound_formula("words", "1/(learning_rate*steps) + learning_rate/batch_size")
    assert bound.names == ("B", "K", "eta")


def test_every_built_in_bound_gives_laws_for_its_learning_rate():
    for bound in BOUNDS.values():
        laws = derive(bound, ["learning_rate"], "steps")
        assert laws.law("eta").exponent == Fr(-1, 2)
        assert bound.source


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({}, "either `expression` or"),
        ({"expression": "x", "terms": {"a": "x"}}, "either `expression` or"),
        ({"expression": "x", "tokens": 3}, "unknown entry 'tokens'"),
        ({"expression": 3}, "`expression` must be text"),
        ({"terms": {"a": 3}}, "`terms.a` must be text"),
        ({"terms": 3}, "`terms` must be a table"),
        ({"expression": "x - y"}, "no posynomial"),
        ({"expression": "momentum*eta"}, "write alpha"),
        ({"expression": "x", "constants": {"x": -1}}, "`x` must be"),
        ({"expression": "x", "constants": {"x": "one"}}, "`x` must be a number"),
        ({"expression": "x", "variables": {"x": 3}}, "variables.x must be a table"),
        ({"expression": "x", "variables": {"x": {"below": 3}}}, "unknown entry 'below'"),
        (
            {"expression": "x", "variables": {"x": {"at_most": True}}},
            "`x.at_most` must be a number",
        ),
        ({"expression": "x", "variables": {"x": {"at_most": 0}}}, "`x` must be"),
        ({"expression": "x", "variables": {"x": {"at_least": 3, "at_most": 2}}}, "empty range"),
        ({"expression": "x", "budgets": {"c": {"replaced": {"x": "y+z"}}}}, "must be one term"),
        ({"expression": "x", "budgets": {"c": {"name": 3}}}, "must be text"),
        ({"expression": "x", "at_most_one": "x"}, "must be a list"),
    ],
)
def test_a_wrong_entry_is_named_in_one_line(table, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        bound_from_mapping({"name": "bad", **table})
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_toml_is_refused(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("name = ")
    with pytest.raises(ValueError, match=r"bad\.toml: "):
        read_bound(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"bad\.toml: "):
        read_bound(path)
    with pytest.raises(OSError, match="missing"):
        read_bound(tmp_path / "missing.toml")


def test_a_budget_that_replaces_in_a_circle_is_refused():
    with pytest.raises(ValueError, match="itself replaced"):
        budget("C", {"K": "C/N", "N": "C/K"})
