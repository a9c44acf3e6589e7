"""The figure of `quadlaw fit`: the runs against the law, and the residuals."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from paper_figures.style import BLACK, GREY, PAGE_INCHES, paper_style
from theory.laws import Chinchilla


def draw_fit(
    law: Chinchilla,
    size: np.ndarray,
    tokens: np.ndarray,
    loss: np.ndarray,
    intervals: Mapping[str, list[float]],
) -> tuple[Figure, pd.DataFrame]:
    """Reducible loss against model size, and residuals against compute.

    Args:
        law: the fitted law.
        size: N, [n].
        tokens: D, [n].
        loss: L, [n].
        intervals: 95 % intervals by parameter name, for the title.

    Returns:
        The figure and its numbers.
    """
    fitted = np.asarray(law.loss(size, tokens))
    residual = np.log(loss / fitted)
    with paper_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE_INCHES, 2.6))
        colours = plt.get_cmap("viridis")
        low, high = np.log(tokens).min(), np.log(tokens).max()
        shade = (np.log(tokens) - low) / max(high - low, 1e-12)
        shown = left.scatter(size, loss, c=tokens, s=7, cmap="viridis", norm="log", lw=0)
        line = np.geomspace(size.min(), size.max(), 100)
        for quantile in (0.0, 0.5, 1.0):
            budget = float(np.exp(low + quantile * (high - low)))
            left.plot(line, law.loss(line, budget), color=colours(quantile), lw=1)
        figure.colorbar(shown, ax=left, label="tokens $D$")
        left.set(xscale="log", yscale="log", xlabel="parameters $N$", ylabel="loss $L$")
        left.set_title(_title(intervals), fontsize=7)
        _plain_ticks(left, loss)
        right.axhline(0, color=BLACK, lw=0.6)
        right.scatter(size * tokens, residual, c=colours(shade), s=7, lw=0)
        spread = np.median(np.abs(residual))
        right.axhspan(-spread, spread, color=GREY, alpha=0.2, lw=0, label="median |residual|")
        right.set(
            xscale="log",
            xlabel="$ND$ [parameters $\\times$ tokens]",
            ylabel="$\\log L - \\log\\hat L$",
        )
        right.legend()
    numbers = {"size": size, "tokens": tokens, "loss": loss, "fitted": fitted, "residual": residual}
    return figure, pd.DataFrame(numbers)


def _title(intervals: Mapping[str, list[float]]) -> str:
    parts = [
        f"{symbol} [{intervals[name][0]:.3g}, {intervals[name][1]:.3g}]"
        for name, symbol in (("E", "$E$"), ("alpha", "$\\alpha$"), ("beta", "$\\beta$"))
    ]
    return "  ".join(parts)


def _plain_ticks(axes: Axes, loss: np.ndarray) -> None:
    """Losses span less than a decade: a few plain numbers instead of powers of ten."""
    ticks = np.round(np.geomspace(loss.min(), loss.max(), 5), 2)
    axes.set_yticks(np.unique(ticks))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
