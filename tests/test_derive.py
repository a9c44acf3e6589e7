"""`quadlaw derive`: tables, files, complaints."""

import io

import pytest
from rich.console import Console

from experiments.arguments import parse
from experiments.derive import DeriveOptions, derive_command
from experiments.errors import UserError


def run(*arguments):
    console = Console(file=io.StringIO(), width=200, highlight=False)
    options = parse(DeriveOptions, list(arguments), "quadlaw derive")
    assert derive_command(options, console) == 0
    return console.file.getvalue()


def test_the_first_example_prints_laws_family_and_what_decides():
    text = run("kovalev", "--tune", "learning_rate,momentum,batch_size", "--budget", "tokens")
    for piece in ("T^(-7/12)", "T^(-1/3)", "T^(1/6)", "T^(-1/4)", "B*T^(-3/4)", "B*T^(-1/2)"):
        assert piece in text
    assert "from constant to T^(1/2)" in text
    assert "burn_in, smoothness decide" in text
    assert "caveat: " in text


def test_held_values_constants_and_budgets_are_used():
    text = run(
        "kovalev", "--tune", "eta,momentum", "--hold", "batch_size=32",
        "--constants", "Delta=3", "L=2", "--at", "1e12",
    )  # fmt: skip
    assert "held: batch_size = 32" in text
    assert "B Delta^(3/4)" in text
    # 2 sqrt(2) (2 * 2 * 3)^(1/4) sqrt(2) = 7.4448.
    assert "7.4448" in text
    assert "1e+12" in text


def test_a_power_of_the_budget_can_be_held():
    assert "T^(-1/4)" in run("kovalev", "--tune", "eta", "--hold", "batch_size=T^(1/2)")


def test_a_tie_that_nothing_breaks_is_said():
    assert "no term of any order decides" in run("sgd", "--tune", "learning_rate,batch_size")


def test_an_active_constraint_is_said():
    assert "active: 1 - momentum <= 1" in run("relaxed")


def test_a_file_of_ones_own_is_read(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('expression = "1/(eta*K) + sqrt(1/B) + eta"\n')
    text = run(str(path), "--tune", "learning_rate,batch_size")
    assert "mine" in text
    assert "T^(1/2)" in text


@pytest.mark.parametrize(
    ("arguments", "error", "complaint"),
    [
        (("kovalov",), UserError, "Did you mean kovalev"),
        (("kovalev", "--hold", "B"), UserError, "--hold needs name=value, got 'B'"),
        (("kovalev", "--hold", "B=1", "B=2"), UserError, "gives B twice"),
        (("kovalev", "--constants", "L=x"), UserError, "must be a number"),
        (("kovalev", "--tune", "eta,B", "--budget", "steps"), ValueError, "no minimum"),
        (("kovalev", "--tune", ""), ValueError, "at least one"),
        (("kovalev", "--hold", "width=2"), ValueError, "in no term"),
        (("kovalev", "--at", "0.5"), ValueError, "no room|too small"),
        (("missing.toml",), OSError, "missing"),
        (("kovalev", "--tunes", "eta"), UserError, "--tune"),
    ],
)
def test_a_wrong_request_is_one_line(arguments, error, complaint):
    with pytest.raises(error, match=complaint) as caught:
        run(*arguments)
    assert "\n" not in str(caught.value)


def test_bounds_that_are_no_posynomials_are_tuned_numerically_and_say_so():
    text = run("sharper", "--at", "1e12", "--constants", "sigma=2")
    for piece in ("T^(-0.2500", "T^(0.5000", "nothing here is exact", "1 - momentum"):
        assert piece in text
    # B* = rho sigma sqrt(2 T / (L Delta)) with no momentum.
    assert f"{2 * 2**0.5 * 1e6:.5g}" in text.replace(",", "")
    held = run("sharper", "--tune", "eta,momentum", "--hold", "batch_size=4")
    assert "T^(-0.7500" in held
    assert "held: batch_size = 4" in held
    assert "T^(0.66" in run("kl", "--tune", "eta,batch_size")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sharper", "--budget", "steps"], "tokens only"),
        (["sharper", "--constants", "weight_decay=1"], "no constant 'weight_decay'"),
        (["sharper", "--tune", "eta", "--hold", "batch_size=T^(1/2)"], "must be a number"),
        (["kl", "--constants", "weight_decay=-1"], "`weight_decay`"),
    ],
)
def test_what_numeric_bounds_do_not_take_is_said(arguments, words):
    with pytest.raises((UserError, ValueError), match=words):
        run(*arguments)
