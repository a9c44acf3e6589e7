"""Claims about linear minimization oracles: each attains the maximum that defines its dual norm.

A norm is written here by its faces: matrices A with <A, w> <= norm(w) for every w, and with
equality for one of them at the matrix they were made from. The faces of a gradient enclose the
unit ball in a polyhedron, so a linear program over it bounds <g, w> on the ball from above.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linprog

from experiments.compare import Verdict, agree_within, bound_holds, relative_within
from theory.norms import NORMS, dual_norm, lmo, norm

Matrix = np.ndarray


def _unit(vector: Matrix) -> Matrix:
    return vector / np.sqrt(np.sum(vector**2))


def _entries(v: Matrix) -> Matrix:
    """For |.|_max: the sign of an entry, alone."""
    return np.sign(v).ravel()[:, None, None] * np.eye(v.size).reshape(v.size, *v.shape)


def _columns(v: Matrix) -> Matrix:
    """For the longest column: the direction of a column, alone."""
    masks = np.eye(v.shape[1])[np.any(v, axis=0)]
    return np.stack([_unit(v * mask) for mask in masks])


def _singular_pairs(v: Matrix) -> Matrix:
    """For the spectral norm: u r^T, from the eigenvectors r of V^T V."""
    values, vectors = np.linalg.eigh(v.T @ v)
    kept = vectors.T[values > 1e-12 * values[-1]]
    return np.stack([np.outer(_unit(v @ right), right) for right in kept])


# The factors are those of |x|_RMS = |x|_2 / sqrt(d): of the output, of the input, or of both.
FACES: dict[str, Callable[[Matrix], Matrix]] = {
    "euclidean": lambda v: _unit(v)[None],
    "max": _entries,
    "spectral": _singular_pairs,
    "one_to_rms": lambda v: _columns(v) / np.sqrt(v.shape[0]),
    "rms_to_rms": lambda v: _singular_pairs(v) * np.sqrt(v.shape[1] / v.shape[0]),
    "rms_to_inf": lambda v: _columns(v.T).swapaxes(1, 2) * np.sqrt(v.shape[1]),
}


def length(name: str, v: Matrix) -> float:
    """The norm of a matrix that is not zero, by its faces."""
    return float(np.max(np.sum(FACES[name](v) * v, axis=(1, 2))))


def _enclosed_maximum(name: str, gradient: Matrix) -> float:
    """Largest <g, w> over the polyhedron around the unit ball."""
    faces = FACES[name](gradient).reshape(-1, gradient.size)
    # The box is wider than any of the balls; it ends directions that g does not see.
    found = linprog(-gradient.ravel(), A_ub=faces, b_ub=np.ones(len(faces)), bounds=(-10, 10))
    return -found.fun


def _gradients(shapes: Sequence[tuple[int, int]]) -> list[Matrix]:
    """Full rank, rank-deficient, and with an empty row and column, of each shape."""
    rng = np.random.default_rng(17)
    gradients = []
    for rows, columns in shapes:
        full = rng.standard_normal((rows, columns))
        thin = rng.standard_normal((rows, 2)) @ rng.standard_normal((2, columns))
        holed = rng.standard_normal((rows, columns))
        holed[2], holed[:, 1] = 0.0, 0.0
        gradients += [full, thin, holed]
    return gradients


def oracles(quick: bool) -> list[Verdict]:
    """Every LMO is a minimiser of <g, v> over the unit ball of its norm."""
    gradients = _gradients([(4, 6)] if quick else [(4, 6), (7, 3), (12, 12)])
    oracle = jax.jit(lmo, static_argnums=0)
    answers = {
        name: [np.asarray(oracle(name, jnp.asarray(g))) for g in gradients] for name in NORMS
    }
    attained = {
        name: [-np.sum(g * answer) for g, answer in zip(gradients, answers[name], strict=True)]
        for name in NORMS
    }
    bounds = {name: [_enclosed_maximum(name, g) for g in gradients] for name in NORMS}
    rows = [
        relative_within(
            f"LMO, {name}: <lmo(g), -g> is the maximum of <x, g> over the unit ball",
            bounds[name],
            attained[name],
            1e-10,
            "a vertex of a linear program",
        )
        for name in NORMS
    ]
    return [
        *rows,
        _lengths(answers),
        relative_within(
            "LMO, 6 norms: dual norm of g is <lmo(g), -g>",
            [float(dual_norm(name, jnp.asarray(g))) for name in NORMS for g in gradients],
            np.concatenate(list(attained.values())),
            1e-12,
            "rounding",
        ),
        _points(100 if quick else 500, gradients, answers, attained),
        agree_within(
            "LMO, 6 norms: zero for zero",
            0.0,
            [oracle(name, jnp.zeros((4, 6))) for name in NORMS],
            1e-300,
            "exact",
        ),
    ]


Answers = dict[str, list[Matrix]]


def _lengths(answers: Answers) -> Verdict:
    stated = [float(norm(name, jnp.asarray(x))) for name in NORMS for x in answers[name]]
    defined = [length(name, x) for name in NORMS for x in answers[name]]
    return relative_within(
        "LMO, 6 norms: its answer has norm one", 1.0, [stated, defined], 1e-12, "rounding"
    )


def _points(
    points: int, gradients: list[Matrix], answers: Answers, attained: dict[str, list[float]]
) -> Verdict:
    rng = np.random.default_rng(5)
    return bound_holds(
        f"LMO, 6 norms: none of {points} points of each unit ball, far or near, does better",
        list(attained.values()),
        [
            [_best_of_ball(name, *pair, points, rng) for pair in zip(gradients, few, strict=True)]
            for name, few in answers.items()
        ],
    )


def _best_of_ball(
    name: str, gradient: Matrix, answer: Matrix, points: int, rng: np.random.Generator
) -> float:
    """Largest -<g, v> over random points of norm one, some close to the LMO."""
    found = -np.inf
    for scale in np.geomspace(1e-4, 1e2, points):
        point = answer + scale * np.abs(answer).max() * rng.standard_normal(answer.shape)
        found = max(found, -float(np.sum(gradient * point)) / length(name, point))
    return found
