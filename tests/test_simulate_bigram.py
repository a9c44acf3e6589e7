"""The bigram problem: counts by hand, losses over pairs, spectra and measured exponents."""

import math
import re
from collections import Counter
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulate.bigram import bigram, bigram_spectrum, measure_exponents
from simulate.optimizers import sgd
from simulate.text import BigramCounts, count_bigrams, read_text
from simulate.trajectory import record_steps, simulate

from .tolerances import SAME_MATHS, Z_SCORE

TEXT = "the cat sat on the mat. the dog sat on the cat, and the cat ran! the end is the end.\n" * 3


def pairs_by_hand(text, size):
    words = re.findall(r"\w+|[^\w\s]", text)
    frequency = Counter(words)
    tokens = sorted(frequency, key=lambda word: (-frequency[word], word))[:size]
    pairs = Counter()
    for first, second in pairwise(words):
        if first in tokens and second in tokens:
            pairs[tokens.index(first), tokens.index(second)] += 1
    return tokens, pairs


@pytest.fixture(params=[5, 12])
def counts(request):
    return count_bigrams(TEXT, request.param, blocks=4)


def test_counts_are_those_made_by_hand(counts):
    tokens, pairs = pairs_by_hand(TEXT, counts.vocabulary)
    assert list(counts.tokens) == tokens
    found = {
        divmod(int(c), counts.vocabulary): int(n)
        for c, n in zip(counts.pair, counts.block.sum(axis=0), strict=True)
    }
    assert found == dict(pairs)
    assert counts.pairs == sum(pairs.values())
    assert np.all(counts.block.sum(axis=1) > 0)


def expected_loss(pairs, matrix):
    """Mean over pairs of half the squared distance to the one-hot next token."""
    total = 0.0
    for (first, second), number in pairs.items():
        target = np.zeros(matrix.shape[1])
        target[second] = 1
        total += number * np.sum((matrix[first] - target) ** 2) / 2
    return total / sum(pairs.values())


def test_loss_is_the_mean_over_pairs(counts):
    problem = bigram(counts)
    _, pairs = pairs_by_hand(TEXT, counts.vocabulary)
    matrix = np.random.default_rng(0).normal(size=(counts.vocabulary,) * 2)
    for weights in (matrix, np.asarray(problem.init())):
        assert float(problem.loss(jnp.asarray(weights))) == pytest.approx(
            expected_loss(pairs, weights), rel=SAME_MATHS
        )
    at_optimum = expected_loss(pairs, np.asarray(problem.target))
    assert float(problem.floor) == pytest.approx(at_optimum, rel=SAME_MATHS)


def test_gradient_is_the_derivative(counts):
    problem = bigram(counts)
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(counts.vocabulary,) * 2))
    np.testing.assert_allclose(
        problem.gradient(matrix, jax.random.key(0)), jax.grad(problem.loss)(matrix), atol=1e-15
    )


def test_sampled_gradient_has_the_right_mean_and_shrinks_with_the_batch(counts):
    size = counts.vocabulary
    matrix = jnp.asarray(np.random.default_rng(1).normal(size=(size, size)))
    keys = jax.random.split(jax.random.key(3), 20_000)
    exact = np.asarray(bigram(counts).gradient(matrix, keys[0]))
    variance = []
    for batch in (1, 8):
        problem = bigram(counts, batch_size=batch)
        drawn = np.asarray(jax.vmap(problem.gradient, in_axes=(None, 0))(matrix, keys))
        error = drawn.std(axis=0) / np.sqrt(len(keys))
        assert np.all(np.abs(drawn.mean(axis=0) - exact) <= Z_SCORE * error + 1e-15)
        variance.append(drawn.var(axis=0).sum())
    assert variance[0] / variance[1] == pytest.approx(8, rel=0.05)


def test_spectrum_predicts_gradient_descent(counts):
    eigenvalues, energies = bigram_spectrum(counts)
    assert np.all(np.diff(eigenvalues) <= 0)
    assert eigenvalues.sum() == pytest.approx(1, rel=SAME_MATHS)
    steps = record_steps(500, 12)
    problem = bigram(counts)
    run = simulate(problem, sgd, steps, learning_rate=3.0)
    shrink = (1 - 3.0 * eigenvalues) ** (2 * steps[:, None])
    expected = float(problem.floor) + 0.5 * np.sum(energies * shrink, axis=1)
    np.testing.assert_allclose(run.loss, expected, rtol=SAME_MATHS)
    # Before the first step the loss is that of predicting nothing, whatever the text.
    assert float(run.loss[0]) == pytest.approx(0.5, rel=SAME_MATHS)


RANK = np.arange(1, 401)
FREQUENCY = RANK**-1.3 / np.sum(RANK**-1.3)


def next_tokens(rank):
    """Harmonic probabilities over a number of next tokens that grows with the rank.

    Not even ones: the squared length of an even distribution has no first derivative in the
    counts, and there a bootstrap does not work.
    """
    weights = 1 / np.arange(1, np.ceil(rank**0.4) + 2)
    return weights / weights.sum()


def synthetic(seed, frequency=FREQUENCY, blocks=40, per_block=200_000):
    """Counts of a text with known frequencies and next tokens."""
    rows = [next_tokens(rank) for rank in RANK]
    pair = np.concatenate([400 * row + np.arange(given.size) for row, given in enumerate(rows)])
    means = np.concatenate([pi * given for pi, given in zip(frequency, rows, strict=True)])
    block = np.random.default_rng(seed).poisson(means * per_block, (blocks, means.size))
    return BigramCounts(tuple(map(str, RANK)), pair, block)


def averaged_slope(values, first, last):
    """Slope through averages over thirds of an octave, rank by rank and by hand."""
    groups = {}
    for rank in range(first, last + 1):
        third = 0
        while rank**3 >= first**3 * 2 ** (third + 1):
            third += 1
        groups.setdefault(third, []).append((np.log(rank), values[rank - 1]))
    x = np.array([np.mean([entry[0] for entry in group]) for group in groups.values()])
    y = np.log([np.mean([entry[1] for entry in group]) for group in groups.values()])
    return np.sum((x - x.mean()) * y) / np.sum((x - x.mean()) ** 2)


def test_exponents_of_a_known_law_are_recovered():
    capacity, source = measure_exponents(synthetic(0), (4, 300))
    assert abs(capacity.exponent - 1.3) < Z_SCORE * capacity.standard_error
    energies = FREQUENCY * np.array([np.sum(next_tokens(rank) ** 2) for rank in RANK])
    exact = -averaged_slope(energies, 4, 300)
    assert abs(source.exponent - exact) < Z_SCORE * source.standard_error
    assert max(capacity.standard_error, source.standard_error) < 2e-3
    assert capacity.prefactor == pytest.approx(FREQUENCY[0], rel=0.01)
    # Averages before logarithms bend a power law by the curvature within a third of an octave.
    assert max(capacity.window_spread, source.window_spread) < 1e-2


def test_window_spread_sees_a_bend():
    bent = np.where(RANK < 35, RANK / 35.0, (RANK / 35.0) ** 2) ** -1.0
    capacity, _ = measure_exponents(synthetic(0, bent / bent.sum()), (4, 300), 20)
    # Slopes 1 and 2 on the halves of the window: half their difference.
    assert capacity.window_spread == pytest.approx(0.5, rel=0.05)
    assert capacity.standard_error < 2e-3


def test_standard_error_is_the_scatter_over_independent_texts():
    estimates = [measure_exponents(synthetic(seed), (4, 300), 50, seed) for seed in range(40)]
    for which in (0, 1):
        scatter = np.std([pair[which].exponent for pair in estimates], ddof=1)
        claimed = np.mean([pair[which].standard_error for pair in estimates])
        # A standard deviation of 40 values is itself known to 11 %.
        assert claimed == pytest.approx(scatter, rel=0.4)


def test_measurement_is_reproducible_and_its_seed_matters():
    counts = synthetic(0)
    first, again = (measure_exponents(counts, (4, 300), 20, seed=5) for _ in range(2))
    assert first == again
    other = measure_exponents(counts, (4, 300), 20, seed=6)
    assert other[0].standard_error != first[0].standard_error
    assert other[0].exponent == first[0].exponent


def test_standard_library_text_obeys_zipf():
    counts = count_bigrams(read_text(max_bytes=400_000), 200)
    capacity, source = measure_exponents(counts, (5, 150), 20)
    assert 0.5 < capacity.exponent < 2
    assert 0.3 < source.exponent < 2
    assert all(math.isfinite(value.window_spread) for value in (capacity, source))


def test_text_of_files_and_folders(tmp_path):
    (tmp_path / "b.txt").write_bytes(b"second \xff\xfe bytes")
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.txt").write_text("third")
    text = read_text(tmp_path)
    assert text == "first\nsecond \ufffd\ufffd bytes\nthird"
    assert read_text(tmp_path / "a.txt") == "first"
    assert read_text(tmp_path, max_bytes=5) == "first"


def test_missing_and_empty_text_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_text(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="empty"):
        read_text(tmp_path)
    (tmp_path / "blank.txt").write_text(" \n")
    with pytest.raises(ValueError, match="blank"):
        read_text(tmp_path / "blank.txt")


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: count_bigrams(TEXT, 1000), "vocabulary"),
        (lambda: count_bigrams(TEXT, 1), "vocabulary"),
        (lambda: count_bigrams(TEXT, 5, blocks=1), "blocks"),
        (lambda: count_bigrams("a b c a b c", 3, blocks=50), "blocks"),
        (lambda: count_bigrams("", 2), "vocabulary"),
        (lambda: count_bigrams("a x b y a z b", 2, blocks=2), "pair"),
        (lambda: bigram(count_bigrams(TEXT, 5), batch_size=0), "batch_size"),
        (lambda: bigram(count_bigrams(TEXT, 5), batch_size=1.5), "batch_size"),
        (lambda: measure_exponents(synthetic(0), (0, 100)), "window"),
        (lambda: measure_exponents(synthetic(0), (5, 10)), "window"),
        (lambda: measure_exponents(synthetic(0), (5, 1000)), "window"),
        (lambda: measure_exponents(synthetic(0), (5, 100), resamples=1), "resamples"),
    ],
)
def test_bad_input_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()
