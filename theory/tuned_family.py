"""Strategies that tie: a face of exponents as relations between hyperparameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from theory.rational_algebra import Polyhedron, dot, eliminate
from theory.tuning_problem import TuningProblem


@dataclass(frozen=True)
class Family:
    """All strategies that reach the optimal rate with the optimal constant, to leading order.

    Attributes:
        face: of exponents, one coordinate for each tuned variable.
        free: variables that may be chosen, letters.
        ends: smallest and largest exponent of each free variable; None where there is no end.
        relations: constant and exponents, by letter, of budget and free variables, of the others.
    """

    face: Polyhedron
    free: tuple[str, ...]
    ends: Mapping[str, tuple[Fraction | None, Fraction | None]]
    relations: Mapping[str, tuple[float | None, Mapping[str, Fraction]]]


def family_of(problem: TuningProblem, face: Polyhedron, point: np.ndarray) -> Family | None:
    """The face as relations between hyperparameters.

    Args:
        problem: bound, tuned variables, budget.
        face: of exponents.
        point: logarithms of constants anywhere on it, [d].

    Returns:
        The `Family`; None if the face is a point. The last variables are the free ones.

    Kind: exact.
    Valid: to leading order in the budget.
    Source: derived; along the face the leading terms stay what they are, exponents and constants.
    """
    size = len(problem.tuned)
    ways, _ = eliminate(face.directions(), size)
    if not ways:
        return None
    # Later variables are the free ones: columns reversed, so that pivots fall on them.
    backward = [tuple(reversed(way)) for way in ways]
    reduced, pivots = eliminate(backward, size)
    free = [size - 1 - pivot for pivot in pivots]
    moves = [tuple(reversed(row)) for row in reduced]
    start = face.vertices[0]
    relations = {}
    for v in (v for v in range(size) if v not in free):
        slopes = {f: move[v] for f, move in zip(free, moves, strict=True)}
        own = start[v] - dot(tuple(slopes.values()), [start[f] for f in slopes])
        log = point[v] - sum(float(x) * point[f] for f, x in slopes.items())
        powers = {problem.budget: own, **{problem.tuned[f]: x for f, x in slopes.items()}}
        relations[problem.tuned[v]] = (
            float(np.exp(log)),
            {name: value for name, value in powers.items() if value},
        )
    ends = {problem.tuned[f]: _ends(face, f) for f in free}
    return Family(face, tuple(problem.tuned[f] for f in free), ends, relations)


def _ends(face: Polyhedron, k: int) -> tuple[Fraction | None, Fraction | None]:
    values = [vertex[k] for vertex in face.vertices]
    ways = [ray[k] for ray in face.rays] + [s * x[k] for x in face.lines for s in (1, -1)]
    low = None if any(way < 0 for way in ways) else min(values)
    high = None if any(way > 0 for way in ways) else max(values)
    return low, high
