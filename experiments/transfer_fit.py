"""Several tuned points against the laws of every regime: fitted exponents and what they reject."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from scipy.special import stdtrit

from experiments.transfer_input import TunedPoint, TunedRuns
from experiments.transfer_regimes import Regime, exponents, laws_at, regimes_of

LEVEL = 0.95
_ROUNDING = 1e-9  # of an exponent or logarithm: what digits in a file cannot decide
_LETTERS = ("eta", "alpha", "B")
_Numbers: TypeAlias = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Line:
    """A straight line through logarithms, by least squares.

    Attributes:
        slope: the exponent.
        half_width: of its 95 % interval; infinite for two points.
        value: of the line at the new budget.
        value_half_width: of the 95 % interval of a new point there.
    """

    slope: float
    half_width: float
    value: float
    value_half_width: float


@dataclass(frozen=True)
class Check:
    """A fitted exponent against that of a regime.

    Attributes:
        regime: its name.
        variable: letter.
        derived: exponent of the budget in the regime.
        fitted: the line, after the regime's own law of the batch size is divided out; None if the
            points cannot tell.
        verdict: in words.
    """

    regime: str
    variable: str
    derived: Fraction
    fitted: Line | None
    verdict: str

    @property
    def rejected(self) -> bool:
        """Whether the interval excludes the derived exponent."""
        return self.verdict == "rejected"


def log_line(tokens: _Numbers, logs: _Numbers, at: float) -> Line:
    """Least squares of logs on log tokens, with Student's intervals.

    Args:
        tokens: at least two different ones.
        logs: one for each.
        at: tokens where the line is read.

    Returns:
        The line.
    """
    x, y = np.log(np.asarray(tokens)), np.asarray(logs)
    centre, spread = np.mean(x), np.sum((x - np.mean(x)) ** 2)
    slope = float(np.sum((x - centre) * y) / spread)
    away = float(np.log(at) - centre)
    value = float(np.mean(y)) + slope * away
    if x.size < 3:
        return Line(slope, np.inf, value, np.inf)
    rest = y - np.mean(y) - slope * (x - centre)
    deviation = np.sqrt(np.sum(rest**2) / (x.size - 2))
    quantile = float(stdtrit(x.size - 2, 0.5 + LEVEL / 2.0))
    half = quantile * deviation / np.sqrt(spread)
    new = quantile * deviation * np.sqrt(1.0 + 1.0 / x.size + away**2 / spread)
    return Line(slope, float(half) + _ROUNDING, value, float(new) + _ROUNDING)


def fitted_lines(runs: TunedRuns, tokens: float) -> dict[str, Line]:
    """Power laws through what varies among the points, by letter, read at the new budget."""
    if len({point.tokens for point in runs.points}) < 2:
        return {}
    amounts = [point.tokens for point in runs.points]
    logs = {name: _logs(runs.points, name) for name in _LETTERS}
    return {
        name: log_line(amounts, values, tokens)
        for name, values in logs.items()
        if np.ptp(values) > _ROUNDING
    }


def checks(runs: TunedRuns, tokens: float) -> tuple[Check, ...]:
    """Every exponent of every regime that makes a prediction for the points.

    Args:
        runs: the points.
        tokens: of the new budget.

    Returns:
        One check for each regime and variable; none if all points have the same budget.
    """
    if len({point.tokens for point in runs.points}) < 2:
        return ()
    tested = [regime for regime in regimes_of(runs) if not regime.batch_power]
    return tuple(check for regime in tested for check in _checks(runs, regime, tokens))


def _checks(runs: TunedRuns, regime: Regime, tokens: float) -> list[Check]:
    laws = exponents(laws_at(regime, regime.tuned, runs.points[0]))
    found = []
    for name in (name for name in _LETTERS if name in laws):
        of_budget, of_batch = laws[name]
        why = _untestable(runs.points, regime, name)
        line = None
        if not why:
            logs = _logs(runs.points, name) - float(of_batch) * _logs(runs.points, "B")
            line = log_line([point.tokens for point in runs.points], logs, tokens)
            why = _verdict(line, float(of_budget))
        found.append(Check(regime.name, name, of_budget, line, why))
    return found


def _untestable(points: Sequence[TunedPoint], regime: Regime, name: str) -> str:
    momenta = {round(point.alpha, 12) for point in points}
    if regime.without_momentum and momenta != {1.0}:
        return "not tested: the points have momentum"
    if "momentum" not in regime.tuned and len(momenta) > 1:
        return "not tested: momentum varies, the regime holds it"
    if name == "alpha" and len(momenta) == 1:
        return "not tested: momentum never varied"
    if name == "B" and len({point.batch_size for point in points}) == 1:
        return "not tested: batch size never varied"
    return ""


def _verdict(line: Line, derived: float) -> str:
    if not np.isfinite(line.half_width):
        return "two points: no interval"
    return "rejected" if abs(line.slope - derived) > line.half_width else "not rejected"


def _logs(points: Sequence[TunedPoint], name: str) -> np.ndarray:
    field = {"eta": "learning_rate", "alpha": "alpha", "B": "batch_size"}[name]
    return np.log([getattr(point, field) for point in points])
