"""Norms of gradients and weights, their duals, and linear minimization oracles (LMOs).

    norm(v) = the norm,   dual(g) = max over norm(v) <= 1 of <g, v>,
    lmo(g) = argmin over norm(v) <= 1 of <g, v>,   so  <g, lmo(g)> = -dual(g).

A matrix is [d_out, d_in] and acts on columns. Where the minimizer is not unique it is the one that
is zero on whatever g does not determine (zero entries, zero columns, null singular vectors), so
the LMO of zero is zero. Not-a-number entries stay not-a-number.

The norm of a layer follows from how large its inputs and outputs are, with |x|_RMS = |x|_2/sqrt(d)
(Pethick et al. 2025, arXiv 2502.07529, table 1; Bernstein and Newhouse 2024, arXiv 2409.20325):

    role    norm        from   to     value                        -lmo of a gradient
    input   one_to_rms  1      RMS    max_j |col_j|_RMS            col_j / |col_j|_RMS
    hidden  rms_to_rms  RMS    RMS    sqrt(d_in/d_out) |W|_2       sqrt(d_out/d_in) U V^T
    output  rms_to_inf  RMS    inf    max_i d_in |row_i|_RMS       row_i / (d_in |row_i|_RMS)

Input: one-hot vectors. The other pairs of 1, RMS and infinity: `theory.operator_norms`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp

from theory.checks import check_choice
from theory.euclidean import normalize, scaled_norm

Array: TypeAlias = jax.Array
Polar: TypeAlias = Callable[[jax.Array], jax.Array]


def sign(values: Array) -> Array:
    """One with the sign of each value; zeros and not-a-numbers stay what they are.

    As `jnp.sign`, whose comparisons take XLA longer than all the rest of a step.

    Args:
        values: any shape.

    Returns:
        Array of that shape; its derivative is zero.

    Kind: exact.
    Valid: real values; numbers below the smallest normal one count as zero.
    Source: the definition.
    """
    fixed = jax.lax.stop_gradient(values)
    ones = jnp.copysign(jnp.ones_like(fixed), fixed)
    return jnp.where(jnp.abs(fixed) > 0, ones, fixed)


def polar_factor(matrix: Array) -> Array:
    """`U V^T` over the nonzero singular values of `matrix = U S V^T`, by SVD.

    Args:
        matrix: [d_out, d_in].

    Returns:
        Partial isometry [d_out, d_in] of the rank of `matrix`; zero for zero. Singular values
        below eps max(d_out, d_in) times the largest count as zero.

    Raises:
        ValueError: if it is no matrix, or an empty one.

    Kind: exact.
    Valid: finite entries; others give NaN.
    Source: Higham, Functions of Matrices (2008), theorem 8.1; rank as in numpy.linalg.matrix_rank.
    """
    if len(matrix.shape) != 2 or 0 in matrix.shape:
        raise ValueError(
            f"`matrix` must be a matrix [d_out, d_in], not empty, got shape {matrix.shape}."
        )
    left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
    cut = values[0] * float(max(matrix.shape) * jnp.finfo(matrix.dtype).eps)
    kept = jnp.where(values <= cut, jnp.zeros_like(values), jnp.ones_like(values))
    return (left * kept) @ right


@dataclass(frozen=True)
class Norm:
    """A norm with its dual and its duality map.

    Attributes:
        name: key in `NORMS`.
        matrix_only: whether it is defined for matrices only.
        norm: array to scalar.
        dual: array to scalar, max over the unit ball of <g, v>.
        sharpest: gradient and a polar factor routine to -lmo(gradient).
    """

    name: str
    matrix_only: bool
    norm: Callable[[Array], Array]
    dual: Callable[[Array], Array]
    sharpest: Callable[[Array, Polar], Array]


def _singular_values(matrix: Array) -> Array:
    return jnp.linalg.svd(matrix, compute_uv=False)


def _euclidean(values: Array) -> Array:
    return jnp.squeeze(scaled_norm(values))


def _spectral(matrix: Array) -> Array:
    return _singular_values(matrix)[0]


def _nuclear(matrix: Array) -> Array:
    return jnp.sum(_singular_values(matrix))


# Factors of the operator norms between |x|_1, |x|_RMS = |x|_2 / sqrt(d) and |x|_inf.
def _output_scale(matrix: Array) -> float:
    return matrix.shape[0] ** 0.5


def _hidden_scale(matrix: Array) -> float:
    return (matrix.shape[0] / matrix.shape[1]) ** 0.5


def _input_scale(matrix: Array) -> float:
    return matrix.shape[1] ** -0.5


_ALL = [
    Norm("euclidean", False, _euclidean, _euclidean, lambda g, _: normalize(g)),
    Norm(
        "max",
        False,
        lambda v: jnp.max(jnp.abs(v)),
        lambda g: jnp.sum(jnp.abs(g)),
        lambda g, _: sign(g),
    ),
    Norm("spectral", True, _spectral, _nuclear, lambda g, polar: polar(g)),
    Norm(
        "one_to_rms",
        True,
        lambda v: jnp.max(scaled_norm(v, 0)) / _output_scale(v),
        lambda g: jnp.sum(scaled_norm(g, 0)) * _output_scale(g),
        lambda g, _: normalize(g, 0) * _output_scale(g),
    ),
    Norm(
        "rms_to_rms",
        True,
        lambda v: _spectral(v) / _hidden_scale(v),
        lambda g: _nuclear(g) * _hidden_scale(g),
        lambda g, polar: polar(g) * _hidden_scale(g),
    ),
    Norm(
        "rms_to_inf",
        True,
        lambda v: jnp.max(scaled_norm(v, 1)) / _input_scale(v),
        lambda g: jnp.sum(scaled_norm(g, 1)) * _input_scale(g),
        lambda g, _: normalize(g, 1) * _input_scale(g),
    ),
]
NORMS = {entry.name: entry for entry in _ALL}
ROLE_NORMS = {"input": "one_to_rms", "hidden": "rms_to_rms", "output": "rms_to_inf"}


def find_norm(name: str, shape: tuple[int, ...]) -> Norm:
    """The norm called `name`, checked against the shape it is to measure.

    Args:
        name: `euclidean`, `max`, `spectral`, `one_to_rms`, `rms_to_rms` or `rms_to_inf`.
        shape: of the array.

    Returns:
        A `Norm`.

    Raises:
        ValueError: if there is no such norm, the array is empty, or it is not the matrix that the
            norm needs.

    Kind: definition.
    Valid: matrix norms for two axes only.
    Source: Pethick et al. 2025 (arXiv 2502.07529) table 1.
    """
    check_choice("norm", name, tuple(NORMS))
    if 0 in shape:
        raise ValueError(f"`shape` must have no axis of length zero, got {shape}.")
    if NORMS[name].matrix_only and len(shape) != 2:
        raise ValueError(
            f"`norm` {name} must be given a matrix [d_out, d_in], got an array of shape {shape}."
        )
    return NORMS[name]


def norm(name: str, values: Array) -> Array:
    """The norm of an array.

    Args:
        name: see `find_norm`.
        values: any shape; a matrix [d_out, d_in] for matrix norms.

    Returns:
        Scalar: `euclidean` sqrt(sum v^2), `max` max |v|, `spectral` the largest singular value,
        `one_to_rms` max_j |col_j| / sqrt(d_out), `rms_to_rms` sqrt(d_in/d_out) times spectral,
        `rms_to_inf` sqrt(d_in) max_i |row_i|.

    Raises:
        ValueError: see `find_norm`.

    Kind: definition.
    Valid: finite values.
    Source: Pethick et al. 2025 (arXiv 2502.07529) table 1; operator norms between |x|_1, |x|_RMS =
        |x|_2 / sqrt(d) and |x|_inf.
    """
    return find_norm(name, values.shape).norm(values)


def dual_norm(name: str, values: Array) -> Array:
    """The dual norm, max over `norm(v) <= 1` of <values, v>.

    Args:
        name: of the norm (not of its dual); see `find_norm`.
        values: any shape; a matrix for matrix norms.

    Returns:
        Scalar.

    Raises:
        ValueError: see `find_norm`.

    Kind: exact.
    Valid: finite values.
    Source: derived: Hoelder, von Neumann's trace inequality, and the sum over columns or rows.
    """
    return find_norm(name, values.shape).dual(values)


def lmo(name: str, values: Array, polar: Polar = polar_factor) -> Array:
    """Linear minimization oracle, argmin over `norm(v) <= 1` of <values, v>.

    Args:
        name: see `find_norm`.
        values: the gradient or its average, any shape; a matrix for matrix norms.
        polar: routine for the polar factor; the default is exact.

    Returns:
        Array shaped like `values` of norm one, zero if `values` is zero.

    Raises:
        ValueError: see `find_norm`.

    Kind: exact.
    Valid: finite values; a NaN entry makes its group (all, column, row, matrix or itself) NaN.
    Source: Pethick et al. 2025 (arXiv 2502.07529) table 1.
    """
    return -find_norm(name, values.shape).sharpest(values, polar)
