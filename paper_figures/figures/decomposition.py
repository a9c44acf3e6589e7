"""The loss of GD and SGD split along training: lines exact, marks simulated."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures.style import OPTIMIZERS, PAGE_INCHES, PARTS

LABELS = {"irreducible": "irreducible $E$"}


def draw(records: Mapping[str, xr.Dataset]) -> tuple[Figure, pd.DataFrame]:
    """One panel a method; a part that is zero throughout is left out."""
    dataset = records["decomposition"]
    dataset = dataset.isel(steps=slice(1, None))  # step zero has no place on a log axis
    methods = dataset.method.values
    figure, panels = plt.subplots(1, len(methods), figsize=(PAGE_INCHES, 2.7), sharey=True)
    for axes, method in zip(panels, methods, strict=True):
        _panel(axes, dataset.sel({"method": method}))
        axes.set_title(OPTIMIZERS[str(method)][0])
        axes.set_xlabel("steps $T$")
    panels[0].set_ylabel("loss")
    panels[0].set_ylim(bottom=0.3 * float(dataset.exact.sel(part="irreducible").min()))
    handles, labels = panels[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    panels[-1].annotate(
        "lines: exact\nmarks: simulated",
        (0.97, 0.95),
        xycoords="axes fraction",
        ha="right",
        va="top",
    )
    plotted = dataset[["exact", "simulated"]].to_dataframe(["method", "part", "steps"])
    return figure, plotted.reset_index()


def _panel(axes: Axes, data: xr.Dataset) -> None:
    for part, (colour, dashes) in PARTS.items():
        exact = data.exact.sel(part=part)
        if not float(exact.max()) > 0:
            continue
        simulated = data.simulated.sel(part=part)
        axes.plot(data.steps, exact, color=colour, ls=dashes, label=LABELS.get(part, part))
        shown = simulated.where(simulated > 0)
        axes.plot(data.steps[::2], shown[::2], color=colour, ls="", marker="o", mfc="white", ms=3)
    axes.set(xscale="log", yscale="log")
