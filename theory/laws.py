"""Scaling-law forms and what follows from them in closed form. Float64."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from theory.checks import Real, check_real


@partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "irreducible",
        "size_coefficient",
        "tokens_coefficient",
        "size_exponent",
        "tokens_exponent",
    ],
    meta_fields=[],
)
@dataclass(frozen=True)
class Chinchilla:
    """L = E + A N^-alpha + B D^-beta; build it with `chinchilla`, which checks its arguments.

    Attributes:
        irreducible: E, loss units.
        size_coefficient: A, loss times parameters^alpha.
        tokens_coefficient: B, loss times tokens^beta.
        size_exponent: alpha.
        tokens_exponent: beta.
    """

    irreducible: Real
    size_coefficient: Real
    tokens_coefficient: Real
    size_exponent: Real
    tokens_exponent: Real

    def loss(self, size: Real, tokens: Real) -> jax.Array:
        """Loss at model size N and D tokens, broadcast against each other."""
        by_size = self.size_coefficient * jnp.asarray(size, float) ** -self.size_exponent
        by_tokens = self.tokens_coefficient * jnp.asarray(tokens, float) ** -self.tokens_exponent
        return jnp.asarray(self.irreducible + by_size + by_tokens)


def chinchilla(
    irreducible: float,
    size_coefficient: float,
    tokens_coefficient: float,
    size_exponent: float,
    tokens_exponent: float,
) -> Chinchilla:
    """A checked Chinchilla law L = E + A N^-alpha + B D^-beta.

    Args:
        irreducible: E >= 0.
        size_coefficient: A > 0.
        tokens_coefficient: B > 0.
        size_exponent: alpha > 0.
        tokens_exponent: beta > 0.

    Returns:
        The law.

    Raises:
        ValueError: naming the argument outside its domain.

    Kind: definition.
    Valid: E >= 0, A, B, alpha, beta > 0.
    Source: Hoffmann et al. 2022 (arXiv 2203.15556) equation 2.
    """
    check_real("irreducible", irreducible, at_least=0.0)
    check_real("size_coefficient", size_coefficient, above=0.0)
    check_real("tokens_coefficient", tokens_coefficient, above=0.0)
    check_real("size_exponent", size_exponent, above=0.0)
    check_real("tokens_exponent", tokens_exponent, above=0.0)
    return Chinchilla(
        irreducible, size_coefficient, tokens_coefficient, size_exponent, tokens_exponent
    )


@dataclass(frozen=True)
class Allocation:
    """The best use of a compute budget.

    Attributes:
        size: N*, parameters.
        tokens: D*, tokens.
        loss: loss there.
    """

    size: jax.Array
    tokens: jax.Array
    loss: jax.Array


def compute_optimal(
    law: Chinchilla, flops: Real, flops_per_parameter_token: float = 6.0
) -> Allocation:
    """Size and tokens of least loss on the budget C = k N D.

    N* = (alpha A / (beta B))^(1/(alpha+beta)) (C/k)^(beta/(alpha+beta)) and D* = C / (k N*).

    Args:
        law: a Chinchilla law; its fields may be arrays, broadcast against `flops`.
        flops: C > 0, any shape.
        flops_per_parameter_token: k > 0, 6 for a transformer's forward and backward pass.

    Returns:
        An `Allocation` of arrays shaped like `flops`.

    Raises:
        ValueError: if `flops` or `flops_per_parameter_token` is not positive.

    Kind: exact.
    Valid: alpha, beta > 0.
    Source: Hoffmann et al. 2022 (arXiv 2203.15556) equation 4; derived by setting the derivative of
        A N^-alpha + B (k N / C)^beta to zero.
    """
    check_real("flops", flops, above=0.0)
    check_real("flops_per_parameter_token", flops_per_parameter_token, above=0.0)
    product = jnp.asarray(flops, float) / flops_per_parameter_token
    total = law.size_exponent + law.tokens_exponent
    balance = (law.size_exponent * law.size_coefficient) / (
        law.tokens_exponent * law.tokens_coefficient
    )
    size = jnp.asarray(balance) ** (1.0 / total) * product ** (law.tokens_exponent / total)
    tokens = product / size
    return Allocation(size, tokens, law.loss(size, tokens))


def compute_exponents(law: Chinchilla) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Exponents of N*, D* and of the reducible loss against compute.

    Args:
        law: a Chinchilla law.

    Returns:
        beta / (alpha + beta), alpha / (alpha + beta) and -alpha beta / (alpha + beta).

    Kind: exact.
    Valid: alpha, beta > 0.
    Source: Hoffmann et al. 2022 (arXiv 2203.15556) equation 4.
    """
    alpha, beta = jnp.asarray(law.size_exponent), jnp.asarray(law.tokens_exponent)
    total = alpha + beta
    return beta / total, alpha / total, -alpha * beta / total


def isoloss_tokens(law: Chinchilla, loss: Real, size: Real) -> jax.Array:
    """Tokens that a model size needs for a loss: D = (B / (L - E - A N^-alpha))^(1/beta).

    Args:
        law: one optimizer's law; fields broadcast against the rest.
        loss: L > 0.
        size: N > 0, parameters.

    Returns:
        D, infinite where the size cannot reach the loss.

    Raises:
        ValueError: if `loss` or `size` is not positive.

    Kind: exact.
    Valid: alpha, beta > 0.
    Source: derived; the law solved for D.
    """
    check_real("loss", loss, above=0.0)
    check_real("size", size, above=0.0)
    floor = law.irreducible + law.size_coefficient * jnp.asarray(size, float) ** -jnp.asarray(
        law.size_exponent
    )
    return _inverted(loss - floor, law.tokens_coefficient, law.tokens_exponent)


def isoloss_size(law: Chinchilla, loss: Real, tokens: Real) -> jax.Array:
    """Model size that a number of tokens needs for a loss: the contour N(D) of equal loss.

    Args:
        law: one optimizer's law; fields broadcast against the rest.
        loss: L > 0.
        tokens: D > 0.

    Returns:
        N, infinite where the tokens cannot reach the loss.

    Raises:
        ValueError: if `loss` or `tokens` is not positive.

    Kind: exact.
    Valid: alpha, beta > 0.
    Source: derived; the law solved for N.
    """
    check_real("loss", loss, above=0.0)
    check_real("tokens", tokens, above=0.0)
    floor = law.irreducible + law.tokens_coefficient * jnp.asarray(tokens, float) ** -jnp.asarray(
        law.tokens_exponent
    )
    return _inverted(loss - floor, law.size_coefficient, law.size_exponent)


def _inverted(gap: Real, coefficient: Real, exponent: Real) -> jax.Array:
    """The x with coefficient x^-exponent = gap, infinite where there is none."""
    gap = jnp.asarray(gap)
    reached = gap > 0
    safe = jnp.where(reached, gap, 1.0)
    return jnp.where(reached, (coefficient / safe) ** (1.0 / jnp.asarray(exponent)), jnp.inf)
