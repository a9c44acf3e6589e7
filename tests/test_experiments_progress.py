"""Progress and tables: what people see while and after a study runs."""

import io
import time

import pytest
from rich.console import Console

from experiments import progress
from experiments.progress import BarProgress, LineProgress, Progress, progress_for
from experiments.tables import Table, format_cell, plain_console, print_table


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when told."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_lines_come_every_few_seconds_with_rate_and_time_left(clock, capsys):
    lines = LineProgress()
    with lines.task("sweep", 10):
        for _ in range(4):
            clock.now += 1.0
            lines.advance()
        assert capsys.readouterr().err == ""
        clock.now += 1.0
        lines.advance()
        assert capsys.readouterr().err == "sweep: 5/10, 1/s, 5.0 s, 5 s left\n"
        clock.now += 1.0
        lines.advance(5)
        assert capsys.readouterr().err == ""
    assert capsys.readouterr().err == "sweep: 10/10, 1.67/s, 6.0 s\n"


def test_an_inner_task_counts_for_itself(clock, capsys):
    lines = LineProgress()
    with lines.task("outer", 1):
        with lines.task("inner", 2):
            clock.now += 2.0
            lines.advance(2)
        lines.advance()
    assert capsys.readouterr().err == "inner: 2/2, 1/s, 2.0 s\nouter: 1/1, 0.5/s, 2.0 s\n"


def test_a_failed_task_does_not_claim_to_be_whole(capsys):
    lines = LineProgress()
    with pytest.raises(KeyboardInterrupt), lines.task("sweep", 3):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""
    lines.advance()


def terminal():
    return Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)


def test_bars_show_rate_and_time_left_and_vanish():
    console = terminal()
    bars = BarProgress(console)
    with bars.task("outer", 2):
        with bars.task("inner", 4):
            for _ in range(3):
                bars.advance()
                time.sleep(0.15)  # bars are drawn ten times a second
        bars.advance()
    shown = console.file.getvalue()
    for text in ("outer", "inner", "3/4", "/s", "0:00:0"):
        assert text in shown
    bars.advance()
    assert console.file.getvalue() == shown


def test_a_terminal_gets_bars_and_a_file_gets_lines():
    assert isinstance(progress_for(terminal()), BarProgress)
    assert isinstance(progress_for(Console(file=io.StringIO())), LineProgress)


def test_the_plain_one_is_silent(capsys):
    silent = Progress()
    with silent.task("quiet", 2):
        silent.advance()
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123456789, "0.12346"), (1e-300, "1e-300"), (3, "3"), (True, "yes"), ("a", "a")],
)
def test_cells_keep_five_digits(value, text):
    assert format_cell(value) == text


def test_a_table_prints_title_cells_and_note():
    console = Console(file=io.StringIO(), width=80)
    print_table(Table("Title", ("name", "number"), (("a", 1.5), ("b", 22.25)), "the note"), console)
    shown = console.file.getvalue()
    for text in ("Title", "name", "22.25", "the note"):
        assert text in shown


def test_brackets_in_a_table_are_text_not_markup():
    console = Console(file=io.StringIO(), width=80)
    print_table(Table("a [bold]", ("", "log E[x]"), (("log A'[adamw]", "[1, 2]"),), "[n]"), console)
    shown = console.file.getvalue()
    for text in ("a [bold]", "log E[x]", "log A'[adamw]", "[1, 2]", "[n]"):
        assert text in shown


def test_output_to_a_file_is_wide_enough_for_the_validation_table():
    assert plain_console().width == 120
