"""The Chinchilla form of exact losses: against steps, against size, and along budgets."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures.style import BLACK, PAGE_INCHES, VERMILION


def draw(records: Mapping[str, xr.Dataset]) -> tuple[Figure, pd.DataFrame]:
    """Left: loss against steps, one line a size. Middle: against size. Right: isoFLOP curves."""
    dataset = records["emergence"]
    excess = dataset.loss - dataset.attrs["irreducible"]
    fitted = dataset.fitted_loss.sel(window="whole") - dataset.attrs["irreducible"]
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(PAGE_INCHES, 2.6))
    rows = decades(dataset["size"].values)
    columns = decades(dataset["steps"].values)[::2]
    _family(left, dataset.steps.values, excess.values[rows], fitted.values[rows])
    left.set(xlabel="steps $T$", ylabel="excess loss $L - E$", title="sizes $10^2$ to $10^9$")
    _family(
        middle, dataset["size"].values, excess.values[:, columns].T, fitted.values[:, columns].T
    )
    middle.set(xlabel="size $N$ [modes]", title="steps $10^2$ to $10^{12}$")
    _isoflops(right, dataset)
    for axes in (left, middle):
        axes.plot([], [], color=BLACK, lw=1, label="exact")
        axes.plot([], [], color=VERMILION, lw=1, ls=":", label="fit $E+AN^{-\\alpha}+BT^{-\\beta}$")
    left.legend(loc="lower left")
    plotted = xr.Dataset({"excess": excess, "fitted_excess": fitted})
    return figure, plotted.to_dataframe(["size", "steps"]).reset_index()


def decades(values: np.ndarray) -> list[int]:
    """Positions of whole powers of ten."""
    powers = np.log10(values)
    return [int(i) for i in np.flatnonzero(np.abs(powers - np.round(powers)) < 1e-6)]


def _family(axes: Axes, x: np.ndarray, curves: np.ndarray, fitted: np.ndarray) -> None:
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(curves)))
    for colour, curve, law in zip(colours, curves, fitted, strict=True):
        axes.plot(x, curve, color=colour, lw=1)
        axes.plot(x, np.where(law > 0, law, np.nan), color=VERMILION, ls=":", lw=0.9)
    axes.set(xscale="log", yscale="log", ylim=(curves.min() / 3, curves.max() * 2))


def _isoflops(axes: Axes, dataset: xr.Dataset) -> None:
    excess = dataset.isoflop_loss - dataset.attrs["irreducible"]
    colours = plt.get_cmap("cividis")(np.linspace(0, 0.9, dataset.budget.size))
    for colour, budget in zip(colours, dataset.budget.values, strict=True):
        axes.plot(dataset["size"], excess.sel(budget=budget), color=colour, lw=0.8)
    axes.plot(dataset.best_size, dataset.best_excess, "o", color=VERMILION, ms=3, label="optimum")
    alpha = float(dataset.derived.sel(exponent="alpha"))
    known = np.isfinite(dataset.best_size.values)
    size, loss = dataset.best_size.values[known], dataset.best_excess.values[known]
    # Along the frontier both parts shrink alike, so its slope in N is alpha.
    line = loss[-1] * (size / size[-1]) ** -alpha
    axes.plot(size, line, color=BLACK, ls="--", lw=0.8, label=f"slope $-\\alpha=-{alpha:.2g}$")
    axes.set(xscale="log", yscale="log", xlabel="size $N$ [modes]")
    axes.set_title("budgets $NT=10^6$ to $10^{18}$")
    axes.legend(loc="lower left")
