"""Progress with rate and time left: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

PLAIN_INTERVAL_SECONDS = 5.0


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.3g}/s" if task.speed else "")


class Progress:
    """Silent by default; the two subclasses below show something."""

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[None]:
        """Announces `total` units of work called `label`."""
        del label, total
        yield

    def advance(self, amount: int = 1) -> None:
        """Reports `amount` finished units of the innermost task."""

    def note(self, text: str) -> None:
        """Says something besides counting."""


class BarProgress(Progress):
    """Bars on a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._open: list[tuple[RichProgress, object]] = []

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[None]:
        """Shows a bar; an inner task shows one below it."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        if self._open:
            bars, nested = self._open[0][0], True
        else:
            bars, nested = RichProgress(*columns, console=self._console, transient=True), False
            bars.start()
        identifier = bars.add_task(label, total=total)
        self._open.append((bars, identifier))
        try:
            yield
        finally:
            self._open.pop()
            bars.remove_task(identifier)
            if not nested:
                bars.stop()

    def advance(self, amount: int = 1) -> None:
        """Moves the innermost bar."""
        if self._open:
            bars, identifier = self._open[-1]
            bars.advance(identifier, amount)  # pyright: ignore[reportArgumentType]

    def note(self, text: str) -> None:
        """Prints a line above the bars."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class LineProgress(Progress):
    """Plain lines on standard error, at most one every few seconds and one at the end."""

    def __init__(self) -> None:
        self._open: list[list] = []

    @contextmanager
    def task(self, label: str, total: int) -> Iterator[None]:
        """Starts counting; prints a last line when the task is whole."""
        start = time.monotonic()
        self._open.append([label, total, 0, start, start])
        try:
            yield
            self._print(self._open[-1])
        finally:
            self._open.pop()

    def advance(self, amount: int = 1) -> None:
        """Counts, and prints when the last line is old enough."""
        if not self._open:
            return
        state = self._open[-1]
        state[2] += amount
        if state[2] < state[1] and time.monotonic() - state[4] >= PLAIN_INTERVAL_SECONDS:
            state[4] = time.monotonic()
            self._print(state)

    def note(self, text: str) -> None:
        """Prints a line."""
        sys.stderr.write(text + "\n")

    @staticmethod
    def _print(state: list) -> None:
        label, total, done, start, _ = state
        elapsed = time.monotonic() - start
        rate = done / elapsed if elapsed > 0 else 0.0
        left = f", {(total - done) / rate:.0f} s left" if 0 < done < total and rate else ""
        line = f"{label}: {done}/{total}, {rate:.3g}/s, {elapsed:.1f} s{left}"
        sys.stderr.write(line + "\n")


def progress_for(console: Console) -> Progress:
    """Bars where there is a terminal, lines elsewhere."""
    return BarProgress(console) if console.is_terminal else LineProgress()
