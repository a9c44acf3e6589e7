"""Saves a figure as PDF, PNG and the plotted numbers as CSV, the same bytes every time."""

import uuid
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

DPI = 250


def save_figure(figure: Figure, plotted: pd.DataFrame, stem: Path) -> list[Path]:
    """Writes `stem`.pdf, .png and .csv, each under a temporary name until whole.

    Args:
        figure: drawn; closed afterwards.
        plotted: the numbers in it, long form.
        stem: path without suffix; its folder is made.

    Returns:
        The three paths.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    # A creation date or a version number would change the bytes.
    undated = {"CreationDate": None, "Producer": None, "Creator": None}
    writers: dict[str, Callable[[Path], None]] = {
        "pdf": lambda path: figure.savefig(path, format="pdf", dpi=DPI, metadata=undated),
        "png": lambda path: figure.savefig(
            path, format="png", dpi=DPI, metadata={"Software": None}
        ),
        "csv": lambda path: plotted.to_csv(path, index=False, float_format="%.10g"),
    }
    try:
        return [_write_whole(stem.with_name(f"{stem.name}.{s}"), w) for s, w in writers.items()]
    finally:
        plt.close(figure)


def _write_whole(final: Path, write: Callable[[Path], None]) -> Path:
    """Lets `write` fill a temporary file and renames it when it is done."""
    temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        write(temporary)
        return temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)
