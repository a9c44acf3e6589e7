"""Rounding is bit-exact against the casts of other libraries, unbiased where stochastic."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import scipy.linalg
from scipy.stats import norm

from tests.tolerances import LAST_DIGIT, SAME_MATHS, Z_SCORE
from theory import rounding
from theory.clipping import gaussian_clip, round_clipped
from theory.hadamard import hadamard, rotate
from theory.rounding import absmax_scale, round_absmax, round_float, round_grid

CASTS = {
    "float16": (np.float16, rounding.FLOAT16),
    "bfloat16": (ml_dtypes.bfloat16, rounding.BFLOAT16),
    "float8_e5m2": (ml_dtypes.float8_e5m2, rounding.FLOAT8_E5M2),
    "float8_e4m3fn": (ml_dtypes.float8_e4m3fn, rounding.FLOAT8_E4M3),
}
# One shape for most tests: each compilation of a shape costs a tenth of a second and more.
ROWS = np.random.default_rng(1).normal(size=(4, 32))
absmax = jax.jit(round_absmax, static_argnames="axis")
clipped = jax.jit(round_clipped)
floats = jax.jit(round_float, static_argnames=["finite", "overflow"])


def casts(values, kind):
    with np.errstate(all="ignore"):  # overflow and NaN are among the cases
        return np.asarray(values).astype(kind).astype(np.float32)


def hard_cases(kind):
    """Every finite number of a format, every tie, both with their float32 neighbours, and more."""
    width = np.dtype(kind).itemsize
    patterns = np.arange(256**width).astype(f"u{width}").view(kind)
    exact = casts(patterns, kind)
    exact = np.unique(exact[np.isfinite(exact)])
    ties = ((exact[1:].astype(float) + exact[:-1]) / 2).astype(np.float32)
    centre = np.concatenate([exact, ties])
    near = [np.nextafter(centre, np.float32(side)) for side in (-np.inf, np.inf)]
    raw = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint32).view(np.float32)
    special = [np.inf, -np.inf, np.nan, 0.0, -0.0, 65519.99, 65520.0, 448.0, 464.0, 464.1, -480.0]
    return np.concatenate([centre, *near, raw, np.float32(special)])


@jax.jit
def traced_float(values, mantissa_bits, exponent_bits):
    return (
        round_float(values, mantissa_bits, exponent_bits),
        round_float(values, mantissa_bits, jnp.minimum(exponent_bits, 7), finite=True),
    )


@pytest.mark.parametrize("name", CASTS)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_floating_point_rounding_is_bit_exact(name, kind):
    cast, form = CASTS[name]
    values = hard_cases(cast)
    with np.errstate(all="ignore"):
        both = traced_float(values.astype(kind), form.mantissa_bits, form.exponent_bits)
        found = np.asarray(both[form.finite]).astype(np.float32)
    wanted = casts(values, cast)
    same = (found.view(np.uint32) == wanted.view(np.uint32)) | (np.isnan(found) & np.isnan(wanted))
    assert values[~same].tolist() == []


def test_sixteen_bit_inputs_keep_their_type_and_rule():
    values = jnp.asarray([1.0009765625, 70000.0, 3e-8], jnp.bfloat16)
    found = floats(values, 10, 5)
    assert found.dtype == jnp.bfloat16
    # 70000 is 70144 in bfloat16 and beyond float16; 3e-8 rounds to its smallest subnormal.
    assert found.astype(float).tolist() == [1.0, np.inf, 2.0**-24]


def test_saturation_ends_at_the_largest_number():
    found = floats(np.array([1e6, -np.inf, 464.1, 447.0]), 3, 4, finite=True, overflow="saturate")
    assert found.tolist() == [448.0, -448.0, 448.0, 448.0]
    found = floats(np.array([1e9, -1e9]), 10, 5, overflow="saturate")
    assert found.tolist() == [65504.0, -65504.0]


@pytest.mark.parametrize("bits", range(2, 17))
def test_absmax_reaches_the_largest_entry_and_is_within_half_a_spacing(bits):
    found = np.asarray(absmax(ROWS, bits))
    levels = 2 ** (bits - 1) - 1
    largest = np.abs(ROWS).max(axis=1, keepdims=True)
    spacing = largest / levels
    np.testing.assert_allclose(jax.jit(absmax_scale)(ROWS, bits), spacing, rtol=SAME_MATHS)
    whole = found / spacing
    np.testing.assert_allclose(whole, np.rint(whole), atol=SAME_MATHS * levels)
    assert np.abs(np.rint(whole)).max() == levels
    assert np.all(np.abs(found - ROWS) <= spacing / 2 * (1 + SAME_MATHS * levels))
    at_end = np.abs(ROWS) == largest
    np.testing.assert_allclose(found[at_end], ROWS[at_end], rtol=SAME_MATHS)


def test_one_bit_is_the_sign_times_the_mean_size_and_that_scale_is_the_best():
    found = np.asarray(absmax(ROWS, 1))
    np.testing.assert_array_equal(np.sign(found), np.sign(ROWS))
    size = np.abs(found)
    np.testing.assert_allclose(size, np.abs(ROWS).mean(axis=1, keepdims=True) + 0 * size)
    best = np.sum((ROWS - found) ** 2, axis=1)
    for factor in (0.99, 1.01):
        assert np.all(best < np.sum((ROWS - factor * found) ** 2, axis=1))


def test_the_axis_says_who_shares_a_grid():
    columns = absmax(ROWS.T.reshape(32, 4), 3, axis=0)
    np.testing.assert_array_equal(np.asarray(columns).T, absmax(ROWS, 3))
    together = np.asarray(absmax(ROWS, 3, axis=None))
    spacing = np.abs(ROWS).max() / 3
    np.testing.assert_allclose(together, spacing * np.rint(ROWS / spacing), rtol=SAME_MATHS)


@pytest.mark.parametrize("key", [None, jax.random.key(0)])
def test_a_zero_row_stays_zero_and_so_does_its_derivative(key):
    values = jnp.stack([jnp.zeros(6), jnp.arange(6.0)])

    @jax.jit
    @jax.vmap
    def rounded(bits):
        square = lambda v: (jnp.sum((got := round_absmax(v, bits, key=key)) ** 2), got)
        return jax.grad(square, has_aux=True)(values)

    slope, found = rounded(jnp.asarray([1.0, 2.0, 4.0]))
    assert np.all(found[:, 0] == 0)
    assert np.all(slope[:, 0] == 0)
    assert np.all(np.isfinite(found))
    assert np.all(np.isfinite(slope))


def test_a_clip_at_zero_makes_all_zero_with_derivative_zero():
    found, slope = jax.value_and_grad(lambda v: jnp.sum(clipped(v, 3, 0.0)))(jnp.ones(4))
    assert found == 0
    assert np.all(slope == 0)


def test_one_compilation_serves_all_widths():
    traces = []

    @jax.jit
    def rounded(bits):
        traces.append(bits)
        return round_absmax(ROWS, bits), round_clipped(ROWS, bits, 1.5)

    widths = (1, 2, 8, 16)
    found = [rounded(bits) for bits in widths]
    assert len(traces) == 1
    for bits, both in zip(widths, found, strict=True):
        for array, alone in zip(both, (absmax(ROWS, bits), clipped(ROWS, bits, 1.5)), strict=True):
            np.testing.assert_array_equal(array, alone)
    assert len({float(jnp.sum(both[0])) for both in found}) == len(widths)


def z_of_mean(rounded, value):
    return (rounded.mean() - value) / (rounded.std(ddof=1) / np.sqrt(rounded.size))


@pytest.mark.parametrize(
    ("rounded", "below", "value", "above"),
    [
        (lambda v, key: round_grid(v, 0.25, key=key), 0.75, 0.83, 1.0),
        (lambda v, key: round_float(v, 2, 4, key=key), 0.75, 0.83, 0.875),
        (lambda v, key: round_float(v, 2, 4, key=key), -(2.0**-8), -(2.0**-8) * 0.3, 0.0),
        (lambda v, key: round_clipped(v, 2, 1.5, key=key), -0.5, 0.2, 0.5),
    ],
)
def test_stochastic_rounding_is_unbiased_with_the_variance_of_a_coin(rounded, below, value, above):
    draws = 40_000
    found = np.asarray(jax.jit(rounded)(np.full(draws, value), jax.random.key(5)))
    assert set(found.tolist()) == {below, above}
    share = (value - below) / (above - below)
    variance = (above - below) ** 2 * share * (1 - share)
    assert abs(found.mean() - value) < Z_SCORE * np.sqrt(variance / draws)
    # The sample variance of a coin has relative variance (1 - 4 p q) / (p q) over the draws.
    spread = (1 - 4 * share * (1 - share)) / (share * (1 - share)) / draws
    assert abs(found.var() / variance - 1) < Z_SCORE * np.sqrt(spread)


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_stochastic_absmax_is_unbiased_within_the_range(bits):
    rows = np.tile([0.3, -1.0, 0.77, 0.0], (20_000, 1))
    found = np.asarray(absmax(rows, bits, key=jax.random.key(bits)))
    assert np.abs(found).max() <= 1.0
    assert np.all(found[:, 1] == -1.0)
    assert abs(z_of_mean(found[:, 0], 0.3)) < Z_SCORE
    assert abs(z_of_mean(found[:, 2], 0.77)) < Z_SCORE
    if bits == 1:
        assert abs(z_of_mean(found[:, 3], 0.0)) < Z_SCORE
    else:
        assert np.all(found[:, 3] == 0.0)


def test_a_grid_without_spacing_changes_nothing():
    values = jnp.asarray([0.1, -2.5, 0.0])
    np.testing.assert_array_equal(round_grid(values, 0.0), values)
    np.testing.assert_array_equal(round_grid(values, [0.0, 1.0, 2.0]), [0.1, -2.0, 0.0])


def squared_error(clip, bits):
    """Mean squared error of a brute-force quantizer of a standard normal, by a fine sum."""
    z = np.linspace(-9.0, 9.0, 180_001)
    levels = clip * np.linspace(-1.0, 1.0, 2**bits)
    nearest = levels[np.argmin(np.abs(z[:, None] - levels), axis=1)]
    return np.sum((z - nearest) ** 2 * norm.pdf(z)) * (z[1] - z[0])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_the_gaussian_clip_has_the_least_error(bits):
    clip = float(gaussian_clip(bits))
    least = squared_error(clip, bits)
    assert least < squared_error(clip * 1.01, bits)
    assert least < squared_error(clip * 0.99, bits)


def test_the_gaussian_clip_is_that_of_the_published_table():
    # Max 1960 ("Quantizing for minimum distortion"), table II: spacing of 2, 4, 8, 16, 32 levels.
    printed = np.array([1.596, 0.9957, 0.5860, 0.3352, 0.1881])
    half_levels = (2 ** np.arange(1, 6) - 1) / 2
    clips = np.asarray(gaussian_clip(np.arange(1, 6)))
    digit = np.array([1e-3, 1e-4, 1e-4, 1e-4, 1e-4])
    assert np.all(np.abs(clips / half_levels - printed) < LAST_DIGIT * digit)
    np.testing.assert_allclose(clips[0], np.sqrt(2 / np.pi), rtol=SAME_MATHS)
    np.testing.assert_array_equal(jax.jit(gaussian_clip)(3.0), clips[2])


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_clipped_rounding_is_the_nearest_level(bits):
    levels = 1.3 * np.linspace(-1.0, 1.0, 2**bits)
    nearest = levels[np.argmin(np.abs(ROWS[..., None] - levels), axis=-1)]
    np.testing.assert_allclose(clipped(ROWS, bits, 1.3), nearest, rtol=SAME_MATHS)


@pytest.mark.parametrize("size", [1, 2, 8, 64])
def test_hadamard_is_the_orthonormal_one_of_scipy(size):
    found = np.asarray(hadamard(size))
    np.testing.assert_array_equal(found, scipy.linalg.hadamard(size) / np.sqrt(size))
    np.testing.assert_allclose(found @ found.T, np.eye(size), atol=SAME_MATHS)


@pytest.mark.parametrize(("shape", "axis", "block"), [((3, 12), -1, 4), ((8, 5), 0, 8)])
def test_rotation_turns_blocks_and_turns_them_back(shape, axis, block):
    values = np.random.default_rng(7).normal(size=shape)
    length = shape[axis]
    matrix = np.kron(np.eye(length // block), scipy.linalg.hadamard(block) / np.sqrt(block))
    turned = rotate(values, axis)
    wanted = values @ matrix if axis == -1 else matrix @ values
    np.testing.assert_allclose(turned, wanted, atol=SAME_MATHS)
    np.testing.assert_allclose(rotate(turned, axis), values, atol=SAME_MATHS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: round_absmax([1.0], 0), r"`bits` must be .*at least 1 and at most 16, got 0"),
        (lambda: round_absmax([1.0], 17), r"`bits` must be .*at most 16, got 17"),
        (lambda: absmax_scale([1.0], 2.5), "`bits` must be a whole number, got 2.5"),
        (lambda: round_absmax(1.0, 4), r"`values` must have entries along axis -1, got .* \(\)"),
        (lambda: absmax_scale([], 4), r"`values` must have entries along axis -1, got .* \(0,\)"),
        (lambda: round_absmax(jnp.ones((3, 0)), 4), "`values` must have entries along axis -1"),
        (lambda: round_absmax(ROWS, 4, axis=2), "`values` must have entries along axis 2"),
        (lambda: round_absmax([], 4, axis=None), "`values` must have entries, got shape"),
        (lambda: round_clipped([1.0], -1, 1.0), "`bits` must be"),
        (lambda: round_clipped([1.0], 4, -1.0), "`clip` must be .*at least 0, got -1"),
        (lambda: gaussian_clip(17), "`bits` must be"),
        (lambda: round_grid([1.0], -0.5), "`spacing` must be .*at least 0, got -0.5"),
        (lambda: round_float([1.0], 0, 5), "`mantissa_bits` must be"),
        (lambda: round_float([1.0], 24, 5), "`mantissa_bits` must be .*at most 23, got 24"),
        (lambda: round_float([1.0], 3, 9), "`exponent_bits` must be .*at most 8, got 9"),
        (lambda: round_float([1.0], 3, 8, finite=True), "`exponent_bits` must be .*at most 7"),
        (lambda: round_float([1.0], 3, 4, overflow="wrap"), "`overflow` must be one of special"),
        (lambda: hadamard(12), "`size` must be a power of two, got 12"),
        (lambda: rotate(jnp.ones(7)), "`values` must have even length along the axis, got 7"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_traced_width_outside_its_range_gives_nan():
    @jax.jit
    def all_of(bits, mantissa):
        rounded = floats(ROWS, mantissa, 5)
        return absmax(ROWS, bits), clipped(ROWS, bits, 1.0), gaussian_clip(bits), rounded

    assert all(np.isfinite(found).all() for found in all_of(16.0, 23.0))
    for bits, mantissa in ((0.0, 0.0), (17.0, 24.0), (2.5, 2.5), (np.nan, np.nan)):
        assert all(np.isnan(found).all() for found in all_of(bits, mantissa))


def test_values_that_are_no_numbers_do_not_become_any():
    rows = ROWS.copy()
    rows[0, 3], rows[1, 5] = np.nan, np.inf
    found = np.asarray(absmax(rows, 4))
    assert np.isnan(found[:2]).all()
    assert np.isfinite(found[2:]).all()
    assert np.isnan(np.asarray(clipped(rows, 4, 1.0))[0, 3])


@pytest.mark.parametrize("key", [None, jax.random.key(0)])
@pytest.mark.parametrize("bits", [1, 4])
def test_a_row_without_a_spacing_is_not_a_number_without_compilation_too(bits, key):
    rows = np.array([[1.0, np.inf], [np.nan, 2.0], [1.0, -np.inf], [-2.0, 2.0]])
    found = np.asarray(round_absmax(rows, bits, key=key))
    assert np.isnan(found[:3]).all()
    assert found[3].tolist() == [-2.0, 2.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: round_absmax([1.0], True), "`bits` must be a whole number, got True"),
        (lambda: absmax_scale([1.0], "4"), "`bits` must be a whole number, got '4'"),
        (lambda: round_float([1.0], "3", 4), "`mantissa_bits` must be a whole number, got '3'"),
        (lambda: jax.jit(round_absmax)(ROWS, True), "`bits` must be a whole number"),
        (lambda: round_absmax([1.0 + 2.0j], 4), "`values` must be real numbers, got complex128"),
        (lambda: round_grid([1j], 0.5), "`values` must be real numbers, got complex128"),
    ],
)
def test_what_is_no_real_number_is_named(call, message):
    with pytest.raises(TypeError, match=message):
        call()
