"""Robust fits of the Chinchilla law: centred logarithms, many starts, a convergence certificate.

The objective, the parametrisation and its derivatives are those of `theory.objectives`. Every
start is carried down by BFGS and finished by damped Newton steps.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx

from theory.checks import Real, check_float64, check_real
from theory.laws import Chinchilla
from theory.newton import newton
from theory.objectives import (
    DEFAULT_DELTA,
    PARAMETERS,
    Design,
    Kind,
    Objective,
    derivatives,
    design,
    make_objective,
    value_of,
)

AGREEMENT = 1e-6  # relative objective within which a start counts as the same optimum
# Residuals of 1e-12 are rounding: runs that follow a law exactly have no finer optimum to share.
_ROUNDING = 5e-25
_TOLERANCE = 1e-11
_BFGS_STEPS = 300


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
    """Checks and centres training runs.

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
    check_float64()
    for name, values in (("size", size), ("tokens", tokens), ("loss", loss)):
        check_real(name, values, above=0.0)
    n, d, losses = (np.asarray(values, dtype=float) for values in (size, tokens, loss))
    if not n.shape == d.shape == losses.shape or n.ndim != 1:
        raise ValueError(
            "`size`, `tokens` and `loss` must be vectors of one length, "
            f"got shapes {n.shape}, {d.shape} and {losses.shape}."
        )
    for name, values in (("size", n), ("tokens", d)):
        if np.unique(values).size < 2:
            raise ValueError(
                f"`{name}` must vary, it is {values[0]:g} in every run: its exponent cannot be "
                "identified."
            )
    distinct = np.unique(np.stack([n, d]), axis=1).shape[1]
    if distinct < len(PARAMETERS):
        raise ValueError(
            f"`size`, `tokens` must hold at least {len(PARAMETERS)} distinct runs for "
            f"{len(PARAMETERS)} parameters, got {distinct}."
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
class Fit:
    """A fitted law with the evidence that it is the optimum.

    Attributes:
        law: the fitted law in plain parameters.
        parameters: centred parameters, [5], named by `theory.objectives.PARAMETERS`.
        objective: value at the optimum: a sum over runs, not divided by the scale.
        gradient_norm: Euclidean norm of its gradient in the centred parameters.
        agreement: share of starts within 1e-6 relative of the optimum.
        starts: number of starts.
        chosen: what was minimised.
        data: the runs.
    """

    law: Chinchilla
    parameters: np.ndarray
    objective: float
    gradient_norm: float
    agreement: float
    starts: int
    chosen: Objective
    data: Runs

    @property
    def delta(self) -> float:
        """Huber threshold."""
        return float(self.chosen.delta)


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
            threshold tenfold at a time.
        starts: how many random starts, at least 1.
        key: randomness of the starts.
        kind: "huber" (on log loss), "mse_log" (squares on log loss) or "mse" (squares on loss).

    Returns:
        A `Fit`.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: fit.
    Valid: positive data, at least five distinct runs.
    Source: objective of Hoffmann et al. 2022; parametrisation derived here; optimistix BFGS from
        every start, then damped Newton steps on each.
    """
    chosen = make_objective(kind, delta)
    check_real("starts", starts, at_least=1)
    points = _starts(data, starts, key)
    # Very small thresholds make a nearly piecewise-linear objective: approach them from above.
    for objective in _continuation(chosen):
        points = _minimise_many(points, data, objective)
    values, gradients = (np.asarray(part) for part in _evaluate_many(points, data, chosen))
    values = np.where(np.isfinite(values), values, np.inf)
    best = int(np.argmin(values))
    parameters = np.asarray(points[best])
    agree = values <= values[best] * (1 + AGREEMENT) + _ROUNDING * data.log_loss.size
    return Fit(
        law=plain_law(parameters, data),
        parameters=parameters,
        objective=float(values[best]),
        gradient_norm=float(np.linalg.norm(gradients[best])),
        agreement=float(np.mean(agree)),
        starts=starts,
        chosen=chosen,
        data=data,
    )


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


def _continuation(chosen: Objective) -> list[Objective]:
    delta = float(chosen.delta)
    if chosen.kind != "huber" or delta >= DEFAULT_DELTA:
        return [chosen]
    count = int(np.ceil(np.log10(DEFAULT_DELTA / delta)))
    thresholds = np.geomspace(DEFAULT_DELTA, delta, count + 1)
    return [make_objective("huber", float(threshold)) for threshold in thresholds]


def _starts(data: Runs, starts: int, key: jax.Array) -> jax.Array:
    """Random starts on the scale of the data: a share of the loss for each term."""
    draws = jax.random.uniform(key, (starts, 5))
    lowest, middle = jnp.exp(jnp.min(data.log_loss)), jnp.exp(jnp.median(data.log_loss))
    floor = lowest * (0.02 + 0.96 * draws[:, 0])
    share = 0.1 + 0.8 * draws[:, 1]
    rest = jnp.maximum(middle - floor, 0.05 * middle)
    alpha, beta = 0.05 + 1.15 * draws[:, 2], 0.05 + 1.15 * draws[:, 3]
    columns = [jnp.log(floor), jnp.log(rest * share), alpha, jnp.log(rest * (1 - share)), beta]
    return jnp.stack(columns, axis=1)


@jax.jit
def _minimise_many(points: jax.Array, data: Runs, chosen: Objective) -> jax.Array:
    terms, ones = design(data.log_size, data.log_tokens), jnp.ones_like(data.log_loss)

    # BFGS first steps down the bare gradient: summed over the runs it would throw starts so far
    # that terms of the law vanish. A mean is safe here, the Newton steps finish what it leaves.
    def scaled(parameters: jax.Array, _: None) -> jax.Array:
        value = value_of(parameters, terms.forms, data.log_loss, chosen)
        return value / (chosen.scale * data.log_loss.size)

    def one(start: jax.Array) -> jax.Array:
        solver = optx.BFGS(rtol=_TOLERANCE, atol=_TOLERANCE)
        found = optx.minimise(scaled, solver, start, max_steps=_BFGS_STEPS, throw=False).value
        found = jnp.where(jnp.all(jnp.isfinite(found)), found, start)
        return polish(found, terms, data.log_loss, ones, chosen)

    with jax.numpy_dtype_promotion("standard"):
        return jax.vmap(one)(points)


@jax.jit
def _evaluate_many(points: jax.Array, data: Runs, chosen: Objective) -> tuple[jax.Array, jax.Array]:
    terms, ones = design(data.log_size, data.log_tokens), jnp.ones_like(data.log_loss)
    return jax.vmap(lambda point: derivatives(point, terms, data.log_loss, ones, chosen)[:2])(
        points
    )


def polish(
    start: jax.Array, terms: Design, log_loss: jax.Array, weights: jax.Array, chosen: Objective
) -> jax.Array:
    """Damped Newton steps on the scaled, weighted objective; traced, for vmap.

    Args:
        start: centred parameters, [5], finite.
        terms: the law's linear forms.
        log_loss: log L, [n].
        weights: of the runs, [n], non-negative.
        chosen: the objective.

    Returns:
        Centred parameters, [5].

    Kind: fit.
    Valid: finite start.
    Source: `theory.newton`.
    """

    def evaluate(parameters: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        value, gradient, hessian = derivatives(parameters, terms, log_loss, weights, chosen)
        return value / chosen.scale, gradient / chosen.scale, hessian / chosen.scale

    return newton(evaluate, start)
