"""Errors of quantized stacks: exact identities, brute-force parts, limits, bad input."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory.linear_gain import linear_gain
from theory.quantization import relative_errors, split_errors

from .tolerances import SAME_MATHS

RNG = np.random.default_rng(11)
SIDES = (7, 5, 6, 4)
WEIGHTS = [RNG.standard_normal((out, into)) for into, out in pairwise(SIDES)]
INPUTS = RNG.standard_normal((9, SIDES[0])) * RNG.uniform(0.1, 4, (9, 1))


def rounded(values, spacing):
    return spacing * jnp.round(jnp.asarray(values) / spacing)


def normalize(values):
    return values / jnp.sqrt(jnp.mean(values**2, axis=-1, keepdims=True))


def stack(spacing=0.0):
    """Product, tanh, product, normalisation, product; each product after its input is rounded."""

    def grid(values):
        return rounded(values, spacing) if spacing else jnp.asarray(values)

    low = [grid(weight) for weight in WEIGHTS]
    return (
        grid,
        lambda h: h @ low[0].T,
        jnp.tanh,
        grid,
        lambda h: h @ low[1].T,
        normalize,
        grid,
        lambda h: h @ low[2].T,
    )


FULL, LOW = stack(), stack(0.25)
PARTS = split_errors(FULL, LOW, INPUTS)


def replaced(value, step):
    """Change of the output by `step`, averaged over both orders of replacing input and stage."""
    changes = []
    for order in (("input", "stage"), ("stage", "input")):
        done = set()
        for what in order:
            before = value(done)
            done = done | {what}
            if what == step:
                changes.append(value(done) - before)
    return np.mean(changes, axis=0)


def test_parts_are_the_average_over_both_orders_of_replacement():
    hidden, quantized = INPUTS, INPUTS
    for stage, low, parts in zip(FULL, LOW, PARTS, strict=True):

        def value(done, stage=stage, low=low, hidden=hidden, quantized=quantized):
            function = low if "stage" in done else stage
            return np.asarray(function(quantized if "input" in done else hidden))

        a, b = replaced(value, "input"), replaced(value, "stage")
        hidden, quantized = value(set()), value({"input", "stage"})
        scale = np.sum((quantized - hidden) ** 2, axis=1)
        for found, expected in (
            (parts.size, np.sum(hidden**2, axis=1)),
            (parts.error, scale),
            (parts.carried, np.sum(a**2, axis=1)),
            (parts.new, np.sum(b**2, axis=1)),
            (parts.cross, 2 * np.sum(a * b, axis=1)),
        ):
            error = np.abs(np.asarray(found) - expected)
            assert np.all(error <= SAME_MATHS * np.maximum(scale, expected))


@pytest.mark.parametrize("average", ["sums", "rows"])
def test_relative_error_is_the_sum_of_its_parts(average):
    found = relative_errors(PARTS, average)
    assert float(found.relative[-1]) > 1e-3
    total = found.carried + found.new + found.cross
    np.testing.assert_allclose(total, found.relative, rtol=SAME_MATHS)
    before = np.asarray(found.relative[:-1])
    np.testing.assert_allclose(found.gain[1:], np.asarray(found.carried)[1:] / before, rtol=1e-15)
    assert np.isnan(found.gain[0])


def test_the_two_averages_are_those_of_their_names_and_differ():
    last = PARTS[-1]
    error, size = np.asarray(last.error), np.asarray(last.size)
    sums, rows = (float(relative_errors(PARTS, name).relative[-1]) for name in ("sums", "rows"))
    assert sums == pytest.approx(error.sum() / size.sum(), rel=SAME_MATHS)
    assert rows == pytest.approx(np.mean(error / size), rel=SAME_MATHS)
    assert abs(rows / sums - 1) > 0.01
    # Behind the normalisation all rows have one length, and so does the average not matter.
    after = [float(relative_errors(PARTS, name).relative[5]) for name in ("sums", "rows")]
    assert after[0] == pytest.approx(after[1], rel=SAME_MATHS)


def test_behind_the_last_rounding_all_error_is_carried():
    found = relative_errors(split_errors(FULL, (*LOW[:2], *FULL[2:]), INPUTS))
    np.testing.assert_array_equal(found.new[2:], 0.0)
    np.testing.assert_array_equal(found.cross[2:], 0.0)
    np.testing.assert_allclose(found.relative[2:], found.carried[2:], rtol=SAME_MATHS)
    growth = np.prod(np.asarray(found.gain[2:])) * float(found.relative[1])
    assert growth == pytest.approx(float(found.relative[-1]), rel=SAME_MATHS)


def test_nothing_quantized_is_no_error_and_no_gain():
    found = relative_errors(split_errors(FULL, FULL, INPUTS))
    np.testing.assert_array_equal(found.relative, 0.0)
    assert np.isnan(found.gain).all()


def linear_cases():
    """Every product of the stack: the stage's number, weights and the input's value and error."""
    hidden = quantized = jnp.asarray(INPUTS)
    for place, (stage, low) in enumerate(zip(FULL, LOW, strict=True)):
        if place in (1, 4, 7):
            weight = WEIGHTS[(1, 4, 7).index(place)]
            yield place, weight, np.asarray(rounded(weight, 0.25)), hidden, quantized - hidden
        hidden, quantized = stage(hidden), low(quantized)


def test_the_gain_of_a_linear_stage_is_norms_times_alignments():
    sums = relative_errors(PARTS)
    for place, weight, low, hidden, error in linear_cases():
        found = linear_gain(weight, low, hidden, error)
        product = float(found.spectral * found.alignment)
        assert product == pytest.approx(float(found.gain), rel=SAME_MATHS)
        assert float(found.gain) == pytest.approx(float(sums.gain[place]), rel=SAME_MATHS)
        largest = [np.linalg.svd(m)[1][0] for m in ((weight + low) / 2, weight)]
        assert float(found.spectral) == pytest.approx((largest[0] / largest[1]) ** 2, rel=1e-11)


def test_a_constant_added_by_the_low_precision_layer_is_no_part_of_the_gain():
    _, weight, low, hidden, error = next(linear_cases())
    shift = RNG.standard_normal(weight.shape[0])
    stages = (lambda h: h, lambda h: h @ weight.T)
    moved = (lambda h: h + error, lambda h: h @ low.T + shift)
    gain = relative_errors(split_errors(stages, moved, hidden)).gain[1]
    expected = linear_gain(weight, low, hidden, error).gain
    assert float(gain) == pytest.approx(float(expected), rel=SAME_MATHS)


def test_gains_in_limits():
    _, weight, _, hidden, error = next(linear_cases())
    assert float(linear_gain(weight, weight, hidden, error).spectral) == 1.0
    square = np.linalg.qr(RNG.standard_normal((7, 7)))[0]
    turned = linear_gain(square, square, hidden, error)
    assert float(turned.gain) == pytest.approx(1.0, rel=SAME_MATHS)
    # An error along the values is stretched like them; one in the null space is not seen.
    assert float(linear_gain(weight, weight, hidden, 0.1 * hidden).gain) == pytest.approx(
        1.0, rel=SAME_MATHS
    )
    null = np.linalg.svd(weight)[2][-1]
    assert float(linear_gain(weight, weight, hidden, np.outer(np.ones(9), null)).gain) < 1e-28


def test_the_decomposition_compiles_and_maps_over_spacings():
    def last(spacing):
        grid = tuple((lambda h, f=f: rounded(f(h), spacing)) for f in FULL[1:3])
        return relative_errors(split_errors(FULL[1:3], grid, jnp.asarray(INPUTS))).relative[-1]

    spacings = jnp.array([0.5, 0.25, 0.125])
    found = jax.jit(jax.vmap(last))(spacings)
    np.testing.assert_allclose(found, [last(s) for s in spacings], rtol=1e-10)
    assert np.all(np.diff(found) < 0)


BAD = np.ones((2, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: split_errors((), (), INPUTS), "must be equally many, at least one, got 0 and 0"),
        (lambda: split_errors(FULL, LOW[1:], INPUTS), "equally many"),
        (lambda: split_errors((jnp.tanh,), (jnp.ravel,), INPUTS), "`quantized_stage` must return"),
        (lambda: split_errors((jnp.ravel,), (jnp.ravel,), INPUTS), r"`stage\(hidden\)` must be"),
        (lambda: relative_errors(PARTS, "tokens"), "`average` must be one of sums, rows"),
        (lambda: relative_errors(()), "`parts` must hold at least one"),
        (lambda: linear_gain(BAD, BAD.T, BAD, BAD), "`quantized_weight` must have the shape"),
        (lambda: linear_gain(BAD, BAD, BAD.T, BAD.T), "must be rows of length 3"),
        (lambda: linear_gain(BAD, BAD, BAD, BAD[:1]), "must be rows of length 3"),
        (lambda: linear_gain(BAD[0], BAD, BAD, BAD), "`weight` must be a matrix"),
    ],
)
def test_bad_arguments_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
