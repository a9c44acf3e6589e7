"""The validation table, in its quick form: every claim holds, and says on what ground."""

import math

import pytest

from experiments import validation
from experiments.claims import CLAIMS
from experiments.compare import Verdict
from experiments.errors import UserError
from experiments.progress import Progress
from experiments.validation import save_verdicts, validate, verdict_table

HOLDS = Verdict("right", 1.0, 1.0, 0.1, "rounding", passed=True)
FAILS = Verdict("wrong", 1.0, 2.0, 0.1, "rounding", passed=False)
AGREED = Verdict("theirs", 1.0, 1.0, 0.1, "error", passed=True, finding="agrees")
DIFFERS = Verdict("theirs too", 1.0, 2.0, 0.1, "error", passed=True, finding="disagrees")

# Groups that take a second; `tests/test_claims.py` runs others, whole and broken.
FAST = ("gd", "emergence", "bigram")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in CLAIMS]
)
def test_claims_hold(name):
    verdicts = validate([name], quick=True, progress=Progress())
    assert verdicts
    assert [verdict.claim for verdict in verdicts if not verdict.passed] == []
    for verdict in verdicts:
        assert verdict.basis
        assert all(map(math.isfinite, (verdict.prediction, verdict.measurement, verdict.error)))


@pytest.mark.slow
def test_no_two_claims_have_the_same_words():
    claims = [verdict.claim for verdict in validate([], quick=True, progress=Progress())]
    assert len(claims) == len(set(claims))


def test_no_group_of_claims_is_listed_twice():
    assert len(CLAIMS) == len(set(CLAIMS.values()))


def test_validate_takes_all_groups_or_the_named_ones(monkeypatch):
    groups = {"a": lambda _: [HOLDS], "b": lambda _: [FAILS, HOLDS]}
    monkeypatch.setattr(validation, "CLAIMS", groups)
    assert validate([], quick=True, progress=Progress()) == [HOLDS, FAILS, HOLDS]
    assert validate(["b"], quick=True, progress=Progress()) == [FAILS, HOLDS]
    with pytest.raises(UserError, match=r"'c'; there are: a, b"):
        validate(["c"], quick=True, progress=Progress())


def test_the_table_counts_failures():
    assert verdict_table([HOLDS, HOLDS]).note == "all 2 hold"
    table = verdict_table([HOLDS, FAILS])
    assert table.note == "2 claims, 1 failed"
    assert [row[-1] for row in table.rows] == ["holds", "FAILS"]


def test_the_file_is_replaced_only_when_whole(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "validation.csv"
    save_verdicts([HOLDS], path)
    before = path.read_bytes()

    def full(self, target, **keywords):
        target.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pandas.DataFrame.to_csv", full)
    with pytest.raises(OSError, match="No space"):
        save_verdicts([FAILS], path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_findings_of_others_are_counted_apart():
    table = verdict_table([HOLDS, AGREED, DIFFERS])
    assert [row[-1] for row in table.rows] == ["holds", "agrees", "disagrees"]
    assert table.note.startswith("all 1 hold; of 2 published findings")
    assert table.note.endswith("1 agrees, 1 disagrees, 0 open")
    assert verdict_table([FAILS, DIFFERS]).note.startswith("1 claims, 1 failed; of 1 published")
