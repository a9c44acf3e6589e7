"""Robust fits of the Chinchilla law: centred logarithms, many starts, a convergence certificate.

The objective, the parametrisation and its derivatives are those of `theory.objectives`, the solver
is that of `theory.robust_fit`.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import Real, check_float64, check_real
from theory.fit_losses import DEFAULT_DELTA, Kind, make_objective
from theory.fit_starts import starting_points
from theory.law_forms import CHINCHILLA
from theory.laws import Chinchilla
from theory.objectives import PARAMETERS, design
from theory.robust_fit import Optimum, optimise


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["log_size", "log_tokens", "log_loss", "size_centre", "tokens_centre"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Runs:
    """Training runs in centred logarithms; build it with `runs`.

    Attributes:
        log_size: log(N / N_0), [n].
        log_tokens: log(D / D_0), [n].
        log_loss: log L, [n].
        size_centre: N_0, geometric mean of the sizes.
        tokens_centre: D_0, geometric mean of the tokens.
    """

    log_size: jax.Array
    log_tokens: jax.Array
    log_loss: jax.Array
    size_centre: Real
    tokens_centre: Real


def runs(size: np.ndarray, tokens: np.ndarray, loss: np.ndarray) -> Runs:
    """Checks and centres training runs for a Chinchilla law.

    Args:
        size: N, parameters, [n], positive.
        tokens: D, tokens, [n], positive.
        loss: L, [n], positive.

    Returns:
        A `Runs`.

    Raises:
        ValueError: if shapes differ, an entry is not positive, there are fewer distinct (N, D) than
            the 5 parameters, or N or D never varies.

    Kind: definition.
    Valid: positive data.
    Source: centring derived in `theory.objectives`.
    """
    found = centred_runs(size, tokens, loss)
    for name, values, exponent in (("size", size, "alpha"), ("tokens", tokens, "beta")):
        if np.unique(values).size < 2:
            raise ValueError(
                f"`{name}` must vary, it is {np.ravel(values)[0]:g} in every run: its exponent "
                f"{exponent} cannot be identified."
            )
    distinct = np.unique(np.stack([size, tokens]), axis=1).shape[1]
    if distinct < len(PARAMETERS):
        raise ValueError(
            f"`size`, `tokens` must hold at least {len(PARAMETERS)} distinct runs for "
            f"{len(PARAMETERS)} parameters, got {distinct}."
        )
    return found


def centred_runs(size: np.ndarray, tokens: np.ndarray, loss: np.ndarray) -> Runs:
    """Checks and centres training runs, whatever law they can determine.

    Args:
        size: N, parameters, [n], positive.
        tokens: D, tokens, [n], positive.
        loss: L, [n], positive.

    Returns:
        A `Runs`.

    Raises:
        ValueError: if shapes differ or an entry is not positive.

    Kind: definition.
    Valid: positive data.
    Source: centring derived in `theory.objectives`.
    """
    check_float64()
    for name, values in (("size", size), ("tokens", tokens), ("loss", loss)):
        check_real(name, values, above=0.0)
    n, d, losses = (np.asarray(values, dtype=float) for values in (size, tokens, loss))
    if not n.shape == d.shape == losses.shape or n.ndim != 1 or n.size == 0:
        raise ValueError(
            "`size`, `tokens` and `loss` must be vectors of one length, "
            f"got shapes {n.shape}, {d.shape} and {losses.shape}."
        )
    log_n, log_d = np.log(n), np.log(d)
    return Runs(
        jnp.asarray(log_n - log_n.mean()),
        jnp.asarray(log_d - log_d.mean()),
        jnp.asarray(np.log(losses)),
        jnp.asarray(np.exp(log_n.mean())),
        jnp.asarray(np.exp(log_d.mean())),
    )


@dataclass(frozen=True)
class Fit(Optimum):
    """A fitted Chinchilla law with the evidence that it is the optimum.

    Attributes:
        law: the fitted law in plain parameters.
        data: the runs.
    """

    law: Chinchilla
    data: Runs


def fit_chinchilla(
    data: Runs,
    *,
    delta: float = DEFAULT_DELTA,
    starts: int = 256,
    key: jax.Array,
    kind: Kind = "huber",
) -> Fit:
    """Fits L = E + A N^-alpha + B D^-beta from many starts.

    Args:
        data: from `runs`.
        delta: Huber threshold on log loss; 1e-6 and below is the L1 limit, reached by lowering the
            threshold step by step.
        starts: how many random starts, at least 1.
        key: randomness of the starts.
        kind: "huber" (on log loss), "mse_log" (squares on log loss) or "mse" (squares on loss).

    Returns:
        A `Fit`.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: fit.
    Valid: positive data, at least five distinct runs.
    Source: objective of Hoffmann et al. 2022; parametrisation derived here; damped
        Newton steps from every start.
    """
    chosen = make_objective(kind, delta)
    points = starting_points(CHINCHILLA, 1, data.log_loss, starts, key)
    terms = design(data.log_size, data.log_tokens)
    found = optimise(points, terms, data.log_loss, chosen)
    return Fit(**vars(found), law=plain_law(found.parameters, data), data=data)


def plain_law(parameters: np.ndarray, data: Runs) -> Chinchilla:
    """The law in plain parameters from centred ones.

    Args:
        parameters: centred, [..., 5].
        data: the runs they are centred on.

    Returns:
        A `Chinchilla` with fields [...].

    Kind: exact.
    Valid: all real parameters.
    Source: derived; A = A' N_0^alpha, B = B' D_0^beta.
    """
    log_e, log_a, alpha, log_b, beta = np.moveaxis(np.asarray(parameters), -1, 0)
    return Chinchilla(
        np.exp(log_e),
        np.exp(log_a + alpha * np.log(data.size_centre)),
        np.exp(log_b + beta * np.log(data.tokens_centre)),
        alpha,
        beta,
    )
