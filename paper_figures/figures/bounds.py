"""Bounds on the dual gradient norm against its measured mean; parts of the sharper bound."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures.style import BLACK, BLUE, GREEN, GREY, OPTIMIZERS, ORANGE, PAGE_INCHES, SKY

SHARPER, PRINTED = ("-", "sharper bound"), ("--", "printed bound")
TERMS = {
    "initial_gap": (BLUE, r"$\Delta/(\eta K)$"),
    "burn_in": (SKY, "first noise"),
    "noise": (ORANGE, "noise"),
    "smoothness": (GREEN, r"$L\eta/2$"),
    "lag": (GREY, "lag"),
}


def draw(records: Mapping[str, xr.Dataset]) -> tuple[Figure, pd.DataFrame]:
    """Left: all runs, bound over measurement. Right: along the learning rate, a panel a method."""
    dataset = records["bounds"]
    methods = [str(method) for method in dataset.method.values]
    figure, panels = plt.subplots(1, 1 + len(methods), figsize=(PAGE_INCHES, 2.7))
    totals = dataset.terms.sum("term").rename("bounds")
    _scatter(panels[0], dataset, totals, methods)
    along = dataset.sel(horizon=dataset.horizon[-1]).isel(batch=-1)
    # The middle of the momenta on the grid.
    along = along.isel(alpha=along.alpha.size // 2)
    for axes, method in zip(panels[1:], methods, strict=True):
        _along_rate(axes, along.sel({"method": method}))
        axes.set_title(OPTIMIZERS[method][0])
    panels[1].set_ylabel("dual gradient norm")
    handles, labels = panels[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    plotted = xr.merge([totals, dataset[["mean", "mean_error", "smallest"]]])
    return figure, plotted.to_dataframe().reset_index()


def _scatter(axes: Axes, dataset: xr.Dataset, totals: xr.DataArray, methods: list[str]) -> None:
    for method in methods:
        label, colour, marker = OPTIMIZERS[method]
        x = dataset["mean"].sel({"method": method}).values.ravel()
        y = totals.sel({"method": method, "bound": "sharper"}).values.ravel()
        style = {"marker": marker, "ms": 2.2, "ls": "", "mew": 0, "alpha": 0.6}
        axes.plot(x, y / x, color=colour, label=label, **style)
    axes.axhline(1.0, color=BLACK, lw=0.8)
    axes.annotate("broken below", (0.03, 1.0), xycoords=("axes fraction", "data"), va="top")
    axes.set(xscale="log", yscale="log", xlabel="measured mean", ylabel="sharper bound / mean")
    axes.set_ylim(0.6, 2e3)  # room for the legend
    axes.set_title("all runs")
    axes.legend(handletextpad=0.1, borderaxespad=0.1, markerscale=1.6)


def _along_rate(axes: Axes, data: xr.Dataset) -> None:
    rate = data.rate.values
    bottom = 0.3 * float(np.min(data.smallest))
    for name, (colour, label) in TERMS.items():
        values = data.terms.sel(bound="sharper", term=name).values
        if values.max() > bottom:
            axes.plot(rate, values, color=colour, lw=0.8, ls=":", label=label)
    for name, (dashes, label) in {"printed": PRINTED, "sharper": SHARPER}.items():
        total = data.terms.sel(bound=name).sum("term").values
        axes.plot(rate, total, color=BLACK, ls=dashes, label=label)
    mean, error = data["mean"].values, data.mean_error.values
    axes.errorbar(rate, mean, 2 * error, color=BLACK, ls="", marker="o", mfc="white", label="mean")
    axes.plot(rate, data.smallest, color=BLACK, ls="", marker="_", ms=5, label="smallest")
    # Terms far below everything else would only stretch the axis.
    axes.set(xscale="log", yscale="log", xlabel=r"learning rate $\eta$")
    axes.set_ylim(bottom=bottom)
