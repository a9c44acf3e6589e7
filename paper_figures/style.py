"""One look for all figures: widths, fonts and a colour for each optimizer. No TeX."""

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl

COLUMN_INCHES = 3.25
PAGE_INCHES = 6.75

# Okabe and Ito's palette, told apart under the common colour-vision deficiencies.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE, GREY = "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#7F7F7F"

# The same optimizer has the same colour and marker in every figure. Ten colours told apart on white
# paper do not exist: the methods with matrix steps reuse those of the plain ones, other markers.
OPTIMIZERS: dict[str, tuple[str, str, str]] = {
    "gd": ("GD", BLUE, "o"),
    "sgd": ("SGD", ORANGE, "s"),
    "momentum": ("heavy ball", SKY, "^"),
    "nesterov": ("Nesterov", GREEN, "v"),
    "chebyshev": ("Chebyshev", BLACK, "D"),
    "normalized_sgd": ("normalized SGD", PURPLE, "P"),
    "sign": ("signSGD", VERMILION, "X"),
    "adam": ("Adam", GREY, "*"),
    "muon": ("Muon", BLUE, "d"),
    "scion": ("Scion", GREEN, "h"),
    "shampoo": ("Shampoo", PURPLE, "<"),
    "soap": ("SOAP", ORANGE, ">"),
}

PARTS: dict[str, tuple[str, str]] = {
    "irreducible": (GREY, ":"),
    "approximation": (GREEN, "--"),
    "bias": (BLUE, "-"),
    "noise": (VERMILION, "-."),
    "total": (BLACK, "-"),
}

SETTINGS = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "pdf.fonttype": 42,
    "text.usetex": False,
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Matplotlib settings of every figure."""
    with mpl.rc_context(SETTINGS):  # pyright: ignore[reportArgumentType]
        yield
