"""Learning rates tuned on exact curves, judged as `simulate.tuning` judges simulated ones."""

from collections.abc import Callable
from typing import Any

import numpy as np

from simulate.tuning import band_mean

# Modes, one rate and steps [P] to losses [P]; raises ValueError for a rate at which it diverges.
Curve = Callable[[Any, float, np.ndarray], Any]


def rate_grid(low: float, high: float, spacing: float) -> np.ndarray:
    """Rates a factor 1 + `spacing` apart that cover a range."""
    step = np.log1p(spacing)
    return low * np.exp(step * np.arange(np.ceil(np.log(high / low) / step) + 1))


def curve_losses(curve: Curve, modes: Any, steps: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Losses [R, P] of a curve at all rates; infinite where it refuses the rate."""

    def one(rate: float) -> np.ndarray:
        try:
            return np.asarray(curve(modes, float(rate), steps), float)
        except ValueError:
            return np.full(steps.shape, np.inf)

    return np.array([one(rate) for rate in rates])


def tuned_curve(losses: np.ndarray, width: int) -> np.ndarray:
    """Least loss at every horizon, [P]; a rate is judged by the mean over `width` neighbours.

    Args:
        losses: at all rates, [R, P].
        width: neighbours on either side.
    """
    with np.errstate(over="ignore"):
        return band_mean(losses, width).min(axis=0)


def off_exact(simulated: np.ndarray, exact: np.ndarray) -> float:
    """Median relative difference over all rates and horizons at which both are finite.

    A wrong factor shows in every one of them; at the edge of stability single runs of a normalized
    method amplify rounding until two routes part.
    """
    known = np.isfinite(simulated) & np.isfinite(exact) & (exact > 0)
    return float(np.median(np.abs(simulated[known] / exact[known] - 1)))
