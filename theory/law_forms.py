"""Forms of scaling laws as small records: a new form is one more `LawForm`. Float64.

Every form here is a sum of positive terms, each a coefficient times powers of the model size N and
the tokens D; a coefficient or an exponent may have one value for all groups of runs (optimizers,
number formats) or one for each. In centred logarithms such a law is the logarithm of a sum of
exponentials of *linear* forms in the parameters, rescalings included: A (rho N)^-alpha is a
coefficient A rho^-alpha of its own for the group. `theory.robust_fit` needs nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np

from theory.checks import Real, check_choice
from theory.objectives import Design, design_of

VARIABLES = ("N", "D")


@dataclass(frozen=True)
class Term:
    """A positive term: coefficient times variable^-exponent for each of the powers.

    Attributes:
        coefficient: its name, for example "A".
        powers: pairs (variable, exponent name), for example (("N", "alpha"),); a constant has none.
    """

    coefficient: str
    powers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class LawForm:
    """A sum of terms; build it with `law_form`, which checks it.

    Attributes:
        name: what a user calls it.
        terms: the terms.
        grouped: coefficients and exponents that have a value for each group.
    """

    name: str
    terms: tuple[Term, ...]
    grouped: frozenset[str] = frozenset()

    @property
    def symbols(self) -> tuple[str, ...]:
        """Coefficients and exponents in the order of the parameters."""
        names = [
            name
            for term in self.terms
            for name in (term.coefficient, *(exponent for _, exponent in term.powers))
        ]
        return tuple(dict.fromkeys(names))

    @property
    def coefficients(self) -> tuple[str, ...]:
        """Names of the coefficients."""
        return tuple(term.coefficient for term in self.terms)

    @property
    def separate(self) -> bool:
        """Whether groups share nothing, so that each is a fit of its own."""
        return self.grouped == frozenset(self.symbols)

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        """Open interval of each symbol: all are positive for a loss that falls."""
        return dict.fromkeys(self.symbols, (0.0, np.inf))

    def evaluate(self, values: Mapping[str, Real], size: Real, tokens: Real) -> np.ndarray:
        """Loss at N and D from plain coefficients and exponents by name, broadcast."""
        variables = {"N": np.asarray(size, dtype=float), "D": np.asarray(tokens, dtype=float)}
        total = np.zeros(())
        for term in self.terms:
            amount = np.asarray(values[term.coefficient], dtype=float)
            for variable, exponent in term.powers:
                amount = amount * variables[variable] ** -np.asarray(values[exponent])
            total = total + amount
        return total

    @property
    def description(self) -> str:
        """The law as one line of text."""

        def shown(name: str) -> str:
            return f"{name}_o" if name in self.grouped else name

        def one(term: Term) -> str:
            powers = [f"{variable}^-{shown(exponent)}" for variable, exponent in term.powers]
            return " ".join([shown(term.coefficient), *powers])

        return "L = " + " + ".join(one(term) for term in self.terms)


def law_form(
    name: str,
    terms: Sequence[tuple[str, Mapping[str, str]]],
    grouped: Sequence[str] = (),
) -> LawForm:
    """A checked law form.

    Args:
        name: what a user calls it.
        terms: pairs (coefficient, {variable: exponent name}), variables "N" and "D"; an empty
            mapping is a constant term.
        grouped: names of coefficients and exponents that have a value for each group.

    Returns:
        A `LawForm`.

    Raises:
        ValueError: if there is no term, a name is used twice or for two things, a variable is
            unknown, or `grouped` names what is not there.

    Kind: definition.
    Valid: sums of positive power-law terms.
    Source: derived; contains Chinchilla (arXiv 2203.15556), shared exponents (arXiv 2602.07712)
        and quantized laws (arXiv 2509.23500).
    """
    if not terms:
        raise ValueError("`terms` must hold at least one term, got none.")
    for _, powers in terms:
        for variable in powers:
            check_choice("variable", variable, VARIABLES)
    form = LawForm(
        name,
        tuple(Term(coefficient, tuple(powers.items())) for coefficient, powers in terms),
        frozenset(grouped),
    )
    exponents = {exponent for term in form.terms for _, exponent in term.powers}
    if len(set(form.coefficients)) < len(form.terms) or exponents & set(form.coefficients):
        raise ValueError(f"`terms` must use each coefficient name once, got {form.description}.")
    for symbol in grouped:
        check_choice("grouped", symbol, form.symbols)
    return form


CHINCHILLA = law_form("chinchilla", [("E", {}), ("A", {"N": "alpha"}), ("B", {"D": "beta"})])
# Rescalings of N and D: A_o = A rho_N^-alpha, B_o = B rho_D^-beta.
SHARED = replace(CHINCHILLA, name="shared", grouped=frozenset({"A", "B"}))
# A rescaling of N only: A_o = A rho_q^-alpha.
QUANTIZED = replace(CHINCHILLA, name="quantized", grouped=frozenset({"A"}))
# At a fixed ratio D / N the two power laws are told apart by nothing: one is fitted.
ONE_TERM = law_form("one-term", [("E", {}), ("A", {"N": "alpha"})], ["A"])
# One Chinchilla law a group, as a single model: the widest alternative to `SHARED`.
SEPARATE = replace(CHINCHILLA, name="separate", grouped=frozenset(CHINCHILLA.symbols))
FORMS: dict[str, LawForm] = {
    form.name: form for form in (CHINCHILLA, SHARED, QUANTIZED, ONE_TERM, SEPARATE)
}


def freed(form: LawForm, symbols: Sequence[str]) -> LawForm:
    """The form with a value for each group for more of its symbols.

    Args:
        form: a form.
        symbols: coefficients and exponents to free, each in `form.symbols`.

    Returns:
        A `LawForm` that contains `form`.

    Raises:
        ValueError: naming a symbol the form does not have.

    Kind: definition.
    Valid: always.
    Source: derived.
    """
    for symbol in symbols:
        check_choice("symbols", symbol, form.symbols)
    name = f"{form.name}, {' and '.join(symbols)} free"
    return replace(form, name=name, grouped=form.grouped | frozenset(symbols))


def parameter_labels(form: LawForm, groups: Sequence[str]) -> tuple[str, ...]:
    """Names of the centred parameters, in order.

    Args:
        form: a form.
        groups: names of the groups.

    Returns:
        "log E", "log A'[muon]", "alpha", ...: a prime marks a coefficient at the geometric mean
        of the data, brackets a group.

    Kind: definition.
    Valid: always.
    Source: derived.
    """
    powers = {term.coefficient: term.powers for term in form.terms}
    labels = []
    for symbol in form.symbols:
        shown = symbol
        if symbol in powers:
            shown = f"log {symbol}'" if powers[symbol] else f"log {symbol}"
        named = [f"{shown}[{group}]" for group in groups]
        labels += named if symbol in form.grouped else [shown]
    return tuple(labels)


def positions(form: LawForm, count: int) -> dict[str, np.ndarray]:
    """Where each symbol's parameters stand.

    Args:
        form: a form.
        count: number of groups, at least 1.

    Returns:
        By symbol, the index of its parameter for each group, [count]: all the same for a symbol
        that the groups share.

    Kind: definition.
    Valid: always.
    Source: derived.
    """
    found, start = {}, 0
    for symbol in form.symbols:
        width = count if symbol in form.grouped else 1
        found[symbol] = start + (np.arange(count) if width > 1 else np.zeros(count, dtype=int))
        start += width
    return found


def design_for(
    form: LawForm, logs: Mapping[str, np.ndarray], group: np.ndarray, count: int
) -> Design:
    """Linear forms of a law: log coefficient - sum of exponent times centred logarithm.

    Args:
        form: a form.
        logs: centred log N and log D by variable, [n] each.
        group: index of each row's group, [n].
        count: number of groups.

    Returns:
        A `Design`, [n, terms, parameters].

    Kind: exact.
    Valid: all real data.
    Source: derived; logarithm of a product of powers.
    """
    places, rows = positions(form, count), np.arange(len(group))
    size = 1 + max(int(place.max()) for place in places.values())
    forms = np.zeros((len(group), len(form.terms), size))
    for k, term in enumerate(form.terms):
        forms[rows, k, places[term.coefficient][group]] = 1.0
        for variable, exponent in term.powers:
            forms[rows, k, places[exponent][group]] -= logs[variable]
    amounts = np.zeros(size, dtype=bool)
    for coefficient in form.coefficients:
        amounts[places[coefficient]] = True
    return design_of(jnp.asarray(forms), jnp.asarray(amounts))
