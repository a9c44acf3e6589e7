"""Which hyperparameters are tuned, which held, what the budget is: a bound made ready."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from theory.bound_formula import LETTERS, WORDS, BoundFormula, Budget, letter
from theory.checks import check_choice, check_real
from theory.expressions import parse_monomial
from theory.geometric_program import LogProgram
from theory.newton_polytope import Order
from theory.posynomial import Monomial, monomial
from theory.rational_algebra import Row, Vector, dot


@dataclass(frozen=True)
class Limit:
    """A constraint monomial <= 1.

    Attributes:
        variable: that it limits.
        text: as a user would write it.
        monomial: in tuned variables, budget and numbers.
    """

    variable: str
    text: str
    monomial: Monomial


@dataclass(frozen=True)
class TuningProblem:
    """A bound in terms of the tuned variables, the budget and numbers; see `tuning_problem`.

    Attributes:
        bound: the bound.
        budget: its letter.
        tuned: letters of the tuned variables.
        held: what the other variables are, as monomials of the budget.
        replaced: variables that follow from the budget and the others.
        terms: of the bound, by name.
        limits: constraints that involve a tuned variable.
        conditions: constraints on the budget alone.
        values: of all names that are numbers.
    """

    bound: BoundFormula
    budget: str
    tuned: tuple[str, ...]
    held: Mapping[str, Monomial]
    replaced: Mapping[str, Monomial]
    terms: Mapping[str, Monomial]
    limits: tuple[Limit, ...]
    conditions: tuple[Limit, ...]
    values: Mapping[str, float]

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names that stand for numbers and appear in a term or limit."""
        used = [*self.terms.values(), *(limit.monomial for limit in self.limits)]
        return tuple(name for name in self.values if any(term.exponent(name) for term in used))

    @property
    def orders(self) -> tuple[Order, ...]:
        """Growth of the terms with the budget."""
        return tuple(
            Order(term.exponent(self.budget), self.row(term)) for term in self.terms.values()
        )

    @property
    def rows(self) -> tuple[Row, ...]:
        """Limits on the exponents."""
        return tuple(
            (self.row(limit.monomial), -limit.monomial.exponent(self.budget))
            for limit in self.limits
        )

    def row(self, term: Monomial) -> Vector:
        """Exponents of the tuned variables."""
        return tuple(term.exponent(name) for name in self.tuned)

    def log_coefficient(self, term: Monomial, log_budget: float = 0.0) -> float:
        """Logarithm of the term where all tuned variables are one."""
        number = sum(
            float(power) * np.log(self.values[name])
            for name, power in term.exponents.items()
            if name in self.values
        )
        power = float(term.exponent(self.budget))
        return float(np.log(term.coefficient) + number + power * log_budget)

    def program(self, log_budget: float, basis: Sequence[Vector]) -> LogProgram:
        """The geometric program at a budget, in coordinates z with log variables = basis z."""
        terms, limits = list(self.terms.values()), [limit.monomial for limit in self.limits]
        return LogProgram(
            np.array([self.log_coefficient(term, log_budget) for term in terms]),
            products([self.row(term) for term in terms], basis),
            products([self.row(limit) for limit in limits], basis),
            np.array([-self.log_coefficient(limit, log_budget) for limit in limits]),
        )


def products(rows: Sequence[Vector], basis: Sequence[Vector]) -> np.ndarray:
    """<row, vector> for all rows and vectors, rounded after the exact sum.

    Args:
        rows: each [d].
        basis: vectors, each [d].

    Returns:
        [rows, vectors]; a zero is exactly zero.

    Kind: exact.
    Valid: any rational numbers.
    Source: none needed.
    """
    table = [[float(dot(row, vector)) for vector in basis] for row in rows]
    return np.array(table, dtype=float).reshape(len(rows), len(basis))


def tuning_problem(
    bound: BoundFormula,
    tune: Sequence[str],
    budget: str = "tokens",
    hold: Mapping[str, float | str] | None = None,
    constants: Mapping[str, float] | None = None,
) -> TuningProblem:
    """A checked `TuningProblem`.

    Args:
        bound: the bound.
        tune: words or letters of the variables to tune.
        budget: `tokens`, `steps` or one that the bound brings.
        hold: numbers, or monomials of the budget such as "2*T^(1/2)", for variables not tuned;
            `momentum` stands for itself, 1 - alpha. Momentum zero and one sample a step where
            nothing is said.
        constants: numbers for the other names, over the bound's own; one where nothing is said.

    Returns:
        The problem.

    Raises:
        ValueError: naming what is unknown, contradictory or outside its range.

    Kind: definition.
    Valid: posynomial bounds.
    Source: none needed.
    """
    check_choice("budget", budget, tuple(bound.budgets))
    given = bound.budgets[budget]
    tuned = _tuned(bound, given, tune)
    held = _held(bound, given, tuned, hold or {}, constants or {})
    growing = {name: by for name, by in held.items() if by.exponents}
    values = {name: bound.constants.get(name, 1.0) for name in bound.names}
    values |= _constants(bound, tuned, given, held, constants or {})
    values |= {name: by.coefficient for name, by in held.items() if not by.exponents}
    for name in (*tuned, *given.replaced, given.name, *growing):
        values.pop(name, None)
    replaced = {k: _substituted(by, growing) for k, by in given.replaced.items()}
    all_in = {**growing, **replaced}
    problem = TuningProblem(
        bound,
        given.name,
        tuned,
        held,
        replaced,
        {name: _substituted(term, all_in) for name, term in bound.terms.items()},
        (),
        (),
        values,
    )
    _check_presence(problem)
    return _limited(problem, all_in)


def _tuned(bound: BoundFormula, given: Budget, tune: Sequence[str]) -> tuple[str, ...]:
    names = tuple(letter(name) for name in tune)
    if not names:
        raise ValueError("`tune` must name at least one variable.")
    inner = {name for by in given.replaced.values() for name in by.exponents}
    allowed = sorted(({*bound.names, *inner} - set(given.replaced) - {given.name}) - {"L"})
    for said, name in zip(tune, names, strict=True):
        if names.count(name) > 1:
            raise ValueError(f"`tune` names {said!r} twice.")
        if name == given.name or name in given.replaced:
            what = "is the budget" if name == given.name else f"is {given.replaced[name]}"
            raise ValueError(f"{said!r} cannot be tuned: it {what}.")
        if name not in bound.names and name not in inner:
            raise ValueError(
                f"{said!r} is in no term of {bound.name}; its names: {', '.join(allowed)}."
            )
    return names


def _held(
    bound: BoundFormula,
    given: Budget,
    tuned: tuple[str, ...],
    hold: Mapping[str, float | str],
    constants: Mapping[str, float],
) -> dict[str, Monomial]:
    known = {*bound.names, *(n for by in given.replaced.values() for n in by.exponents)}
    held: dict[str, Monomial] = {}
    for said, value in hold.items():
        name = letter(said)
        if name in tuned or name == given.name or name in given.replaced:
            raise ValueError(f"{said!r} cannot be held: it is tuned or follows from the budget.")
        if name not in known:
            raise ValueError(f"{said!r} cannot be held: it is in no term of {bound.name}.")
        held[name] = _held_value(said, value, given.name)
    left = known - {*tuned, given.name, *given.replaced, *held, *map(letter, constants)}
    for name in sorted(left & {*LETTERS.values(), *bound.ranges}):
        if name == "eta":
            raise ValueError("`learning_rate` must be tuned or held.")
        held[name] = monomial(1.0, {})
    return held


def _held_value(said: str, value: float | str, budget: str) -> Monomial:
    if isinstance(value, str):
        by = parse_monomial(value)
        by = by.replaced("budget", monomial(1.0, {budget: Fraction(1)}))
        if set(map(letter, by.exponents)) - {budget}:
            raise ValueError(f"`{said}` may be held at a power of {budget} only, got {value!r}.")
        by = monomial(by.coefficient, {letter(k): v for k, v in by.exponents.items()})
    else:
        number = float(value)
        if letter(said) == "alpha" and said != "alpha":
            check_real(said, number, at_least=0.0, below=1.0)
            number = 1.0 - number
        check_real(said, number, above=0.0)
        return monomial(number, {})
    if letter(said) == "alpha" and said != "alpha":
        if by.exponents:
            raise ValueError("hold alpha = 1 - momentum at a power of the budget, not `momentum`.")
        return _held_value(said, by.coefficient, budget)
    return by


def _constants(
    bound: BoundFormula,
    tuned: tuple[str, ...],
    given: Budget,
    held: Mapping[str, Monomial],
    constants: Mapping[str, float],
) -> dict[str, float]:
    taken = {*tuned, given.name, *given.replaced, *held}
    for name, value in constants.items():
        if letter(name) not in bound.names or letter(name) in taken:
            free = [key for key in bound.names if key not in taken]
            raise ValueError(
                f"{name!r} is no constant of {bound.name}; constants: {', '.join(free)}."
            )
        check_real(name, value, above=0.0)
    return {letter(name): float(value) for name, value in constants.items()}


def _substituted(term: Monomial, by: Mapping[str, Monomial]) -> Monomial:
    for name, other in by.items():
        term = term.replaced(name, other)
    return term


def _check_presence(problem: TuningProblem) -> None:
    terms = problem.terms.values()
    for name in problem.tuned:
        if not any(term.exponent(name) for term in terms):
            said = WORDS.get(name, name)
            raise ValueError(
                f"{said} is tuned but in no term of {problem.bound.name} at this budget."
            )
    if not any(term.exponent(problem.budget) for term in terms):
        said = WORDS.get(problem.budget, problem.budget)
        raise ValueError(f"{problem.bound.name} does not depend on the budget ({said}).")


def _limited(problem: TuningProblem, all_in: Mapping[str, Monomial]) -> TuningProblem:
    """The same with its constraints: ranges of tuned, held and replaced variables."""
    known = {*problem.tuned, problem.budget, *problem.values}
    limits, conditions = [], []
    for name, ends in problem.bound.ranges.items():
        by = _substituted(monomial(1.0, {name: Fraction(1)}), all_in)
        if set(by.exponents) - known:
            continue
        said = WORDS.get(name, name)
        sides = ((ends.at_most, 1, "<="), (ends.at_least, -1, ">="))
        for end, sign, symbol in sides:
            if end is None:
                continue
            side = monomial(end**-sign, {}) * by**sign
            limit = Limit(name, f"{said} {symbol} {end:g}", side)
            (limits if any(problem.row(side)) else conditions).append(limit)
    for text in problem.bound.at_most_one:
        side = _substituted(text, all_in)
        if not set(side.exponents) - known:
            limit = Limit(str(text), f"{text} <= 1", side)
            (limits if any(problem.row(side)) else conditions).append(limit)
    for limit in conditions:
        growth = limit.monomial.exponent(problem.budget)
        if growth > 0 or (growth == 0 and problem.log_coefficient(limit.monomial) > 1e-12):
            raise ValueError(
                f"{limit.text} is broken {'at large budgets' if growth else 'by what is held'}."
            )
    return replace(problem, limits=tuple(limits), conditions=tuple(conditions))
