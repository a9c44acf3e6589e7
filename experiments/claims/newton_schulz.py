"""Claims about Newton-Schulz iterations: against the SVD, to the tolerance that they state."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.compare import Verdict, agree_within, bound_holds, bound_tight
from theory.newton_schulz import MUON, Coefficients, cubic, newton_schulz, quintic, reached_range
from theory.norms import polar_factor

ITERATIONS = {"Muon's": MUON, "cubic": cubic(8), "quintic": quintic(5)}
SHAPES = ((64, 48), (30, 40))
# Iterations that suffice for the last digit from singular values of a thousandth of the norm on.
CONVERGED = {"cubic": cubic(24), "quintic": quintic(16)}


def newton_schulz_iterations(quick: bool) -> list[Verdict]:
    """Muon's and the classical iterations on tall and wide Gaussian matrices."""
    del quick  # small matrices
    rng = np.random.default_rng(3)
    matrices = [rng.standard_normal(shape) for shape in SHAPES]
    return [
        agree_within(
            "polar factor: singular value decomposition equals G (G^T G)^(-1/2)",
            0.0,
            [_distance(np.asarray(polar_factor(jnp.asarray(g))), _root(g)) for g in matrices],
            # The eigenvalues are squares: eps times the squared condition number, below 1e4.
            1e-11,
            "rounding",
        ),
        *[row for name, c in ITERATIONS.items() for row in _iteration(name, c, matrices)],
        *[_converged(name, c, matrices) for name, c in CONVERGED.items()],
    ]


def _iteration(name: str, coefficients: Coefficients, matrices: list[np.ndarray]) -> list[Verdict]:
    errors, allowed, distance = [], [], []
    for matrix in matrices:
        left, values, right = np.linalg.svd(matrix / np.linalg.norm(matrix), full_matrices=False)
        moved = values
        for a, b, c in coefficients:
            moved = a * moved + b * moved**3 + c * moved**5
        result = _iterated(matrix, coefficients)
        low, high = reached_range(coefficients, float(values[-1]))
        errors.append(_distance(result, (left * moved) @ right))
        allowed.append(max(1 - low, high - 1))
        distance.append(_distance(result, left @ right))
    return [
        agree_within(
            f"Newton-Schulz, {name}: its odd polynomial of the SVD's singular values",
            0.0,
            errors,
            # Rounding grows by the slope of the composed polynomial at zero, below 2000.
            1e-11,
            "rounding",
        ),
        bound_holds(
            f"Newton-Schulz, {name}: distance to the SVD's polar factor within its stated range",
            allowed,
            distance,
        ),
        bound_tight(
            f"Newton-Schulz, {name}: stated range below 1.5 times the distance",
            allowed,
            distance,
            1.5,
        ),
    ]


def _converged(name: str, coefficients: Coefficients, matrices: list[np.ndarray]) -> Verdict:
    distances = []
    for matrix in matrices:
        left, _, right = np.linalg.svd(matrix, full_matrices=False)
        distances.append(_distance(_iterated(matrix, coefficients), left @ right))
    return agree_within(
        f"Newton-Schulz, {name}, {len(coefficients)} steps: the SVD's polar factor",
        0.0,
        distances,
        1e-12,
        "rounding",
    )


def _iterated(matrix: np.ndarray, coefficients: Coefficients) -> np.ndarray:
    return np.asarray(jax.jit(newton_schulz, static_argnums=1)(jnp.asarray(matrix), coefficients))


def _distance(one: np.ndarray, two: np.ndarray) -> float:
    """Spectral norm of the difference."""
    return float(np.linalg.norm(one - two, 2))


def _root(matrix: np.ndarray) -> np.ndarray:
    """G (G^T G)^(-1/2) from eigenvectors; of the transpose for a wide matrix."""
    if matrix.shape[0] < matrix.shape[1]:
        return _root(matrix.T).T
    values, vectors = np.linalg.eigh(matrix.T @ matrix)
    return matrix @ (vectors / np.sqrt(values)) @ vectors.T
