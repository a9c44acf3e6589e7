"""Claims about compute-optimal phases, and the resolution of random features behind them."""

import numpy as np

from experiments.claims.asymptotics import limit_row
from experiments.compare import Verdict, relative_within
from theory.phases import compute_optimal, from_random_features, random_feature_resolution
from theory.problem import power_law

# (alpha, beta) of the random-feature model in the phases Ia, Ib, Ic, II, III, IVa, IVb.
PLANE = ((1.0, 0.3), (0.4, 0.3), (0.2, 0.9), (1.0, 0.7), (1.0, 1.3), (0.4, 0.8), (0.27, 0.9))


def compute_optimal_phases(quick: bool) -> list[Verdict]:
    """Phases against minimising the largest term, and the resolution of random features."""
    del quick  # no sums but one
    laws = [compute_optimal(*map(float, from_random_features(*point))) for point in PLANE]
    balanced = np.array([_balanced(*point) for point in PLANE])
    features = np.array([1e2, 1e3, 1e4])
    unending = power_law(1.5, 1.8, 1e15)
    scales = [float(random_feature_resolution(unending, d)) * d**-1.5 for d in features]
    share = np.pi / 1.5
    return [
        relative_within(
            "compute-optimal loss exponent, 7 phases: the largest of the four terms, minimised",
            [law.loss_exponent for law in laws],
            balanced[:, 0],
            1e-12,
            "rounding",
        ),
        relative_within(
            "compute-optimal size exponent, 7 phases: the size at that minimum",
            [law.size_exponent for law in laws],
            balanced[:, 1],
            1e-12,
            "rounding",
        ),
        limit_row(
            "random features: resolved scale over d^a tends to ((pi/a)/sin(pi/a))^-a like 1/d",
            float((share / np.sin(share)) ** -1.5),
            scales,
            features,
        ),
    ]


def _balanced(alpha: float, beta: float) -> tuple[float, float]:
    """(eta, xi) of loss ~ f^-eta at size d = f^xi from the four terms of the paper.

    Each term is r^-p d^-q at r = gamma f/d, gamma = d^min(0, 2 alpha - 1): F_pp, F_0, K_pp, F_ac.
    The largest one is convex and piecewise linear in xi: its minimum is where two of them cross.
    """
    # log_f of a term: -p (1 - xi + step xi) - q xi, a line intercept + slope xi.
    step = min(0.0, 2 * alpha - 1)
    lines = [(-p, p * (1 - step) - q) for p, q in _terms(alpha, beta)]
    sizes = [
        (one[0] - two[0]) / (two[1] - one[1]) for one in lines for two in lines if one[1] != two[1]
    ]
    worst = {
        size: max(intercept + slope * size for intercept, slope in lines)
        for size in sizes
        if 0 < size < 1
    }
    best = min(worst, key=lambda size: worst[size])
    return -worst[best], best


def _terms(alpha: float, beta: float) -> list[tuple[float, float]]:
    """Powers (p, q) of the terms F_pp, F_0, K_pp and F_ac, where they are there."""
    terms = [
        ((2 * alpha + 2 * beta - 1) / (2 * alpha), 0.0),
        (0.0, 2 * alpha - max(0.0, 1 - 2 * beta)),
    ]
    if alpha > 0.25:
        terms.append((2 - 1 / (2 * alpha), -min(0.0, 2 * alpha - 1)))
    if alpha > 0.5 and beta > 0.5:
        terms.append((1 - 1 / (2 * alpha), 1.0))
    return terms
