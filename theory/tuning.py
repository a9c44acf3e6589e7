"""From a convergence bound to hyperparameter laws: exponents, constants, ties.

    derive(BOUNDS["kovalev"], ["learning_rate", "momentum", "batch_size"], "tokens")

Exponents are exact (`theory.newton_polytope`), constants solve the geometric program of the terms
that count (`theory.geometric_program`); `theory.tuned_optimum` solves that of all terms at one
budget.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from theory.bound_formula import WORDS, BoundFormula
from theory.newton_polytope import Level, ladder, runaway
from theory.tuned_constants import level_constants, response
from theory.tuned_family import Family, family_of
from theory.tuning_problem import TuningProblem, tuning_problem

_PRESSED = 1e-9  # multiplier from which a constraint counts as felt


@dataclass(frozen=True)
class PowerLaw:
    """variable = constant * budget^exponent.

    Attributes:
        variable: letter, or `bound` for a rate.
        exponent: of the budget; None where even lower orders leave it open.
        constant: at the values given; None where it is left open.
        dependence: exponent of each number in the constant; None where that is no power law.
    """

    variable: str
    exponent: Fraction | None
    constant: float | None
    dependence: Mapping[str, Fraction | None]


@dataclass(frozen=True)
class Rate:
    """What one level of terms comes to at the optimum: constant * budget^order.

    Attributes:
        order: exponent of the budget.
        constant: sum of the terms over budget^order.
        terms: names of the terms of this order.
        dependence: exponent of each number in the constant; None where that is no power law.
    """

    order: Fraction
    constant: float
    terms: tuple[str, ...]
    dependence: Mapping[str, Fraction | None]


@dataclass(frozen=True)
class TunedLaws:
    """Result of `derive`.

    Attributes:
        problem: what was asked.
        laws: of the tuned variables, in their order.
        rates: of the bound, leading order first; later ones broke ties or come after.
        family: of leading-order ties; None if there is no tie.
        active: constraints that hold with equality and are felt, as text.
        tight: constraints that hold with equality in the exponents, as text.
        levels: of the exponents.
        decided: number of levels after which the exponents were a single point; 0 if never.
    """

    problem: TuningProblem
    laws: tuple[PowerLaw, ...]
    rates: tuple[Rate, ...]
    family: Family | None
    active: tuple[str, ...]
    tight: tuple[str, ...]
    levels: tuple[Level, ...]
    decided: int

    @property
    def rate(self) -> Rate:
        """Leading rate of the bound."""
        return self.rates[0]

    def law(self, variable: str) -> PowerLaw:
        """The law of one variable, by letter."""
        return next(law for law in self.laws if law.variable == variable)


def derive(
    bound: BoundFormula,
    tune: Sequence[str],
    budget: str = "tokens",
    hold: Mapping[str, float | str] | None = None,
    constants: Mapping[str, float] | None = None,
) -> TunedLaws:
    """Laws of the hyperparameters that minimise a bound as its budget grows.

    Args:
        bound: a posynomial bound.
        tune: words or letters of the variables to tune.
        budget: `tokens`, `steps` or one that the bound brings.
        hold: values, or powers of the budget, of the other variables.
        constants: numbers for the other names.

    Returns:
        `TunedLaws`: exact exponents, constants, ties and what broke them.

    Raises:
        ValueError: if the request contradicts itself or the bound has no minimum, saying why.

    Kind: asymptotic.
    Valid: budget to infinity; what is held stays as given.
    Source: derived; `theory.newton_polytope.ladder` for exponents, then geometric programs for
        constants.
    """
    return laws_of(tuning_problem(bound, tune, budget, hold, constants))


def laws_of(problem: TuningProblem) -> TunedLaws:
    """`derive` for a problem made by `tuning_problem`.

    Args:
        problem: bound, tuned variables, budget, what is held.

    Returns:
        `TunedLaws`.

    Raises:
        ValueError: if the bound has no minimum.

    Kind: asymptotic.
    Valid: as `derive`.
    Source: as `derive`.
    """
    _refuse_runaway(problem)
    levels = ladder(problem.orders, problem.rows)
    points, solved = level_constants(problem, levels)
    active = [
        [j for j, nu in zip(s.active, s.multipliers, strict=True) if nu > _PRESSED] for s in solved
    ]
    powers = {name: response(problem, levels, active, name) for name in ("", *problem.symbols)}
    last, point = levels[-1].face, points[-1]
    laws = tuple(
        PowerLaw(
            name,
            last.vertices[0][k] if not any(way[k] for way in last.directions()) else None,
            float(np.exp(point[k])) if powers[""][0][k] is not None else None,
            {symbol: powers[symbol][0][k] for symbol in problem.symbols},
        )
        for k, name in enumerate(problem.tuned)
    )
    names = list(problem.terms)
    rates = tuple(
        Rate(
            level.order,
            float(np.exp(s.value)),
            tuple(names[i] for i in level.terms),
            {symbol: powers[symbol][1][k] for symbol in problem.symbols},
        )
        for k, (level, s) in enumerate(zip(levels, solved, strict=True))
    )
    felt = sorted({j for found in active for j in found})
    return TunedLaws(
        problem,
        laws,
        rates,
        family_of(problem, levels[0].face, points[0]),
        tuple(problem.limits[j].text for j in felt),
        tuple(problem.limits[j].text for j in levels[-1].tight),
        levels,
        next((k + 1 for k, level in enumerate(levels) if level.face.is_point), 0),
    )


def _refuse_runaway(problem: TuningProblem) -> None:
    direction = runaway(problem.orders, problem.rows)
    if direction is None:
        return
    moves = [
        f"{WORDS.get(name, name)} {'grows' if step > 0 else 'falls'}"
        for name, step in zip(problem.tuned, direction, strict=True)
        if step
    ]
    raise ValueError(
        f"{problem.bound.name} has no minimum: it falls for ever as {' and '.join(moves)}; "
        "limit one of them, hold it, or tune others."
    )
