"""Exponents of tuned hyperparameters: linear programs over the exponents of a bound's terms.

A term c T^b x^a of a posynomial is, at x = T^y, of order T^(b + <a, y>). As the budget T grows the
minimum of the sum follows the smallest largest order. Where that leaves a choice, all minimizers
to leading order share the values of the leading terms, so the other terms decide among them: again
the smallest largest order, and so on. Every step is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from theory.rational_algebra import Polyhedron, Row, Vector, cone, dot, polyhedron


@dataclass(frozen=True)
class Order:
    """T^slope with slope = offset + <row, y>: how a term grows with the budget.

    Attributes:
        offset: exponent of the budget itself.
        row: exponents of the tuned variables.
    """

    offset: Fraction
    row: Vector

    def at(self, point: Sequence[Fraction]) -> Fraction:
        """The order at x = T^point."""
        return self.offset + dot(self.row, point)


@dataclass(frozen=True)
class Level:
    """One step of the ladder: the smallest largest order of the terms not yet decided.

    Attributes:
        order: exponent of the budget reached.
        terms: indices of the terms of this order on all of the face.
        tight: indices of the constraints that hold with equality on all of the face.
        face: all exponents that reach this and every earlier order.
    """

    order: Fraction
    terms: tuple[int, ...]
    tight: tuple[int, ...]
    face: Polyhedron


def runaway(orders: Sequence[Order], limits: Sequence[Row]) -> Vector | None:
    """A direction in which a posynomial falls for ever inside its constraints, if there is one.

    Args:
        orders: of the terms.
        limits: constraints <row, y> <= limit.

    Returns:
        Exponents n with <a, n> <= 0 for all terms, < 0 for one, and <row, n> <= 0 for all
        constraints; None if the minimum is attained.

    Kind: exact.
    Valid: at every budget; the coefficients play no part.
    Source: a convex function on a polyhedron that falls along none of its recession directions
        has a minimum, Rockafellar 1970, theorem 27.3.
    """
    dimension = len(orders[0].row)
    rows = [*(order.row for order in orders), *(row for row, _ in limits)]
    lines, rays = cone(dimension, [tuple(-x for x in row) for row in rows])
    for ray in rays:
        direction = tuple(map(Fraction, ray))
        if any(dot(order.row, direction) < 0 for order in orders):
            return direction
    # Along a line every term is constant: no runaway.
    assert all(
        dot(order.row, tuple(map(Fraction, line))) == 0 for order in orders for line in lines
    )
    return None


def ladder(orders: Sequence[Order], limits: Sequence[Row]) -> tuple[Level, ...]:
    """Exponents that minimise a posynomial at large budgets, order by order.

    Level 0 minimises the largest order over all y within the limits; its face holds every y that
    reaches the optimal rate. Each further level minimises, over the face before, the largest order
    of the remaining terms, until none is left: also a single point may leave constants to decide.

    Args:
        orders: of the terms.
        limits: constraints <row, y> <= limit.

    Returns:
        The levels; the last face holds the exponents.

    Raises:
        ValueError: if no y satisfies the limits.

    Kind: exact.
    Valid: `runaway` is None.
    Source: derived. By strict complementarity the terms of a level's order on the whole face have
        a minimum in the constants; on it each of them is fixed, hence also all that they do to
        later levels; a term left is smaller by a power of the budget inside the face.
    """
    levels: list[Level] = []
    fixed: list[Row] = []
    left = list(range(len(orders)))
    while left:
        order, face = _smallest_largest([orders[i] for i in left], limits, fixed)
        terms = tuple(i for i in left if _constant(orders[i].row, orders[i].offset - order, face))
        tight = tuple(j for j, (row, most) in enumerate(limits) if _constant(row, -most, face))
        levels.append(Level(order, terms, tight, face))
        fixed += [(orders[i].row, order - orders[i].offset) for i in terms]
        left = [i for i in left if i not in terms]
    return tuple(levels)


def _smallest_largest(
    orders: Sequence[Order], limits: Sequence[Row], fixed: Sequence[Row]
) -> tuple[Fraction, Polyhedron]:
    """The smallest t with orders <= t, and all y that reach it."""
    dimension = len(orders[0].row)
    one, none = Fraction(1), Fraction(0)
    region = polyhedron(
        dimension + 1,
        [
            *(((*row, none), most) for row, most in limits),
            *(((*order.row, -one), -order.offset) for order in orders),
        ],
        [((*row, none), value) for row, value in fixed],
    )
    if not region.vertices:
        raise ValueError("the constraints leave no exponents: they contradict each other.")
    best = min(vertex[-1] for vertex in region.vertices)
    return best, Polyhedron(
        tuple(sorted(vertex[:-1] for vertex in region.vertices if vertex[-1] == best)),
        tuple(sorted(ray[:-1] for ray in region.rays if ray[-1] == 0)),
        tuple(sorted(line[:-1] for line in region.lines)),
    )


def _constant(row: Vector, offset: Fraction, face: Polyhedron) -> bool:
    """Whether offset + <row, y> = 0 on all of the face."""
    ends = all(offset + dot(row, vertex) == 0 for vertex in face.vertices)
    return ends and all(dot(row, way) == 0 for way in (*face.rays, *face.lines))
