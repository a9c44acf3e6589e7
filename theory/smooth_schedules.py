"""SGD under smooth learning-rate schedules beyond the steps one can step: pieces, refined.

A schedule is cut into pieces of constant rate, each the mean of the rates it replaces, so that the
clock sum_t eta_t is kept; what is lost is second order in the width of a piece. Pieces grow
geometrically from either end of the run: at the start the large eigenvalues are learned, at the
end the last noise is averaged, both on every scale down to single steps. Doubling the pieces until
the loss settles gives its error estimate.
"""

from collections.abc import Sequence
from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from theory.accelerated import check_whole_steps
from theory.checks import Real, check_real
from theory.decomposition import Decomposition
from theory.gram_rules import gram_rules
from theory.problem import PowerLawQuadratic
from theory.schedules import Schedule
from theory.segmented_descent import segmented_sgd
from theory.spectrum import Spectrum

# A piece is at most a fourth as long as its distance from the nearer end, then halved and halved.
RESOLUTION, HALVINGS = 4, 4
# Points that average a long piece: a Gauss rule for the sum over its steps.
POINTS_PER_PIECE = 16


def constant_pieces(
    schedule: Schedule,
    learning_rate: Real,
    steps: Real,
    halvings: int = 0,
    kinks: Sequence[float] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of constant rate that stand for the rates eta * schedule(t / T), t = 0..T-1.

    Args:
        schedule: a function of the fraction of the run.
        learning_rate: eta, the peak, positive.
        steps: T >= 1, a whole number.
        halvings: how often to halve every piece longer than a step.
        kinks: fractions of the run in [0, 1] at which the schedule has corners.

    Returns:
        Rates and lengths, [s] each, s about 8 (1 + log(T / 8)) 2^halvings at most.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact in the sum of the rates of every piece (of polynomials of degree below 32).
    Valid: schedules smooth but for `kinks`.
    Source: derived; see the module's docstring.
    """
    check_real("learning_rate", learning_rate, above=0.0)
    check_real("steps", steps, at_least=1)
    check_whole_steps(steps)
    check_real("halvings", halvings, at_least=0)
    check_real("kinks", np.asarray(kinks, float), at_least=0.0, at_most=1.0)
    total = int(np.asarray(steps))
    edges = [0]
    while edges[-1] < total // 2:
        edges.append(min(edges[-1] + max(1, edges[-1] // RESOLUTION), total // 2))
    mirrored = [total - edge for edge in edges]
    cuts = np.unique([*edges, *mirrored, *(round(kink * total) for kink in kinks)])
    for _ in range(halvings):
        cuts = np.union1d(cuts, (cuts[:-1] + cuts[1:]) // 2)
    lengths = np.diff(cuts).astype(float)
    middle = (cuts[:-1] + cuts[1:] - 1) / 2
    offset, weight = gram_rules(lengths, POINTS_PER_PIECE)
    shape = np.asarray(schedule(jnp.asarray((middle[:, None] + offset) / total)))
    rates = float(np.asarray(learning_rate)) * np.sum(weight * shape, axis=1) / lengths
    return rates, lengths


def smooth_sgd(
    problem: PowerLawQuadratic | Spectrum,
    schedule: Schedule,
    learning_rate: Real,
    batch_size: Real,
    steps: Real,
    tolerance: float = 1e-4,
    kinks: Sequence[float] = (),
) -> tuple[Decomposition, float]:
    """Expected loss of one-pass SGD at the end of a smooth schedule of any length.

    Args:
        problem: the quadratic, or any spectrum.
        schedule: a function of the fraction of the run, smooth but for `kinks`.
        learning_rate: eta, the peak, positive.
        batch_size: B >= 1, a scalar.
        steps: T >= 1, a whole number.
        tolerance: relative to the loss beyond irreducible and approximation.
        kinks: fractions of the run at which the schedule has corners, as (0.8,) for a linear decay
            over the last fifth.

    Returns:
        A `Decomposition` of scalars, and an estimate of the relative error of its optimization
        error: how far that moved at the last halving of the pieces, at least a tenth of what the
        extrapolation removed. It exceeds `tolerance` only if four halvings are not enough.

    Raises:
        ValueError: if an argument is outside its domain.

    Kind: exact up to the returned estimate: second order in the width of a piece, of which two
        widths remove the leading term (Richardson).
    Valid: Gaussian data, fresh samples; corners only at `kinks`.
    Source: derived; see the module's docstring.
    """
    check_real("tolerance", tolerance, above=0.0)

    def at(halvings: int) -> tuple[Decomposition, bool]:
        rates, lengths = constant_pieces(schedule, learning_rate, steps, halvings, kinks)
        return segmented_sgd(problem, rates, lengths, batch_size), lengths.max() == 1

    fine, stepped = at(0)
    best, error = fine, np.inf
    for halvings in range(1, HALVINGS + 1):
        if stepped:
            return fine, 0.0
        coarse, (fine, stepped) = fine, at(halvings)
        last, best = best, _extrapolate(coarse, fine)
        change, removed = (
            abs(float(other.optimization / best.optimization) - 1.0) for other in (last, fine)
        )
        # Where the leading term does not rule yet, some of it is left.
        error = max(change, removed / 10.0)
        if halvings > 1 and error <= tolerance:
            break
    return (fine, 0.0) if stepped else (best, error)


def _extrapolate(coarse: Decomposition, fine: Decomposition) -> Decomposition:
    """Both parts of the loss without their error of second order."""
    bias, noise = (
        (4.0 * new - old) / 3.0
        for new, old in ((fine.bias, coarse.bias), (fine.noise, coarse.noise))
    )
    return replace(fine, bias=jnp.maximum(bias, 0.0), noise=jnp.maximum(noise, 0.0))
