"""Sums over a trillion modes from a few hundred nodes: discrete-Gauss compression.

Every deterministic quantity of the proxy is a sum over modes i = 1..N of a smooth function of
log i. The range 1..N is cut into dyadic blocks [2^k, 2^(k+1) - 1] (the last one ends at N). On a
block of M consecutive integers we use the n-point Gauss rule *for the counting measure*: it
integrates every polynomial of degree below 2n over the integers exactly, so there is no
Euler-Maclaurin end correction to get wrong and no cut-off between a sum and an integral.

The orthogonal polynomials of the counting measure on M points are the Gram (discrete Chebyshev)
polynomials. Centred on the block they satisfy a three-term recurrence with
a_k = 0 and b_k = k^2 (M^2 - k^2) / (4 (4 k^2 - 1)), so by Golub and Welsch the nodes are the
eigenvalues of a symmetric tridiagonal matrix and the weights M times the squared first components
of its eigenvectors: all positive, which the propagator of `theory.sgd` needs.

Float64. Blocks with M <= n are kept whole, so a problem of size <= 2 n loses nothing at all.
"""

from dataclasses import dataclass
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import zeta

from theory.checks import Real, check_float64, check_real
from theory.gram_rules import gram_rule
from theory.problem import MAX_SIZE, PowerLawQuadratic, eigenvalues, energies

POINTS_PER_BLOCK = 16
# Problems whose node counts round up to the same multiple share compiled code: the spare nodes
# repeat the last mode with weight zero.
NODES_PER_CLASS = 64


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["eigenvalues", "energies", "weights", "approximation", "noise_variance"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Spectrum:
    """A weighted set of modes that stands for all trained modes of a problem.

    Attributes:
        eigenvalues: lam at the nodes, [n], positive.
        energies: lam (x*)^2 at the nodes, [n], non-negative.
        weights: how many modes a node stands for, [n], non-negative.
        approximation: loss of the untrained modes, a scalar.
        noise_variance: label noise sigma^2, a scalar.
    """

    eigenvalues: jax.Array
    energies: jax.Array
    weights: jax.Array
    approximation: jax.Array
    noise_variance: jax.Array

    @property
    def irreducible(self) -> jax.Array:
        """Loss that no model of this family can remove, sigma^2/2."""
        return self.noise_variance / 2


@lru_cache(maxsize=256)
def mode_nodes(
    size: float, points_per_block: int = POINTS_PER_BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mode numbers that stand for 1..floor(size).

    Args:
        size: N in [1, 1e15].
        points_per_block: n >= 2, Gauss points in a dyadic block.

    Returns:
        Mode numbers [m] (real, ascending) and weights [m]; m is about n log2(N / n).

    Raises:
        ValueError: if `size` or `points_per_block` is outside its domain.

    Kind: exact for N <= 2 n; else a quadrature whose error is below 1e-15 relative at n = 16 for
        the sums of this toolkit (measured, tests/test_theory_spectrum.py).
    Valid: summands smooth in log i.
    Source: derived; see the module's docstring.
    """
    check_real("size", size, at_least=1.0, at_most=MAX_SIZE)
    check_real("points_per_block", points_per_block, at_least=2)
    return range_nodes(1, int(size), points_per_block)


def range_nodes(
    first: int, last: int, points_per_block: int = POINTS_PER_BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mode numbers that stand for first..last, in blocks of ratio two.

    Args:
        first: at least 1.
        last: at least `first`.
        points_per_block: n >= 2, Gauss points in a block.

    Returns:
        Mode numbers [m] (real, ascending) and weights [m].

    Kind: exact where a block has at most n modes; else as `mode_nodes`.
    Valid: summands smooth in log i.
    Source: derived; see the module's docstring.
    """
    nodes, weights = [], []
    left = first
    while left <= last:
        right = min(2 * left - 1, last)
        count = right - left + 1
        if count <= points_per_block:
            block, weight = np.arange(left, right + 1, dtype=float), np.ones(count)
        else:
            offset, weight = gram_rule(count, points_per_block)
            block = (left + right) / 2 + offset
        nodes.append(block)
        weights.append(weight)
        left = right + 1
    return np.concatenate(nodes), np.concatenate(weights)


def compress(problem: PowerLawQuadratic, points_per_block: int = POINTS_PER_BLOCK) -> Spectrum:
    """The spectrum of a power-law quadratic on discrete-Gauss nodes.

    Args:
        problem: the quadratic; its exponents may be traced, its size is static.
        points_per_block: n >= 2, Gauss points in a dyadic block.

    Returns:
        A `Spectrum` of about n log2(N / n) nodes, rounded up to a multiple of 64 with nodes of
        weight zero; approximation = zeta(b, N+1)/2.

    Raises:
        RuntimeError: without float64.
        ValueError: if `points_per_block` is below 2.

    Kind: exact to quadrature error, see `mode_nodes`.
    Valid: every power-law problem of size 1..1e15.
    Source: derived; approximation = 1/2 sum_{i>N} i^-b = zeta(b, N+1)/2, the Hurwitz zeta function.
    """
    check_float64()
    index, weights = mode_nodes(problem.size, points_per_block)
    spare = -index.size % NODES_PER_CLASS
    return _on_nodes(
        problem,
        jnp.asarray(np.pad(index, (0, spare), mode="edge")),
        jnp.asarray(np.pad(weights, (0, spare))),
    )


@jax.jit
def _on_nodes(problem: PowerLawQuadratic, index: jax.Array, weights: jax.Array) -> Spectrum:
    return Spectrum(
        eigenvalues(problem, index),
        energies(problem, index),
        weights,
        approximation_error(problem),
        jnp.asarray(problem.noise_variance, float),
    )


def approximation_error(problem: PowerLawQuadratic) -> jax.Array:
    """Loss of the modes beyond the size, 1/2 sum_{i>N} i^-b ~ N^-(b-1) / (2 (b-1)).

    Args:
        problem: the quadratic.

    Returns:
        A scalar.

    Kind: exact.
    Valid: b > 1.
    Source: derived; the sum is the Hurwitz zeta function zeta(b, N+1), so alpha = b - 1.
    """
    return zeta(jnp.asarray(problem.source_exponent, float), jnp.floor(problem.size) + 1.0) / 2


def explicit_spectrum(
    eigenvalues: jax.Array | np.ndarray,
    energies: jax.Array | np.ndarray,
    approximation: Real = 0.0,
    noise_variance: Real = 0.0,
) -> Spectrum:
    """A spectrum given mode by mode, e.g. measured on data.

    Args:
        eigenvalues: lam, [n], positive.
        energies: lam (x*)^2, [n], non-negative.
        approximation: loss of what is never trained, >= 0.
        noise_variance: sigma^2 >= 0 (twice the irreducible loss).

    Returns:
        A `Spectrum` whose weights are all one.

    Raises:
        RuntimeError: without float64.
        ValueError: if shapes differ or an entry is outside its domain.

    Kind: definition.
    Valid: any finite spectrum.
    Source: none needed.
    """
    check_float64()
    check_real("eigenvalues", eigenvalues, above=0.0)
    check_real("energies", energies, at_least=0.0)
    check_real("approximation", approximation, at_least=0.0)
    check_real("noise_variance", noise_variance, at_least=0.0)
    lam, energy = jnp.asarray(eigenvalues, float), jnp.asarray(energies, float)
    if lam.ndim != 1 or lam.shape != energy.shape:
        raise ValueError(
            "`eigenvalues` and `energies` must be vectors of one length, "
            f"got shapes {lam.shape} and {energy.shape}."
        )
    return Spectrum(
        lam,
        energy,
        jnp.ones_like(lam),
        jnp.asarray(approximation, float),
        jnp.asarray(noise_variance, float),
    )


def as_spectrum(problem: PowerLawQuadratic | Spectrum) -> Spectrum:
    """The spectrum of a problem; a spectrum passes through.

    Args:
        problem: a power-law quadratic or a spectrum.

    Returns:
        A `Spectrum`.

    Kind: definition.
    Valid: always.
    Source: none needed.
    """
    return problem if isinstance(problem, Spectrum) else compress(problem)


def mode_sum(spectrum: Spectrum, values: jax.Array) -> jax.Array:
    """Sum over all trained modes, `sum(weights * values)` along the last axis.

    Args:
        spectrum: the nodes.
        values: summand at the nodes, [..., n].

    Returns:
        Array [...].

    Kind: exact to quadrature error, see `mode_nodes`.
    Valid: summands smooth in log i.
    Source: derived; see the module's docstring.
    """
    return jnp.sum(spectrum.weights * values, axis=-1)
