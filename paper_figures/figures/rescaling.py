"""Rescaling factors with their intervals; who is caught; extrapolation against cells."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from paper_figures.style import BLACK, BLUE, GREY, OPTIMIZERS, ORANGE, PAGE_INCHES, VERMILION

LOOKS = {
    "slow_gd": ("slower GD", ORANGE, "s"),
    "nesterov": OPTIMIZERS["nesterov"],
    "momentum": OPTIMIZERS["momentum"],
    "preconditioned": ("GD again", OPTIMIZERS["gd"][1], "o"),
}
FORMS = {"separate": (VERMILION, "o", "separate"), "shared": (BLUE, "s", "shared exponents")}
WIDER = {"beta free": (BLUE, "o"), "separate": (VERMILION, "^"), "alpha free": (GREY, "s")}
DASHES = ("-", "--", ":", "-.")


def draw(records: Mapping[str, xr.Dataset]) -> tuple[Figure, pd.DataFrame]:
    """Left: rho_D over the derived ratio. Middle: share of draws rejected. Right: extrapolation."""
    optimizers, conditioning = records["optimizers"], records["conditioning"].isel(source=0)
    figure, panels = plt.subplots(1, 3, figsize=(PAGE_INCHES, 2.7))
    frames = [
        _rescalings(panels[0], optimizers.sel(case="constants")),
        _detection(panels[1], optimizers),
        _extrapolation(panels[2], conditioning),
    ]
    handles, labels = panels[2].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=5)
    return figure, pd.concat(frames, ignore_index=True)


def _rescalings(axes: Axes, dataset: xr.Dataset) -> pd.DataFrame:
    rows = []
    for place, (name, (label, colour, marker)) in enumerate(LOOKS.items()):
        here = dataset.sel(optimizer=name)
        speed = float(here.speed)
        for shift, kind in ((-0.12, "tokens"), (0.12, "size")):
            over = speed if kind == "tokens" else 1.0
            low, middle, high = (float(v) / over for v in here[f"{kind}_rescaling_interval"])
            face = colour if kind == "tokens" else "white"
            bars = [[middle - low], [high - middle]]
            axes.errorbar(
                middle, place + shift, xerr=bars, color=colour, marker=marker, mfc=face, ls=""
            )
            rows.append(("rescaling", name, kind, middle * over, low * over, high * over, over))
        axes.annotate(
            rf"{label}, $\rho_D={speed:g}$",
            (0.0, place + 0.28),
            xycoords=("axes fraction", "data"),
            bbox={"fc": "white", "ec": "none", "pad": 0.5},
        )
    axes.axvline(1.0, color=BLACK, lw=0.8)
    axes.set(ylim=(-0.6, len(LOOKS) - 0.2), yticks=[], xlabel=r"fitted / derived, 95 %")
    axes.spines["left"].set_visible(False)
    axes.set_title(r"$\rho_D$ (full) and $\rho_N$ (open)")
    columns = ["panel", "optimizer", "kind", "value", "low", "high", "derived"]
    return pd.DataFrame(rows, columns=columns)


def _detection(axes: Axes, dataset: xr.Dataset) -> pd.DataFrame:
    kept = dataset.where(dataset.case != "bent", drop=True)
    p = kept.preconditioner.values
    # Zero on a logarithmic axis: a place of its own at the left.
    x = np.where(p > 0, p, np.min(p[p > 0]) / 3)
    rejected = (kept.p_value < dataset.attrs["level"]).mean("repeat")
    error = kept.held_out.median("repeat")
    ratio = error.isel(form=0) / error.isel(form=slice(1, None)).min("form")
    looks = {form: look for form, look in WIDER.items() if form in dataset.form.values}
    for form, (colour, marker) in looks.items():
        y = rejected.sel(form=form)
        size = 6 if form == "separate" else 3
        axes.plot(x, y, color=colour, marker=marker, ms=size, mfc="none", label=f"for {form}")
    axes.set(xscale="log", ylim=(-0.04, 1.04), xlabel="preconditioner exponent $p$")
    axes.set_ylabel("share of draws rejected")
    axes.set_xticks(x, ["0", *(f"{value:g}" for value in p[1:])], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_title("shared exponents rejected")
    axes.legend(loc="center right")
    frame = rejected.sel(form=list(looks)).rename("value").to_dataframe().reset_index()
    held = ratio.rename("value").to_dataframe().reset_index()[["case", "value"]]
    return pd.concat(
        [frame.assign(panel="rejected"), held.assign(panel="held-out error, shared / best")]
    )


def _extrapolation(axes: Axes, dataset: xr.Dataset) -> pd.DataFrame:
    error = np.sqrt((dataset.extrapolation**2).mean(("repeat", "optimizer")))
    for form, (colour, marker, label) in FORMS.items():
        for dashes, span in zip(DASHES, dataset.span.values, strict=False):
            y = error.sel(form=form, span=span)
            axes.plot(dataset.cells, y, color=colour, marker=marker, ls=dashes)
        axes.plot([], [], color=colour, marker=marker, label=label)
    for dashes, span in zip(DASHES, dataset.span.values, strict=False):
        axes.plot([], [], color=BLACK, ls=dashes, label=f"sizes {span:g}:1")
    axes.set(xscale="log", yscale="log", xlabel="cells of an optimizer")
    axes.set_ylabel("error of log loss")
    axes.set_xticks(dataset.cells.values, [str(v) for v in dataset.cells.values], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_title("at 8 times the largest size")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    return error.rename("value").to_dataframe().reset_index().assign(panel="extrapolation")
