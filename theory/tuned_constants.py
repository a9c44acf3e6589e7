"""Constants of tuned laws, level by level, and how they depend on the numbers of a problem."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from theory.geometric_program import LogProgram, Minimum, minimise
from theory.newton_polytope import Level
from theory.posynomial import Monomial
from theory.rational_algebra import Vector, determined, dot, null_basis
from theory.tuning_problem import TuningProblem, products


def level_constants(
    problem: TuningProblem, levels: Sequence[Level]
) -> tuple[list[np.ndarray], list[Minimum]]:
    """Logarithms of the constants after each level, and the level's minimum.

    Args:
        problem: bound, tuned variables, budget.
        levels: of its exponents.

    Returns:
        Points [d] and minima, one each a level; a level keeps the terms of earlier ones.

    Kind: asymptotic.
    Valid: budget to infinity.
    Source: derived; the terms of one level are of one order on its face, so their constants make a
        geometric program; the constraints that are tight on the face go with it.
    """
    terms = list(problem.terms.values())
    rows: list[Vector] = []
    point = np.zeros(len(problem.tuned))
    points, solved = [], []
    for level in levels:
        basis = null_basis(rows, point.size)
        chosen = [terms[i] for i in level.terms]
        directions = products([problem.row(term) for term in chosen], basis)
        offsets = [_log_at(problem, term, point) for term in chosen]
        tight = [problem.limits[j].monomial for j in level.tight]
        limits = LogProgram(
            np.array(offsets),
            directions,
            products([problem.row(limit) for limit in tight], basis),
            np.array([-_log_at(problem, limit, point) for limit in tight]),
        )
        found = _level_minimum(limits, level.tight)
        if basis:
            point = point + np.array(basis, dtype=float).T @ found.point
        points.append(point)
        solved.append(found)
        rows += [problem.row(term) for term in chosen]
    return points, solved


def _level_minimum(program: LogProgram, names: Sequence[int]) -> Minimum:
    """Minimum of one level; constraints that it cannot change any more are left out."""
    moved = [k for k in range(len(names)) if np.any(program.limit_rows[k])]
    small = LogProgram(
        program.offsets, program.rows, program.limit_rows[moved], program.limits[moved]
    )
    found = minimise(small)
    active = tuple(names[moved[k]] for k in found.active)
    return Minimum(found.point, found.value, active, found.multipliers)


def _log_at(problem: TuningProblem, term: Monomial, point: np.ndarray) -> float:
    row = np.array(problem.row(term), dtype=float)
    return problem.log_coefficient(term) + float(row @ point)


def response(
    problem: TuningProblem, levels: Sequence[Level], active: Sequence[Sequence[int]], name: str
) -> tuple[list[Fraction | None], list[Fraction | None]]:
    """Exponents of a number in the constants of the variables and of the rates.

    Args:
        problem: bound, tuned variables, budget.
        levels: of its exponents.
        active: indices of the constraints felt at each level.
        name: of the number; a name that appears nowhere asks which constants are decided at all.

    Returns:
        For the variables and for the levels: the exponent, None where it is no power law.

    Kind: exact.
    Valid: while the same terms lead and the same constraints are felt.
    Source: derived. If a shift of all logarithms turns one problem into the other, the terms keep
        their shares: each term of a level changes by the same factor, each felt constraint stays
        felt. Terms that a level cannot change any more count in its rate only.
    """
    terms, size, total = list(problem.terms.values()), len(problem.tuned), len(levels)
    shares: list[list[Fraction]] = []
    sums: list[list[Fraction]] = []
    earlier: list[Vector] = []
    variables: list[Fraction | None] = [None] * size
    rates: list[Fraction | None] = [None] * total
    for k, level in enumerate(levels):
        unit = [Fraction(-int(k == other)) for other in range(total)]
        basis = null_basis(earlier, size)
        for term in (terms[i] for i in level.terms):
            row = problem.row(term)
            equation = [*row, *unit, -term.exponent(name)]
            sums.append(equation)
            if any(dot(row, way) for way in basis):
                shares.append(equation)
            earlier.append(row)
        for limit in (problem.limits[j].monomial for j in active[k]):
            shares.append([*problem.row(limit), *([Fraction(0)] * total), -limit.exponent(name)])
        found = determined(shares, size + total)
        if found is None:
            break
        variables = [found[v] if x is None else x for v, x in enumerate(variables)]
        both = determined([*shares, *sums], size + total)
        rates[k] = None if both is None else both[size + k]
    return variables, rates
