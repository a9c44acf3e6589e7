"""The linear bigram model on real text: a quadratic whose spectrum is Zipf's law.

One-hot inputs x, one-hot next tokens y, squared loss. With frequencies pi and conditional
next-token probabilities P the loss of a matrix W (row i predicts what follows token i) is

    L(W) = 1/2 E |W^T x - y|^2 = 1/2 sum_i pi_i |W_i - P_i|^2 + 1/2 sum_i pi_i (1 - |P_i|^2),

so the Hessian has eigenvalue pi_i on row i and, from W = 0, row i carries the energy pi_i |P_i|^2.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from simulate.problems import block_sum
from simulate.text import BigramCounts
from theory.checks import check_real, check_whole


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["frequencies", "target", "floor"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Bigram:
    """The linear bigram problem with exact gradients.

    Attributes:
        frequencies: pi, [V], summing to one.
        target: P, [V, V], rows summing to one (a row never seen is zero).
        floor: irreducible loss, a scalar.
    """

    unroll: ClassVar[int] = 8

    frequencies: jax.Array
    target: jax.Array
    floor: jax.Array

    def init(self) -> jax.Array:
        """Zeros, [V, V]."""
        return jnp.zeros_like(self.target)

    def loss(self, params: jax.Array) -> jax.Array:
        """Population loss over the pairs counted, a scalar."""
        weighted = self.frequencies[:, None] * (params - self.target) ** 2
        return self.floor + block_sum(weighted) / 2

    def gradient(self, params: jax.Array, key: jax.Array) -> jax.Array:
        """Exact gradient, [V, V]."""
        del key
        return self.frequencies[:, None] * (params - self.target)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["frequencies", "target", "floor", "pair", "cumulative"],
    meta_fields=["batch_size"],
)
@dataclass(frozen=True)
class SampledBigram(Bigram):
    """The linear bigram problem with gradients of sampled pairs of tokens.

    Attributes:
        frequencies: pi, [V], summing to one.
        target: P, [V, V], rows summing to one (a row never seen is zero).
        floor: irreducible loss, a scalar.
        pair: codes first * V + second of the pairs that occur, [m].
        cumulative: running total of their counts, [m].
        batch_size: B, pairs a step.
    """

    unroll: ClassVar[int] = 1

    pair: jax.Array
    cumulative: jax.Array
    batch_size: int

    def gradient(self, params: jax.Array, key: jax.Array) -> jax.Array:
        """Mean gradient over `batch_size` pairs drawn with replacement, [V, V]."""
        drawn = jax.random.randint(key, (self.batch_size,), 0, self.cumulative[-1])
        code = self.pair[jnp.searchsorted(self.cumulative, drawn, side="right")]
        first, second = jnp.divmod(code, params.shape[0])
        errors = params[first] - jax.nn.one_hot(second, params.shape[1], dtype=params.dtype)
        return jnp.zeros_like(params).at[first].add(errors / self.batch_size)


def bigram(counts: BigramCounts, dtype: DTypeLike = float, batch_size: int | None = None) -> Bigram:
    """The problem of a text.

    Args:
        counts: from `simulate.text.count_bigrams`.
        dtype: of parameters and losses.
        batch_size: pairs a gradient is averaged over, at least 1; left out, gradients are exact.

    Returns:
        A `Bigram` of V^2 parameters, a `SampledBigram` if a batch size is given.

    Raises:
        ValueError: if `batch_size` is not a positive whole number.
    """
    if batch_size is not None:
        check_whole("batch_size", batch_size, at_least=1)
    size = counts.vocabulary
    pairs = np.zeros(size * size)
    pairs[counts.pair] = counts.block.sum(axis=0)
    matrix = pairs.reshape(size, size)
    rows = matrix.sum(axis=1)
    frequencies = rows / rows.sum()
    conditional = matrix / np.where(rows > 0, rows, 1.0)[:, None]
    floor = np.sum(frequencies * (1 - np.sum(conditional**2, axis=1))) / 2
    pi, target, constant = (jnp.asarray(part, dtype) for part in (frequencies, conditional, floor))
    if batch_size is None:
        return Bigram(pi, target, constant)
    running = jnp.asarray(np.cumsum(counts.block.sum(axis=0)), int)
    codes = jnp.asarray(counts.pair, int)
    return SampledBigram(pi, target, constant, codes, running, int(batch_size))


def bigram_spectrum(counts: BigramCounts, weights: np.ndarray | None = None) -> np.ndarray:
    """Eigenvalues and energies of the bigram problem, each sorted by frequency.

    Args:
        counts: from `simulate.text.count_bigrams`.
        weights: how often each block of text is taken, [blocks]; all once if left out.

    Returns:
        Array [2, v]: eigenvalues pi_i, descending, and energies pi_i |P_i|^2 of the same rows;
        rows never seen are left out.
    """
    totals = counts.block.sum(axis=0) if weights is None else weights @ counts.block
    row = counts.pair // counts.vocabulary
    first = np.bincount(row, weights=totals, minlength=counts.vocabulary)
    squares = np.bincount(row, weights=totals.astype(float) ** 2, minlength=counts.vocabulary)
    seen = first > 0
    eigenvalues, energies = first[seen] / first.sum(), squares[seen] / first[seen] / first.sum()
    order = np.argsort(-eigenvalues, kind="stable")
    return np.stack([eigenvalues[order], energies[order]])


@dataclass(frozen=True)
class ExponentEstimate:
    """A power law value = prefactor rank^-exponent fitted to averages over ranks in a window.

    Attributes:
        exponent: minus the slope of log value against log rank.
        prefactor: value at rank one.
        standard_error: of the exponent, over resampled blocks of text.
        window_spread: half the range of the exponent over the halves of the window: how far the
            data are from a power law. It exceeds the standard error on most texts.
    """

    exponent: float
    prefactor: float
    standard_error: float
    window_spread: float


def measure_exponents(
    counts: BigramCounts, window: tuple[int, int], resamples: int = 200, seed: int = 0
) -> tuple[ExponentEstimate, ExponentEstimate]:
    """Capacity and source exponent of a text, with their uncertainty.

    Args:
        counts: from `simulate.text.count_bigrams`.
        window: first and last rank of the fit, 1 <= first < last <= V, at least a factor of 4.
        resamples: bootstrap draws of whole blocks of text, at least 2.
        seed: of the bootstrap.

    Returns:
        Estimates for the eigenvalues (capacity) and for the energies (source).

    Raises:
        ValueError: if an argument is outside its domain.
    """
    first, last = window
    check_real("window", first, at_least=1, at_most=last / 4)
    check_real("window", last, at_most=counts.vocabulary)
    check_real("resamples", resamples, at_least=2)
    spectrum = bigram_spectrum(counts)
    middle = round(np.sqrt(first * last))
    blocks = counts.block.shape[0]
    draws = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), resamples)
    drawn = [bigram_spectrum(counts, draw) for draw in draws]
    estimates = []
    for which in (0, 1):
        slope, prefactor = _slope(spectrum[which], first, last)
        halves = [_slope(spectrum[which], *half)[0] for half in ((first, middle), (middle, last))]
        spread = (max(*halves, slope) - min(*halves, slope)) / 2
        error = np.std([_slope(sample[which], first, last)[0] for sample in drawn], ddof=1)
        estimates.append(ExponentEstimate(slope, prefactor, float(error), float(spread)))
    return estimates[0], estimates[1]


def _slope(values: np.ndarray, first: int, last: int) -> tuple[float, float]:
    """Exponent and prefactor by least squares on averages over thirds of an octave of ranks.

    Averages before logarithms: energies scatter by a decade, the loss adds them up, and the mean
    of their logarithms would lie far below the logarithm of their mean.
    """
    rank = np.arange(first, min(last, values.size) + 1)
    bins = np.floor(3 * np.log2(rank / first) + 1e-9).astype(int)
    count = np.bincount(bins)
    filled = count > 0
    averages = [
        np.bincount(bins, weights=column)[filled] / count[filled]
        for column in (np.log(rank), values[rank - 1])
    ]
    slope, intercept = np.polyfit(averages[0], np.log(averages[1]), 1)
    return float(-slope), float(np.exp(intercept))
