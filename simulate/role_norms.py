"""The operator norm that goes with the role of a weight (Pethick et al. 2025, arXiv 2502.07529).

input: one_to_rms (one-hot inputs),   hidden: rms_to_rms,   output: rms_to_inf.
"""

import jax
import jax.numpy as jnp
from jax import lax

from theory.checks import check_choice
from theory.euclidean import normalize, scaled_norm
from theory.norms import ROLE_NORMS, find_norm

ROLES = tuple(ROLE_NORMS)


def spectral_norm(matrix: jax.Array, squarings: int = 20) -> jax.Array:
    """Largest singular value by squaring the Gram matrix over and over; products only.

    Unlike a factorisation it runs in any order under vmap (see `simulate.in_turn`).

    Args:
        matrix: [d_out, d_in].
        squarings: k; the result is too large by a factor of at most rank^(2^-k / 4).

    Returns:
        Scalar.
    """
    scale = scaled_norm(matrix)
    wide = matrix.shape[0] <= matrix.shape[1]
    unit = normalize(matrix if wide else matrix.T)

    def square(_: int, carry: tuple) -> tuple:
        power, logarithm, share = carry
        size = jnp.sqrt(jnp.sum(power**2))
        size = jnp.where(size == 0, jnp.ones_like(size), size)
        power = power / size
        # What is divided out after k squarings enters the largest eigenvalue to the power 2^-k.
        return power @ power, logarithm + share * jnp.log(size), share / 2

    start = (unit @ unit.T, jnp.zeros((), matrix.dtype), jnp.ones((), matrix.dtype))
    _, logarithm, _ = lax.fori_loop(0, squarings + 1, square, start)
    return jnp.squeeze(scale) * jnp.exp(logarithm / 2)


def operator_norm(role: str, weight: jax.Array) -> jax.Array:
    """Norm of a weight in the norm of a role; without factorisation, see `spectral_norm`.

    Args:
        role: one of `ROLES`.
        weight: [d_out, d_in].

    Returns:
        Scalar.

    Raises:
        ValueError: if the role is unknown, or the weight no matrix or empty.
    """
    check_choice("role", role, ROLES)
    found = find_norm(ROLE_NORMS[role], weight.shape)
    if role == "hidden":
        return spectral_norm(weight) * (weight.shape[1] / weight.shape[0]) ** 0.5
    return found.norm(weight)
