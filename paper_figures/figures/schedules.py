"""How decay changes exponents: tuned losses, constant against decayed, and all exponents."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from paper_figures.style import BLACK, GREY, OPTIMIZERS, PAGE_INCHES

FITTED = 4
METHODS = {
    "gd": ("GD", "gd"),
    "sgd": ("SGD", "sgd"),
    "sign": ("sign descent", "sign"),
    "normalized": ("normalized GD", "normalized_sgd"),
}
# Line style and marker of a schedule, and its name.
SCHEDULES = {
    "constant": ("-", "o", "constant"),
    "linear": ("--", "s", "linear"),
    "cosine": ("-.", "^", "cosine"),
    "wsd": ((0, (4, 1, 1, 1, 1, 1)), "D", "WSD 20 %"),
    "power": (":", "v", "$(1-u)^{2a-1}$"),
    "optimal": ((0, (1, 1)), "*", "optimal"),
}
# Curves of these alone: more would lie on each other.
SHOWN = ("constant", "linear", "cosine")


def draw(records: Mapping[str, xr.Dataset]) -> tuple[Figure, pd.DataFrame]:
    """Top: tuned loss against horizon. Bottom: exponents, measured over derived, all problems."""
    dataset = records["schedules"]
    figure, axes = plt.subplots(
        2, 4, figsize=(PAGE_INCHES, 4.4), gridspec_kw={"height_ratios": [1.25, 1]}
    )
    fits = exponents(dataset)
    for column, method in enumerate(METHODS):
        if method not in dataset.method.values:
            for panel in axes[:, column]:
                panel.set_visible(False)
            continue
        problem = dataset.problem.values[0]
        _losses(axes[0, column], dataset.sel({"method": method, "problem": problem}), fits)
        _exponents(axes[1, column], fits.loc[fits["method"] == method], dataset.problem.values)
        axes[0, column].set_title(METHODS[method][0])
    axes[0, 0].set_ylabel(f"tuned loss, {_letters(str(dataset.problem.values[0]))}")
    axes[1, 0].set_ylabel("exponent of the loss")
    _legend(figure)
    return figure, fits


def exponents(dataset: xr.Dataset) -> pd.DataFrame:
    """Losses, tuned rates and exponents in long form, one row a horizon."""
    frame = dataset[["loss", "peak", "log_error", "steps", "derived_loss", "derived_rate"]]
    table = frame.to_dataframe().reset_index()
    table = table.loc[np.isfinite(table["loss"])]
    parts = []
    for _, group in table.groupby(["method", "problem", "schedule"], sort=False):
        if len(group) < FITTED:
            continue
        last = group.iloc[-FITTED:]
        (slope, _), covariance = np.polyfit(np.log(last.steps), np.log(last.loss), 1, cov=True)
        parts.append(group.assign(exponent=-slope, exponent_error=np.sqrt(covariance[0, 0])))
    return pd.concat(parts, ignore_index=True).drop(columns="horizon", errors="ignore")


def _losses(axes: Axes, row: xr.Dataset, fits: pd.DataFrame) -> None:
    """Tuned losses under a few schedules, each with its derived slope through the last point."""
    method = str(row.method.values)
    _, colour, _ = OPTIMIZERS[METHODS[method][1]]
    guides: set[float] = set()
    for name in SHOWN:
        mine = fits.loc[
            (fits["method"] == method)
            & (fits["schedule"] == name)
            & (fits["problem"] == str(row.problem.values))
        ]
        if mine.empty:
            continue
        style, marker, _ = SCHEDULES[name]
        axes.plot(mine.steps, mine.loss, color=colour, ls=style, marker=marker)
        derived, last = mine.derived_loss.iloc[-1], mine.iloc[-1]
        if np.isfinite(derived) and derived not in guides:
            guides.add(derived)
            # Below the points, else it would be under their line.
            guide = 0.8 * last.loss * (mine.steps / last.steps) ** -derived
            axes.plot(mine.steps, guide, color=BLACK, lw=0.6)
    axes.set(xscale="log", yscale="log", xlabel="horizon $T$")
    low, high = np.log10(axes.get_ylim())
    axes.set_ylim(10 ** np.floor(low), 10 ** np.ceil(high))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _exponents(axes: Axes, fits: pd.DataFrame, problems: np.ndarray) -> None:
    """Measured exponents as markers, derived ones as bars; one group a problem."""
    names = list(SCHEDULES)
    colour = OPTIMIZERS[METHODS[str(fits.method.iloc[0])][1]][1]
    for place, problem in enumerate(problems):
        for offset, name in enumerate(names):
            mine = fits.loc[(fits["problem"] == problem) & (fits["schedule"] == name)]
            if mine.empty:
                continue
            x = place + 0.13 * (offset - (len(names) - 1) / 2)
            point = mine.iloc[0]
            if np.isfinite(point.derived_loss):
                axes.plot([x - 0.09, x + 0.09], [point.derived_loss] * 2, color=BLACK, lw=1.0)
            axes.errorbar(x, point.exponent, point.exponent_error, color=colour, lw=0.8)
            axes.plot(x, point.exponent, SCHEDULES[name][1], color=colour, ms=3)
    axes.set_xticks(range(len(problems)), [_short(str(problem)) for problem in problems])
    axes.set_xlabel("$a$ (above), $b$ (below)")
    axes.set_xlim(-0.55, len(problems) - 0.45)
    axes.set_ylim(bottom=0)


def _letters(problem: str) -> str:
    return ", ".join(f"${part.strip()}$" for part in problem.split(","))


def _short(problem: str) -> str:
    return "\n".join(part.split("=")[1].strip() for part in problem.split(","))


def _legend(figure: Figure) -> None:
    handles = [
        Line2D([], [], color=GREY, ls=style if name in SHOWN else "none", marker=marker, label=text)
        for name, (style, marker, text) in SCHEDULES.items()
    ]
    handles.append(Line2D([], [], color=BLACK, lw=0.8, label="derived"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
