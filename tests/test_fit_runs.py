"""`quadlaw fit` from a file to a report, and its refusals."""

import html
import json
import re
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from experiments.cli import run_command
from experiments.errors import UserError
from experiments.fit_data import data_of
from experiments.fit_options import FitOptions
from experiments.fit_tables import _correlations
from experiments.run_table import read_table
from theory.law_forms import SEPARATE, SHARED, parameter_labels

from .test_theory_fitting import TRUE, design
from .test_theory_shared_fitting import synthetic


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
    small = ["--starts", "16", "--bootstrap", "40", "--basic"]
    return ["fit", str(file), *columns, *small, "--report", str(out), *extra]


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
    assert run_command(arguments(table, tmp_path / "out", "--group", "run")) == 0
    assert "resampled whole runs" in " ".join(capsys.readouterr().out.split())
    frame["run"] = "one"
    frame.to_csv(table, index=False)
    assert run_command(arguments(table, tmp_path / "one", "--group", "run")) == 2
    assert "names one training run only" in capsys.readouterr().err
    frame.loc[2, "run"] = None
    frame.to_csv(table, index=False)
    assert run_command(arguments(table, tmp_path / "one", "--group", "run")) == 2
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


@pytest.fixture(name="cells")
def _cells(tmp_path):
    data = synthetic(0.001, sizes=4)
    frame = pd.DataFrame({"N": data.size, "D": data.tokens, "loss": data.loss})
    frame["opt"] = np.array(data.groups)[data.group]
    file = tmp_path / "cells.csv"
    frame.to_csv(file, index=False)
    return file


def shared(file, out, *extra):
    chosen = ["--law", "shared", "--optimizer-column", "opt"]
    small = ["--starts", "8", "--bootstrap", "40"]
    return ["fit", str(file), *chosen, *small, "--report", str(out), *extra]


@pytest.mark.slow
def test_a_shared_law_reports_rescalings_diagnostics_and_predictions(cells, tmp_path, capsys):
    out = tmp_path / "report"
    asked = ["--reference", "lion", "--holdout", "N>1e9", "--predict", "N=70e9,D=1.4e12"]
    assert run_command(shared(cells, out, *asked, "--relative-cost", "muon=1.5")) == 0
    record = json.loads((out / "fit.json").read_text())
    assert record["rescalings"]["rho_D"]["lion"] == 1.0
    assert record["rescalings"]["rho_D"]["muon"] == pytest.approx(1.71 / 0.9, rel=0.2)
    assert record["relative_cost"] == {"adamw": 1.0, "muon": 1.5, "lion": 1.0}
    assert len(record["predicted"]) == 3
    assert all(abs(one["loss"] - one["measured"]) < 0.02 for one in record["held_out"])
    found = record["diagnostics"]
    assert [one["law"] for one in found["comparison"]] == ["shared", "separate"]
    assert set(found["exponent_without"]) == {"adamw", "muon", "lion"}
    assert set(found["profile_intervals"]) == {"log E", "alpha", "beta"}
    by_cost = {one["optimizer"]: one for one in record["allocations"]}
    spent = 6 * 1.5 * by_cost["muon"]["size"] * by_cost["muon"]["tokens"]
    assert spent == pytest.approx(by_cost["muon"]["flops"], rel=1e-9)
    page = (out / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page
    assert page.count("<table>") == page.count("</table>") >= 10
    assert "Rescalings against lion" in page
    latex = (out / "fit.tex").read_text()
    assert latex.count(r"\toprule") == page.count("<table>")
    assert "L = E + A\\_o N\\textasciicircum{}-alpha" in latex
    assert "Most influential runs" in capsys.readouterr().out


def test_separate_laws_show_the_correlations_of_the_first():
    labels = parameter_labels(SEPARATE, ("adamw", "muon"))
    matrix = np.arange(100.0).reshape(10, 10)
    fit = SimpleNamespace(labels=labels, data=SimpleNamespace(groups=("adamw", "muon")))
    analysis = SimpleNamespace(fit=fit, conditions=SimpleNamespace(correlation=matrix))
    table = _correlations(analysis)
    assert table.columns[1:] == labels[::2]
    assert all(label.endswith("[adamw]") for label in labels[::2])
    assert table.rows[1][1:] == ("+20.000", "+22.000", "+24.000", "+26.000", "+28.000")


def test_several_columns_may_name_the_optimizer_together(cells, tmp_path):
    frame = pd.read_csv(cells)
    frame["precision"] = np.where(np.arange(len(frame)) % 2, "16", "4")
    frame.to_csv(cells, index=False)
    table, _ = read_table(cells, "N", "D", "loss", optimizer="opt+precision")
    assert table.optimizer is not None
    assert set(table.optimizer) == {f"{o}+{p}" for o in set(frame.opt) for p in ("16", "4")}
    frame.loc[3, "precision"] = None
    frame.to_csv(cells, index=False)
    with pytest.raises(UserError, match=r"line 5: .*opt\+precision"):
        read_table(cells, "N", "D", "loss", optimizer="opt+precision")
    with pytest.raises(UserError, match="no column 'other'"):
        read_table(cells, "N", "D", "loss", optimizer="opt+other")


def test_fewer_cells_are_taken_on_request_only(cells, tmp_path, capsys):
    frame = pd.read_csv(cells)
    few = pd.concat([frame[frame.opt != "muon"], frame[frame.opt == "muon"].head(3)])
    few.to_csv(cells, index=False)
    assert run_command(shared(cells, tmp_path / "report")) == 2
    assert "at least 4" in capsys.readouterr().err
    options = FitOptions(cells, law="shared", optimizer_column="opt", least_cells=3)
    table, _ = read_table(cells, "N", "D", "loss", optimizer="opt")
    assert data_of(table, options, SHARED).groups == ("adamw", "lion", "muon")
    assert run_command(shared(cells, tmp_path / "report", "--least-cells", "1")) == 2
    assert "--least-cells must be at least 2" in capsys.readouterr().err


# A browser shows what a parser of the same library would not: pictures it cannot decode, a column
# wider than the window, a request that leaves the page.
WATCH = """<script>
addEventListener("load", () => {
  const pictures = [...document.images];
  const loaded = performance.getEntriesByType("resource").map(one => one.name);
  document.documentElement.dataset.seen = JSON.stringify({
    pictures: pictures.length,
    decoded: pictures.filter(one => one.complete && one.naturalWidth > 600).length,
    overflow: document.documentElement.scrollWidth - innerWidth,
    requests: loaded.filter(name => !name.startsWith("data:")).length,
    heading: document.querySelector("h1").textContent,
  });
});
</script></head>"""
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="no chromium or chrome on this machine")
def test_the_page_opens_in_a_real_browser(cells, tmp_path):
    out = tmp_path / "report"
    assert run_command(shared(cells, out, "--reference", "lion", "--basic")) == 0
    page = (out / "index.html").read_text()
    watched = tmp_path / "watched.html"
    watched.write_text(page.replace("</head>", WATCH))
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'user'}"]
    shown = subprocess.run(
        [BROWSER, *quiet, "--window-size=1000,800", "--dump-dom", watched.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'data-seen="([^"]*)"', shown.stdout)
    assert found, shown.stderr
    seen = json.loads(html.unescape(found.group(1)))
    assert seen["pictures"] == seen["decoded"] == page.count("data:image/png;base64,")
    assert seen["overflow"] <= 0
    assert seen["requests"] == 0
    assert "cells.csv" in seen["heading"]


TOML = """
name = "mine"
grouped = ["A"]
[[terms]]
coefficient = "E"
[[terms]]
coefficient = "A"
powers = { N = "alpha", D = "alpha" }
"""


def test_a_law_of_ones_own_is_fitted(cells, tmp_path):
    (tmp_path / "mine.toml").write_text(TOML)
    out = tmp_path / "report"
    own = ["--law", str(tmp_path / "mine.toml"), "--basic"]
    assert run_command(shared(cells, out, *own)) == 0
    record = json.loads((out / "fit.json").read_text())
    assert record["law"] == "L = E + A_o N^-alpha D^-alpha"
    assert len(record["parameters"]["A"]) == 3
    assert record["allocations"] == []


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--reference", "sgd"], "--reference 'sgd' has no rows; there are: adamw, muon, lion"),
        (["--law", "kaplan"], "--law 'kaplan' is unknown; there are: chinchilla, shared"),
        (["--law", "chinchilla"], "nothing that differs between optimizers"),
        (["--optimizer-column", ""], "--law shared needs --optimizer-column"),
        (["--optimizer-column", "name"], "no column 'name'; it has: N, D, loss, opt"),
        (["--keep", "N"], "condition 'N' must be COLUMN OPERATOR VALUE"),
        (["--keep", "N<big"], "N < 'big' compares with what is no number"),
        (["--keep", "N<1"], "no rows left to fit"),
        (["--holdout", "opt=lion"], "--holdout sets aside rows of lion"),
        (["--predict", "N=1e9"], "must name N and D"),
        (["--predict", "N=1e9,D=x"], "'D=x' must be NAME=NUMBER"),
        (["--relative-cost", "sgd=2"], "no rows of 'sgd'"),
        (["--relative-cost", "muon=0"], "must be NAME=NUMBER with a positive number"),
        (["--penalty", "0.5"], "--penalty must be at least 1"),
        (["--max-loss", "0"], "--max-loss must be positive"),
        (["--keep", "N<2e8", "D<1.2e10"], "N is 1.3e+08 in every row"),
    ],
)
def test_what_a_shared_fit_cannot_use_is_named(cells, tmp_path, capsys, extra, message):
    assert run_command(shared(cells, tmp_path / "out", "--basic", *extra)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_optimizer_with_too_few_cells_is_named(cells, tmp_path, capsys):
    frame = pd.read_csv(cells)
    frame.loc[:2, "opt"] = "few"
    frame.to_csv(cells, index=False)
    assert run_command(shared(cells, tmp_path / "out")) == 2
    assert "'few' has 3 distinct (N, D) cells; at least 4" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["name = 3 =", "[terms]\nx = 1", '[[terms]]\npowers = {N = "a"}'])
def test_a_broken_law_file_is_named(cells, tmp_path, capsys, text):
    (tmp_path / "mine.toml").write_text(text)
    law = ["--law", str(tmp_path / "mine.toml")]
    assert run_command(shared(cells, tmp_path / "out", *law)) == 2
    assert "mine.toml is no law" in capsys.readouterr().err


def test_repeated_runs_are_refused_until_one_says_what_to_do(table, tmp_path, capsys):
    frame = pd.read_csv(table)
    frame.loc[len(frame)] = [*frame.iloc[4, :2], frame.final[4] + 0.1, False]
    frame.to_csv(table, index=False)
    assert run_command(arguments(table, tmp_path / "out")) == 2
    assert "lines 6 and 243 have one params and toks but losses" in capsys.readouterr().err
    losses = []
    for how, rows in (("least", 240), ("mean", 240)):
        assert run_command(arguments(table, tmp_path / "out", "--duplicates", how)) == 0
        losses.append(pd.read_csv(tmp_path / "out/fit.csv").loss.sum())
        record = json.loads((tmp_path / "out/fit.json").read_text())
        assert record["rows"] == rows
        assert any("1 rows repeat" in sentence for sentence in record["warnings"])
    assert losses[1] - losses[0] == pytest.approx(0.05, abs=1e-6)


def test_diverged_runs_are_left_out_and_counted(table, tmp_path):
    frame = pd.read_csv(table)
    frame = pd.concat([frame, frame.head(2).assign(final=[np.nan, 11.0])])
    frame.to_csv(table, index=False)
    assert run_command(arguments(table, tmp_path / "out", "--max-loss", "10")) == 0
    record = json.loads((tmp_path / "out/fit.json").read_text())
    assert (record["rows"], record["rows_diverged"], record["rows_dropped"]) == (240, 2, 1)


def test_sizes_in_billions_beside_raw_tokens_are_doubted(table, tmp_path):
    frame = pd.read_csv(table)
    frame["params"] /= 1e9
    frame.to_csv(table, index=False)
    assert run_command(arguments(table, tmp_path / "out")) == 0
    record = json.loads((tmp_path / "out/fit.json").read_text())
    assert any("counted in millions or billions?" in said for said in record["warnings"])


SLOW_TWO = [pytest.param(name, marks=pytest.mark.slow) for name in ("l1", "mse")]


@pytest.mark.parametrize("objective", [*SLOW_TWO, "envelope"])
def test_the_objective_is_stated(table, tmp_path, capsys, objective):
    assert run_command(arguments(table, tmp_path / "out", "--objective", objective)) == 0
    words = {"l1": "the L1 limit", "mse": "squares on loss", "envelope": "penalty 10"}
    assert words[objective] in " ".join(capsys.readouterr().out.split())
