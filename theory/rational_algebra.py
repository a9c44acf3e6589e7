"""Linear algebra and polyhedra in exact rational numbers, for a handful of unknowns.

Exponents of scaling laws are rational numbers; found in floating point they would be guesses. The
systems here have at most some ten unknowns, so that Gauss elimination over `fractions.Fraction`
and the double description of a polyhedron cost milliseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import TypeAlias

Vector: TypeAlias = tuple[Fraction, ...]
# <row, y> <= limit, or = limit.
Row: TypeAlias = tuple[Vector, Fraction]


@dataclass(frozen=True)
class Polyhedron:
    """conv(vertices) + cone(rays) + span(lines); without vertices it is empty.

    Attributes:
        vertices: corner points; where there are lines, one point of each smallest face.
        rays: directions that can be followed for ever.
        lines: directions that can be followed for ever both ways.
    """

    vertices: tuple[Vector, ...]
    rays: tuple[Vector, ...] = ()
    lines: tuple[Vector, ...] = ()

    @property
    def is_point(self) -> bool:
        """Whether it is a single point."""
        return len(self.vertices) == 1 and not self.rays and not self.lines

    def directions(self) -> tuple[Vector, ...]:
        """Vectors that span the directions within it."""
        first = self.vertices[0]
        steps = (tuple(x - y for x, y in zip(v, first, strict=True)) for v in self.vertices[1:])
        return (*steps, *self.rays, *self.lines)


def dot(left: Sequence[Fraction], right: Sequence[Fraction]) -> Fraction:
    """<left, right>.

    Args:
        left: numbers.
        right: as many numbers.

    Returns:
        Their inner product.

    Kind: exact.
    Valid: equal lengths.
    Source: none needed.
    """
    return sum((x * y for x, y in zip(left, right, strict=True)), Fraction(0))


def eliminate(rows: Sequence[Sequence[Fraction]], unknowns: int) -> tuple[list[Vector], list[int]]:
    """Reduced row echelon form by Gauss and Jordan.

    Args:
        rows: a matrix; columns from `unknowns` on are right-hand sides.
        unknowns: columns in which pivots are sought.

    Returns:
        The non-zero rows, first those with a pivot, and the pivots' columns. A row beyond the
        pivots is a contradiction 0 = non-zero.

    Kind: exact.
    Valid: any rational matrix.
    Source: textbook.
    """
    left = [list(row) for row in rows]
    pivots: list[int] = []
    for column in range(unknowns):
        at = len(pivots)
        found = next((k for k in range(at, len(left)) if left[k][column]), None)
        if found is None:
            continue
        left[at], left[found] = left[found], left[at]
        head = left[at][column]
        left[at] = [x / head for x in left[at]]
        for k, row in enumerate(left):
            if k != at and row[column]:
                factor = row[column]
                left[k] = [x - factor * y for x, y in zip(row, left[at], strict=True)]
        pivots.append(column)
    return [tuple(row) for row in left if any(row)], pivots


def determined(
    rows: Sequence[Sequence[Fraction]], unknowns: int
) -> tuple[Fraction | None, ...] | None:
    """What a linear system says of each unknown.

    Args:
        rows: (coefficients, right-hand side) in one, each [unknowns + 1].
        unknowns: their number.

    Returns:
        None if the system contradicts itself; else for every unknown its value, or None where the
        system leaves it free.

    Kind: exact.
    Valid: any rational system.
    Source: textbook; a pivot without free columns in its row is determined.
    """
    reduced, pivots = eliminate(rows, unknowns)
    if len(reduced) > len(pivots):
        return None
    values: list[Fraction | None] = [None] * unknowns
    for row, pivot in zip(reduced, pivots, strict=True):
        if not any(row[k] for k in range(unknowns) if k != pivot):
            values[pivot] = row[unknowns]
    return tuple(values)


def null_basis(rows: Sequence[Sequence[Fraction]], unknowns: int) -> list[Vector]:
    """A basis of {x: <row, x> = 0 for all rows}.

    Args:
        rows: each [unknowns].
        unknowns: dimension of x.

    Returns:
        Independent vectors, none if only zero solves.

    Kind: exact.
    Valid: any rational rows.
    Source: textbook.
    """
    reduced, pivots = eliminate(rows, unknowns)
    basis = []
    for free in (k for k in range(unknowns) if k not in pivots):
        vector = [Fraction(int(k == free)) for k in range(unknowns)]
        for row, pivot in zip(reduced, pivots, strict=True):
            vector[pivot] = -row[free]
        basis.append(tuple(vector))
    return basis


def graded_basis(groups: Sequence[Sequence[Vector]], dimension: int) -> list[Vector]:
    """A basis whose later vectors change fewer groups of rows.

    Args:
        groups: of rows, each [dimension].
        dimension: of the space.

    Returns:
        First vectors that change <row, x> for rows of the first group, then such that change only
        later groups, and so on; last those that change none.

    Kind: exact.
    Valid: any rational rows.
    Source: derived; bases of the falling null spaces, completed from the last to the first.
    """
    spaces, rows = [null_basis([], dimension)], []
    for group in groups:
        rows += list(group)
        spaces.append(null_basis(rows, dimension))
    basis: list[Vector] = []
    for space in reversed(spaces):
        for vector in space:
            if len(eliminate([*basis, vector], dimension)[1]) > len(basis):
                basis.insert(0, vector)
    return basis


def polyhedron(
    dimension: int, inequalities: Sequence[Row], equalities: Sequence[Row] = ()
) -> Polyhedron:
    """All vertices, rays and lines of {y: <row, y> <= limit, <row, y> = limit}.

    Args:
        dimension: of y.
        inequalities: pairs (row, limit).
        equalities: pairs (row, limit).

    Returns:
        The `Polyhedron`, in exact numbers.

    Kind: exact.
    Valid: any; the cost grows with the number of vertices.
    Source: double description method, Motzkin et al. 1953, on the cone over the polyhedron;
        neighbours by the combinatorial test of Fukuda and Prodon 1996.
    """
    zero = tuple(Fraction(0) for _ in range(dimension))
    lines, rays = cone(
        dimension + 1,
        [(Fraction(1), *zero), *((limit, *(-x for x in row)) for row, limit in inequalities)],
        [(limit, *(-x for x in row)) for row, limit in equalities],
    )
    return Polyhedron(
        tuple(tuple(Fraction(x, ray[0]) for x in ray[1:]) for ray in rays if ray[0]),
        tuple(tuple(map(Fraction, ray[1:])) for ray in rays if not ray[0]),
        tuple(tuple(map(Fraction, line[1:])) for line in lines),
    )


def cone(
    dimension: int, positive: Sequence[Vector], zero: Sequence[Vector] = ()
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Lines and extreme rays of {x: <row, x> >= 0 for positive, = 0 for zero rows}.

    Args:
        dimension: of x.
        positive: rows of inequalities.
        zero: rows of equalities.

    Returns:
        Lines and rays as whole numbers without common factor.

    Kind: exact.
    Valid: any.
    Source: as `polyhedron`.
    """
    lines = [tuple(int(i == k) for i in range(dimension)) for k in range(dimension)]
    # A ray, and the inequalities that it satisfies with equality as bits.
    rays: list[tuple[tuple[int, ...], int]] = []
    done = 0
    for k, row in enumerate([*zero, *positive]):
        scale = lcm(*(x.denominator for x in row))
        whole = tuple(int(x * scale) for x in row)
        lines, rays = _cut(lines, rays, whole, 1 << k, done, keep=k >= len(zero))
        done |= 1 << k
    return lines, [ray for ray, _ in rays]


def _cut(
    lines: list, rays: list, row: tuple[int, ...], bit: int, done: int, keep: bool
) -> tuple[list, list]:
    """The generators after one more row; `keep` those on its positive side."""
    leaving = next((line for line in lines if _whole_dot(row, line)), None)
    if leaving is not None:
        height = _whole_dot(row, leaving)
        if height < 0:
            leaving, height = tuple(-x for x in leaving), -height
        rest = [_combine(x, height, leaving, -_whole_dot(row, x)) for x in lines if any(x)]
        flat = [(_combine(x, height, leaving, -_whole_dot(row, x)), m | bit) for x, m in rays]
        return [x for x in rest if any(x)], [*flat, *([(leaving, done)] if keep else [])]
    heights = [_whole_dot(row, ray) for ray, _ in rays]
    kept = [(ray, mask | bit) for (ray, mask), h in zip(rays, heights, strict=True) if h == 0]
    above = [(*pair, h) for pair, h in zip(rays, heights, strict=True) if h > 0]
    below = [(*pair, h) for pair, h in zip(rays, heights, strict=True) if h < 0]
    masks = [mask for _, mask in rays]
    for up, up_mask, up_height in above:
        for down, down_mask, down_height in below:
            shared = up_mask & down_mask
            if sum(mask & shared == shared for mask in masks) == 2:
                kept.append((_combine(down, up_height, up, -down_height), shared | bit))
    return lines, [*kept, *((ray, mask) for ray, mask, _ in above if keep)]


def _whole_dot(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    return sum(x * y for x, y in zip(left, right, strict=True))


def _combine(x: tuple[int, ...], p: int, y: tuple[int, ...], q: int) -> tuple[int, ...]:
    mixed = [p * a + q * b for a, b in zip(x, y, strict=True)]
    common = gcd(*mixed) or 1
    return tuple(value // common for value in mixed)
