"""The additivity gap: approximation + optimization overstates the loss around the elbow."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from paper_figures.figures.chinchilla import decades
from paper_figures.style import BLACK, PAGE_INCHES


def draw(records: Mapping[str, xr.Dataset]) -> tuple[Figure, pd.DataFrame]:
    """Left: the gap, of the excess loss and of the approximation error. Right: the fit."""
    dataset = records["emergence"]
    excess = dataset.loss - dataset.attrs["irreducible"]
    ratio = (
        dataset.steps.values[None, :] / dataset["size"].values[:, None] ** dataset.attrs["capacity"]
    )
    of_loss = (dataset.additivity_gap / excess).values
    of_floor = (dataset.additivity_gap / dataset.approximation).values
    fitted = dataset.fitted_loss.sel(window="whole")
    error = (fitted / dataset.loss - 1).values
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE_INCHES, 2.6), sharex=True)
    rows = decades(dataset["size"].values)
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(rows)))
    for row, colour in zip(rows, colours, strict=True):
        left.plot(ratio[row], of_loss[row], color=colour)
        left.plot(ratio[row], of_floor[row], color=colour, ls="--")
        label = f"$10^{{{round(np.log10(dataset['size'].values[row]))}}}$"
        right.plot(ratio[row], 100 * error[row], color=colour, label=label)
    left.plot([], [], color=BLACK, label="share of $L-E$")
    left.plot([], [], color=BLACK, ls="--", label="share of approximation(N)")
    left.legend(loc="center left", bbox_to_anchor=(0.0, 0.62))
    left.set(xscale="log", xlabel="$T/N^a$", ylabel="additivity gap", ylim=(0, 1.05))
    right.axhline(0, color=BLACK, lw=0.6)
    right.set(xlabel="$T/N^a$", ylabel="fitted law over exact loss $-1$ [%]", xlim=(1e-9, 1e5))
    right.legend(title="size $N$", ncols=2, loc="best")
    numbers = {"additivity_gap": dataset.additivity_gap, "excess": excess, "fitted": fitted}
    return figure, xr.Dataset(numbers).to_dataframe(["size", "steps"]).reset_index()
