"""Exponents of the tuned loss: derived against found, and whether the Chinchilla form holds."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_figures.style import BLACK, GREEN, GREY, ORANGE, PAGE_INCHES, SKY, VERMILION

# Verdict to colour and marker of the exponent found.
FORMS = {
    "holds": (GREEN, "o"),
    "in a window": (SKY, "s"),
    "observed": (ORANGE, "D"),
    "undecided": (GREY, "^"),
    "fails": (VERMILION, "X"),
}
FARTHEST = 3.0


def draw(records: Mapping[str, xr.Dataset]) -> tuple[Figure, pd.DataFrame]:
    """One panel a problem, one row a method; a bar is the exponent derived."""
    dataset = records["exponents"]
    problems, labels = dataset.problem.values, dataset.attrs["labels"]
    rows = np.arange(len(labels))[::-1]
    size = PAGE_INCHES, 0.9 + 0.175 * len(labels)
    figure, panels = plt.subplots(1, len(problems), figsize=size, sharey=True, squeeze=False)
    for axes, problem in zip(panels[0], problems, strict=True):
        _panel(axes, dataset.sel({"problem": problem}), rows)
        axes.set_title(f"${str(problem).replace(', ', '$, $')}$")
        axes.set_xlabel(r"exponent $\beta$ of the steps")
    shown = [label.replace("lam^-1/2", r"$\lambda^{-1/2}$") for label in labels]
    panels[0, 0].set_yticks(rows, shown)
    figure.legend(handles=_handles(), loc="outside lower center", ncols=6, columnspacing=1.2)
    names = ["derived", "exponent", "exponent_error", "form", "reason", "correction"]
    return figure, dataset[names].to_dataframe().reset_index()


def _panel(axes: Axes, data: xr.Dataset, rows: np.ndarray) -> None:
    found, form = data.exponent.values, np.array(data.form.values.tolist())
    derived, error = data.derived.values, data.exponent_error.values
    axes.barh(rows, np.nan_to_num(derived), height=0.62, color="0.88", zorder=0)
    for name, (colour, marker) in FORMS.items():
        chosen = form == name
        inside = chosen & (found <= FARTHEST)
        axes.errorbar(
            found[inside],
            rows[inside],
            xerr=error[inside],
            fmt=marker,
            color=colour,
            ms=4.5,
            lw=0.8,
        )
        # Too steep to show, or without any power law to read an exponent from: at the right edge.
        beyond = chosen & ~(found <= FARTHEST)
        axes.plot(
            np.full(beyond.sum(), 3.3), rows[beyond], marker, color=colour, ms=4.5, mfc="none"
        )
    axes.axvline(FARTHEST + 0.1, ymax=0.9, color=BLACK, lw=0.5, ls=":")
    axes.text(3.3, len(rows) - 0.4, "above 3\nor none", ha="center", fontsize=7)
    axes.set(xlim=(0, 3.7), ylim=(-0.7, len(rows) + 0.9), xticks=[0, 1, 2, 3])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", lw=0.3, color="0.8", zorder=0)


def _handles() -> list[Line2D]:
    marks = [
        Line2D([], [], color=colour, marker=marker, ls="", label=name, ms=4.5)
        for name, (colour, marker) in FORMS.items()
    ]
    bar = Line2D([], [], color="0.88", lw=6, label="derived")
    return [bar, *marks]
