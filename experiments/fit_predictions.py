"""Losses that a fitted law predicts, with bootstrap intervals."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments.errors import UserError
from experiments.fit_data import ALL
from experiments.fit_options import pairs
from experiments.run_table import RunTable
from theory.fit_resampling import FormBootstrap
from theory.fit_uncertainty import percentile_intervals
from theory.objectives import log_law


@dataclass(frozen=True)
class Predicted:
    """A loss with its interval.

    Attributes:
        group: optimizer.
        size: N.
        tokens: D.
        loss: of the fitted law.
        interval: 95 %, from the bootstrap.
        measured: the loss of a run that was set aside, or NaN.
    """

    group: str
    size: float
    tokens: float
    loss: float
    interval: tuple[float, float]
    measured: float = float("nan")


def point_of(text: str) -> dict[str, float]:
    """Size and tokens from "N=70e9,D=1.4e12".

    Raises:
        UserError: naming what cannot be read.
    """
    found = pairs("--predict", text)
    if set(found) != {"N", "D"}:
        raise UserError(f'--predict {text!r} must name N and D, as in "N=70e9,D=1.4e12".')
    return found


def predict_points(draws: FormBootstrap, points: list[dict[str, float]]) -> tuple[Predicted, ...]:
    """Every optimizer at every point."""
    groups = draws.fit.data.groups
    index = np.repeat(np.arange(len(groups)), len(points))
    size = np.tile([point["N"] for point in points], len(groups))
    tokens = np.tile([point["D"] for point in points], len(groups))
    return _predictions(draws, index, size, tokens, np.full(index.size, np.nan))


def check_aside(groups: tuple[str, ...], aside: RunTable | None) -> None:
    """Refuses rows set aside that no fitted law speaks about.

    Raises:
        UserError: if one is of an optimizer that was not fitted.
    """
    if aside is None or aside.optimizer is None:
        return
    unknown = sorted(set(aside.optimizer) - set(groups))
    if unknown:
        raise UserError(f"--holdout sets aside rows of {', '.join(unknown)}, which is not fitted.")


def predict_rows(draws: FormBootstrap, aside: RunTable) -> tuple[Predicted, ...]:
    """Rows that were set aside and passed `check_aside`."""
    groups = draws.fit.data.groups
    names = np.full(aside.loss.size, ALL) if aside.optimizer is None else aside.optimizer
    index = np.array([groups.index(name) for name in names])
    return _predictions(draws, index, aside.size, aside.tokens, aside.loss)


def _predictions(
    draws: FormBootstrap,
    index: np.ndarray,
    size: np.ndarray,
    tokens: np.ndarray,
    measured: np.ndarray,
) -> tuple[Predicted, ...]:
    if index.size == 0:
        return ()
    fit = draws.fit
    forms = fit.data.at(fit.form, index, size, tokens).forms
    many = jnp.asarray(np.concatenate([fit.parameters[None], draws.parameters]))
    losses = np.exp(np.asarray(jax.vmap(log_law, in_axes=(0, None))(many, forms)))
    best, spread = losses[0], losses[1:]
    low, high = percentile_intervals(spread)
    return tuple(
        Predicted(
            fit.data.groups[index[k]],
            float(size[k]),
            float(tokens[k]),
            float(best[k]),
            (float(low[k]), float(high[k])),
            float(measured[k]),
        )
        for k in range(index.size)
    )
