"""Norm transfer: the norm at the optimum, rates and batches there, and the quadratic's account."""

from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from paper_figures.style import BLACK, GREEN, GREY, OPTIMIZERS, PAGE_INCHES
from theory.published import LOSS_TABLE, OPTIMAL_LOG2_NORM

# Method of the record: optimizer whose colour and marker it has, label, dashes.
METHODS = {
    "scion": ("scion", "Scion", "-"),
    "scion_constrained": ("scion", "Scion, decay", ":"),
    "muon": ("muon", "Muon", "-"),
    "adamw": ("adam", "AdamW", "-"),
    "signsgd": ("sign", "signSGD", "-"),
}
STEPS = {
    "output": ("scion", "output"),
    "hidden": ("muon", "hidden"),
    "input": ("normalized_sgd", "input"),
    "sign": ("sign", "sign"),
}


def draw(records: Mapping[str, xr.Dataset]) -> tuple[Figure, pd.DataFrame]:
    """Top: norm, batch and rate at the optimum. Bottom: norm along batches, share, quadratic."""
    dataset = records["norm_transfer"]
    figure, panels = plt.subplots(2, 3, figsize=(PAGE_INCHES, 4.6))
    _norm(panels[0, 0], dataset)
    _batch(panels[0, 1], dataset)
    _along_batches(panels[0, 2], dataset)
    _rate(panels[1, 0], dataset)
    _share(panels[1, 1], dataset)
    _quadratic(panels[1, 2], dataset)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure, _plotted(dataset)


def _plotted(dataset: xr.Dataset) -> pd.DataFrame:
    groups = {
        "best": ["best_log2_norm", "best_norm_error", "best_log2_batch", "best_batch_error"],
        "cells": ["log2_rate", "rate_error", "log2_norm", "norm_error", "share"],
        "quadratic": ["quad_log2_rate", "quad_value", "quad_log2_norm", "quad_share"],
    }
    frames = []
    for names in groups.values():
        chosen = dataset[names]
        chosen = chosen.sel(layer="output", drop=True) if "layer" in chosen.dims else chosen
        frames.append(chosen.to_dataframe().reset_index())
    whole = pd.concat(frames, keys=list(groups), names=["panel"]).reset_index("panel")
    # Small grids may have no best batch inside: there is nothing to list then.
    return whole.dropna(axis=1, how="all")


def _groups(dataset: xr.Dataset) -> Iterator[tuple[str, int, xr.Dataset]]:
    """Method, width and output layer of what was run."""
    for method in map(str, dataset["method"].values):
        for width in dataset.width.values:
            data = dataset.sel({"method": method, "width": width, "layer": "output"})
            if np.isfinite(data.log2_norm).any():
                yield method, int(width), data


def _look(method: str, width: int, dataset: xr.Dataset) -> dict[str, Any]:
    """Colour and marker of the method; paler at other widths than the main one."""
    key, label, dashes = METHODS[method]
    _, colour, marker = OPTIMIZERS[key]
    main = width == int(dataset.attrs["width"])
    look = {"color": colour, "marker": marker, "ls": dashes, "elinewidth": 0.6}
    if method == "scion_constrained":
        look["mfc"] = "white"
    return look | ({"label": label} if main else {"alpha": 0.4})


def _powers(axes: Axes, low: float, high: float) -> None:
    """Ticks at whole powers of two along x."""
    step = max(1, round((high - low) / 4))
    ticks = np.arange(np.ceil(low), np.floor(high) + 1, step)
    axes.set_xticks(ticks, [f"$2^{{{int(t)}}}$" for t in ticks])


def _norm(axes: Axes, dataset: xr.Dataset) -> None:
    logs = np.log2(dataset.tokens.values.astype(float))
    for method, width, data in _groups(dataset):
        values, errors = data.best_log2_norm.values, data.best_norm_error.values
        axes.errorbar(logs, values, errors, **_look(method, width, dataset))
    value, error = OPTIMAL_LOG2_NORM
    best = [LOSS_TABLE.batch_sizes.index(b) for b in LOSS_TABLE.best]
    norms = [row[k] for row, k in zip(LOSS_TABLE.log2_norm, best, strict=True)]
    # The table's budgets, moved so that its first is under ours.
    moved = np.log2(LOSS_TABLE.tokens) - np.log2(LOSS_TABLE.tokens[0]) + logs[0]
    axes.fill_between(moved[[0, -1]], value - error, value + error, color=GREY, alpha=0.25, lw=0)
    axes.plot(moved, norms, color=BLACK, marker="D", ls="", label="published")
    axes.set(xlabel="tokens $D$ (published: moved)", ylabel=r"$\log_2$ norm of the output")
    axes.set_title("norm at best rate and batch")
    _powers(axes, logs[0], logs[-1])


def _batch(axes: Axes, dataset: xr.Dataset) -> None:
    logs = np.log2(dataset.tokens.values.astype(float))
    for method, width, data in _groups(dataset):
        values, errors = data.best_log2_batch.values, data.best_batch_error.values
        axes.errorbar(logs, values, errors, **_look(method, width, dataset))
    middle = float(dataset.best_log2_batch.mean())
    if np.isfinite(middle):
        axes.plot(logs, middle + 0.5 * (logs - logs.mean()), color=BLACK, ls="--", lw=0.8)
        axes.annotate("$D^{1/2}$", (logs[0], middle - 0.25 * np.ptp(logs) + 0.5))
    axes.set(xlabel="tokens $D$", ylabel=r"$\log_2$ best batch")
    axes.set_title("best batch size")
    _powers(axes, logs[0], logs[-1])


def _shades(dataset: xr.Dataset, name: str) -> Iterator[tuple[object, float]]:
    values = dataset[name].values
    return zip(values, np.linspace(0.3, 1.0, values.size), strict=True)


def _main(dataset: xr.Dataset) -> xr.Dataset:
    """The first method at the main width, output layer."""
    first = dataset["method"].values[0]
    return dataset.sel({"method": first, "width": int(dataset.attrs["width"]), "layer": "output"})


def _along_batches(axes: Axes, dataset: xr.Dataset) -> None:
    data, logs = _main(dataset), np.log2(dataset.batch.values.astype(float))
    for tokens, shade in _shades(dataset, "tokens"):
        row = data.sel({"tokens": tokens})
        axes.errorbar(
            logs,
            row.log2_norm,
            row.norm_error,
            color=GREEN,
            alpha=shade,
            marker="h",
            elinewidth=0.6,
        )
    axes.plot(data.best_log2_batch, data.best_log2_norm, color=BLACK, marker="*", ms=6, ls="")
    note = "stars: best batch\ndarker: more tokens"
    axes.annotate(note, (0.03, 0.97), xycoords="axes fraction", va="top")
    axes.set(xlabel="batch size $B$", ylabel=r"$\log_2$ norm of the output")
    axes.set_ylim(top=float(np.nanmax(data.log2_norm)) + 1.2)
    axes.set_title("Scion, rate tuned")
    _powers(axes, logs[0], logs[-1])


def _rate(axes: Axes, dataset: xr.Dataset) -> None:
    """Best rates without their fitted power of the tokens; one line a method."""
    logs = np.log2(dataset.batch.values.astype(float))
    budgets = np.log2(dataset.tokens.astype(float))
    for method, width, data in _groups(dataset):
        level = data.log2_rate - float(data.exponent.sel(law="q")) * budgets
        mean = level.mean("tokens") - level.mean()
        known = np.isfinite(mean.values)
        spread = level.std("tokens").values[known]
        axes.errorbar(logs[known], mean[known], spread, **_look(method, width, dataset))
    known = np.isfinite(dataset.log2_rate)
    centre = float((known * xr.DataArray(logs, dims="batch")).sum() / known.sum())
    # Below the curves for the lower line, above them for the upper one.
    for power, text, drop, side in ((0.5, "$B^{1/2}$", -12, "top"), (1.0, "$B$", 1, "bottom")):
        end = power * (logs[-1] - centre)
        axes.plot(logs, power * (logs - centre), color=BLACK, lw=0.8, ls="--")
        axes.annotate(
            text, (logs[-1], end), (0, drop), textcoords="offset points", ha="right", va=side
        )
    axes.set(xlabel="batch size $B$", ylabel=r"$\log_2$ best rate, shifted")
    axes.set_title("rate at given tokens")
    _powers(axes, logs[0], logs[-1])


def _share(axes: Axes, dataset: xr.Dataset) -> None:
    logs = np.log2(dataset.batch.values.astype(float))
    for method, width, data in _groups(dataset):
        known = np.isfinite(data.share).any("tokens").values
        axes.errorbar(
            logs[known], data.share.mean("tokens")[known], **_look(method, width, dataset)
        )
    quad = np.log2(dataset.quad_batch.values.astype(float))
    for step in map(str, dataset.quad_method.values):
        key, _ = STEPS[step]
        mean = dataset.quad_share.sel({"quad_method": step}).isel(quad_width=0).mean("quad_tokens")
        axes.plot(quad, mean, color=OPTIMIZERS[key][1], ls="-.", lw=0.8)
    axes.axhline(1.0, color=BLACK, lw=0.8)
    axes.set(xlabel="batch size $B$", ylabel=r"$(|W| - |W_0|) / \eta K$", ylim=(0, 1.1))
    axes.set_title("share of the distance budget")
    axes.annotate("dash-dotted: quadratic", (0.97, 0.03), xycoords="axes fraction", ha="right")
    _powers(axes, min(logs[0], quad[0]), max(logs[-1], quad[-1]))


def _quadratic(axes: Axes, dataset: xr.Dataset) -> None:
    quad = np.log2(dataset.quad_batch.values.astype(float))
    steps = [str(name) for name in dataset.quad_method.values]
    step = "output" if "output" in steps else steps[0]
    colour, marker = OPTIMIZERS[STEPS[step][0]][1:]
    data = dataset.sel({"quad_method": step}).isel(quad_width=0)
    for tokens, shade in _shades(dataset, "quad_tokens"):
        row = data.sel({"quad_tokens": tokens})
        least = row.quad_predicted_loss.min("quad_rate")
        axes.plot(quad, row.quad_value, color=colour, alpha=shade, marker=marker, ls="")
        axes.plot(quad, least, color=BLACK, alpha=shade, lw=0.8)
    axes.set(yscale="log", xlabel="batch size $B$", ylabel="tuned loss")
    axes.yaxis.set_minor_formatter(NullFormatter())
    # Room for the words.
    axes.set_ylim(bottom=float(np.nanmin(data.quad_value)) / 2)
    axes.set_title(f"matrix quadratic, {STEPS[step][1]} steps")
    axes.annotate("lines: limit of small batches", (0.03, 0.03), xycoords="axes fraction")
    _powers(axes, quad[0], quad[-1])
