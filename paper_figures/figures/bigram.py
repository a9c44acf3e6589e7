"""Gradient descent on real text: the spectrum, the loss, and what two exponents predict."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from paper_figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PAGE_INCHES


def draw(records: Mapping[str, xr.Dataset]) -> tuple[Figure, pd.DataFrame]:
    """Left: eigenvalues and energies by rank. Right: excess loss along training."""
    dataset = records["bigram"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE_INCHES, 2.6))
    names = (
        ("eigenvalues", "capacity", BLUE, "eigenvalue $\\lambda_i$", "a"),
        ("energies", "source", GREEN, "energy $\\lambda_i|x_i^*|^2$", "b"),
    )
    for name, law, colour, label, letter in names:
        estimate = dataset.exponent.sel(law=law)
        value, *errors = (
            float(estimate.sel(estimate=e)) for e in ("exponent", "standard_error", "window_spread")
        )
        left.plot(dataset["rank"], dataset[name], ".", color=colour, ms=2, label=label)
        fit = f"${letter}={value:.2f}\\pm{max(errors):.2f}$"
        left.plot(dataset["rank"], dataset[f"fitted_{name}"], color=colour, lw=0.9, label=fit)
    first, last = dataset.attrs["window"]
    left.axvspan(first, last, color=GREY, alpha=0.15, lw=0)
    left.set(xscale="log", yscale="log", xlabel="rank $i$ by token frequency", ylabel="value")
    left.legend(loc="lower left")
    floor = dataset.attrs["irreducible"]
    simulated = (dataset.simulated_loss - floor).isel(steps=slice(1, None))
    right.plot(dataset.exact_steps, dataset.exact_excess, color=BLACK, label="exact")
    right.plot(simulated.steps, simulated, "o", color=ORANGE, mfc="white", label="simulated")
    right.plot(
        dataset.exact_steps, dataset.predicted_excess, color=BLUE, ls="--", label="two exponents"
    )
    highest = float(dataset.energies.sum()) / 2
    last_step = 3 * float(dataset.steps[-1])
    right.set(xscale="log", yscale="log", xlabel="steps $T$", ylabel="excess loss $L - E$")
    right.set(xlim=(0.8, last_step), ylim=(1e-4 * highest, 1.5 * highest))
    right.legend(loc="lower left")
    plotted = dataset[["exact_excess", "predicted_excess"]].to_dataframe().reset_index()
    return figure, plotted
