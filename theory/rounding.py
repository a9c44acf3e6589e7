"""Rounding to number formats: grids, symmetric absmax, floating point.

Pure functions of any floating-point array. Bit widths may be traced, so that one compilation serves
many; a traced width outside its range gives NaN. With a `key` rounding is stochastic and unbiased:
up with a probability that is the distance from below. Without one it is to the nearest, ties to
even. A NaN stays NaN. `theory.clipping` has the grids that are narrower than the data, and
`theory.hadamard` the rotation before rounding.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax

from theory.checks import Real, check_choice, check_real, check_whole

MAX_BITS = 16
MAX_MANTISSA, MIN_EXPONENT, MAX_EXPONENT = 23, 2, 8
OVERFLOWS = ("special", "saturate")


@dataclass(frozen=True)
class FloatFormat:
    """A floating-point format: sign, exponent and mantissa.

    Attributes:
        mantissa_bits: M, stored bits of the significand.
        exponent_bits: E; the bias is 2^(E-1) - 1.
        finite: the largest exponent holds numbers too, and all ones alone are NaN (no infinity).
    """

    mantissa_bits: int
    exponent_bits: int
    finite: bool = False


FLOAT16 = FloatFormat(10, 5)
BFLOAT16 = FloatFormat(7, 8)
FLOAT8_E5M2 = FloatFormat(2, 5)
FLOAT8_E4M3 = FloatFormat(3, 4, finite=True)


def whole_or_nan(
    value: Real, at_least: int, at_most: int, values: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """A traced or concrete whole number, and the values or, where it is outside its range, NaN.

    Args:
        value: the number, a scalar of any real type.
        at_least: end of its range.
        at_most: end of its range.
        values: any shape.

    Returns:
        The number as int32, inside its range, and the values.

    Kind: definition.
    Valid: always.
    Source: derived.
    """
    number = jnp.asarray(value)
    whole = jnp.clip(jnp.round(number).astype(jnp.int32), at_least, at_most)
    good = whole.astype(number.dtype) == number
    return whole, jnp.where(good, values, jnp.nan)


def as_floating(values: Real) -> jax.Array:
    """An array of floating-point numbers, whole numbers converted.

    Args:
        values: any shape.

    Returns:
        The same shape; floating-point types are kept.

    Raises:
        TypeError: if the values are complex.

    Kind: exact.
    Valid: real values.
    Source: derived.
    """
    array = jnp.asarray(values)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError(f"`values` must be real numbers, got {array.dtype}.")
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def round_whole(values: Real, *, key: jax.Array | None = None) -> jax.Array:
    """Whole numbers: the nearest, or floor(v) + 1 with probability v - floor(v).

    Args:
        values: any shape.
        key: makes the rounding stochastic.

    Returns:
        The same shape.

    Kind: definition.
    Valid: all real values.
    Source: IEEE 754-2019, 4.3.1 (ties to even); Gupta et al. 2015 (arXiv 1502.02551), section 3.
    """
    array = as_floating(values)
    if key is None:
        return jnp.round(array)
    low = jnp.floor(array)
    draw = jax.random.uniform(key, array.shape, array.dtype)
    return low + (draw < array - low).astype(array.dtype)


def round_grid(values: Real, spacing: Real, *, key: jax.Array | None = None) -> jax.Array:
    """Multiples of the spacing, u round(v / u).

    Args:
        values: any shape.
        spacing: u >= 0, broadcast against the values; zero leaves them as they are.
        key: makes the rounding stochastic.

    Returns:
        The shape of the values. Its variance about v is u^2 f (1 - f) if stochastic, with f the
        distance from below in units of u.

    Raises:
        ValueError: if a spacing is negative or not finite.

    Kind: definition.
    Valid: |v| below 2^52 u in float64.
    Source: derived; fixed-point numbers.
    """
    check_real("spacing", spacing, at_least=0.0)
    return _on_grid(as_floating(values), jnp.asarray(spacing), key)


def _on_grid(array: jax.Array, spacing: jax.Array, key: jax.Array | None) -> jax.Array:
    """`round_grid` without its check: a spacing that is no number gives NaN."""
    step = spacing.astype(array.dtype)
    # The masked step keeps the derivative of a zero row free of 0/0.
    safe = jnp.where(step > 0, step, jnp.ones_like(step))
    rounded = jnp.where(step > 0, safe * round_whole(array / safe, key=key), array)
    return jnp.where(step >= 0, rounded, jnp.nan)


def absmax_scale(values: Real, bits: Real, axis: int | tuple[int, ...] | None = -1) -> jax.Array:
    """Spacing of the symmetric absmax grid, max |v| / (2^(bits-1) - 1); one bit: mean |v|.

    Args:
        values: any shape with entries along the axis.
        bits: width b, a whole number in 1..16.
        axis: over which the values share a spacing; None: all of them.

    Returns:
        The spacing, the shape of the values with ones along `axis`; zero for a zero row.

    Raises:
        ValueError: if the width is outside its range, or there is no entry along the axis.

    Kind: definition.
    Valid: finite values; a row that holds an infinity or a NaN has no spacing.
    Source: symmetric absmax of arXiv 2509.23500; one bit: Rastegari et al. 2016 (arXiv
        1603.05279), section 3.1, the scale that is best for signs.
    """
    check_whole("bits", bits, 1, MAX_BITS)
    array = _rows(values, axis)
    width, size = whole_or_nan(bits, 1, MAX_BITS, jnp.abs(array))
    largest = jnp.max(size, axis=axis, keepdims=True)
    levels = (jnp.left_shift(1, jnp.maximum(width, 2) - 1) - 1).astype(array.dtype)
    return jnp.where(width == 1, jnp.mean(size, axis=axis, keepdims=True), largest / levels)


def _rows(values: Real, axis: int | tuple[int, ...] | None) -> jax.Array:
    """The values as floating-point numbers, if they have entries along the axis."""
    array = as_floating(values)
    axes = range(array.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if any(not -array.ndim <= one < array.ndim or array.shape[one] == 0 for one in axes):
        where = "" if axis is None else f" along axis {axis}"
        raise ValueError(f"`values` must have entries{where}, got shape {array.shape}.")
    return array


def round_absmax(
    values: Real,
    bits: Real,
    axis: int | tuple[int, ...] | None = -1,
    *,
    key: jax.Array | None = None,
) -> jax.Array:
    """Symmetric absmax quantization: zero and 2^(bits-1) - 1 levels on each side, the last max |v|.

    One bit has two levels and no zero: the sign of v (of zero: plus) times the mean of |v|, or, so
    that stochastic rounding stays unbiased, max |v| up with probability (1 + v / max |v|) / 2.

    Args:
        values: any shape with entries along the axis.
        bits: width b, a whole number in 1..16.
        axis: over which the values share a grid (rows by default); None: all of them.
        key: makes the rounding stochastic.

    Returns:
        The same shape; a zero row stays zero.

    Raises:
        ValueError: if the width is outside its range, or there is no entry along the axis.

    Kind: definition.
    Valid: finite values; a row that holds an infinity or a NaN becomes NaN.
    Source: as `absmax_scale`.
    """
    array = _rows(values, axis)
    # Else one bit would make infinities of a row that holds one.
    array = jnp.where(jnp.all(jnp.isfinite(array), axis=axis, keepdims=True), array, jnp.nan)
    spacing = absmax_scale(array, bits, axis)
    width, _ = whole_or_nan(bits, 1, MAX_BITS, array)
    levels = (jnp.left_shift(1, jnp.maximum(width, 2) - 1) - 1).astype(array.dtype)
    # Stochastic rounding of max |v| / spacing, off by a rounding error, may go a level too far.
    edge = levels * spacing
    many = jnp.clip(_on_grid(array, spacing, key), -edge, edge)
    return jnp.where(width == 1, _two_levels(array, spacing, axis, key), many)


def _two_levels(
    array: jax.Array, mean: jax.Array, axis: int | tuple[int, ...] | None, key: jax.Array | None
) -> jax.Array:
    if key is None:
        return jnp.where(array >= 0, mean, -mean)
    largest = jnp.max(jnp.abs(array), axis=axis, keepdims=True)
    safe = jnp.where(largest > 0, largest, jnp.ones_like(largest))
    return largest * (2 * round_whole((1 + array / safe) / 2, key=key) - 1)


def round_float(
    values: Real,
    mantissa_bits: Real,
    exponent_bits: Real,
    *,
    finite: bool = False,
    overflow: str = "special",
    key: jax.Array | None = None,
) -> jax.Array:
    """Floating-point rounding: multiples of 2^(max(e, e_min) - M), with 2^e <= |v| < 2^(e+1).

    Below 2^e_min = 2^(2 - 2^(E-1)) numbers are subnormal. What rounds, as if exponents had no
    end, to more than the largest number overflows.

    Args:
        values: any shape; computed in float64 or float32.
        mantissa_bits: M, a whole number in 1..23.
        exponent_bits: E, a whole number in 2..8 (2..7 with `finite`).
        finite: as in `FloatFormat`.
        overflow: to infinity, or NaN with `finite`: `special`; or `saturate` at the largest number.
        key: makes the rounding stochastic.

    Returns:
        The same shape and type; signs of zeros are kept.

    Raises:
        ValueError: if a width is outside its range or the overflow rule is unknown.

    Kind: definition.
    Valid: always; widths beyond the type of the values leave them as they are.
    Source: IEEE 754-2019, 3.3 and 4.3.1; Micikevicius et al. 2022 (arXiv 2209.05433), table 1.
    """
    check_whole("mantissa_bits", mantissa_bits, 1, MAX_MANTISSA)
    check_whole("exponent_bits", exponent_bits, MIN_EXPONENT, MAX_EXPONENT - finite)
    check_choice("overflow", overflow, OVERFLOWS)
    given = as_floating(values)
    array = given if given.dtype.itemsize >= 4 else given.astype(jnp.float32)
    mantissa, array = whole_or_nan(mantissa_bits, 1, MAX_MANTISSA, array)
    exponent, array = whole_or_nan(exponent_bits, MIN_EXPONENT, MAX_EXPONENT - finite, array)
    rounded, largest = _round_bits(array, mantissa, exponent, finite, key)
    special = largest if overflow == "saturate" else jnp.nan if finite else jnp.inf
    beyond = (rounded > largest) | jnp.isinf(array)
    rounded = jnp.copysign(jnp.where(beyond, special, rounded), array)
    return jnp.where(jnp.isnan(array), array, rounded).astype(given.dtype)


def _round_bits(
    array: jax.Array, mantissa: jax.Array, exponent: jax.Array, finite: bool, key: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Rounded |v| with an exponent that has no end, and the largest number of the format.

    In bits, because XLA flushes the subnormals of the type itself to zero, and its powers of two
    are not exact.
    """
    kind = jnp.finfo(array.dtype)
    integer = jnp.int64 if kind.bits == 64 else jnp.int32
    stored, bias = kind.nmant, kind.maxexp - 1
    size = lax.bitcast_convert_type(jnp.abs(array), integer)
    field = size >> stored
    significand = (size & ((1 << stored) - 1)) + ((field > 0).astype(integer) << stored)
    mantissa = mantissa.astype(integer)
    top = (jnp.left_shift(1, exponent - 1) - 1).astype(integer)  # exponent of the largest numbers
    power = jnp.maximum(field, 1) - bias
    unit = jnp.maximum(power, 1 - top) - mantissa  # |v| rounds to a whole number times 2^unit
    dropped = jnp.clip(unit + stored - power, 0, bias - 1)
    shrink = lax.bitcast_convert_type((bias - dropped) << stored, array.dtype)
    number = round_whole(significand.astype(array.dtype) * shrink, key=key)
    ones = (jnp.left_shift(1, mantissa + 1) - 1 - int(finite)).astype(array.dtype)
    largest = _times_power(ones, top + int(finite) - mantissa, stored, bias)
    return _times_power(number, unit, stored, bias), largest


def _times_power(number: jax.Array, power: jax.Array, stored: int, bias: int) -> jax.Array:
    """A whole number of 0..2^24 times 2^power, which may be subnormal."""
    integer = power.dtype
    bits = lax.bitcast_convert_type(number, integer)
    normal = bits + (power << stored)
    subnormal = number.astype(integer) << jnp.clip(power + bias - 1 + stored, 0, stored)
    chosen = jnp.where((bits >> stored) + power > 0, normal, subnormal)
    return lax.bitcast_convert_type(jnp.where(number > 0, chosen, 0), number.dtype)
