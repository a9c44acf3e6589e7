"""Training runs of several optimizers or formats, checked and centred together. Float64."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from theory.fitting import Runs, centred_runs
from theory.law_forms import LawForm, design_for
from theory.objectives import Design

LEAST_CELLS = 4


@dataclass(frozen=True)
class GroupedRuns:
    """Runs with the group each belongs to; build it with `grouped_runs`.

    Attributes:
        runs: all runs, centred on their common geometric means.
        group: position of each run's group in `groups`, [n].
        groups: names, in order of first appearance.
    """

    runs: Runs
    group: np.ndarray
    groups: tuple[str, ...]

    @property
    def size(self) -> np.ndarray:
        """N, parameters, [n]."""
        return np.asarray(np.exp(self.runs.log_size) * self.runs.size_centre)

    @property
    def tokens(self) -> np.ndarray:
        """D, tokens, [n]."""
        return np.asarray(np.exp(self.runs.log_tokens) * self.runs.tokens_centre)

    @property
    def loss(self) -> np.ndarray:
        """L, [n]."""
        return np.exp(np.asarray(self.runs.log_loss))

    @property
    def cell(self) -> np.ndarray:
        """Number of each run's cell, a distinct (group, N, D), [n]."""
        columns = np.stack(
            [self.group, np.asarray(self.runs.log_size), np.asarray(self.runs.log_tokens)]
        )
        # N and D back from centred logarithms: equal up to rounding.
        return np.unique(np.round(columns, 9), axis=1, return_inverse=True)[1].reshape(-1)

    def design(self, form: LawForm) -> Design:
        """Linear forms of a law on these runs."""
        logs = {
            "N": np.asarray(self.runs.log_size),
            "D": np.asarray(self.runs.log_tokens),
        }
        return design_for(form, logs, self.group, len(self.groups))

    def at(self, form: LawForm, index: np.ndarray, size: np.ndarray, tokens: np.ndarray) -> Design:
        """Linear forms at other points, in the parameters of these runs."""
        logs = {
            "N": np.log(size) - np.log(self.runs.size_centre),
            "D": np.log(tokens) - np.log(self.runs.tokens_centre),
        }
        return design_for(form, logs, np.asarray(index), len(self.groups))

    def only(self, kept: np.ndarray) -> Runs:
        """Some of the runs, still on the common centre."""
        data = self.runs
        return Runs(
            jnp.asarray(np.asarray(data.log_size)[kept]),
            jnp.asarray(np.asarray(data.log_tokens)[kept]),
            jnp.asarray(np.asarray(data.log_loss)[kept]),
            data.size_centre,
            data.tokens_centre,
        )


def grouped_runs(
    size: np.ndarray,
    tokens: np.ndarray,
    loss: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    least_cells: int = LEAST_CELLS,
) -> GroupedRuns:
    """Checks and centres the runs of several groups.

    Args:
        size: N, parameters, [n], positive.
        tokens: D, tokens, [n], positive.
        loss: L, [n], positive.
        groups: optimizer or format of each run, [n].
        least_cells: distinct (N, D) that every group must have.

    Returns:
        A `GroupedRuns`.

    Raises:
        ValueError: as `theory.fitting.centred_runs`, if the lengths differ, or if a group has too
            few cells.

    Kind: definition.
    Valid: positive data.
    Source: two coefficients of a group are determined by two cells; twice as many show the noise.
    """
    checked = centred_runs(size, tokens, loss)
    labels = np.asarray(groups).astype(str)
    if labels.shape != (checked.log_loss.size,):
        raise ValueError(
            f"`groups` must hold {checked.log_loss.size} labels, got shape {labels.shape}."
        )
    names, first, index = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    found = GroupedRuns(checked, place[index], tuple(str(name) for name in names[order]))
    for position, name in enumerate(found.groups):
        cells = np.unique(found.cell[found.group == position]).size
        if cells < least_cells:
            raise ValueError(
                f"`groups`: {name!r} has {cells} distinct (N, D) cells; at least {least_cells} "
                "are needed to rescale the law for it: leave it out or add runs."
            )
    return found
