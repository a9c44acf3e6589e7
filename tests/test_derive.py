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
