"""What a fit minimises: the law in centred logarithms and its exact derivatives. Float64.

Parameters are (log E, log A', alpha, log B', beta) with A' = A N_0^-alpha, B' = B D_0^-beta and
N_0, D_0 the geometric means of the data: the raw (log A, alpha) correlation of 0.998 is an artefact
of units and ruins every optimiser. In them the law is the logarithm of a sum of exponentials of
linear forms, so that one set of exponentials gives value, gradient and Hessian.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from theory.fit_losses import Objective, run_terms

PARAMETERS = ("log E", "log A'", "alpha", "log B'", "beta")


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["forms", "products", "coefficients"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Design:
    """The linear forms whose exponentials the law adds up.

    Attributes:
        forms: coefficients of the forms, [n, terms, parameters].
        products: outer products of each form with itself, [n * terms, parameters^2].
        coefficients: which parameters are logarithms of coefficients, [parameters], boolean.
    """

    forms: jax.Array
    products: jax.Array
    coefficients: jax.Array


def design(log_size: jax.Array, log_tokens: jax.Array) -> Design:
    """Linear forms of the Chinchilla law: log E, log A' - alpha x, log B' - beta y.

    Args:
        log_size: x = log(N / N_0), [n].
        log_tokens: y = log(D / D_0), [n].

    Returns:
        A `Design` with three terms and five parameters.

    Kind: definition.
    Valid: all real data.
    Source: derived; Hoffmann et al. 2022 appendix D.3.
    """
    zero, one = jnp.zeros_like(log_size), jnp.ones_like(log_size)
    forms = jnp.stack(
        [
            jnp.stack([one, zero, zero, zero, zero], axis=1),
            jnp.stack([zero, one, -log_size, zero, zero], axis=1),
            jnp.stack([zero, zero, zero, one, -log_tokens], axis=1),
        ],
        axis=1,
    )
    return design_of(forms, jnp.array([True, True, False, True, False]))


def design_of(forms: jax.Array, coefficients: jax.Array) -> Design:
    """A design from its linear forms.

    Args:
        forms: coefficients of the forms, [n, terms, parameters].
        coefficients: which parameters are logarithms of coefficients, [parameters], boolean.

    Returns:
        A `Design`.

    Kind: exact.
    Valid: all real forms.
    Source: derived.
    """
    products = jnp.einsum("nkp,nkq->nkpq", forms, forms).reshape(-1, forms.shape[2] ** 2)
    return Design(forms, products, coefficients)


def log_law(parameters: jax.Array, forms: jax.Array) -> jax.Array:
    """Log of the law, log sum_k exp(forms_k . parameters).

    Args:
        parameters: (log E, log A', alpha, log B', beta), [5].
        forms: of a `Design`, [n, 3, 5].

    Returns:
        Array [n].

    Kind: exact.
    Valid: all real parameters.
    Source: derived; log-sum-exp of the three terms, Hoffmann et al. 2022 appendix D.3.
    """
    return jax.nn.logsumexp(forms @ parameters, axis=1)


def value_of(
    parameters: jax.Array, forms: jax.Array, log_loss: jax.Array, chosen: Objective
) -> jax.Array:
    """The objective, summed over all runs with weight one.

    Args:
        parameters: centred, [5].
        forms: of a `Design`, [n, 3, 5].
        log_loss: log L, [n].
        chosen: the objective.

    Returns:
        A scalar, not divided by the scale.

    Kind: definition.
    Valid: all real parameters.
    Source: Hoffmann et al. 2022 (arXiv 2203.15556) equation 3.
    """
    return jnp.sum(run_terms(log_law(parameters, forms), log_loss, chosen)[0])


def derivatives(
    parameters: jax.Array,
    terms: Design,
    log_loss: jax.Array,
    weights: jax.Array,
    chosen: Objective,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Value, gradient and Hessian of the weighted objective, from one set of exponentials.

    With s the terms' shares of the law and G = sum_k s_k form_k its gradient, the Hessian is
    sum_n w (curvature - slope) G G^T + sum_nk w slope s_k form_k form_k^T.

    Args:
        parameters: centred, [p].
        terms: the linear forms.
        log_loss: log L, [n].
        weights: of the runs, [n], non-negative.
        chosen: the objective.

    Returns:
        A scalar, [p] and [p, p], not divided by the scale.

    Kind: exact.
    Valid: all real parameters.
    Source: derived; second derivative of a log-sum-exp.
    """
    exponents = terms.forms @ parameters
    predicted = jax.nn.logsumexp(exponents, axis=1)
    shares = jnp.exp(exponents - predicted[:, None])
    value, slope, curvature = (weights * term for term in run_terms(predicted, log_loss, chosen))
    law_gradient = jnp.einsum("nkp,nk->np", terms.forms, shares)
    bent = (slope[:, None] * shares).reshape(-1) @ terms.products
    hessian = (law_gradient * (curvature - slope)[:, None]).T @ law_gradient
    size = parameters.size
    return jnp.sum(value), slope @ law_gradient, hessian + bent.reshape(size, size)
