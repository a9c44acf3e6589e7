"""How fine a floating-point format must be for an optimizer to keep its rate. Float64.

Relative errors |x^Q - x| <= q |x|, q about 2^-M with M stored bits of the significand; underflow is
left out. The orders in the number of steps T are proven, their constants are not known, so that a
number of bits means something only beside another one. (Tang, Li and Zou 2025, arXiv 2510.21314,
theorems 4.5 and 4.6, known from an account of them.)
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from theory.checks import Real, check_choice, check_real

# q = O(T^-p) for what is rounded, by optimizer. Adam's weights need only p = 1 if they are bounded.
PRECISION_EXPONENTS: Mapping[str, Mapping[str, float]] = {
    "adam": {"gradient": 1.0, "first moment": 1.0, "weights": 2.0, "second moment": 2.0},
    "muon": {"gradient": 0.5, "momentum": 0.5, "weights": 0.5},
}
RATE = 0.25  # gradient norm T^-1/4 (times logarithms for Adam), as without rounding


def unit_roundoff(mantissa_bits: Real) -> jax.Array:
    """Largest relative error of rounding to the nearest, 2^-(M+1); stochastic rounding: twice that.

    Args:
        mantissa_bits: M >= 0 stored bits.

    Returns:
        u; for a normal x the error is at most u/(1 + u) |x|.

    Raises:
        ValueError: if M is negative.

    Kind: upper bound.
    Valid: normal numbers, no overflow.
    Source: Higham, Accuracy and Stability of Numerical Algorithms (2002), theorem 2.2.
    """
    check_real("mantissa_bits", mantissa_bits, at_least=0.0)
    return jnp.exp2(-(jnp.asarray(mantissa_bits, float) + 1.0))


def tolerable_error(optimizer: str, part: str, steps: Real, *, constant: float) -> jax.Array:
    """Relative error q = c T^-p up to which an optimizer keeps its rate.

    Args:
        optimizer: `adam` or `muon`.
        part: what is rounded, a key of `PRECISION_EXPONENTS[optimizer]`.
        steps: T >= 1.
        constant: c > 0; not published, and not the same for all parts.

    Returns:
        q, shaped like the steps.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: asymptotic.
    Valid: T to infinity; Adam with eta of order T^-1/2 and 1 - beta_2 of order 1/T.
    Source: arXiv 2510.21314, theorems 4.5 (Adam) and 4.6 (Muon).
    """
    exponent = _exponent(optimizer, part)
    check_real("steps", steps, at_least=1.0)
    check_real("constant", constant, above=0.0)
    return constant * jnp.asarray(steps, float) ** -exponent


def needed_mantissa_bits(optimizer: str, part: str, steps: Real, *, constant: float) -> jax.Array:
    """M = p log2 T - log2(2 c) at which rounding to the nearest meets `tolerable_error`.

    Args:
        optimizer: `adam` or `muon`.
        part: what is rounded.
        steps: T >= 1.
        constant: c > 0 of `tolerable_error`; unknown.

    Returns:
        M, not rounded up and not below zero.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: asymptotic.
    Valid: as `tolerable_error`.
    Source: derived; `unit_roundoff` set equal to `tolerable_error`.
    """
    tolerable = tolerable_error(optimizer, part, steps, constant=constant)
    return jnp.maximum(-jnp.log2(2.0 * tolerable), 0.0)


def added_mantissa_bits(optimizer: str, part: str, ratio: Real) -> jax.Array:
    """Bits more that a run `ratio` times as long needs, p log2(ratio): no unknown constant.

    Args:
        optimizer: `adam` or `muon`.
        part: what is rounded.
        ratio: of the numbers of steps, positive.

    Returns:
        Bits, shaped like the ratio.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: asymptotic.
    Valid: as `tolerable_error`, both runs long.
    Source: derived; difference of two `needed_mantissa_bits`. M = Omega(log T) in arXiv 2510.21314.
    """
    exponent = _exponent(optimizer, part)
    check_real("ratio", ratio, above=0.0)
    return exponent * jnp.log2(jnp.asarray(ratio, float))


def _exponent(optimizer: str, part: str) -> float:
    check_choice("optimizer", optimizer, tuple(PRECISION_EXPONENTS))
    exponents = PRECISION_EXPONENTS[optimizer]
    check_choice("part", part, tuple(exponents))
    return exponents[part]
