"""Tuning laws and losses published for language models, beside what is derived and measured."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from experiments.criterion import power_law_fit
from experiments.tables import Table
from experiments.tuning_optima import lowest
from theory.published import LOSS_TABLE
from theory.published_laws import LAWS

# Measured exponent, half its interval and verdict of regime, quantity and power.
Cell = Callable[[xr.Dataset, str, str, str], tuple[float, float, str]]

# Regime, quantity and power of this study; key and variable of the published law.
COMPARED = (
    ("eta, by tokens", "eta", "budget", "filatov.learning_rate", "D"),
    ("eta, by tokens", "eta", "B", "filatov.learning_rate", "B"),
    ("eta, by tokens", "eta", "budget", "filatov_9.learning_rate", "D"),
    ("eta, by tokens", "eta", "B", "filatov_9.learning_rate", "B"),
    ("eta, B", "B", "budget", "filatov.batch_size", "D"),
    ("eta, B", "eta", "budget", "filatov_best.learning_rate", "D"),
)


def published_laws(dataset: xr.Dataset, cell: Cell) -> Table:
    """Exponents fitted by others to a language model against derived and measured ones."""
    labels = list(dataset.attrs["labels"])
    lines = []
    for regime, quantity, power, key, variable in COMPARED:
        law = LAWS[key]
        published, error = law.exponents[variable], law.errors[variable]
        at = {"regime": regime, "quantity": quantity, "power": power}
        derived = float(dataset.derived.sel(at))
        cells = []
        for noise in dataset.noise.values:
            for method in dataset.method.values:
                at = {"noise": noise, "method": method, "criterion": "mean gradient"}
                measured, half, word = cell(dataset.sel(at), regime, quantity, power)
                known = np.isfinite(measured)
                cells.append(f"{measured:+.2f} +- {half:.2f} {word}" if known else word)
        off = f"{abs(published - derived) / error:.1f}"
        shown = f"{published:+.3g} +- {error:g}"
        lines.append((law.name, f"{quantity} ~ {variable}", shown, f"{derived:+.2f}", off, *cells))
    names = [f"{label}, {noise}" for noise in dataset.noise.values for label in labels]
    columns = ("published by", "law", "published", "derived", "s.e. apart", *names)
    note = (
        "published: arXiv 2510.03871, Scion without momentum on a language model, loss tuned. "
        "Right: this study, mean gradient tuned, verdicts against derived. eta ~ B at given tokens "
        "is the square-root rule"
    )
    return Table("Published, derived and measured exponents", columns, tuple(lines), note)


def best_batches() -> tuple[np.ndarray, np.ndarray, float, float]:
    """What the published losses say of B.

    Returns:
        The bottom of a parabola through each row in log B, loss over the least of its row, and the
        exponent of the bottom in tokens with its standard error.
    """
    losses = np.array(LOSS_TABLE.loss)
    weights, _ = lowest(losses.T)
    bottoms = np.exp(np.sum(weights * np.log(LOSS_TABLE.batch_sizes)[:, None], axis=0))
    slope, error, _ = power_law_fit(np.array(LOSS_TABLE.tokens, float), bottoms)
    return bottoms, losses / losses.min(axis=1, keepdims=True), -slope, error


def published_losses() -> Table:
    """Flatness in B of the published losses, and the exponent of their bottom."""
    bottoms, ratios, slope, error = best_batches()
    lines = [
        (f"2^{np.log2(tokens):.0f}", f"{bottom:.0f}", *(f"{x:.3f}" for x in row))
        for tokens, bottom, row in zip(LOSS_TABLE.tokens, bottoms, ratios, strict=True)
    ]
    columns = ("tokens", "best B", *(f"B = {batch}" for batch in LOSS_TABLE.batch_sizes))
    smallest = [row[0] for row in LOSS_TABLE.loss]
    note = (
        f"best B (parabolas in log B) grows as D^({slope:.2f} +- {error:.2f}), derived 1/2 at "
        f"given momentum. At B = {LOSS_TABLE.batch_sizes[0]} the loss is {smallest} for 64 times "
        "the tokens: the floor of noise, derived exponent 0"
    )
    return Table("Published losses over the least of their row", columns, tuple(lines), note)
