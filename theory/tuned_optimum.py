"""The minimum of a bound at one budget, with all terms and constraints."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from theory.checks import check_real
from theory.geometric_program import LogProgram, Minimum, minimise
from theory.rational_algebra import graded_basis
from theory.tuning import TunedLaws
from theory.tuning_problem import TuningProblem


@dataclass(frozen=True)
class TunedOptimum:
    """The minimum at one budget, with all terms.

    Attributes:
        log_budget: natural logarithm of the budget.
        log_values: logarithms of tuned, held and replaced variables, by letter.
        log_bound: logarithm of the minimum.
        terms: the terms at the minimum, as shares of it.
        active: constraints that hold with equality, as text.
        multipliers: relative fall of the bound for a relative widening of each of `active`.
    """

    log_budget: float
    log_values: Mapping[str, float]
    log_bound: float
    terms: Mapping[str, float]
    active: tuple[str, ...]
    multipliers: tuple[float, ...]

    @property
    def values(self) -> dict[str, float]:
        """Tuned, held and replaced variables by letter; infinite where too large for a float."""
        with np.errstate(over="ignore"):
            return {name: float(np.exp(log)) for name, log in self.log_values.items()}

    @property
    def bound(self) -> float:
        """The minimum; infinite where too large for a float."""
        with np.errstate(over="ignore"):
            return float(np.exp(self.log_bound))


def optimum(
    laws: TunedLaws, amount: float | None = None, *, log_budget: float | None = None
) -> TunedOptimum:
    """The minimum at one budget, all terms and constraints included.

    Args:
        laws: from `derive`.
        amount: of the budget, positive; or
        log_budget: its natural logarithm, for budgets beyond floating point.

    Returns:
        `TunedOptimum`.

    Raises:
        ValueError: if no hyperparameters satisfy the constraints at this budget.

    Kind: exact, to rounding.
    Valid: any budget at which the constraints leave room.
    Source: `theory.geometric_program`, in coordinates graded by the exponents' levels.
    """
    problem = laws.problem
    log_amount = _log_amount(amount, log_budget)
    for limit in problem.conditions:
        if problem.log_coefficient(limit.monomial, log_amount) > 1e-9:
            raise ValueError(
                f"the budget is too small: {limit.text} is broken at {np.exp(log_amount):g}."
            )
    orders = problem.orders
    basis = graded_basis(
        [[orders[i].row for i in level.terms] for level in laws.levels], len(problem.tuned)
    )
    program = problem.program(log_amount, basis)
    vectors = np.array(basis, dtype=float).T
    try:
        found = minimise(program, np.linalg.solve(vectors, _asymptote(laws, log_amount)))
    except ValueError as error:
        texts = ", ".join(limit.text for limit in problem.limits)
        raise ValueError(
            f"the budget {np.exp(log_amount):g} leaves no room for {texts}."
        ) from error
    return _reported(problem, program, found, vectors @ found.point, log_amount)


def _log_amount(amount: float | None, log_budget: float | None) -> float:
    if (amount is None) == (log_budget is None):
        raise ValueError("give the budget either as `amount` or as `log_budget`.")
    if amount is not None:
        check_real("amount", amount, above=0.0)
        return float(np.log(amount))
    check_real("log_budget", log_budget)
    assert log_budget is not None
    return float(log_budget)


def _reported(
    problem: TuningProblem, program: LogProgram, found: Minimum, logs: np.ndarray, log_amount: float
) -> TunedOptimum:
    values = dict(zip(problem.tuned, map(float, logs), strict=True))
    for name, by in {**problem.held, **problem.replaced}.items():
        if set(by.exponents) <= {*problem.tuned, problem.budget, *problem.values}:
            along = float(np.array(problem.row(by), dtype=float) @ logs)
            values[name] = problem.log_coefficient(by, log_amount) + along
    shares = np.exp(program.terms(found.point) - found.value)
    return TunedOptimum(
        log_amount,
        values,
        found.value,
        dict(zip(problem.terms, map(float, shares), strict=True)),
        tuple(problem.limits[j].text for j in found.active),
        tuple(map(float, found.multipliers)),
    )


def _asymptote(laws: TunedLaws, log_amount: float) -> np.ndarray:
    exponents = laws.levels[-1].face.vertices[0]
    return np.array(
        [
            float(exponent) * log_amount + np.log(law.constant or 1.0)
            for exponent, law in zip(exponents, laws.laws, strict=True)
        ]
    )
