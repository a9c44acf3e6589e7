"""All figures by name, and how one is made from the records it needs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure as Drawing

from experiments.config import quick_config
from experiments.progress import Progress
from experiments.studies import STUDIES
from experiments.study import run_study
from paper_figures.figures import (
    additivity,
    batch_size,
    bigram,
    bounds,
    chinchilla,
    conditioning,
    decomposition,
    exponents,
    norm_transfer,
    quantization,
    rescaling,
    schedules,
    spectral,
    strategies,
    tuning_laws,
)
from paper_figures.save import save_figure
from paper_figures.style import paper_style

Draw = Callable[[Mapping[str, xr.Dataset]], tuple[Drawing, pd.DataFrame]]


@dataclass(frozen=True)
class Figure:
    """A figure: the studies whose records it draws, and the function that draws them."""

    title: str
    studies: tuple[str, ...]
    draw: Draw


FIGURES: dict[str, Figure] = {
    "decomposition": Figure(
        "decomposition of the loss along training, exact and simulated",
        ("decomposition",),
        decomposition.draw,
    ),
    "chinchilla": Figure(
        "loss against size and steps, isoFLOP curves and the frontier",
        ("emergence",),
        chinchilla.draw,
    ),
    "additivity": Figure(
        "how far the loss is from the sum of its parts", ("emergence",), additivity.draw
    ),
    "bigram": Figure("gradient descent on real text", ("bigram",), bigram.draw),
    "exponents": Figure(
        "exponents of the tuned loss, derived and found", ("exponents",), exponents.draw
    ),
    "schedules": Figure(
        "tuned loss and exponents under learning-rate schedules", ("schedules",), schedules.draw
    ),
    "spectral": Figure(
        "Muon, sign and GD on matrices as their bases turn", ("spectral",), spectral.draw
    ),
    "bounds": Figure(
        "convergence bounds against measured dual gradient norms", ("bounds",), bounds.draw
    ),
    "tuning_laws": Figure(
        "tuned rate, momentum and batch size against budget, regime by regime",
        ("tuning_laws",),
        tuning_laws.draw,
    ),
    "strategies": Figure(
        "the tied strategies of a bound, what breaks the tie, measured flatness",
        ("tuning_laws",),
        strategies.draw,
    ),
    "batch_size": Figure(
        "critical batch, surge and the hyperbola", ("batch_size",), batch_size.draw
    ),
    "conditioning": Figure(
        "ill-conditioning: correlations and profiles, separate against shared",
        ("conditioning",),
        conditioning.draw,
    ),
    "rescaling": Figure(
        "rescaling factors, rejected sharing, extrapolation against cells",
        ("optimizers", "conditioning"),
        rescaling.draw,
    ),
    "norm_transfer": Figure(
        "norms, rates and batches at the optimum, networks and a matrix quadratic",
        ("norm_transfer",),
        norm_transfer.draw,
    ),
    "quantization": Figure(
        "errors of quantized networks layer by layer, what predicts their cost, rho by optimizer",
        ("ptq", "qat"),
        quantization.draw,
    ),
}


def draw_all(
    names: Sequence[str], quick: bool, out: Path, root: Path, progress: Progress
) -> list[Path]:
    """Draws figures, computing the records that are missing.

    Args:
        names: keys of `FIGURES`.
        quick: use the small preset of every study.
        out: folder for PDF, PNG and CSV.
        root: results folder.
        progress: where to show progress.

    Returns:
        The files written.
    """
    paths = []
    with progress.task("figures", len(names)):
        for name in names:
            figure = FIGURES[name]
            records = {}
            for needed in figure.studies:
                study = STUDIES[needed]
                config = quick_config(study.config) if quick else study.config()
                records[needed], _, _ = run_study(study, config, root, progress)
            with paper_style():
                drawing, plotted = figure.draw(records)
                paths.extend(save_figure(drawing, plotted, out / name))
            progress.advance()
    return paths
