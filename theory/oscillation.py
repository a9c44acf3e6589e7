"""Nodes for residual polynomials that oscillate across the spectrum.

Accelerated methods have p_T(lam) ~ cos(T phi(lam)). Once T phi turns by many radians within one
dyadic block of modes, the 16 nodes a block of `theory.spectrum` no longer see it. Here a block is
cut into pieces over each of which the phase turns by at most four radians, with 16 nodes a piece;
a piece of at most 16 modes is kept whole. The phase falls like T i^(-a/2), so the count of nodes
grows only like T^(1 / (1 + a/2)): some 2e4 at T = 1e6, a = 1.5.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from theory.checks import check_float64, is_traced
from theory.gram_rules import gram_rule
from theory.problem import PowerLawQuadratic, eigenvalues, energies
from theory.spectrum import POINTS_PER_BLOCK, Spectrum, approximation_error, as_spectrum

# Of p_T; the loss has p_T^2, so eight radians of half-width: 16 points integrate that to 2e-17.
RADIANS_PER_PIECE = 4.0
MAX_NODES = 2**22
# Below exp(-2 * 45) a squared residual is rounding, whatever its phase.
DEAD = 45.0


def damped_phase(step: np.ndarray, horizon: float) -> np.ndarray:
    """A phase whose variation bounds that of t sqrt(h), t <= horizon, wherever (1 - h)^t lives.

    Args:
        step: h = eta lam > 0, [n].
        horizon: T >= 0.

    Returns:
        Array [n]: T sqrt(h) up to h = 2 DEAD / T; beyond, its slope is that of the latest t at
        which (1 - h)^t is above rounding, 2 DEAD / h.

    Kind: definition.
    Valid: residuals (1 - h)^(t/2) cos(t phi) with phi ~ sqrt(h).
    Source: derived; integral of (2 DEAD / h) d sqrt(h).
    """
    edge = 2.0 * DEAD / max(horizon, 1.0)
    late = np.sqrt(np.minimum(step, edge))
    return horizon * late + 2.0 * DEAD * (1.0 / late - 1.0 / np.sqrt(step))


def resolved_spectrum(
    problem: PowerLawQuadratic | Spectrum,
    phase: Callable[[np.ndarray], np.ndarray],
) -> Spectrum:
    """The spectrum of a problem on nodes that resolve an oscillating residual polynomial.

    Args:
        problem: the quadratic; a spectrum, or a problem with traced exponents, passes through
            `theory.spectrum.as_spectrum` with its 16 nodes an octave.
        phase: eigenvalues [n] to the phase of p_T in radians [n], monotone in the eigenvalue;
            constant where p_T has decayed below rounding.

    Returns:
        A `Spectrum` whose node count is rounded up to an eighth of a power of two.

    Raises:
        RuntimeError: without float64.
        ValueError: if more than 4 million nodes would be needed.

    Kind: exact to quadrature error.
    Valid: p_T^2 = smooth + smooth * cos(2 phase).
    Source: derived; the error of n-point Gauss for cos(k x) on [-1, 1] falls like (k/2n)^(2n).
    """
    check_float64()
    if isinstance(problem, Spectrum) or is_traced(problem.capacity_exponent):
        return as_spectrum(problem)
    capacity = float(np.asarray(problem.capacity_exponent))
    index, weights = _nodes(int(problem.size), lambda mode: phase(mode**-capacity))
    grain = max(64, 2 ** max(int(np.log2(index.size)) - 3, 0))
    spare = -index.size % grain
    modes = jnp.asarray(np.pad(index, (0, spare), mode="edge"))
    return Spectrum(
        eigenvalues(problem, modes),
        energies(problem, modes),
        jnp.asarray(np.pad(weights, (0, spare))),
        approximation_error(problem),
        jnp.asarray(problem.noise_variance, float),
    )


def _nodes(last: int, phase: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    index, weights = [], []
    left, total = 1, 0
    while left <= last:
        right = min(2 * left - 1, last)
        edges = phase(np.array([left, right], dtype=float))
        pieces = max(1, int(np.ceil(abs(edges[0] - edges[1]) / RADIANS_PER_PIECE)))
        total += min(right - left + 1, pieces * POINTS_PER_BLOCK)
        if total > MAX_NODES:
            raise ValueError(
                f"the residual polynomial oscillates too fast for {MAX_NODES} nodes; "
                "`steps` must be smaller."
            )
        block, weight = _cut_block(left, right, pieces)
        index.append(block)
        weights.append(weight)
        left = right + 1
    return np.concatenate(index), np.concatenate(weights)


def _cut_block(left: int, right: int, pieces: int) -> tuple[np.ndarray, np.ndarray]:
    count = right - left + 1
    if count <= pieces * POINTS_PER_BLOCK:
        return np.arange(left, right + 1, dtype=float), np.ones(count)
    short, longer = divmod(count, pieces)
    index, weights = [], []
    start = left
    # Pieces differ by one mode at most: `longer` pieces of short + 1 modes, then the others.
    for length, repeat in ((short + 1, longer), (short, pieces - longer)):
        if repeat:
            offset, weight = gram_rule(length, min(POINTS_PER_BLOCK, length))
            centres = start + length * np.arange(repeat) + (length - 1) / 2
            index.append((centres[:, None] + offset).ravel())
            weights.append(np.tile(weight, repeat))
            start += length * repeat
    return np.concatenate(index), np.concatenate(weights)
