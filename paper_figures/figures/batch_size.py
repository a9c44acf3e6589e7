"""Batch size: the surge of one step, tuned runs and their critical batch, the hyperbola."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures.style import BLACK, BLUE, GREY, OPTIMIZERS, PAGE_INCHES

PLACES = {"coupled": "-", "diagonal": "--", "matrix": "-."}


def draw(records: Mapping[str, xr.Dataset]) -> tuple[Figure, pd.DataFrame]:
    """Best rate of one step; tuned loss of SGD; critical batch; steps to a target."""
    dataset = records["batch_size"]
    figure, panels = plt.subplots(2, 2, figsize=(PAGE_INCHES, 4.6))
    _one_step(panels[0, 0], dataset)
    _tuned_loss(panels[0, 1], dataset)
    _critical(panels[1, 0], dataset)
    _hyperbola(panels[1, 1], dataset)
    names = (
        ["predicted_rate", "measured_rate", "error"],
        ["sgd_rate", "sgd_loss", "critical_batch"],
        ["model_steps", "hyperbola"],
    )
    frames = [dataset[group].to_dataframe().reset_index() for group in map(list, names)]
    return figure, pd.concat(
        frames, keys=["one step", "runs", "model"], names=["panel"]
    ).reset_index("panel")


def _one_step(axes: Axes, dataset: xr.Dataset) -> None:
    batch = dataset.batch.values
    for case in dataset.case.values:
        method, place = str(case).split(", ")
        name, colour, marker = OPTIMIZERS[method]
        at = dataset.sel({"case": case})
        top = float(at.predicted_rate[-1])
        axes.plot(
            batch, at.predicted_rate / top, color=colour, ls=PLACES[place], label=f"{name}, {place}"
        )
        seen = {"marker": marker, "ls": "", "mfc": "white", "ms": 2.8, "elinewidth": 0.6}
        axes.errorbar(batch, at.measured_rate / top, 2 * at.error / top, color=colour, **seen)
    peak = float(dataset.attrs["peak_batch"])
    axes.axvline(peak, color=GREY, lw=0.8, ls=":")
    axes.annotate(
        rf"peak, $\beta_n = {dataset.attrs['beta_n']:.2f}$",
        (1.15 * peak, 0.94),
        xycoords=("data", "axes fraction"),
    )
    axes.set(xscale="log", yscale="log", xlabel="batch size $B$", ylim=(2e-3, 6.0))
    axes.set_ylabel(r"best rate / that of the largest $B$")
    axes.legend(ncols=1, loc="lower right")


def _tuned_loss(axes: Axes, dataset: xr.Dataset) -> None:
    batch = dataset.run_batch.values
    shades = np.linspace(0.35, 1.0, dataset.tokens.size)
    for i, (tokens, shade) in enumerate(zip(dataset.tokens.values, shades, strict=True)):
        loss = dataset.sgd_loss.values[i]
        power = int(np.round(np.log10(tokens)))
        axes.plot(batch, loss / loss.min(), color=BLUE, alpha=shade, label=f"$D = 10^{power}$")
    axes.axhline(1.2, color=GREY, lw=0.8, ls=":")
    axes.set(
        xscale="log", xlabel="batch size $B$", ylabel="SGD, tuned loss / least", ylim=(0.95, 2.5)
    )
    axes.legend()


def _critical(axes: Axes, dataset: xr.Dataset) -> None:
    tokens, critical = dataset.tokens.values, dataset.critical_batch.values
    _, colour, marker = OPTIMIZERS["sgd"]
    axes.plot(tokens, critical, color=colour, marker=marker, ls="", label="critical batch of SGD")
    exponent, last = float(dataset.critical_exponent), np.flatnonzero(np.isfinite(critical))[-1]
    guide = critical[last] * (tokens / tokens[last]) ** exponent
    axes.plot(
        tokens,
        guide,
        color=BLACK,
        ls="--",
        label=rf"$D^{{\beta/(1+\beta)}} = D^{{{exponent:.3f}}}$",
    )
    axes.set(xscale="log", yscale="log", xlabel="tokens $D$", ylabel="batch size")
    axes.set_ylim(1e2, 2e4)
    axes.legend()


def _hyperbola(axes: Axes, dataset: xr.Dataset) -> None:
    batch = dataset.model_batch.values
    steps, ideal = dataset.model_steps.values, dataset.hyperbola.values
    axes.plot(batch * ideal, ideal, color=BLACK, ls="--", label="hyperbola")
    axes.plot(
        batch * steps, steps, color=BLUE, marker="o", mfc="white", label="noisy quadratic model"
    )
    axes.set(
        xscale="log", yscale="log", xlabel="samples to the target", ylabel="steps to the target"
    )
    axes.legend()
