"""Minimum of a posynomial under monomial constraints: a geometric program, convex in logarithms.

    minimise f(u) = log sum_i exp(offset_i + <row_i, u>)   subject to   <limit_row_j, u> <= limit_j

with u the logarithms of the variables. At large budgets some directions change f by a tiny fraction
only, and still decide a hyperparameter. So values are never compared, only derivatives, and the
coordinates may be graded, stiff ones first: where the large terms do not depend on the last ones
exactly, the small terms are resolved there to all digits.

NumPy, not JAX: problems this small and this different would spend their time in compilation.
"""

from dataclasses import dataclass

import numpy as np

from theory.linear_start import RELATIVE_ROOM, interior_start, stuck_constraints

# Weights of the log barrier; the last are for constraints that matter to a fraction of 1e-20.
_WEIGHTS = tuple(10.0**-k for k in range(1, 30, 2))
_STEPS = 200  # of Newton a weight; three to ten are usual
_LONGEST = 4.0  # first trust radius in the logarithms
_FLAT = 1e-13  # curvature that counts as none, of the scaled Hessian
_TOUCHING = 1e-6  # slack at which a constraint is taken as an equation
_PULLED = 1e-13  # a multiplier below minus this lets go of its constraint


@dataclass(frozen=True)
class LogProgram:
    """min over u of log sum exp(offsets + rows u) subject to limit_rows u <= limits.

    Attributes:
        offsets: logarithms of coefficients, [n].
        rows: exponents, [n, d].
        limit_rows: [m, d].
        limits: [m].
    """

    offsets: np.ndarray
    rows: np.ndarray
    limit_rows: np.ndarray
    limits: np.ndarray

    def terms(self, point: np.ndarray) -> np.ndarray:
        """Logarithms of the terms, [n]."""
        return self.offsets + self.rows @ point

    def slack(self, point: np.ndarray) -> np.ndarray:
        """Limits minus what they limit, [m]; negative where a constraint is broken."""
        return self.limits - self.limit_rows @ point


@dataclass(frozen=True)
class Minimum:
    """Solution of a `LogProgram`.

    Attributes:
        point: u, logarithms of the variables, [d].
        value: logarithm of the sum.
        active: indices of constraints that hold with equality.
        multipliers: for each of `active`, minus the derivative of the value by its limit.
    """

    point: np.ndarray
    value: float
    active: tuple[int, ...]
    multipliers: np.ndarray


def log_sum(terms: np.ndarray) -> float:
    """Log of sum exp(terms).

    Args:
        terms: [n], n > 0.

    Returns:
        A number.

    Kind: exact.
    Valid: any finite numbers; nothing overflows.
    Source: none needed.
    """
    top = np.max(terms)
    return float(top + np.log(np.sum(np.exp(terms - top))))


def minimise(program: LogProgram, guess: np.ndarray | None = None) -> Minimum:
    """The minimum of a geometric program.

    Args:
        program: whose minimum is attained (`theory.newton_polytope.runaway` is None); coordinates
            from stiff to flat if they differ much.
        guess: a point near the minimum, used if it satisfies the constraints.

    Returns:
        The `Minimum`. Coordinates that are in no term are left near zero.

    Raises:
        ValueError: if no point satisfies the constraints.

    Kind: exact, to rounding.
    Valid: finite coefficients.
    Source: log barrier and active set, Boyd and Vandenberghe 2004, sections 4.5 and 11.3.
    """
    equal = stuck_constraints(program.limit_rows, program.limits)
    point = interior_start(program.offsets, program.rows, program.limit_rows, program.limits, equal)
    if guess is not None:
        point = _toward(program, point, guess, equal)
    touching = list(equal)
    for weight in _WEIGHTS:
        inside = [j for j in range(program.limits.size) if j not in touching]
        if not inside and np.all(np.any(program.rows, axis=0)):
            break
        free = null_space(program.limit_rows[touching])
        point = _descend(program, point, free, inside, weight)
        touching += [j for j in inside if program.slack(point)[j] < _TOUCHING]
    return _settle(program, point, equal, [j for j in touching if j not in equal])


def null_space(rows: np.ndarray) -> np.ndarray:
    """A basis of {x: rows x = 0} that keeps stiff and flat coordinates apart.

    Args:
        rows: [m, d], entries zero or of order one.

    Returns:
        [d, d - rank]. Every pivot is the last coordinate that its row has, so that the basis
        vectors are the first coordinates, each mended by later ones.

    Kind: exact, to rounding.
    Valid: any.
    Source: Gauss elimination.
    """
    left, d = np.array(rows, dtype=float), rows.shape[1]
    pivots: list[int] = []
    for k in range(left.shape[0]):
        present = np.flatnonzero(np.abs(left[k]) > 1e-12)
        if present.size == 0:
            continue
        pivot = present[-1]
        left[k] /= left[k, pivot]
        others = np.arange(left.shape[0]) != k
        left[others] -= np.outer(left[others, pivot], left[k])
        left[np.abs(left) < 1e-13] = 0.0
        pivots.append(int(pivot))
    rank_rows = [k for k in range(left.shape[0]) if np.any(left[k])]
    free = [column for column in range(d) if column not in pivots]
    basis = np.zeros((d, len(free)))
    basis[free, range(len(free))] = 1.0
    for pivot, k in zip(pivots, rank_rows, strict=True):
        basis[pivot] = -left[k, free]
    return basis


def _toward(
    program: LogProgram, inner: np.ndarray, guess: np.ndarray, equal: tuple[int, ...]
) -> np.ndarray:
    """Almost the guess, but inside the constraints; `inner` if the guess breaks one."""
    loose = [j for j in range(program.limits.size) if j not in equal]
    if equal or (loose and np.min(program.slack(guess)[loose]) < -RELATIVE_ROOM):
        return inner
    mixed = guess + 1e-3 * (inner - guess)
    return mixed if not loose or np.min(program.slack(mixed)[loose]) > 0.0 else inner


def _descend(
    program: LogProgram, point: np.ndarray, free: np.ndarray, inside: list[int], weight: float
) -> np.ndarray:
    """Newton's method on f - weight sum log slack along `free`, until a step is rounding."""
    if free.shape[1] == 0:
        return point
    # A constraint that no step changes has no say, and may have no slack.
    inside = [j for j in inside if np.any(program.limit_rows[j] @ free)]
    radius = _LONGEST
    gradient, hessian = _derivatives(program, point, free, inside, weight)
    for _ in range(_STEPS):
        step = _newton_step(gradient, hessian)
        length = float(np.linalg.norm(step))
        if length <= 1e-13 * (1.0 + float(np.linalg.norm(point))):
            return point
        slope, factor = float(gradient @ step), min(1.0, radius / length)
        while True:
            trial = point + factor * (free @ step)
            if not inside or np.min(program.slack(trial)[inside]) > 0.0:
                found = _derivatives(program, trial, free, inside, weight)
                rise = float(found[0] @ step)
                if rise <= 0.5 * abs(slope):
                    break
            factor /= 4.0
            if factor * length < 1e-15 * (1.0 + float(np.linalg.norm(point))):
                return point
        point, (gradient, hessian) = trial, found
        radius = max(2.0 * factor * length, _LONGEST)
    return point


def _newton_step(gradient: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    # Each coordinate in units of its own curvature: a flat one is no less exact than a stiff one.
    scale = np.sqrt(np.maximum(np.diagonal(hessian), 1e-300))
    curvature, axes = np.linalg.eigh(hessian / np.outer(scale, scale))
    along = axes.T @ (gradient / scale)
    return -(axes @ (along / np.maximum(curvature, _FLAT))) / scale


def _derivatives(
    program: LogProgram, point: np.ndarray, free: np.ndarray, inside: list[int], weight: float
) -> tuple[np.ndarray, np.ndarray]:
    rows = program.rows @ free
    terms = program.terms(point)
    share = np.exp(terms - log_sum(terms))
    gradient = share @ rows
    centred = rows - gradient
    hessian = (centred.T * share) @ centred
    if weight:
        # What no term depends on stays near one, or near the middle of its limits.
        idle = free * ~np.any(program.rows, axis=0)[:, None]
        gradient = gradient + weight * (point @ idle)
        hessian = hessian + weight * idle.T @ idle
    if inside:
        pull = (program.limit_rows[inside] @ free) / program.slack(point)[inside][:, None]
        gradient = gradient + weight * np.sum(pull, axis=0)
        hessian = hessian + weight * pull.T @ pull
    return gradient, hessian


def _settle(
    program: LogProgram, point: np.ndarray, equal: tuple[int, ...], touching: list[int]
) -> Minimum:
    """Newton's method with touching constraints as equations, exchanged until signs are right."""
    for _ in range(2 * program.limits.size + 2):
        active = sorted([*equal, *touching])
        rows = program.limit_rows[active]
        at = point
        if active:
            at = point + np.linalg.lstsq(rows, program.slack(point)[active], rcond=None)[0]
        at = _descend(program, at, null_space(rows), [], 0.0)
        gradient, _ = _derivatives(program, at, np.eye(at.size), [], 0.0)
        multipliers = np.linalg.lstsq(rows.T, -gradient, rcond=None)[0]
        pairs = list(zip(active, multipliers, strict=True))
        pulled = min((nu, j) for j, nu in [*pairs, (-1, 0.0)] if j in touching or j == -1)
        slack = program.slack(at)
        broken = [j for j in range(slack.size) if j not in active and slack[j] < -RELATIVE_ROOM]
        if broken:
            touching.append(broken[0])
        elif pulled[0] < -_PULLED:
            touching.remove(pulled[1])
        else:
            return Minimum(at, log_sum(program.terms(at)), tuple(active), multipliers)
    raise ValueError("the constraints that hold at the minimum could not be told apart.")
