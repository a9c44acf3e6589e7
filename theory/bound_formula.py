"""A posynomial bound with its names, ranges and budgets: what a law is derived from.

Letters: eta learning rate, alpha = 1 - momentum, B batch size, K steps, T = B K tokens; other names
are constants. The words `learning_rate`, `batch_size`, `steps`, `tokens` are read as the letters;
`momentum` is where a variable is chosen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from theory.checks import check_real
from theory.expressions import parse_monomial, parse_posynomial
from theory.posynomial import Monomial, monomial

LETTERS = {
    "learning_rate": "eta",
    "momentum": "alpha",
    "batch_size": "B",
    "steps": "K",
    "tokens": "T",
}
WORDS = {letter: word for word, letter in LETTERS.items()} | {"alpha": "1 - momentum"}


@dataclass(frozen=True)
class Range:
    """Where a variable may lie.

    Attributes:
        at_least: lower end, or None.
        at_most: upper end, or None.
    """

    at_least: float | None = None
    at_most: float | None = None


# What K steps with B samples each and an averaged gradient always satisfy.
RANGES = {"alpha": Range(None, 1.0), "B": Range(1.0, None), "K": Range(1.0, None)}


@dataclass(frozen=True)
class Budget:
    """What is given out: a name, and what follows from it and the other variables.

    Attributes:
        name: such as T.
        replaced: variables that are no longer free, as monomials.
    """

    name: str
    replaced: Mapping[str, Monomial]


BUDGETS = {
    "tokens": Budget("T", {"K": parse_monomial("T/B")}),
    "steps": Budget("K", {"T": parse_monomial("B*K")}),
}


@dataclass(frozen=True)
class BoundFormula:
    """A posynomial bound; build it with `bound_formula`.

    Attributes:
        name: of the bound.
        terms: by name.
        ranges: of the variables.
        constants: values of names that stand for numbers; one where not given.
        budgets: that it knows, by word.
        at_most_one: monomials that must not pass one.
        source: where it is from.
        caveat: what to know of laws from it; may be empty.
    """

    name: str
    terms: Mapping[str, Monomial]
    ranges: Mapping[str, Range]
    constants: Mapping[str, float]
    budgets: Mapping[str, Budget] = field(default_factory=lambda: BUDGETS)
    at_most_one: tuple[Monomial, ...] = ()
    source: str = ""
    caveat: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """All names in the terms and limits."""
        used = (*self.terms.values(), *self.at_most_one)
        return tuple(sorted({name for term in used for name in term.exponents}))


def letter(name: str) -> str:
    """The letter of a hyperparameter given by word or letter; other names as they are.

    Args:
        name: such as `batch_size` or `B`.

    Returns:
        The letter.

    Kind: definition.
    Valid: any name.
    Source: none needed.
    """
    word = name.strip().replace("-", "_")
    return LETTERS.get(word, word)


def bound_formula(
    name: str,
    terms: str | Mapping[str, str],
    *,
    constants: Mapping[str, float] | None = None,
    ranges: Mapping[str, Range] | None = None,
    budgets: Mapping[str, Budget] | None = None,
    at_most_one: Sequence[str] = (),
    source: str = "",
    caveat: str = "",
) -> BoundFormula:
    """A checked `BoundFormula` from expressions.

    Args:
        name: of the bound.
        terms: one expression, or one expression for every named term; each is expanded.
        constants: values of names, positive.
        ranges: of variables, over the usual alpha <= 1, B >= 1, K >= 1.
        budgets: over `tokens` (K = T/B) and `steps` (T = B K).
        at_most_one: monomials that must not pass one, such as "L*eta".
        source: where the bound is from.
        caveat: what to know of laws from it.

    Returns:
        The bound.

    Raises:
        ValueError: if an expression or number is wrong.

    Kind: definition.
    Valid: sums of monomials with positive coefficients.
    Source: none needed.
    """
    given = {"": terms} if isinstance(terms, str) else dict(terms)
    read: dict[str, Monomial] = {}
    for label, text in given.items():
        parts = [_lettered(part) for part in parse_posynomial(text)]
        for k, part in enumerate(parts, start=1):
            alone = label if len(parts) == 1 else f"{label}_{k}"
            read[alone if label else f"term_{k}"] = part
    values = {letter(key): value for key, value in (constants or {}).items()}
    for key, value in values.items():
        check_real(key, value, above=0.0)
    limits = {**RANGES, **{letter(key): value for key, value in (ranges or {}).items()}}
    return BoundFormula(
        name,
        read,
        {key: _checked_range(key, limit) for key, limit in limits.items()},
        values,
        {**BUDGETS, **(budgets or {})},
        tuple(_lettered(parse_monomial(text)) for text in at_most_one),
        source,
        caveat,
    )


def budget(name: str, replaced: Mapping[str, str]) -> Budget:
    """A budget such as C with N free and K = C/N.

    Args:
        name: of the budget in the expressions.
        replaced: monomials, by the variable that they replace.

    Returns:
        The budget.

    Raises:
        ValueError: if an expression is no monomial or contains what it replaces.

    Kind: definition.
    Valid: monomials.
    Source: none needed.
    """
    if not isinstance(name, str):
        raise ValueError(f"the name of a budget must be text, got {name!r}.")
    read = {letter(key): _lettered(parse_monomial(text)) for key, text in replaced.items()}
    for key, by in read.items():
        inner = [other for other in read if by.exponent(other)]
        if inner:
            raise ValueError(f"`{key}` = {by} contains {inner[0]}, which is itself replaced.")
    return Budget(letter(name), read)


def _lettered(term: Monomial) -> Monomial:
    if "momentum" in term.exponents:
        raise ValueError("write alpha for 1 - momentum: `momentum` itself makes no monomial.")
    powers: dict[str, Fraction] = {}
    for name, value in term.exponents.items():
        powers[letter(name)] = powers.get(letter(name), Fraction(0)) + value
    return monomial(term.coefficient, powers)


def _checked_range(name: str, limit: Range) -> Range:
    for end in (limit.at_least, limit.at_most):
        if end is not None:
            check_real(name, end, above=0.0)
    if limit.at_least is not None and limit.at_most is not None and limit.at_least > limit.at_most:
        raise ValueError(f"`{name}` has the empty range {limit.at_least:g} to {limit.at_most:g}.")
    return limit
