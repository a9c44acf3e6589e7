"""The command line: exit codes, one-line complaints, records found again."""

import errno
import importlib.metadata
import signal
import subprocess
import sys
from dataclasses import dataclass, field

import pandas as pd
import pytest

from experiments import claims, cli, studies
from experiments.arguments import parse, take_flag, take_value, unknown
from experiments.compare import agree_within
from experiments.errors import UserError

from .toy_study import Toy, ToyConfig


@pytest.fixture
def toy(monkeypatch, tmp_path):
    toy = Toy()
    monkeypatch.setitem(studies.STUDIES, "toy", toy.study())
    monkeypatch.setenv("QUADLAW_RESULTS", str(tmp_path / "results"))
    monkeypatch.chdir(tmp_path)
    return toy


@pytest.fixture
def quadlaw(toy, capsys):
    def call(*arguments):
        code = cli.run_command(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_run_computes_then_answers_from_the_record(toy, quadlaw):
    code, out, _ = quadlaw("run", "toy")
    assert (code, toy.computed) == (0, 1)
    assert "Powers" in out
    assert "computed in" in out
    code, out, _ = quadlaw("run", "toy")
    assert (code, toy.computed) == (0, 1)
    assert "from its record" in out


def test_run_takes_fields_presets_and_force(toy, quadlaw, tmp_path):
    assert quadlaw("run", "toy", "--base", "3.5", "--count=3")[0] == 0
    assert quadlaw("run", "toy", "--quick")[0] == 0
    assert quadlaw("run", "toy", "--quick", "--base", "3.5")[0] == 0
    assert quadlaw("run", "toy", "--quick", "--base", "3.5", "--force")[0] == 0
    assert quadlaw("run", "toy", "--results", str(tmp_path / "other"))[0] == 0
    assert toy.computed == 5
    assert len(list((tmp_path / "results" / "toy").iterdir())) == 3
    assert len(list((tmp_path / "other" / "toy").iterdir())) == 1


BAD = {
    "unknown command": (["runn"], ["'runn'", "Did you mean run?"]),
    "no study": (["run"], ["name of a study", "decomposition"]),
    "unknown study": (["run", "bigrams"], ["study 'bigrams'", "emergence", "mean bigram?"]),
    "unknown field": (["run", "toy", "--bas", "1"], ["'--bas'", "--count", "Did you mean --base?"]),
    "text for a number": (["run", "toy", "--count", "many"], ["--count", "'many'"]),
    "missing value": (["run", "toy", "--count"], ["--count"]),
    "stray word": (["run", "toy", "word"], ["word"]),
    "refused by the study": (["run", "toy", "--count", "-1"], ["`count`", "at least 1", "-1"]),
    "missing results": (["run", "toy", "--results"], ["--results needs a value"]),
    "negative exponent": (["run", "decomposition", "--capacity", "-1"], ["positive", "-1"]),
    "NaN exponent": (["run", "decomposition", "--source", "nan"], ["source", "nan"]),
    "source below one": (["run", "emergence", "--source", "0.9"], ["source", "0.9"]),
    "no such text": (["run", "bigram", "--text", "/no/such"], ["/no/such"]),
    "unknown figure": (["figures", "chinchila"], ["'chinchila'", "Did you mean chinchilla?"]),
    "unknown figure option": (["figures", "--quik"], ["'--quik'", "Did you mean --quick?"]),
    "unknown claims": (["validate", "sdg"], ["'sdg'", "Did you mean sgd?"]),
    "unknown list option": (["list", "--all"], ["'--all'", "--results"]),
    "unknown method": (["curve", "adamm"], ["'adamm'", "gd", "sgd"]),
    "size below one": (["curve", "sgd", "--size", "0"], ["`size`", "at least 1", "got 0"]),
    "no file": (["fit", "nowhere.csv"], ["nowhere.csv"]),
    "fit without a file": (["fit"], ["Missing", "PATH"]),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_input_is_one_clear_line_and_exit_code_two(quadlaw, tmp_path, name):
    arguments, words = BAD[name]
    code, out, err = quadlaw(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("quadlaw: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert not list(tmp_path.glob("results/*/*"))


def test_debug_shows_the_traceback_as_well(quadlaw):
    code, _, err = quadlaw("run", "toy", "--count", "-1", "--debug")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("quadlaw: `count`")


@pytest.mark.parametrize(
    ("failure", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "quadlaw: interrupted; what was saved before is whole.\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "results"), 2, "Permission denied"),
    ],
)
def test_interruption_and_full_disk_leave_whole_records_only(
    toy, quadlaw, tmp_path, failure, code, line
):
    quadlaw("run", "toy")
    toy.failure = failure
    for arguments in (["--force"], ["--base", "7"]):
        got, _, err = quadlaw("run", "toy", *arguments)
        assert got == code
        assert line in err
        assert err.count("quadlaw: ") == 1
    assert len(list((tmp_path / "results" / "toy").iterdir())) == 1
    toy.failure = None
    assert quadlaw("run", "toy")[0] == 0
    assert toy.computed == 3


def test_a_damaged_record_names_its_path_and_the_way_out(toy, quadlaw, tmp_path):
    quadlaw("run", "toy")
    (path,) = (tmp_path / "results" / "toy").iterdir()
    (path / "zarr.json").write_text("{")
    code, _, err = quadlaw("run", "toy")
    assert code == 2
    assert str(path) in err
    assert "--force" in err
    assert quadlaw("run", "toy", "--force")[0] == 0
    assert quadlaw("run", "toy")[0] == 0
    assert toy.computed == 2


def one_claim(passes):
    def check(quick):
        return [agree_within(f"toy claim, quick {quick}", 1.0, 1.0 if passes else 2.0, 0.1, "none")]

    return check


@pytest.mark.parametrize(("passes", "code", "word"), [(True, 0, "holds"), (False, 1, "FAILS")])
def test_validate_prints_a_row_a_claim_and_fails_with_one(
    quadlaw, tmp_path, monkeypatch, passes, code, word
):
    monkeypatch.setitem(claims.CLAIMS, "toy", one_claim(passes))
    got, out, _ = quadlaw("validate", "toy", "--quick")
    assert got == code
    assert "toy claim, quick True" in out
    assert word in out
    (row,) = pd.read_csv(tmp_path / "results" / "validation.csv").to_dict("records")
    assert row["passed"] is passes
    assert row["prediction"] == 1.0


def test_list_names_studies_records_figures_and_claims(quadlaw):
    quadlaw("run", "toy")
    code, out, _ = quadlaw("list")
    assert code == 0
    (row,) = [line for line in out.splitlines() if "powers of a base" in line]
    assert row.rstrip(" │").endswith("1")
    for name in (*studies.STUDIES, *claims.CLAIMS, "chinchilla"):
        assert name in out


def test_curve_prints_the_parts(quadlaw):
    code, out, _ = quadlaw("curve", "gd", "--size", "1e4", "--steps", "10", "1e3")
    assert code == 0
    for word in ("approximation", "bias", "1000", "nodes"):
        assert word in out


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"], ["run", "--help"]])
def test_help_shows_every_command_and_examples(quadlaw, arguments):
    code, out, _ = quadlaw(*arguments)
    assert code == 0
    for command in ("run", "list", "figures", "validate", "fit", "curve"):
        assert f"quadlaw {command}" in out


@pytest.mark.parametrize("command", ["run toy", "list", "figures", "validate", "fit", "curve"])
def test_help_of_a_command_describes_its_options(toy, capsys, command):
    with pytest.raises(SystemExit) as leave:
        cli.run_command([*command.split(), "--help"])
    assert leave.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: quadlaw {command}" in out
    assert "default:" in out


def test_version_is_the_installed_one(quadlaw):
    assert quadlaw("--version")[1] == f"quadlaw {importlib.metadata.version('quadlaw')}\n"


def test_take_value_and_flag_remove_what_they_take():
    arguments = ["--a", "1", "--b=2", "--c", "--c"]
    assert take_value(arguments, "--a") == "1"
    assert take_value(arguments, "--b") == "2"
    assert take_value(arguments, "--a") is None
    assert take_flag(arguments, "--c")
    assert arguments == []
    assert not take_flag(arguments, "--c")


def test_parse_accepts_both_spellings_and_refuses_the_rest():
    assert parse(ToyConfig, ["--base=3"], "toy") == ToyConfig(base=3.0)
    with pytest.raises(UserError, match=r"unknown field '--bases'.*--base, --count"):
        parse(ToyConfig, ["--bases=3"], "toy")


@dataclass(frozen=True)
class Nested:
    """Two of them."""

    toy: ToyConfig = field(default_factory=ToyConfig)
    """One."""
    other: int = 1
    """Another."""


def test_fields_of_nested_configurations_are_named_with_a_dot():
    assert parse(Nested, ["--toy.base", "3"], "n") == Nested(ToyConfig(base=3.0))
    with pytest.raises(UserError, match=r"'--toy.bas'.*--toy.base, .*mean --toy.base\?"):
        parse(Nested, ["--toy.bas=3"], "n")
    with pytest.raises(UserError, match="unknown field '--toy'"):
        parse(Nested, ["--toy", "3"], "n")


def test_a_far_name_gets_no_suggestion():
    assert "mean" not in unknown("study", "zzz", ["decomposition"])


def test_the_script_sets_double_precision_and_exit_codes(tmp_path):
    program = [sys.executable, "-c", "from experiments.cli import main; main()"]
    curve = [*program, "curve", "sgd", "--size", "1e12", "--steps", "1e12"]
    done = subprocess.run(curve, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "1e+12" in done.stdout
    assert done.stderr == ""
    refused = subprocess.run(
        [*program, "curve", "sgd", "--source", "1"], capture_output=True, text=True, cwd=tmp_path
    )
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_ends_a_real_run_with_130_and_no_half_record(tmp_path):
    # A test run started in the background inherits an ignored SIGINT, a terminal's child does not.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from experiments.cli import main; main()"
    )
    arguments = ["run", "emergence", "--sizes-per-decade", "5000"]
    child = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        assert child.stderr is not None
        assert child.stderr.readline().startswith("exact losses: ")  # it computes
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
    finally:
        child.kill()
    assert child.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert not list((tmp_path / "results").rglob("*"))
