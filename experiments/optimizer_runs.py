"""Exact losses of several optimizers on one power-law quadratic, as the runs of a fit.

The loss of a quadratic is a sum of a size term and a tokens term in its two limits only: trained to
the end, or larger than training can tell. On the edges of the (N, T) plane the law is therefore
exact, up to 1/T; inside it bends, because modes that no size has are not trained either.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import numpy as np

from theory.accelerated import heavy_ball, nesterov
from theory.decomposition import Decomposition
from theory.grouped_runs import GroupedRuns, grouped_runs
from theory.linear_methods import gd, gd_asymptote, loss_exponents, preconditioned_gd
from theory.problem import MAX_SIZE, PowerLawQuadratic, power_law

REFERENCE = "gd"
# No method here has any bias left after so many steps on 1e5 modes.
ENDLESS = 1e12
FIRST_SIZE, FIRST_STEPS = 100.0, 1000.0


@dataclass(frozen=True)
class Optimizer:
    """An optimizer with an exact loss.

    Attributes:
        curve: problem and steps to the loss.
        speed: steps of the reference that one of its steps is worth at late times; NaN if none is.
    """

    curve: Callable[[PowerLawQuadratic, np.ndarray], Decomposition]
    speed: float


@dataclass(frozen=True)
class Cells:
    """Cells of a design, the same for all optimizers.

    Attributes:
        size: N, [n].
        tokens: T or D, [n].
    """

    size: np.ndarray
    tokens: np.ndarray


def rescaled_optimizers(
    rate: float, slow_rate: float, momentum: float, nesterov_momentum: float
) -> dict[str, Optimizer]:
    """Optimizers that differ in constants alone: they run through the same losses, faster or not.

    Args:
        rate: learning rate of the reference GD and of the two with momentum.
        slow_rate: learning rate of the other GD.
        momentum: of heavy ball.
        nesterov_momentum: of Nesterov's method.

    Returns:
        By name, the reference first. A slow mode contracts by 1 - eta lam / (1 - mu) a step.
    """
    return {
        REFERENCE: Optimizer(lambda problem, steps: gd(problem, rate, steps), 1.0),
        "slow_gd": Optimizer(
            lambda problem, steps: gd(problem, slow_rate, steps), slow_rate / rate
        ),
        "momentum": Optimizer(
            lambda problem, steps: heavy_ball(problem, rate, momentum, steps), 1 / (1 - momentum)
        ),
        "nesterov": Optimizer(
            lambda problem, steps: nesterov(problem, rate, nesterov_momentum, steps),
            1 / (1 - nesterov_momentum),
        ),
    }


def preconditioned(rate: float, exponent: float) -> Optimizer:
    """GD behind the preconditioner lam^-p: another exponent of T, no rescaling of it."""
    return Optimizer(
        lambda problem, steps: preconditioned_gd(problem, rate, steps, exponent),
        1.0 if exponent == 0 else np.nan,
    )


def edge_cells(capacity: float, count: int, span: float) -> Cells:
    """Cells of the two limits: sizes trained to the end, and steps at a size without end.

    Args:
        capacity: a; the steps span as many eigenvalues as the sizes.
        count: number of cells, half of them on each edge.
        span: largest over smallest size.

    Returns:
        The sizes first, then the steps; both increase.
    """
    half = count // 2
    sizes = np.round(np.geomspace(FIRST_SIZE, FIRST_SIZE * span, half))
    steps = np.round(np.geomspace(FIRST_STEPS, FIRST_STEPS * span**capacity, count - half))
    return Cells(
        np.concatenate([sizes, np.full(steps.size, MAX_SIZE)]),
        np.concatenate([np.full(half, ENDLESS), steps]),
    )


def bent_cells(capacity: float, sizes: np.ndarray, ratios: np.ndarray, share: float) -> Cells:
    """Cells of a grid where size and steps both matter: T = share N^a ratio.

    Args:
        capacity: a.
        sizes: N, [n].
        ratios: [k].
        share: of the steps after which the last mode is trained.

    Returns:
        All n k of them.
    """
    size = np.repeat(np.round(sizes), len(ratios))
    return Cells(size, np.round(share * size**capacity * np.tile(ratios, len(sizes))))


def exact_losses(
    problem: Callable[[float], PowerLawQuadratic],
    optimizers: Mapping[str, Optimizer],
    cells: Cells,
) -> np.ndarray:
    """Losses of all optimizers in all cells.

    Args:
        problem: size to the quadratic.
        optimizers: by name.
        cells: the cells.

    Returns:
        Array [optimizers, n].
    """
    found = np.empty((len(optimizers), cells.size.size))
    for size in np.unique(cells.size):
        here = cells.size == size
        sized = problem(float(size))
        for row, optimizer in zip(found, optimizers.values(), strict=True):
            row[here] = np.asarray(optimizer.curve(sized, cells.tokens[here]).total)
    return found


def noisy_runs(
    names: tuple[str, ...], cells: Cells, losses: np.ndarray, noise: float, key: jax.Array
) -> GroupedRuns:
    """Runs with independent relative errors, as seeds show them.

    Args:
        names: of the optimizers.
        cells: the cells.
        losses: exact, [optimizers, n].
        noise: standard deviation of log loss; 0 for the exact losses.
        key: randomness of the errors.

    Returns:
        A `GroupedRuns` in the order of the names.
    """
    errors = noise * np.asarray(jax.random.normal(key, losses.shape))
    return grouped_runs(
        np.tile(cells.size, len(names)),
        np.tile(cells.tokens, len(names)),
        (losses * np.exp(errors)).ravel(),
        np.repeat(names, cells.size.size),
    )


def derived_law(capacity: float, source: float, noise_variance: float, rate: float) -> np.ndarray:
    """The law of GD on the edges, without a fit.

    Args:
        capacity: a.
        source: b.
        noise_variance: sigma^2.
        rate: learning rate of GD.

    Returns:
        E, A, alpha, B and beta: sigma^2/2, 1/(2 alpha), b - 1, the loss after one step of the
        asymptote, and alpha/a.
    """
    problem = power_law(capacity, source, 1.0, noise_variance)
    alpha, beta = (float(value) for value in loss_exponents(problem))
    tokens = float(gd_asymptote(problem, rate, 1.0))
    return np.array([noise_variance / 2, 1 / (2 * alpha), alpha, tokens, beta])


# Of the runs, for every start: Newton's method tries 40 steps at once.
RUN_COPIES = 320


def fit_bytes(starts: int, runs: int) -> int:
    """Memory of the arrays of one fit, an estimate."""
    return 8 * RUN_COPIES * starts * runs
