"""Every public formula says what it returns, its kind, where it holds and where it is from."""

import ast
import re
from pathlib import Path

import pytest

THEORY = Path(__file__).resolve().parent.parent / "theory"
KINDS = ("exact", "upper bound", "lower bound", "asymptotic", "fit", "definition")


def public_functions(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield f"{path.stem}.{node.name}", node


# Argument checks are no formulas.
FUNCTIONS = {
    name: node
    for path in sorted(THEORY.rglob("*.py"))
    for name, node in public_functions(path)
    if not node.name.startswith("check_") and path.stem != "checks"
}


def test_the_search_finds_the_formulas():
    assert {"linear_methods.gd", "sgd.sgd", "spectrum.compress"} <= set(FUNCTIONS)


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_a_formula_states_kind_validity_and_source(name):
    text = ast.get_docstring(FUNCTIONS[name]) or ""
    fields = {key: re.search(rf"^{key}: (.+)", text, re.M) for key in ("Kind", "Valid", "Source")}
    assert [key for key, found in fields.items() if not found] == []
    assert re.search(r"^Returns:$", text, re.M)
    assert fields["Kind"].group(1).startswith(KINDS)


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_every_argument_is_described(name):
    text = ast.get_docstring(FUNCTIONS[name]) or ""
    arguments = FUNCTIONS[name].args
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        assert re.search(rf"^\s+\W*[\w, ]*\b{argument.arg}\b.*:", text, re.M), argument.arg
