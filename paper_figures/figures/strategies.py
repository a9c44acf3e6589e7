"""The degenerate family of strategies: how flat the bound is in B, and what breaks the tie."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_figures.style import BLACK, BLUE, GREEN, GREY, OPTIMIZERS, ORANGE, PAGE_INCHES, SKY

BUDGETS = (SKY, BLUE, GREEN, ORANGE)
CRITERION, NOISE = "mean gradient", "skewed"
# The ends of the family and the printed bound's choice, as log B / log T.
PRINTED, SHARPER = 1 / 6, 1 / 2


def draw(records: Mapping[str, xr.Dataset]) -> tuple[Figure, pd.DataFrame]:
    """Bounds at the best rate and momentum over B, and the measured valley beside them."""
    data = records["tuning_laws"]
    figure, axes = plt.subplots(2, 2, figsize=(PAGE_INCHES, 4.6))
    printed, sharper = (data.valley.sel({"bound": name}) for name in ("printed", "sharper"))
    _valley(axes[0, 0], printed + 1)
    axes[0, 0].set(title="printed bound: flat", ylim=(0.96, 1.6))
    _valley(axes[0, 1], printed)
    axes[0, 1].set(title="printed bound: what breaks the tie", yscale="log", ylim=(3e-7, 2))
    axes[0, 1].set_ylabel(r"over leading order, less 1")
    _valley(axes[1, 0], sharper + 1)
    axes[1, 0].set(title="sharper bound: broken the other way", ylim=(0.66, 1.3))
    measured = _measured(axes[1, 1], data)
    handles = [
        Line2D([], [], color=colour, label=f"$T = 10^{{{np.log10(amount):.0f}}}$")
        for amount, colour in zip(data.amount.values, BUDGETS, strict=False)
    ]
    axes[0, 0].legend(handles=handles, loc="center left", bbox_to_anchor=(0.28, 0.6))
    curves = data.valley.to_dataframe().reset_index().assign(panel="bound")
    return figure, pd.concat([curves, measured], ignore_index=True)


def _valley(axes: Axes, curves: xr.DataArray) -> None:
    for amount, colour in zip(curves.amount.values, BUDGETS, strict=False):
        curve = curves.sel({"amount": amount})
        bottom = int(np.argmin(curve.values))
        axes.plot(curve.place, curve, color=colour)
        axes.plot(curve.place[bottom], curve[bottom], "o", color=colour, mec=BLACK, mew=0.5)
    for place, text in ((PRINTED, "$T^{1/6}$"), (SHARPER, "$T^{1/2}$")):
        axes.axvline(place, color=GREY, lw=0.5, ls=":", zorder=0)
        at = {"xy": (place, 1.0), "xycoords": axes.get_xaxis_transform()}
        axes.annotate(text, xytext=(-2, -3), textcoords="offset points", ha="right", va="top", **at)
    axes.set(xlabel=r"$\log B / \log T$", ylabel="bound over leading order", xlim=(0, 0.65))


def _measured(axes: Axes, data: xr.Dataset) -> pd.DataFrame:
    """Value at the best rate and momentum over its least over B, at the first and last budget."""
    noise = NOISE if NOISE in data.noise.values else str(data.noise.values[0])
    at = {"criterion": CRITERION, "noise": noise, "regime": "eta, alpha", "quantity": "value"}
    here = data.sel(at)
    frames = []
    for method in data.method.values:
        _, colour, marker = OPTIMIZERS[str(method)]
        for place, style in ((0, "--"), (-1, "-")):
            mine = here.sel({"method": method}).isel({"budget": place})
            least = float(mine.optimum.min())
            ratio, bar = mine.optimum / least, mine.optimum * mine.optimum_error / least
            axes.errorbar(
                mine.batch,
                ratio,
                bar,
                fmt=marker + style,
                color=colour,
                lw=0.8,
                mfc="none" if place == 0 else colour,
            )
            own = mine.bound_value / mine.bound_value.min()
            numbers = {"value": ratio, "error": bar, "bound_value": own}
            frame = pd.DataFrame({name: array.values for name, array in numbers.items()})
            tags = {"panel": "measured", "method": str(method), "tokens": float(mine.budget)}
            frames.append(frame.assign(batch=mine.batch.values, **tags))
    own = here.isel({"method": 0, "budget": -1}).bound_value
    axes.plot(own.batch, own / own.min(), color=BLACK, lw=1.0, ls="-.")
    axes.set(xscale="log", xlabel="$B$", ylabel="mean gradient over its least")
    axes.set_title(f"measured, {noise} noise")
    axes.legend(handles=_handles(data), loc="upper left", fontsize=6.5)
    return pd.concat(frames, ignore_index=True)


def _handles(data: xr.Dataset) -> list[Line2D]:
    marks = [
        Line2D(
            [], [], color=OPTIMIZERS[str(m)][1], marker=OPTIMIZERS[str(m)][2], ls="", label=label
        )
        for m, label in zip(data.method.values, data.attrs["labels"], strict=True)
    ]
    ends = [
        Line2D([], [], color=GREY, ls=style, marker="o", mfc=face, label=f"$T = 2^{{{power:.0f}}}$")
        for style, face, power in (
            ("--", "none", np.log2(float(data.budget[0]))),
            ("-", GREY, np.log2(float(data.budget[-1]))),
        )
    ]
    label = f"{data.attrs['labels'][0]}'s bound, last $T$"
    return [*marks, *ends, Line2D([], [], color=BLACK, ls="-.", label=label)]
