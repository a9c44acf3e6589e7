"""Linear programs that start a geometric program: is there a feasible point, and a good one."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linprog

# Feasibility of linear programs, relative to the size of the limits.
RELATIVE_ROOM = 1e-9


def stuck_constraints(rows: np.ndarray, limits: np.ndarray) -> tuple[int, ...]:
    """Constraints rows x <= limits that every feasible point satisfies with equality.

    Args:
        rows: [m, d].
        limits: [m].

    Returns:
        Their indices.

    Raises:
        ValueError: if no point satisfies the constraints.

    Kind: exact, to the tolerance of the linear program.
    Valid: non-zero rows; constraints that meet at a very flat angle may count as equations.
    Source: definition.
    """
    if limits.size == 0:
        return ()
    sizes = np.linalg.norm(rows, axis=1)
    rows, limits = rows / sizes[:, None], limits / sizes
    tolerance = RELATIVE_ROOM * (1.0 + float(np.max(np.abs(limits))))
    room = most_room(rows, limits, ())
    if room < -tolerance:
        raise ValueError("no point satisfies the constraints.")
    if room > tolerance:
        return ()
    found = [linprog(row, rows, limits + tolerance, bounds=(None, None)) for row in rows]
    return tuple(
        j for j, x in enumerate(found) if x.status == 0 and limits[j] - x.fun < 1e4 * tolerance
    )


def most_room(rows: np.ndarray, limits: np.ndarray, equal: Sequence[int]) -> float:
    """Largest r <= 1 such that some x keeps limits - rows x >= r |row| but where they are equal.

    Args:
        rows: [m, d].
        limits: [m].
        equal: indices of the constraints taken as equations.

    Returns:
        r; negative if there is no feasible point.

    Kind: exact, to the tolerance of the linear program.
    Valid: rows of order one.
    Source: radius of the largest ball inside, Boyd and Vandenberghe 2004, section 4.3.1.
    """
    loose = [j for j in range(limits.size) if j not in equal]
    d = rows.shape[1]
    found = linprog(
        np.append(np.zeros(d), -1.0),
        np.column_stack([rows[loose], np.linalg.norm(rows[loose], axis=1)]),
        limits[loose],
        np.column_stack([rows[list(equal)], np.zeros(len(equal))]) if equal else None,
        limits[list(equal)] if equal else None,
        bounds=[(None, None)] * d + [(None, 1.0)],
    )
    return float(-found.fun) if found.status == 0 else -np.inf


def interior_start(
    offsets: np.ndarray,
    rows: np.ndarray,
    limit_rows: np.ndarray,
    limits: np.ndarray,
    equal: Sequence[int],
) -> np.ndarray:
    """The point inside the constraints at which the largest of the terms is smallest.

    Args:
        offsets: [n], of the terms offsets + rows x.
        rows: [n, d].
        limit_rows: [m, d].
        limits: [m].
        equal: indices of the constraints taken as equations.

    Returns:
        x, [d]; other constraints keep half of the room that they can keep together (at most 1/2).

    Raises:
        ValueError: if there is none.

    Kind: exact, to the tolerance of the linear program; log sum exp is within log n of its minimum
        over these points.
    Valid: the minimum is attained.
    Source: definition.
    """
    n, d = rows.shape
    gap = np.zeros(limits.size)
    if limits.size > len(equal):
        gap = np.linalg.norm(limit_rows, axis=1) * most_room(limit_rows, limits, equal) / 2.0
        gap[list(equal)] = 0.0
    # What no term depends on must not run away.
    far = 1e3 + 10.0 * float(np.max(np.abs(limits), initial=0.0))
    found = linprog(
        np.append(np.zeros(d), 1.0),
        np.block([[rows, -np.ones((n, 1))], [limit_rows, np.zeros((limits.size, 1))]]),
        np.concatenate([-offsets, limits - gap]),
        np.column_stack([limit_rows[list(equal)], np.zeros(len(equal))]) if equal else None,
        limits[list(equal)] if equal else None,
        bounds=[(None, None) if used else (-far, far) for used in np.any(rows, axis=0)]
        + [(None, None)],
    )
    if found.status != 0:
        raise ValueError(f"no point satisfies the constraints: {found.message}")
    return found.x[:-1]
