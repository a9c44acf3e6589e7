"""`quadlaw fit` from a file to a report, and its refusals."""

import json

import numpy as np
import pandas as pd
import pytest

from experiments.cli import run_command

from .test_theory_fitting import TRUE, design


@pytest.fixture
def table(tmp_path):
    size, tokens, loss = design(0.002)
    frame = pd.DataFrame({"params": size, "toks": tokens, "final": loss, "bad": False})
    frame.loc[len(frame)] = [1e9, 1e9, 99.0, True]
    file = tmp_path / "runs.csv"
    frame.to_csv(file, index=False)
    return file


def arguments(file, out, *extra):
    columns = ["--n", "params", "--d", "toks", "--loss", "final", "--drop", "bad"]
    small = ["--starts", "16", "--bootstrap", "40"]
    return ["fit", str(file), *columns, *small, "--out", str(out), *extra]


def test_a_report_holds_the_law_and_prints_it(table, tmp_path, capsys):
    out = tmp_path / "report"
    assert run_command(arguments(table, out, "--budgets", "1e21", "1e23")) == 0
    record = json.loads((out / "fit.json").read_text())
    for name, value in TRUE.items():
        low, high = record["intervals_95"][name]
        assert low < record["parameters"][name] < high
        assert record["parameters"][name] == pytest.approx(value, rel=0.5)
    assert record["rows_dropped"] == 1
    assert [entry["flops"] for entry in record["allocations"]] == [1e21, 1e23]
    assert (out / "fit.png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    for word in ("gradient norm", "starts that agree", "Correlation", "N*, parameters"):
        assert word in printed
    assert str(tmp_path) not in (out / "fit.json").read_text()


def test_parquet_and_a_second_run_replace_the_report(table, tmp_path):
    parquet = tmp_path / "runs.parquet"
    pd.read_csv(table).to_parquet(parquet)
    out = tmp_path / "report"
    assert run_command(arguments(table, out)) == 0
    first = json.loads((out / "fit.json").read_text())
    assert run_command(arguments(parquet, out)) == 0
    second = json.loads((out / "fit.json").read_text())
    assert second["parameters"] == pytest.approx(first["parameters"], rel=1e-9)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "report",
        "runs.csv",
        "runs.parquet",
    ]


@pytest.mark.parametrize(
    ("column", "entry", "message"),
    [
        ("final", "oops", "line 4: final must be a finite positive number, got oops"),
        ("final", np.nan, "line 4: final must be"),
        ("final", 0.0, "line 4: final must be"),
        ("params", -1.0, "line 4: params must be"),
        ("toks", np.inf, "line 4: toks must be"),
        ("bad", "maybe", "line 4: bad must be true or false"),
    ],
)
def test_bad_entries_are_named_by_line(table, tmp_path, capsys, column, entry, message):
    frame = pd.read_csv(table).astype(object)
    frame.loc[2, column] = entry
    frame.to_csv(table, index=False)
    assert run_command(arguments(table, tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_missing_things_are_named(table, tmp_path, capsys):
    assert run_command(["fit", str(table)]) == 2
    assert "no column 'N'; it has: params, toks, final, bad" in capsys.readouterr().err
    assert run_command(arguments(tmp_path / "none.csv", tmp_path / "out")) == 2
    assert "there is no file" in capsys.readouterr().err
    assert run_command(arguments(table, tmp_path / "out", "--delta", "-1")) == 2
    assert "--delta must be positive, got -1" in capsys.readouterr().err
    assert run_command(arguments(table, tmp_path / "out", "--bootstrap", "1")) == 2
    assert "--bootstrap must be at least 2" in capsys.readouterr().err
    (tmp_path / "broken.parquet").write_bytes(b"not a table")
    assert run_command(arguments(tmp_path / "broken.parquet", tmp_path / "out")) == 2
    assert "cannot read broken.parquet" in capsys.readouterr().err


def test_too_few_runs_are_refused(table, tmp_path, capsys):
    pd.read_csv(table).iloc[[0, 20, 40, 60]].to_csv(table, index=False)
    assert run_command(arguments(table, tmp_path / "out")) == 2
    assert "at least 5 distinct runs" in capsys.readouterr().err


def test_a_column_that_never_varies_is_refused_by_its_name(table, tmp_path, capsys):
    pd.read_csv(table).assign(toks=1e9).to_csv(table, index=False)
    assert run_command(arguments(table, tmp_path / "out")) == 2
    assert "runs.csv: toks is 1e+09 in every row" in capsys.readouterr().err


def test_whole_runs_are_resampled_by_their_column(table, tmp_path, capsys):
    frame = pd.read_csv(table)
    frame["run"] = [f"run {i // 8}" for i in range(len(frame))]
    frame.to_csv(table, index=False)
    assert run_command(arguments(table, tmp_path / "out", "--cluster", "run")) == 0
    assert "resampled whole runs" in " ".join(capsys.readouterr().out.split())
    frame["run"] = "one"
    frame.to_csv(table, index=False)
    assert run_command(arguments(table, tmp_path / "one", "--cluster", "run")) == 2
    assert "names one training run only" in capsys.readouterr().err
    frame.loc[2, "run"] = None
    frame.to_csv(table, index=False)
    assert run_command(arguments(table, tmp_path / "one", "--cluster", "run")) == 2
    assert "line 4: run is empty" in capsys.readouterr().err


def test_a_folder_that_is_no_report_is_left_alone(table, tmp_path, capsys):
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter").write_text("words")
    assert run_command(arguments(table, precious)) == 2
    assert "left untouched" in capsys.readouterr().err
    assert (precious / "chapter").read_text() == "words"


def test_blank_lines_are_passed_over_and_still_counted(table, tmp_path, capsys):
    lines = table.read_text().splitlines()
    lines.insert(3, "")
    lines[6] = lines[6].replace("False", "perhaps")
    table.write_text("\n".join(lines) + "\n")
    assert run_command(arguments(table, tmp_path / "out")) == 2
    assert "line 7: bad must be true or false" in capsys.readouterr().err
