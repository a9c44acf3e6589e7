"""The published table of norm transfer through the same analysis as our own runs."""

from dataclasses import dataclass

import numpy as np

from experiments.tables import Table
from theory.parabola import Optimum, find_optimum, read_at
from theory.plane_fit import Constancy, PowerFit, constancy, fit_power
from theory.published import LOSS_TABLE, OPTIMAL_LOG2_NORM
from theory.published_laws import LAWS

WINDOWS = (3, 5, 7)  # of batch sizes, which are few
PRINTED = 0.2  # the source's error of a log2 norm
# Coefficients of loss against log2 norm that the source prints for one cell, and the loss there.
PRINTED_PARABOLA, PRINTED_MINIMUM = (0.154, -2.128, 11.765), 4.40


@dataclass(frozen=True)
class PublishedTable:
    """What the 4 x 7 table says.

    Attributes:
        best: batch size of the least loss of each row, as in the table, [D].
        optima: parabolas of loss against log2 B, [D].
        norm_at_best: log2 norm printed there, [D].
        norm_at_optimum: log2 norm between the columns, [D].
        over_tokens: the norms printed at the best batch, with the source's error, along log2 D.
        batch_law: B* from the parabolas against D.
        norm_law: log2 norm of all cells against B and D.
    """

    best: np.ndarray
    optima: tuple[Optimum, ...]
    norm_at_best: np.ndarray
    norm_at_optimum: np.ndarray
    over_tokens: Constancy
    batch_law: PowerFit
    norm_law: PowerFit


def analyse() -> PublishedTable:
    """The table's optima over B, the norm there, and its laws."""
    batches, tokens = (np.array(x, float) for x in (LOSS_TABLE.batch_sizes, LOSS_TABLE.tokens))
    losses, norms = np.array(LOSS_TABLE.loss), np.array(LOSS_TABLE.log2_norm)
    logs, at = np.log2(batches), np.argmin(losses, axis=1)
    optima = tuple(find_optimum(logs, row, windows=WINDOWS) for row in losses)
    places = np.array([found.place for found in optima])
    errors = np.array([found.error for found in optima])
    norm_at_best = norms[np.arange(tokens.size), at]
    between = [read_at(logs, row, x) for row, x in zip(norms, places, strict=True)]
    grid = np.broadcast_arrays(batches, tokens[:, None])
    return PublishedTable(
        batches[at],
        optima,
        norm_at_best,
        np.array(between),
        constancy(norm_at_best, np.full(tokens.size, PRINTED), np.log2(tokens)),
        fit_power(2.0**places, {"D": tokens}, errors),
        fit_power(2.0 ** norms.ravel(), {"B": grid[0].ravel(), "D": grid[1].ravel()}),
    )


def published_table() -> Table:
    """Optima and norms of the published table, with the source's bold cells."""
    found = analyse()
    rows = []
    for k, tokens in enumerate(LOSS_TABLE.tokens):
        optimum = found.optima[k]
        rows.append(
            (
                f"2^{np.log2(tokens):.0f}",
                f"{found.best[k]:.0f}",
                str(LOSS_TABLE.best[k]),
                f"{2**optimum.place:.0f} (log2 +- {optimum.error:.2f})",
                f"{found.norm_at_best[k]:.2f}",
                f"{found.norm_at_optimum[k]:.2f}",
            )
        )
    columns = ("tokens", "best B", "bold", "B of the parabola", "log2 norm", "between columns")
    over, law, batch = found.over_tokens, found.norm_law, found.batch_law
    value, error = OPTIMAL_LOG2_NORM
    printed = LAWS["filatov.batch_size"]
    note = (
        f"norm at the best B {over.mean:.2f} +- {over.scatter:.2f} (printed {value} +- {error}), "
        f"chi^2 {over.chi_square:.2f} of {over.points - 1}: {over.verdict}; "
        f"B* ~ D^({batch.exponents['D']:.2f} +- {batch.errors['D']:.2f}), printed "
        f"{printed.exponents['D']} +- {printed.errors['D']}. All cells, rate tuned: norm ~ "
        f"B^({law.exponents['B']:.2f} +- {law.errors['B']:.2f}) "
        f"D^({law.exponents['D']:.2f} +- {law.errors['D']:.2f}), R^2 {law.r_squared:.2f}: at given "
        "tokens it falls with B, and only along B* is it constant"
    )
    return Table(
        "The published table (Filatov et al. 2025), same analysis", columns, tuple(rows), note
    )
