"""Saves a figure as PDF, PNG and the plotted numbers as CSV, the same bytes every time."""

import os
import uuid
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
    paths = []
    for suffix in ("pdf", "png", "csv"):
        final = stem.with_name(f"{stem.name}.{suffix}")
        temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.part")
        try:
            if suffix == "csv":
                plotted.to_csv(temporary, index=False, float_format="%.10g")
            else:
                # A creation date or a version number would change the bytes.
                metadata = {"CreationDate": None, "Producer": None, "Creator": None}
                figure.savefig(
                    temporary,
                    format=suffix,
                    dpi=DPI,
                    metadata=metadata if suffix == "pdf" else {"Software": None},
                )
            os.replace(temporary, final)  # noqa: PTH105  atomic on every platform
        finally:
            temporary.unlink(missing_ok=True)
        paths.append(final)
    plt.close(figure)
    return paths
