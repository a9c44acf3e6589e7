"""Laws of quantized training: a number format q acts like a model of size rho_q N. Float64.

L_q(N, D) = E + A (rho_q N)^-alpha + B D^-beta. On runs at one ratio D / N the two power laws
cannot be told apart and one term is fitted, L_q = E + A' (rho N)^-alpha: its rho is another.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from theory.checks import Real, check_real
from theory.laws import Chinchilla
from theory.shared_law import SharedLaw, shared_law


def quantized_law(
    law: Chinchilla, size_rescalings: Mapping[str, float], reference: str
) -> SharedLaw:
    """A checked quantized law: a `SharedLaw` whose groups are formats and whose rho_D is 1.

    Args:
        law: the law in the reference format, scalar fields.
        size_rescalings: rho_q by format, positive; the reference may be left out.
        reference: name of the reference format, for example "bf16".

    Returns:
        A `SharedLaw`.

    Raises:
        ValueError: if a field of the law or a rescaling is outside its domain.

    Kind: definition.
    Valid: E >= 0, all else positive.
    Source: Vlassis et al. (arXiv 2509.23500); eff(P) of QuEST (arXiv 2502.05003).
    """
    for name, rho in size_rescalings.items():
        check_real(f"size_rescalings[{name!r}]", rho, above=0.0)
    return shared_law(law, {name: (rho, 1.0) for name, rho in size_rescalings.items()}, reference)


def one_term(law: Chinchilla, tokens_per_parameter: float) -> Chinchilla:
    """The law along D = r N where alpha = beta: one power law, B set to zero.

    Args:
        law: a Chinchilla law with equal exponents.
        tokens_per_parameter: r > 0.

    Returns:
        E + (A + B r^-alpha) N^-alpha as a `Chinchilla` with tokens coefficient 0.

    Raises:
        ValueError: if r is not positive or the exponents differ.

    Kind: exact.
    Valid: alpha = beta.
    Source: derived; D = r N put into the law.
    """
    check_real("tokens_per_parameter", tokens_per_parameter, above=0.0)
    if float(law.size_exponent) != float(law.tokens_exponent):
        raise ValueError(
            "`law` must have equal exponents, or its two terms do not fuse; got "
            f"{float(law.size_exponent):g} and {float(law.tokens_exponent):g}."
        )
    ratio = jnp.asarray(tokens_per_parameter, float) ** -jnp.asarray(law.tokens_exponent)
    fused = law.size_coefficient + law.tokens_coefficient * ratio
    return Chinchilla(
        law.irreducible, fused, jnp.zeros_like(fused), law.size_exponent, law.tokens_exponent
    )


def fused_rescaling(law: Chinchilla, rescaling: Real, tokens_per_parameter: float) -> jax.Array:
    """The rho that a one-term fit finds at D = r N where only the size term is rescaled.

    Args:
        law: the reference format's law, with equal exponents.
        rescaling: rho_q > 0 of the two-term law.
        tokens_per_parameter: r > 0.

    Returns:
        ((A + B') / (A rho^-alpha + B'))^(1/alpha) with B' = B r^-alpha: nearer to 1 than rho.

    Raises:
        ValueError: naming the argument outside its domain.

    Kind: exact.
    Valid: alpha = beta.
    Source: derived; the one-term coefficients of both formats, their ratio to the power -1/alpha.
    """
    check_real("rescaling", rescaling, above=0.0)
    fused = one_term(law, tokens_per_parameter).size_coefficient
    alpha = jnp.asarray(law.size_exponent)
    lost = law.size_coefficient * (jnp.asarray(rescaling, float) ** -alpha - 1.0)
    return jnp.asarray((fused / (fused + lost)) ** (1.0 / alpha))
