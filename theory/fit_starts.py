"""Random starts of a fit on the scale of the data. Float64."""

import jax
import jax.numpy as jnp
import numpy as np

from theory.checks import check_real
from theory.law_forms import LawForm, positions

_EXPONENTS = (0.05, 1.2)
_FLOOR = (0.02, 0.98)  # constant term as a share of the lowest loss
_LEAST_REST = 0.05  # of the median loss, left for the terms that fall
_SHARES = (0.1, 0.9)


def starting_points(
    form: LawForm, count: int, log_loss: jax.Array, starts: int, key: jax.Array
) -> jax.Array:
    """Random starts: a share of the loss for each term, exponents between 0.05 and 1.2.

    Args:
        form: the law.
        count: number of groups of runs; all groups start alike.
        log_loss: log L, [n].
        starts: number of starts, at least 1.
        key: randomness.

    Returns:
        Centred parameters, [starts, p].

    Raises:
        ValueError: if `starts` is below 1.

    Kind: definition.
    Valid: a form with at least one falling term and at most one constant.
    Source: derived.
    """
    check_real("starts", starts, at_least=1)
    falling = [term for term in form.terms if term.powers]
    exponents = [symbol for symbol in form.symbols if symbol not in form.coefficients]
    draws = jax.random.uniform(key, (starts, 1 + len(falling) + len(exponents)))
    constant = len(falling) < len(form.terms)
    lowest, middle = jnp.exp(jnp.min(log_loss)), jnp.exp(jnp.median(log_loss))
    floor = lowest * _between(_FLOOR, draws[:, 0]) if constant else jnp.zeros(starts)
    rest = jnp.maximum(middle - floor, _LEAST_REST * middle)
    shares = _between(_SHARES, draws[:, 1 : 1 + len(falling)])
    shares = shares / jnp.sum(shares, axis=1, keepdims=True)
    starting = dict.fromkeys(form.coefficients, jnp.log(floor))
    for k, term in enumerate(falling):
        starting[term.coefficient] = jnp.log(rest * shares[:, k])
    for k, exponent in enumerate(exponents):
        starting[exponent] = _between(_EXPONENTS, draws[:, 1 + len(falling) + k])
    columns = [
        starting[symbol]
        for symbol, places in positions(form, count).items()
        for _ in np.unique(places)
    ]
    return jnp.stack(columns, axis=1)


def _between(ends: tuple[float, float], share: jax.Array) -> jax.Array:
    return ends[0] + (ends[1] - ends[0]) * share
