"""Robust fits of the Chinchilla law: centred logarithms, many starts, a convergence certificate.

The objective is the sum over runs of Huber(log L - log law) with threshold delta. Parameters are
(log E, log A', alpha, log B', beta) with A' = A N_0^-alpha, B' = B D_0^-beta and N_0, D_0 the
geometric means of the data: the raw (log A, alpha) correlation of 0.998 is an artefact of units
and ruins every optimiser. The objective is divided by delta, so that tolerances mean something.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx

from theory.checks import Real, check_float64, check_real
from theory.laws import Chinchilla

DEFAULT_DELTA = 1e-3
PARAMETERS = ("log E", "log A'", "alpha", "log B'", "beta")
AGREEMENT = 1e-6  # relative objective within which a start counts as the same optimum
_TOLERANCE = 1e-11
_BFGS_STEPS = 1000
_NEWTON_STEPS = 20
_FLAT = 1e-12  # gradient norm of objective / delta, at rounding level


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
    Source: centring derived in `theory.fitting`'s docstring.
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


def huber(residual: jax.Array, delta: Real) -> jax.Array:
    """Huber's function: r^2/2 within delta, delta (|r| - delta/2) beyond.

    Args:
        residual: any shape.
        delta: threshold, positive.

    Returns:
        Array shaped like `residual`.

    Kind: definition.
    Valid: delta > 0.
    Source: Huber 1964, Annals of Mathematical Statistics 35.
    """
    size = jnp.abs(residual)
    inner = jnp.minimum(size, delta)
    return inner * (size - inner / 2)


def log_law(parameters: jax.Array, log_size: jax.Array, log_tokens: jax.Array) -> jax.Array:
    """Log of the law in centred parameters, log(E + A' e^(-alpha x) + B' e^(-beta y)).

    Args:
        parameters: (log E, log A', alpha, log B', beta), [5].
        log_size: x = log(N / N_0), [n].
        log_tokens: y = log(D / D_0), [n].

    Returns:
        Array [n].

    Kind: exact.
    Valid: all real parameters.
    Source: derived; log-sum-exp of the three terms, Hoffmann et al. 2022 appendix D.3.
    """
    log_e, log_a, alpha, log_b, beta = parameters
    terms = jnp.stack(
        [
            jnp.broadcast_to(log_e, log_size.shape),
            log_a - alpha * log_size,
            log_b - beta * log_tokens,
        ]
    )
    return jax.nn.logsumexp(terms, axis=0)


def objective(parameters: jax.Array, data: Runs, weights: jax.Array, delta: Real) -> jax.Array:
    """Sum over runs of weight times Huber(log L - log law), the field's convention.

    Args:
        parameters: centred, [5].
        data: the runs.
        weights: of the runs, [n], non-negative; ones for a plain fit.
        delta: Huber threshold on log loss.

    Returns:
        A scalar.

    Kind: definition.
    Valid: delta > 0.
    Source: Hoffmann et al. 2022 (arXiv 2203.15556) equation 3; a sum, not a mean.
    """
    residual = log_law(parameters, data.log_size, data.log_tokens) - data.log_loss
    return jnp.sum(weights * huber(residual, delta))


@dataclass(frozen=True)
class Fit:
    """A fitted law with the evidence that it is the optimum.

    Attributes:
        law: the fitted law in plain parameters.
        parameters: centred parameters, [5], named by `PARAMETERS`.
        objective: sum-Huber at the optimum (not divided by delta).
        gradient_norm: Euclidean norm of its gradient in the centred parameters.
        agreement: share of starts within 1e-6 relative of the optimum.
        starts: number of starts.
        delta: Huber threshold.
        data: the runs.
    """

    law: Chinchilla
    parameters: np.ndarray
    objective: float
    gradient_norm: float
    agreement: float
    starts: int
    delta: float
    data: Runs


def fit_chinchilla(
    data: Runs, *, delta: float = DEFAULT_DELTA, starts: int = 256, key: jax.Array
) -> Fit:
    """Fits L = E + A N^-alpha + B D^-beta from many starts.

    Args:
        data: from `runs`.
        delta: Huber threshold on log loss; 1e-6 and below is the L1 limit, reached by lowering the
            threshold tenfold at a time.
        starts: how many random starts, at least 1.
        key: randomness of the starts.

    Returns:
        A `Fit`.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: fit.
    Valid: positive data, at least five distinct runs.
    Source: objective of Hoffmann et al. 2022; parametrisation derived here; optimistix BFGS from
        every start, then damped Newton steps on each.
    """
    check_real("delta", delta, above=0.0)
    check_real("starts", starts, at_least=1)
    points = _starts(data, starts, key)
    ones = jnp.ones_like(data.log_loss)
    # Very small thresholds make a nearly piecewise-linear objective: approach them from above.
    for threshold in _continuation(delta):
        points = _minimise_many(points, data, ones, jnp.asarray(threshold))
    values = np.asarray(jax.vmap(objective, (0, None, None, None))(points, data, ones, delta))
    values = np.where(np.isfinite(values), values, np.inf)
    best = int(np.argmin(values))
    parameters = points[best]
    gradient = jax.grad(objective)(parameters, data, ones, delta)
    agree = values <= values[best] * (1 + AGREEMENT) + 1e-300
    return Fit(
        plain_law(np.asarray(parameters), data),
        np.asarray(parameters),
        float(values[best]),
        float(jnp.linalg.norm(gradient)),
        float(np.mean(agree)),
        starts,
        float(delta),
        data,
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


def _continuation(delta: float) -> list[float]:
    if delta >= DEFAULT_DELTA:
        return [delta]
    count = int(np.ceil(np.log10(DEFAULT_DELTA / delta)))
    return [*np.geomspace(DEFAULT_DELTA, delta, count + 1)]


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


def minimise(start: jax.Array, data: Runs, weights: jax.Array, delta: jax.Array) -> jax.Array:
    """One start carried to a local optimum; traced, for vmap.

    Args:
        start: centred parameters, [5].
        data: the runs.
        weights: of the runs, [n].
        delta: Huber threshold.

    Returns:
        Centred parameters, [5].

    Kind: fit.
    Valid: finite start.
    Source: optimistix BFGS on objective / delta, then damped Newton steps that only go down.
    """

    def scaled(parameters: jax.Array, _: None) -> jax.Array:
        return objective(parameters, data, weights, delta) / delta

    solver = optx.BFGS(rtol=_TOLERANCE, atol=_TOLERANCE)
    with jax.numpy_dtype_promotion("standard"):
        found = optx.minimise(scaled, solver, start, max_steps=_BFGS_STEPS, throw=False).value
    found = jnp.where(jnp.all(jnp.isfinite(found)), found, start)
    return _polish(lambda parameters: scaled(parameters, None), found)


_minimise_many = jax.jit(jax.vmap(minimise, in_axes=(0, None, None, None)))


def _polish(function: Callable[[jax.Array], jax.Array], parameters: jax.Array) -> jax.Array:
    """Newton steps, damped until the function falls; at rounding level, until the gradient does."""
    value_and_gradient, hessian = jax.value_and_grad(function), jax.hessian(function)
    # From Newton's step to a short one down the gradient, by Levenberg's shift.
    shifts = 10.0 ** jnp.array([-12.0, -7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 2.0])

    def step(state: tuple) -> tuple:
        parameters, value, gradient, _, count = state
        curvature = hessian(parameters)
        scale = jnp.trace(jnp.abs(curvature)) * jnp.eye(parameters.size)
        candidates = parameters - jax.vmap(
            lambda shift: jnp.linalg.solve(curvature + shift * scale, gradient)
        )(shifts)
        values = jax.vmap(function)(candidates)
        best = jnp.argmin(jnp.where(jnp.isfinite(values), values, jnp.inf))
        whole_value, whole_gradient = value_and_gradient(candidates[0])
        flatter = jnp.linalg.norm(whole_gradient) < jnp.linalg.norm(gradient)
        level = whole_value <= value + 1e-14 * jnp.abs(value)
        best = jnp.where(flatter & level, 0, best)
        better = (flatter & level) | (values[best] < value)
        after = jnp.where(better, candidates[best], parameters)
        new_value, new_gradient = value_and_gradient(after)
        return after, new_value, new_gradient, better, count + 1

    def unfinished(state: tuple) -> jax.Array:
        _, _, gradient, better, count = state
        return better & (count < _NEWTON_STEPS) & (jnp.linalg.norm(gradient) > _FLAT)

    start = (parameters, *value_and_gradient(parameters), jnp.array(True), jnp.array(0))
    return jax.lax.while_loop(unfinished, step, start)[0]
