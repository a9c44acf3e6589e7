"""Ill-conditioning: correlations of the parameters and profiles, separate against shared."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures.style import BLACK, BLUE, GREY, PAGE_INCHES, VERMILION

FORMS = {"separate": (VERMILION, "o", "separate"), "shared": (BLUE, "s", "shared exponents")}
LETTERS = {"alpha": r"\alpha", "beta": r"\beta"}
RAW, CENTRED = "logarithmic", "centred"
LIMIT = 3.84  # chi-squared with one degree, 95 %


def draw(records: Mapping[str, xr.Dataset]) -> tuple[Figure, pd.DataFrame]:
    """Left: correlations before and after centring. Middle: all fits. Right: profile of E."""
    dataset = records["conditioning"].isel(source=0)
    figure, panels = plt.subplots(1, 4, figsize=(PAGE_INCHES, 2.4))
    single = dataset.sel(form="separate")
    for axes, units, title in ((panels[0], RAW, "raw units"), (panels[1], CENTRED, "centred")):
        _matrix(axes, single.correlation.sel(units=units), "'" if units == CENTRED else "")
        condition = float(single.condition.sel(scale=units))
        axes.set_title(f"{title}\ncondition {_power(condition)}")
    smallest = dataset.isel(cells=0, span=0)
    _scatter(panels[2], smallest)
    _profile(panels[3], dataset)
    handles, labels = panels[2].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure, _plotted(dataset, smallest)


def _power(value: float) -> str:
    exponent = int(np.floor(np.log10(value)))
    return rf"${value / 10**exponent:.1f}\cdot 10^{{{exponent}}}$"


def _matrix(axes: Axes, correlation: xr.DataArray, prime: str) -> None:
    values = correlation.values
    axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
    names = [str(name) for name in correlation.parameter.values]
    shown = LETTERS | {name: rf"\log {name}{prime}" for name in ("A", "B")} | {"E": r"\log E"}
    log = [shown[name] for name in names]
    ticks = range(len(names))
    axes.set_xticks(ticks, [f"${name}$" for name in log], rotation=90)
    axes.set_yticks(ticks, [f"${name}$" for name in log])
    axes.tick_params(length=0)
    for i, j in np.ndindex(values.shape):
        colour = "white" if abs(values[i, j]) > 0.6 else BLACK
        axes.text(
            j,
            i,
            _rounded(float(values[i, j])) if i != j else "1",
            ha="center",
            va="center",
            fontsize=6,
            color=colour,
        )


def _rounded(value: float) -> str:
    if abs(value) > 0.99:
        return "<-.99" if value < 0 else ">.99"
    return f"{value:.2f}".replace("0.", ".")


def _scatter(axes: Axes, dataset: xr.Dataset) -> None:
    for form, (colour, marker, label) in FORMS.items():
        fits = dataset.fitted.sel(form=form)
        x, y = (fits.sel(parameter=name).values.ravel() for name in ("alpha", "E"))
        style = {"marker": marker, "ls": "", "ms": 2.6, "mew": 0, "alpha": 0.7}
        axes.plot(x, y, color=colour, label=label, **style)
    true = dataset.truth
    point = [float(true.sel(parameter=name)) for name in ("alpha", "E")]
    axes.plot(*point, color=BLACK, marker="+", ms=8, ls="", label="truth")
    axes.set(xlabel=r"$\alpha$", ylabel="$E$", title="fits over draws")


def _profile(axes: Axes, dataset: xr.Dataset) -> None:
    for form, (colour, marker, _) in FORMS.items():
        here = dataset.sel(form=form, profiled="log E")
        axes.plot(here.profile_value, here.profile_excess, color=colour, marker=marker, ms=1.8)
    axes.axhline(LIMIT, color=GREY, lw=0.8, ls="--")
    axes.annotate("95 %", (0.02, LIMIT), xycoords=("axes fraction", "data"), va="bottom")
    axes.axvline(float(dataset.truth.sel(parameter="E")), color=BLACK, lw=0.8, ls=":")
    axes.set(xlabel="$E$", title="profile, one draw", ylim=(0, 5))
    shown = dataset.profile_value.sel(profiled="log E").where(
        dataset.profile_excess.sel(profiled="log E") <= 6
    )
    axes.set_xlim(float(shown.min()) - 0.05, float(shown.max()) + 0.05)
    axes.set_ylabel(r"$2\,\Delta$ log likelihood")


def _plotted(dataset: xr.Dataset, smallest: xr.Dataset) -> pd.DataFrame:
    tables = {
        "correlation": dataset.correlation.sel(form="separate"),
        "fit": smallest.fitted.sel(parameter=["alpha", "E"]),
        "profile": dataset[["profile_value", "profile_excess"]].sel(profiled="log E"),
    }
    frames = []
    for name, table in tables.items():
        frame = (table.rename("value") if isinstance(table, xr.DataArray) else table).to_dataframe()
        frames.append(frame.reset_index().assign(panel=name))
    kept = [frame.dropna(axis="columns", how="all") for frame in frames]
    return pd.concat(kept, ignore_index=True)
