"""Tuned learning rate, momentum and batch size against budget, regime by regime."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_figures.style import BLACK, GREY, OPTIMIZERS, PAGE_INCHES

# Regimes and what is tuned, in the title's words.
REGIMES = {
    "eta, by tokens": r"tuned $\eta$",
    "eta, B": r"tuned $\eta, B$",
    "eta, alpha": r"tuned $\eta, \alpha$",
    "eta, alpha, B": r"tuned $\eta, \alpha, B$",
}
QUANTITIES = {"eta": r"$\eta$", "alpha": r"$\alpha$", "B": "$B$"}
JOINT = "eta, alpha, B"
CRITERION = "mean gradient"
# Drawn with hollow marks: symmetric noise, for which the bounds are not made.
HOLLOW = "normal"


def draw(records: Mapping[str, xr.Dataset]) -> tuple[Figure, pd.DataFrame]:
    """Rows: what is tuned; columns: regimes. Marks are measured, lines have derived slopes."""
    data = records["tuning_laws"].sel({"criterion": CRITERION})
    held = float(data.batch[data.batch.size // 2])
    data = data.sel({"batch": held})
    figure, axes = plt.subplots(3, 4, figsize=(PAGE_INCHES, 4.6), sharex=True, sharey="row")
    for column, (regime, title) in enumerate(REGIMES.items()):
        axes[0, column].set_title(title)
        axes[2, column].set_xlabel("tokens $T$")
        for row, quantity in enumerate(QUANTITIES):
            panel = axes[row, column]
            panel.set(xscale="log", yscale="log")
            shown = data.sel({"regime": regime, "quantity": quantity})
            if np.isfinite(shown.optimum.values).any():
                _panel(panel, shown)
            else:
                value = float(data.attrs["held_alpha"]) if quantity == "alpha" else held
                text = f"held at {value:g}"
                panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", color=GREY)
    for row, symbol in enumerate(QUANTITIES.values()):
        axes[row, 0].set_ylabel(symbol)
    figure.legend(handles=_handles(data), loc="outside lower center", ncols=4)
    return figure, _table(data)


def _panel(axes: Axes, shown: xr.Dataset) -> None:
    for method in shown.method.values:
        _, colour, marker = OPTIMIZERS[str(method)]
        for noise in shown.noise.values:
            mine = shown.sel({"method": method, "noise": noise})
            best = mine.optimum.values
            # In logarithms the bar is symmetric.
            reach = np.exp(mine.optimum_error.values)
            axes.errorbar(
                mine.budget,
                best,
                [best * (1 - 1 / reach), best * (reach - 1)],
                fmt=marker,
                color=colour,
                mfc="none" if noise == HOLLOW else colour,
                alpha=0.6 if noise == HOLLOW else 1.0,
                ms=3,
                lw=0.7,
            )
        guide = _guided(shown, str(method))
        _slope(axes, guide, float(shown.derived.sel({"power": "budget"})), colour, "-")
        if str(shown.regime.item()) == JOINT:
            _slope(axes, guide, float(shown.other_tie_break), colour, ":")


def _guided(shown: xr.Dataset, method: str) -> xr.Dataset:
    """The marks that slopes are drawn through: of the noise that the bounds suppose, if shown."""
    names = [noise for noise in shown.noise.values if noise != HOLLOW] or [HOLLOW]
    return shown.sel({"method": method, "noise": names[0]})


def _slope(axes: Axes, mine: xr.Dataset, exponent: float, colour: str, style: str) -> None:
    """A line of given slope through the middle of the marks that were fitted."""
    x, y = np.log(mine.budget.values), np.log(mine.optimum.values)
    fitted = mine.inside.values if mine.inside.values.any() else np.ones(x.shape, bool)
    line = np.exp(np.mean(y[fitted]) + exponent * (x - np.mean(x[fitted])))
    axes.plot(mine.budget, line, color=colour, ls=style, lw=0.7, zorder=0)


def _handles(data: xr.Dataset) -> list[Line2D]:
    marks = [
        Line2D(
            [], [], color=OPTIMIZERS[str(m)][1], marker=OPTIMIZERS[str(m)][2], ls="", label=label
        )
        for m, label in zip(data.method.values, data.attrs["labels"], strict=True)
    ]
    noises = [
        Line2D(
            [],
            [],
            color=GREY,
            marker="o",
            ls="",
            mfc="none" if noise == HOLLOW else GREY,
            label=f"{noise} noise",
        )
        for noise in data.noise.values
    ]
    lines = [
        Line2D([], [], color=BLACK, lw=0.7, label="slope of the printed bound"),
        Line2D([], [], color=BLACK, lw=0.7, ls=":", label="slope of the sharper bound"),
    ]
    return [*marks, *noises, *lines]


def _table(data: xr.Dataset) -> pd.DataFrame:
    """Plotted numbers in long form."""
    chosen = data.sel({"regime": list(REGIMES), "quantity": list(QUANTITIES)})
    frame = chosen[["optimum", "optimum_error"]].to_dataframe().reset_index()
    slopes = chosen.derived.sel({"power": "budget"}).to_dataframe().reset_index()
    slopes = slopes[["regime", "quantity", "derived"]]
    return frame.dropna(subset="optimum").merge(slopes, on=["regime", "quantity"])
