"""The page of a fit: one HTML file with everything in it, readable without a network."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from experiments.tables import Table, format_cell

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #1a1a1a; margin: 2rem auto; max-width: 62rem;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block;
  overflow-x: auto; }
th, td { text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid #ddd;
  white-space: nowrap; }
th { border-bottom: 2px solid #888; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; }
.note, footer { color: #555; font-size: .85rem; } li.warning { color: #8a2c00; }
code { font-size: .85rem; overflow-wrap: anywhere; }
"""


def page(
    title: str,
    law: str,
    tables: Sequence[Table],
    figures: Sequence[tuple[str, Path]],
    warnings: Sequence[str],
    origin: Sequence[tuple[str, str]],
) -> str:
    """The page as text.

    Args:
        title: of the page.
        law: the formula, under the title.
        tables: shown in order.
        figures: captions and PNG files, put into the page itself.
        warnings: sentences, above everything else.
        origin: names and values that say where the numbers come from.
    """
    said = "".join(f'<li class="warning">{escape(sentence)}</li>' for sentence in warnings)
    body = [
        f"<h1>{escape(title)}</h1><p><code>{escape(law)}</code></p>",
        "<h2>Warnings</h2>" + (f"<ul>{said}</ul>" if said else "<p>None.</p>"),
        *(_figure(caption, path) for caption, path in figures),
        *(_table(table) for table in tables),
        "<footer><h2>Origin</h2><dl>",
        *(f"<dt>{escape(name)}</dt><dd><code>{escape(text)}</code></dd>" for name, text in origin),
        "</dl></footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(format_cell(cell))}</td>" for cell in row) + "</tr>"
        for row in table.rows
    )
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f"<section><h2>{escape(table.title)}</h2><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table>{note}</section>"
    )


def _figure(caption: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f'<figcaption class="note">{escape(caption)}</figcaption></figure>'
    )
