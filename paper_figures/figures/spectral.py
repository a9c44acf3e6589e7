"""Muon, sign and gradient descent on matrices whose bases turn, and on the matrix of a text."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures.style import OPTIMIZERS, PAGE_INCHES

TITLES = {
    "aligned": "aligned with the coordinates",
    "turned": "turned as a whole",
    "crossed": "target in bases of its own",
}
LOWEST = 1e-6


def draw(records: Mapping[str, xr.Dataset]) -> tuple[Figure, pd.DataFrame]:
    """One panel a basis and one for text: tuned loss over that at the start; lines are exact."""
    dataset = records["spectral"]
    figure, panels = plt.subplots(2, 2, figsize=(PAGE_INCHES, 4.4), sharey=True)
    tables = []
    for axes, alignment in zip(panels.flat, TITLES, strict=False):
        data = dataset.sel({"alignment": alignment})
        start = float(data.start)
        for method in map(str, dataset.method.values):
            row = data.sel({"method": method})
            measured = row.loss.values[-1] / start
            tables.append(_draw(axes, method, dataset.horizon.values, measured, row.exact / start))
            tables[-1]["panel"] = alignment
        axes.set_title(TITLES[alignment])
    for method in map(str, dataset.text_method.values):
        row, start = dataset.sel({"text_method": method}), dataset.attrs["start"]
        numbers = dataset.text_horizon.values, row.text_loss.values / start, row.text_exact / start
        tables.append(_draw(panels[1, 1], method, *numbers))
        tables[-1]["panel"] = "text"
    panels[1, 1].set_title(f"real text, {int(dataset.vocabulary[0])} words")
    for axes in panels[1]:
        axes.set_xlabel("steps $T$, rate tuned for each")
    for axes in panels[:, 0]:
        axes.set_ylabel("loss / loss at the start")
    note = "solid: exact\nmarks: simulated"
    panels[1, 1].annotate(note, (0.03, 0.06), xycoords="axes fraction", va="bottom")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure, pd.concat(tables, ignore_index=True)


def _draw(
    axes: Axes, method: str, steps: np.ndarray, measured: np.ndarray, exact: xr.DataArray
) -> pd.DataFrame:
    label, colour, marker = OPTIMIZERS[method]
    shown = np.where(measured >= LOWEST, measured, np.nan)
    known = np.isfinite(exact.values).any()
    axes.plot(steps, shown, color=colour, marker=marker, ls=":" if not known else "", label=label)
    if known:
        axes.plot(steps, np.where(exact.values >= LOWEST, exact.values, np.nan), color=colour, lw=1)
    axes.set(xscale="log", yscale="log")
    axes.set_ylim(LOWEST, 1.5)
    ticks = steps[:: max(1, steps.size // 5)]
    axes.set_xticks(ticks, [f"{int(t)}" for t in ticks])
    axes.minorticks_off()
    numbers = {"steps": steps, "loss": measured, "exact": exact.values}
    return pd.DataFrame({"method": method} | numbers)
