"""Errors of quantized networks layer by layer, what predicts their cost, and rho by optimizer."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from paper_figures.style import BLACK, BLUE, GREY, OPTIMIZERS, PAGE_INCHES, VERMILION
from theory.published_quantization import QAT_EFFICIENCY

BITS = 4
RHO_RANGE = (0.05, 2.0)
LETTERS = {"embedding": "E", "normalize": "N", "linear": "L", "activate": "A"}
PARTS = {
    "relative": (BLACK, "-", ".", "$R$"),
    "carried": (BLUE, "--", ".", "$A$, carried"),
    "new": (VERMILION, "", "s", "$B$, new"),
    "cross": (GREY, "", "D", "$|C|$"),
}


def draw(records: Mapping[str, xr.Dataset]) -> tuple[Figure, pd.DataFrame]:
    """Top: growth of R, its parts, gains of linear layers. Bottom: cost against MMR and R; rho."""
    dataset = records["ptq"]
    # The language model where there is one: the other network has linear layers only.
    network = "language" if "language" in dataset.network.values else str(dataset.network[0])
    here = dataset.sel(network=network, bits=BITS)
    here = here.isel(stage=(here.stage_name != "").values)
    figure, panels = plt.subplots(2, 3, figsize=(PAGE_INCHES, 4.6))
    last = here.relative.isel(stage=-1)
    frames = [
        _growth(panels[0, 0], here),
        _parts(panels[0, 1], here),
        _gains(panels[0, 2], here),
        _cost(
            panels[1, 0], here, here.max_to_median.mean("between"), "max / median of $|h|$ (MMR)"
        ),
        _cost(panels[1, 1], here, last, "relative error of the output"),
        _rho(panels[1, 2], records["qat"]),
    ]
    handles = [
        Line2D([], [], color=colour, marker=marker, ls="", label=label)
        for label, colour, marker in map(_look, map(str, here.optimizer.values))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure, pd.concat(frames, ignore_index=True)


def _look(optimizer: str) -> tuple[str, str, str]:
    if optimizer == "adamw":
        return ("AdamW", *OPTIMIZERS["adam"][1:])
    return OPTIMIZERS[optimizer]


def _stages(axes: Axes, here: xr.Dataset) -> None:
    """Stages by their letters; bands where something is rounded."""
    names = [str(name) for name in here.stage_name.values]
    place = here.stage.values
    axes.set_xticks(place, [LETTERS[name] for name in names])
    for x, name in zip(place, names, strict=True):
        if name == "linear":
            axes.axvspan(x - 0.5, x + 0.5, color=GREY, alpha=0.15, lw=0)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(yscale="log", xlabel="stage", xlim=(place[0] - 0.5, place[-1] + 0.5))
    _plain_ticks(axes.yaxis)


def _plain_ticks(axis: Axis) -> None:
    """One, two and five times powers of ten, written out."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _growth(axes: Axes, here: xr.Dataset) -> pd.DataFrame:
    rows = here.relative.median(("rate", "seed")).where(lambda values: values > 0)
    for optimizer in map(str, rows.optimizer.values):
        label, colour, marker = _look(optimizer)
        line = rows.sel(optimizer=optimizer)
        axes.plot(line.stage, line, color=colour, marker=marker, label=label, lw=0.9)
    _stages(axes, here)
    axes.set_title(f"relative error $R$, {BITS} bits")
    return _frame("growth", rows)


def _parts(axes: Axes, here: xr.Dataset) -> pd.DataFrame:
    frames = []
    for name, (colour, dashes, marker, label) in PARTS.items():
        line = abs(here[name]).median(("optimizer", "rate", "seed"))
        line = line.where(line > 0)
        axes.plot(line.stage, line, color=colour, ls=dashes, marker=marker, label=label, ms=3)
        frames.append(_frame(name, line))
    _stages(axes, here)
    axes.legend(loc="lower left")
    axes.set_title("its parts, all checkpoints")
    return pd.concat(frames)


def _gains(axes: Axes, here: xr.Dataset) -> pd.DataFrame:
    rows = []
    for place, optimizer in enumerate(map(str, here.optimizer.values)):
        _, colour, marker = _look(optimizer)
        for shift, name in ((-0.15, "spectral"), (0.15, "alignment")):
            values = here[name].sel(optimizer=optimizer).isel(layer=slice(1, None)).values
            low, middle, high = np.nanpercentile(values, [2.5, 50, 97.5])
            face = "white" if name == "spectral" else colour
            bars = [[middle - low], [high - middle]]
            axes.errorbar(
                place + shift, middle, yerr=bars, color=colour, marker=marker, mfc=face, ls=""
            )
            rows.append((name, optimizer, middle, low, high))
    axes.axhline(1.0, color=BLACK, lw=0.6)
    labels = [_look(str(name))[0] for name in here.optimizer.values]
    axes.set_xticks(range(len(labels)), labels, rotation=35, ha="right")
    axes.set(yscale="log")
    _plain_ticks(axes.yaxis)
    axes.set_title("gains: $G_1$ (open), $G_2$ (full)")
    return pd.DataFrame(rows, columns=["panel", "optimizer", "value", "low", "high"])


def _cost(axes: Axes, here: xr.Dataset, metric: xr.DataArray, label: str) -> pd.DataFrame:
    cost, frames = here.rounded - here.full, []
    for optimizer in map(str, here.optimizer.values):
        _, colour, marker = _look(optimizer)
        x, y = (values.sel(optimizer=optimizer).values.ravel() for values in (metric, cost))
        known = np.isfinite(x) & np.isfinite(y)
        axes.plot(x[known], y[known], color=colour, marker=marker, ls="", alpha=0.7)
        frames.append(pd.DataFrame({"optimizer": optimizer, "value": y[known], "x": x[known]}))
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel=f"loss at {BITS} bits - loss")
    for axis in (axes.xaxis, axes.yaxis):
        _plain_ticks(axis)
    found = pd.concat(frames)
    # Pearson, like the published ones; the axes are logarithmic to show all checkpoints.
    value = float(np.corrcoef(found.x, found.value)[0, 1])
    axes.set_title(f"Pearson {value:.2f}, all rates")
    return found.assign(panel=label)


def _rho(axes: Axes, dataset: xr.Dataset) -> pd.DataFrame:
    """Trained at that width: rho of the one-term fit, as the published ones (open) are."""
    system = "network" if "network" in dataset.system.values else str(dataset.system.values[-1])
    rho = dataset.rho.sel(system=system, form="one-term", bits=BITS)
    rows = []
    for method in map(str, dataset.method.values):
        low, middle, high = (float(v) for v in rho.sel({"method": method}))
        if np.isfinite(middle):
            known = QAT_EFFICIENCY.get("adamw" if method == "adam" else method)
            rows.append((method, middle, low, high, known.rho if known else np.nan))
    for place, (method, middle, low, high, known) in enumerate(rows):
        _, colour, marker = OPTIMIZERS[method]
        bars = [[max(middle - low, 0)], [max(high - middle, 0)]]
        axes.errorbar(place, middle, yerr=bars, color=colour, marker=marker, ls="")
        axes.plot(place + 0.25, known, color=colour, marker=marker, mfc="white", ls="")
    # Where the loss does not follow the law rho and its interval may have any size: they end at the
    # frame, and the table has them.
    shown = np.array([row[1:] for row in rows])
    inside = shown[(shown > RHO_RANGE[0]) & (shown < RHO_RANGE[1])]
    axes.set_ylim(inside.min() - 0.1, inside.max() + 0.05)
    axes.set_xticks(range(len(rows)), [_look(row[0])[0] for row in rows], rotation=35, ha="right")
    axes.annotate("open: published", (0.05, 0.06), xycoords="axes fraction")
    axes.set_title(rf"$\rho$ at {BITS} bits, {system}")
    columns = ["optimizer", "value", "low", "high", "published"]
    return pd.DataFrame(rows, columns=columns).assign(panel=f"rho {system}")


def _frame(panel: str, values: xr.DataArray) -> pd.DataFrame:
    keep = [name for name in values.coords if name in values.dims]
    table = values.reset_coords(drop=True).rename("value").to_dataframe().reset_index()
    return table[[*keep, "value"]].assign(panel=panel)
