"""Monomials with positive coefficients and exact exponents, as data.

A posynomial is a sequence of them; `theory.expressions` reads one from text.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import TypeAlias

Exponents: TypeAlias = Mapping[str, Fraction]


@dataclass(frozen=True)
class Monomial:
    """coefficient times product of name^exponent.

    Attributes:
        coefficient: positive.
        exponents: of the names that appear; none is zero.
    """

    coefficient: float
    exponents: Exponents = field(default_factory=lambda: MappingProxyType({}))

    def __mul__(self, other: "Monomial") -> "Monomial":
        """The product."""
        names = {**self.exponents, **other.exponents}
        return monomial(
            self.coefficient * other.coefficient,
            {name: self.exponent(name) + other.exponent(name) for name in names},
        )

    def __pow__(self, power: Fraction | int) -> "Monomial":
        """The power with any rational exponent."""
        scaled = {name: value * Fraction(power) for name, value in self.exponents.items()}
        return monomial(self.coefficient ** float(power), scaled)

    def exponent(self, name: str) -> Fraction:
        """Exponent of a name, zero if it does not appear."""
        return self.exponents.get(name, Fraction(0))

    def replaced(self, name: str, by: "Monomial") -> "Monomial":
        """The same with a monomial in the place of a name."""
        rest = {key: value for key, value in self.exponents.items() if key != name}
        return monomial(self.coefficient, rest) * by ** self.exponent(name)

    def at(self, values: Mapping[str, float]) -> float:
        """The value at given values of all its names."""
        logs = sum(float(power) * math.log(values[name]) for name, power in self.exponents.items())
        return self.coefficient * math.exp(logs)

    def __str__(self) -> str:
        """The expression, readable by `parse_monomial`."""
        factors = [power_text(name, value) for name, value in sorted(self.exponents.items())]
        number = f"{self.coefficient:.6g}"
        return "*".join(factors if factors and number == "1" else [number, *factors])


def monomial(coefficient: float, exponents: Mapping[str, Fraction]) -> Monomial:
    """Checked `Monomial` without zero exponents.

    Args:
        coefficient: positive and finite.
        exponents: rational, by name.

    Returns:
        The monomial.

    Raises:
        ValueError: if the coefficient is not positive.

    Kind: definition.
    Valid: positive coefficients.
    Source: none needed.
    """
    if not (0.0 < coefficient < math.inf):
        raise ValueError(f"`coefficient` must be positive and finite, got {coefficient:g}.")
    kept = {name: value for name, value in sorted(exponents.items()) if value}
    return Monomial(coefficient, MappingProxyType(kept))


def power_text(name: str, exponent: Fraction) -> str:
    """`name^exponent`, with brackets where they are needed.

    Args:
        name: of the variable.
        exponent: rational.

    Returns:
        Text that `parse_posynomial` reads.

    Kind: definition.
    Valid: any.
    Source: none needed.
    """
    if exponent == 1:
        return name
    plain = exponent.denominator == 1 and exponent > 0
    return f"{name}^{exponent}" if plain else f"{name}^({exponent})"
