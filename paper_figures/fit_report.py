"""The figures of `quadlaw fit`: the runs against the law, residuals, profiles, rescalings."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from paper_figures.style import BLACK, BLUE, GREY, PAGE_INCHES, VERMILION, paper_style

_MARKERS = "osD^vP*Xd<>h"


def draw_fit(
    size: np.ndarray,
    tokens: np.ndarray,
    loss: np.ndarray,
    fitted: np.ndarray,
    group: np.ndarray,
    groups: Sequence[str],
) -> tuple[Figure, pd.DataFrame]:
    """Measured against fitted losses, and residuals against compute.

    Args:
        size: N, [n].
        tokens: D, [n].
        loss: L, [n].
        fitted: loss of the law, [n].
        group: position of each run's optimizer in `groups`, [n].
        groups: names of the optimizers.

    Returns:
        The figure and its numbers.
    """
    residual = np.log(loss / fitted)
    with paper_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE_INCHES, 2.8))
        ends = np.array([min(loss.min(), fitted.min()), max(loss.max(), fitted.max())])
        left.plot(ends, ends, color=BLACK, lw=0.6)
        right.axhline(0, color=BLACK, lw=0.6)
        spread = np.median(np.abs(residual))
        right.axhspan(-spread, spread, color=GREY, alpha=0.2, lw=0, label="median |residual|")
        colours = plt.get_cmap("viridis")
        for place, name in enumerate(groups):
            mine = group == place
            shown = {
                "color": colours(place / max(len(groups) - 1, 1)),
                "marker": _MARKERS[place % len(_MARKERS)],
                "s": 9,
                "lw": 0,
            }
            left.scatter(fitted[mine], loss[mine], label=name, **shown)
            right.scatter((size * tokens)[mine], residual[mine], **shown)
        left.set(xscale="log", yscale="log", xlabel="fitted loss", ylabel="measured loss $L$")
        for axis in (left.xaxis, left.yaxis):
            _plain_ticks(left, axis.axis_name, loss)
        if len(groups) > 1:
            left.legend(fontsize=5, ncols=2)
        right.set(
            xscale="log",
            xlabel="$ND$ [parameters $\\times$ tokens]",
            ylabel="$\\log L - \\log\\hat L$",
        )
        right.legend()
    names = np.asarray(groups)[group]
    numbers = {"optimizer": names, "size": size, "tokens": tokens, "loss": loss}
    return figure, pd.DataFrame(numbers | {"fitted": fitted, "residual": residual})


def draw_profiles(
    profiles: Mapping[str, tuple[np.ndarray, np.ndarray]], limit: float
) -> tuple[Figure, pd.DataFrame]:
    """Excess of the objective along each parameter, all others fitted anew.

    Args:
        profiles: values of the parameter and excess, by label.
        limit: the excess at the ends of the interval.

    Returns:
        The figure and its numbers.
    """
    with paper_style():
        width = min(len(profiles), 5)
        figure, axes = plt.subplots(
            1, width, figsize=(PAGE_INCHES, 2.0), sharey=True, squeeze=False
        )
        for axis, (label, (values, excess)) in zip(axes[0], profiles.items(), strict=False):
            axis.plot(values, excess, color=BLUE)
            axis.axhline(limit, color=VERMILION, lw=0.6, ls="--")
            axis.set(xlabel=label, ylim=(0, 3 * limit))
        axes[0, 0].set_ylabel("calibrated excess")
    rows = [
        pd.DataFrame({"parameter": label, "value": values, "excess": excess})
        for label, (values, excess) in profiles.items()
    ]
    return figure, pd.concat(rows, ignore_index=True)


def draw_rescalings(
    names: Sequence[str], rescalings: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> tuple[Figure, pd.DataFrame]:
    """Rescalings of each optimizer with their intervals.

    Args:
        names: optimizers.
        rescalings: value [m] and interval ends [2, m], by "rho_N" and "rho_D".

    Returns:
        The figure and its numbers.
    """
    with paper_style():
        height = 0.6 + 0.22 * len(names)
        figure, axes = plt.subplots(1, 2, figsize=(PAGE_INCHES, height), sharey=True)
        place, rows = np.arange(len(names)), []
        for axis, (symbol, (value, ends)) in zip(axes, rescalings.items(), strict=True):
            axis.axvline(1, color=BLACK, lw=0.6)
            axis.hlines(place, ends[0], ends[1], color=BLUE, lw=1.2)
            axis.plot(value, place, "o", color=BLUE)
            axis.set_xlabel("$\\" + symbol + "$")
            rows.append(
                pd.DataFrame(
                    {"symbol": symbol, "optimizer": names, "value": value}
                    | {"low": ends[0], "high": ends[1]}
                )
            )
        axes[0].set_yticks(place, names)
        axes[0].invert_yaxis()
    return figure, pd.concat(rows, ignore_index=True)


def _plain_ticks(axes: Axes, which: str, loss: np.ndarray) -> None:
    """Losses span less than a decade: a few plain numbers instead of powers of ten."""
    ticks = np.unique(np.round(np.geomspace(loss.min(), loss.max(), 5), 2))
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks(ticks)
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())
