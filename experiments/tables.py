"""Tables as data, drawn by rich."""

from dataclasses import dataclass

import rich.table
from rich.console import Console
from rich.markup import escape


@dataclass(frozen=True)
class Table:
    """A titled table whose cells are strings or numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    note: str = ""


def format_cell(value: object) -> str:
    """A number to five significant digits, anything else as it is."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.5g}"
    return str(value)


def print_table(table: Table, console: Console) -> None:
    """Draws a table; numbers are right-aligned, and brackets are text."""
    drawn = rich.table.Table(
        title=escape(table.title), title_justify="left", caption=escape(table.note) or None
    )
    for position, column in enumerate(table.columns):
        numeric = all(isinstance(row[position], int | float) for row in table.rows)
        drawn.add_column(escape(column), justify="right" if numeric else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(escape(format_cell(cell)) for cell in row))
    console.print(drawn)


def plain_console(stderr: bool = False) -> Console:
    """A console as wide as the terminal, or 120 columns where there is none."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=120)
