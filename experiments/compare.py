"""Comparators: a claim's prediction against a measurement, with an error estimate and a verdict.

A comparator can only pass on finite numbers and a positive, finite error estimate. What somebody
else published about other systems is a finding: it agrees, disagrees or stays open here, and no
disagreement is a failure of this package.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Verdict:
    """One row of the validation table.

    Attributes:
        claim: what is asserted, in words.
        prediction: the theory's number (the worst point of a comparison of arrays).
        measurement: the independent number at the same point.
        error: the estimate that decides, in the unit named by `basis`.
        basis: what the error is: quadrature bound, standard error, finite-size correction, bound.
        passed: the verdict.
        finding: `AGREES`, `DISAGREES` or `OPEN` for a published claim; empty for one of ours.
    """

    claim: str
    prediction: float
    measurement: float
    error: float
    basis: str
    passed: bool
    finding: str = ""

    @property
    def word(self) -> str:
        """For the table: `holds` or `FAILS`, or what a finding does."""
        return (self.finding or "holds") if self.passed else "FAILS"


AGREES, DISAGREES, OPEN = "agrees", "disagrees", "open"


def agree_within(
    claim: str, prediction: ArrayLike, measurement: ArrayLike, error: ArrayLike, basis: str
) -> Verdict:
    """|prediction - measurement| <= error at every point; the worst one is shown."""
    predicted, measured, allowed = np.broadcast_arrays(
        *(np.asarray(value, float) for value in (prediction, measurement, error))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = np.abs(predicted - measured) / allowed
    good = np.isfinite(predicted) & np.isfinite(measured) & np.isfinite(allowed) & (allowed > 0)
    excess = np.where(good, excess, np.inf)
    worst = np.unravel_index(np.argmax(excess), excess.shape)
    return Verdict(
        claim,
        float(predicted[worst]),
        float(measured[worst]),
        float(allowed[worst]),
        basis,
        bool(np.all(excess <= 1.0)),
    )


def relative_within(
    claim: str, prediction: ArrayLike, measurement: ArrayLike, tolerance: float, basis: str
) -> Verdict:
    """|prediction - measurement| <= tolerance |prediction| at every point."""
    allowed = tolerance * np.abs(np.asarray(prediction, float))
    return agree_within(claim, prediction, measurement, allowed, f"{basis}, {tolerance:g} relative")


def z_score(
    claim: str,
    prediction: ArrayLike,
    mean: ArrayLike,
    standard_error: ArrayLike,
    limit: float = 5.0,
) -> Verdict:
    """|prediction - mean| <= limit standard errors at every point, fixed beforehand."""
    allowed = limit * np.asarray(standard_error, float)
    return agree_within(claim, prediction, mean, allowed, f"{limit:g} standard errors")


def bound_holds(
    claim: str, bound: ArrayLike, measurement: ArrayLike, standard_error: ArrayLike = 0.0
) -> Verdict:
    """Measurement <= bound at every point, but for rounding and 5 standard errors of a mean."""
    upper, measured, error = np.broadcast_arrays(
        *(np.asarray(value, float) for value in (bound, measurement, standard_error))
    )
    with np.errstate(invalid="ignore"):
        margin = upper + 1e-12 * np.abs(upper) - (measured - 5 * error)
    good = np.isfinite(upper) & np.isfinite(measured) & np.isfinite(error) & (error >= 0)
    margin = np.where(good, margin, -np.inf)
    worst = np.unravel_index(np.argmin(margin), margin.shape)
    return Verdict(
        claim,
        float(upper[worst]),
        float(measured[worst]),
        float(5 * error[worst]),
        "upper bound",
        bool(np.all(margin >= 0)),
    )


def bound_tight(claim: str, bound: ArrayLike, measurement: ArrayLike, factor: float) -> Verdict:
    """Bound <= factor * measurement at every point, so that a vacuous bound fails."""
    upper, measured = np.broadcast_arrays(np.asarray(bound, float), np.asarray(measurement, float))
    good = np.isfinite(upper) & (upper >= 0) & np.isfinite(measured) & (measured > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(good, upper / measured, np.inf)
    worst = np.unravel_index(np.argmax(ratio), ratio.shape)
    return Verdict(
        claim,
        float(upper[worst]),
        float(measured[worst]),
        float(factor),
        "tightness factor",
        bool(np.isfinite(factor) and factor >= 1 and np.all(ratio <= factor)),
    )


def gap_shrinks(
    claim: str, prediction: float, measurements: Sequence[float], limit: float
) -> Verdict:
    """|prediction - measurement| falls along three or more sizes and ends under `limit`."""
    with np.errstate(invalid="ignore"):
        gaps = np.abs(np.asarray(measurements, float) - float(prediction))
    sound = gaps.size >= 3 and bool(np.all(np.isfinite(gaps))) and 0 < limit < np.inf
    passed = sound and bool(np.all(np.diff(gaps) < 0)) and bool(gaps[-1] <= limit)
    last = float(measurements[-1]) if len(measurements) else float("nan")
    return Verdict(
        claim, float(prediction), last, float(limit), "finite-size gap, shrinking", passed
    )


def finding_near(
    claim: str, published: float, measurement: float, error: float, basis: str
) -> Verdict:
    """A published number against ours: agrees within the error of both, else disagrees."""
    near = abs(published - measurement) <= error
    return _finding(claim, published, measurement, error, basis, AGREES if near else DISAGREES)


def finding_above(
    claim: str, limit: float, measurement: float, error: float, basis: str
) -> Verdict:
    """A published claim that a number exceeds a limit; open while the limit is within the error."""
    shown = AGREES if measurement - error > limit else DISAGREES
    open_ = abs(measurement - limit) <= error
    return _finding(claim, limit, measurement, error, basis, OPEN if open_ else shown)


def finding_below(
    claim: str, limit: float, measurement: float, error: float, basis: str
) -> Verdict:
    """A published claim that a number stays below a limit; open while that is within the error."""
    shown = AGREES if measurement + error < limit else DISAGREES
    open_ = abs(measurement - limit) <= error
    return _finding(claim, limit, measurement, error, basis, OPEN if open_ else shown)


def _finding(
    claim: str, published: float, measurement: float, error: float, basis: str, outcome: str
) -> Verdict:
    numbers = float(published), float(measurement), float(error)
    sound = bool(np.all(np.isfinite(numbers))) and error > 0
    return Verdict(claim, *numbers, basis, sound, outcome if sound else OPEN)
