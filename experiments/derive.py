"""`quadlaw derive`: from a convergence bound to hyperparameter laws."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from experiments.arguments import unknown
from experiments.derive_numeric import NUMERIC, numeric_tables
from experiments.errors import UserError
from experiments.tables import Table, print_table
from theory.bound_file import read_bound
from theory.bound_formula import WORDS, BoundFormula
from theory.bound_library import BOUNDS
from theory.posynomial import monomial, power_text
from theory.tuned_family import Family
from theory.tuned_optimum import TunedOptimum, optimum
from theory.tuning import TunedLaws, derive


@dataclass(frozen=True)
class DeriveOptions:
    """How the hyperparameters that minimise a bound scale with the budget, as exact fractions.

    Example: quadlaw derive kovalev --tune learning_rate,momentum,batch_size --budget tokens
    """

    bound: Annotated[str, tyro.conf.Positional] = "kovalev"
    """Name of a built-in bound, or path of a TOML file with your own."""
    tune: str = "learning_rate,momentum,batch_size"
    """Hyperparameters to tune, by word or letter, with commas."""
    budget: str = "tokens"
    """tokens (steps follow from the batch size), steps, or a budget of your file."""
    hold: tuple[str, ...] = ()
    """What is held: batch_size=32, momentum=0.9, batch_size=T^(1/2)."""
    constants: tuple[str, ...] = ()
    """Numbers of the problem: Delta=3 L=2; one where not given."""
    at: tuple[float, ...] = ()
    """Budgets at which to solve with all terms and constraints."""


def derive_command(options: DeriveOptions, console: Console) -> int:
    """Derives, solves and prints; returns the exit code.

    Raises:
        UserError: if an option cannot be understood.
        ValueError: if the bound has no such laws, saying why.
    """
    tune = [name.strip() for name in options.tune.split(",") if name.strip()]
    hold = {name: _number_or_text(text) for name, text in _pairs("hold", options.hold).items()}
    constants = {
        name: _number(name, text) for name, text in _pairs("constants", options.constants).items()
    }
    if options.bound in NUMERIC:
        asked = tune, options.budget, hold, constants, options.at
        for table in numeric_tables(options.bound, *asked):
            print_table(table, console)
        return 0
    laws = derive(_bound(options.bound), tune, options.budget, hold, constants)
    solved = [optimum(laws, amount) for amount in options.at]
    print_table(_law_table(laws), console)
    print_table(_rate_table(laws), console)
    if laws.family is not None and laws.family.relations:
        print_table(_family_table(laws, laws.family), console)
    if solved:
        print_table(_optimum_table(laws, solved), console)
    for sentence in sentences(laws):
        console.print(sentence)
    return 0


def sentences(laws: TunedLaws) -> list[str]:
    """What the tables do not say: ties, active constraints, caveats."""
    said = []
    tie = laws.family is not None and bool(laws.family.relations)
    if laws.decided > 1 and tie:
        names = ", ".join(laws.rates[laws.decided - 1].terms)
        said.append(f"tie: all strategies of the family reach the rate; {names} decide.")
    elif not laws.decided:
        said.append("tie: the family reaches the same bound; no term of any order decides.")
    said += [f"active: {text} holds with equality." for text in laws.active]
    if laws.problem.bound.caveat and tie:
        said.append(f"caveat: {laws.problem.bound.caveat}")
    return said


def _bound(name: str) -> BoundFormula:
    if name in BOUNDS:
        return BOUNDS[name]
    path = Path(name)
    if path.suffix != ".toml" and not path.exists():
        raise UserError(
            f"{unknown('bound', name, [*BOUNDS, *NUMERIC])} Or give the path of a .toml file."
        )
    return read_bound(path)


def _pairs(option: str, given: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for entry in given:
        name, sign, value = entry.partition("=")
        if not (sign and name.strip() and value.strip()):
            raise UserError(f"--{option} needs name=value, got {entry!r}.")
        if name.strip() in pairs:
            raise UserError(f"--{option} gives {name.strip()} twice.")
        pairs[name.strip()] = value.strip()
    return pairs


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"--constants {name} must be a number, got {text!r}.") from error


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _word(letter: str) -> str:
    return WORDS.get(letter, letter)


def _law_table(laws: TunedLaws) -> Table:
    budget = laws.problem.budget
    rows = [
        (
            _word(law.variable),
            law.variable,
            "free" if law.exponent is None else _power(budget, law.exponent),
            "free" if law.constant is None else law.constant,
            _dependence(law.dependence),
        )
        for law in laws.laws
    ]
    held = ", ".join(f"{_word(name)} = {by}" for name, by in laws.problem.held.items())
    columns = ("tuned", "letter", "scales as", "constant", "constant scales as")
    title = f"{laws.problem.bound.name}: hyperparameters against {_word(budget)} ({budget})"
    return Table(title, columns, tuple(rows), f"held: {held}" if held else "")


def _rate_table(laws: TunedLaws) -> Table:
    rows = tuple(
        (
            _power(laws.problem.budget, rate.order),
            rate.constant,
            ", ".join(rate.terms),
            _dependence(rate.dependence),
        )
        for rate in laws.rates
    )
    return Table("terms of the bound", ("order", "constant", "terms", "constant scales as"), rows)


def _family_table(laws: TunedLaws, family: Family) -> Table:
    rows = [
        (_word(name), _along(constant, powers))
        for name, (constant, powers) in family.relations.items()
    ]
    for name, ends in family.ends.items():
        low, high = ("no end" if end is None else _power(laws.problem.budget, end) for end in ends)
        rows.append((_word(name), f"from {low} to {high}"))
    corners = "; ".join(
        ", ".join(
            f"{name} {_power(laws.problem.budget, value)}"
            for name, value in zip(laws.problem.tuned, vertex, strict=True)
        )
        for vertex in family.face.vertices
    )
    note = f"corners: {corners}"
    return Table("family of equally good strategies, to leading order", ("", ""), tuple(rows), note)


def _optimum_table(laws: TunedLaws, solved: list[TunedOptimum]) -> Table:
    names = list(solved[0].log_values)
    rows = tuple(
        (
            f"{amount:g}",
            *(best.values[name] for name in names),
            best.bound,
            max(best.terms, key=lambda name: best.terms[name]),
            ", ".join(best.active) or "-",
        )
        for amount, best in ((float(f"{_amount(best):.12g}"), best) for best in solved)
    )
    columns = (_word(laws.problem.budget), *map(_word, names), "bound", "largest term", "active")
    return Table("optimum with all terms and constraints", columns, rows)


def _amount(best: TunedOptimum) -> float:
    return math.exp(best.log_budget)


def _power(name: str, exponent: Fraction) -> str:
    return "constant" if exponent == 0 else power_text(name, exponent)


def _along(constant: float | None, powers: Mapping[str, Fraction]) -> str:
    return str(monomial(float(f"{constant or 1.0:.5g}"), powers))


def _dependence(dependence: Mapping[str, Fraction | None]) -> str:
    known = [power_text(name, power) for name, power in dependence.items() if power]
    mixed = [name for name, power in dependence.items() if power is None]
    text = " ".join(known) or ("-" if not mixed else "")
    return f"{text} (no power of {', '.join(mixed)})".strip() if mixed else text
