"""Operator norms between |x|_1, |x|_RMS = |x|_2/sqrt(d) and |x|_inf: all pairs with a formula.

    |W|_(p -> q) = max over |x|_p <= 1 of |W x|_q

    from, to    1                      RMS                         inf
    1           longest column in 1    longest column in RMS       largest entry
    RMS         no formula             sqrt(d_in/d_out) |W|_2      longest row in sqrt(d_in) |.|_2
    inf         no formula             no formula                  longest row in 1

The three without a formula are NP-hard to compute: from inf to 1 and from inf to RMS, and from RMS
to 1, which is the second of these for the transpose. With p = q a norm is submultiplicative. So is
rms_to_inf, because |x|_RMS <= |x|_inf; one_to_rms, one_to_inf and their like are not, but
|A B|_(p -> r) <= |A|_(q -> r) |B|_(p -> q) always holds.
"""

from typing import TypeAlias

import jax
import jax.numpy as jnp

from theory.checks import check_choice
from theory.norms import NORMS, Norm, Polar, polar_factor, sign

Array: TypeAlias = jax.Array
VECTOR_NORMS = ("one", "rms", "inf")
HARD = (("inf", "one"), ("inf", "rms"), ("rms", "one"))


def _largest_alone(gradient: Array, axis: int) -> Array:
    """Sign of the largest entry along an axis, alone; shared where several are as large."""
    size = jnp.abs(gradient)
    top = jnp.max(size, axis=axis, keepdims=True)
    # Written with ~(<), so that NaN stays.
    kept = jnp.where(~(size < top), sign(gradient), jnp.zeros_like(gradient))
    count = jnp.sum(jnp.abs(kept), axis=axis, keepdims=True)
    return kept / jnp.where(count == 0, jnp.ones_like(count), count)


def _columns_or_rows(name: str, axis: int) -> Norm:
    """Largest absolute sum along an axis; its dual sums the largest entries."""
    return Norm(
        name,
        True,
        lambda v: jnp.max(jnp.sum(jnp.abs(v), axis=axis)),
        lambda g: jnp.sum(jnp.max(jnp.abs(g), axis=axis)),
        lambda g, _: _largest_alone(g, axis),
    )


_ENTRY = NORMS["max"]
OPERATOR_NORMS: dict[tuple[str, str], Norm] = {
    ("one", "one"): _columns_or_rows("one_to_one", 0),
    ("one", "rms"): NORMS["one_to_rms"],
    ("one", "inf"): Norm("one_to_inf", True, _ENTRY.norm, _ENTRY.dual, _ENTRY.sharpest),
    ("rms", "rms"): NORMS["rms_to_rms"],
    ("rms", "inf"): NORMS["rms_to_inf"],
    ("inf", "inf"): _columns_or_rows("inf_to_inf", 1),
}


def find_operator_norm(inner: str, outer: str, shape: tuple[int, ...]) -> Norm:
    """The operator norm from one vector norm to another, checked against a shape.

    Args:
        inner: norm of the input, `one`, `rms` or `inf`.
        outer: norm of the output, `one`, `rms` or `inf`.
        shape: [d_out, d_in].

    Returns:
        A `Norm`.

    Raises:
        ValueError: if a name is unknown, the pair has no formula, or the array is no matrix or
            empty.

    Kind: definition.
    Valid: the six pairs of the module's table.
    Source: table of the module; hardness: Rohn 2000 (inf to 1), Steinberg 2005 (the rest).
    """
    check_choice("inner", inner, VECTOR_NORMS)
    check_choice("outer", outer, VECTOR_NORMS)
    if (inner, outer) in HARD:
        raise ValueError(f"the norm from {inner} to {outer} is NP-hard: it has no formula.")
    found = OPERATOR_NORMS[inner, outer]
    if len(shape) != 2 or 0 in shape:
        raise ValueError(
            f"`norm` {found.name} must be given a matrix [d_out, d_in], got shape {shape}."
        )
    return found


def operator_norm(inner: str, outer: str, matrix: Array) -> Array:
    """Largest |W x|_outer over |x|_inner <= 1.

    Args:
        inner: norm of the input, `one`, `rms` or `inf`.
        outer: norm of the output, `one`, `rms` or `inf`.
        matrix: W, [d_out, d_in].

    Returns:
        Scalar.

    Raises:
        ValueError: see `find_operator_norm`.

    Kind: exact.
    Valid: finite entries.
    Source: derived. From 1 the maximum is at a coordinate, to infinity it is over rows: the dual
        norm of a row; between RMS norms the largest singular value, scaled.
    """
    return find_operator_norm(inner, outer, matrix.shape).norm(matrix)


def dual_operator_norm(inner: str, outer: str, gradient: Array) -> Array:
    """Largest <G, W> over matrices W of operator norm at most one.

    Args:
        inner: norm of the input, `one`, `rms` or `inf`.
        outer: norm of the output, `one`, `rms` or `inf`.
        gradient: G, [d_out, d_in].

    Returns:
        Scalar: sum over columns (from 1) or rows (to infinity) of the dual vector norm, or the
        nuclear norm times sqrt(d_out/d_in).

    Raises:
        ValueError: see `find_operator_norm`.

    Kind: exact.
    Valid: finite entries.
    Source: derived; the unit ball is a product of balls of columns or rows.
    """
    return find_operator_norm(inner, outer, gradient.shape).dual(gradient)


def operator_lmo(inner: str, outer: str, gradient: Array, polar: Polar = polar_factor) -> Array:
    """Minimizer of <G, W> over matrices W of operator norm at most one.

    Args:
        inner: norm of the input, `one`, `rms` or `inf`.
        outer: norm of the output, `one`, `rms` or `inf`.
        gradient: G, [d_out, d_in].
        polar: routine for the polar factor; the default is exact.

    Returns:
        Matrix of norm one, zero for zero. For one_to_one and inf_to_inf it is sparse: minus the
        sign of the largest entry of each column or row, shared equally among equal ones.

    Raises:
        ValueError: see `find_operator_norm`.

    Kind: exact.
    Valid: finite entries.
    Source: derived; a linear function on the 1-ball is smallest at a vertex.
    """
    return -find_operator_norm(inner, outer, gradient.shape).sharpest(gradient, polar)
