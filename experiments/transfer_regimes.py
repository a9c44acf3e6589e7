"""A tuned configuration carried to another budget along the laws that a bound implies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from experiments.transfer_input import TunedPoint, TunedRuns
from theory.bound_library import BOUNDS
from theory.tuning import TunedLaws, derive

_ROUNDING = 1e-12  # of a logarithm


@dataclass(frozen=True)
class Regime:
    """What is tuned, and by which bound.

    Attributes:
        name: what is tuned, in words.
        tuned: variables.
        bound: name in `theory.bound_library`.
        batch_power: power of the budget at which the batch size is held, where it is not tuned.
        without_momentum: whether the law starts from the configuration without momentum.
    """

    name: str
    tuned: tuple[str, ...]
    bound: str
    batch_power: Fraction = Fraction(0)
    without_momentum: bool = False

    @property
    def free_batch(self) -> bool:
        """Whether the user chooses the batch size at the new budget."""
        return "batch_size" not in self.tuned and self.batch_power == 0


@dataclass(frozen=True)
class Moved:
    """A configuration at the new budget.

    Attributes:
        regime: under which.
        learning_rate: eta.
        alpha: 1 - momentum.
        batch_size: B in tokens.
        steps: T / B.
        bound_ratio: leading term of the bound over that at the old budget; None where the start was
            moved to another strategy.
        laws: of the regime, before a constraint stops it.
        events: what stops or limits it, in words.
    """

    regime: Regime
    learning_rate: float
    alpha: float
    batch_size: float
    steps: float
    bound_ratio: float | None
    laws: TunedLaws
    events: tuple[str, ...]


_RATE, _BATCH, _MOMENTUM = "learning_rate", "batch_size", "momentum"
STEPS_HELD = "learning_rate; steps held, square-root rule"
BOTH = "learning_rate, batch_size"
LMO_REGIMES = (
    Regime("learning_rate", (_RATE,), "kovalev"),
    Regime(STEPS_HELD, (_RATE,), "kovalev", Fraction(1)),
    Regime(BOTH, (_RATE, _BATCH), "kovalev"),
    Regime("learning_rate, momentum", (_RATE, _MOMENTUM), "kovalev"),
    Regime("all", (_RATE, _MOMENTUM, _BATCH), "kovalev"),
    Regime("all, sharper bound", (_RATE, _BATCH), "no_momentum", without_momentum=True),
)
# The classical bound ties all batch sizes up to T^(1/2): both ends of the tie stand for it.
SGD_REGIMES = (
    Regime("learning_rate", (_RATE,), "sgd"),
    Regime("learning_rate; steps held", (_RATE,), "sgd", Fraction(1)),
    Regime(BOTH, (_RATE,), "sgd", Fraction(1, 2)),
)


def regimes_of(runs: TunedRuns) -> tuple[Regime, ...]:
    """The regimes that speak for an optimizer."""
    return SGD_REGIMES if runs.geometry == "gradient" else LMO_REGIMES


def transfer(
    runs: TunedRuns, regime: Regime, tokens: float, batch_size: float | None = None
) -> Moved:
    """The configuration at another budget: exponents from the bound, constants from the points.

    With several points the constant of each variable is the least-squares one in its logarithm: the
    geometric mean of what the points predict.

    Args:
        runs: tuned points.
        regime: what is tuned.
        tokens: of the new budget.
        batch_size: at the new budget in tokens, where the regime leaves it to the user.

    Returns:
        The configuration.
    """
    chosen = batch_size or runs.points[0].batch_size
    moves = [_move(point, regime, tokens, chosen, runs.smallest_batch) for point in runs.points]
    first = moves[0]
    rate, alpha, batch = (
        float(np.exp(np.mean([np.log(getattr(move, name)) for move in moves])))
        for name in ("learning_rate", "alpha", "batch_size")
    )
    events = first.events
    steps = tokens / batch
    if steps < 1.0 - _ROUNDING:
        events += (f"a batch is larger than the budget: {steps:.3g} steps, no such run",)
    if batch < runs.smallest_batch * (1.0 - _ROUNDING):
        events += ("a batch is smaller than one sample, no such run",)
    return Moved(regime, rate, alpha, batch, steps, first.bound_ratio, first.laws, events)


def exponents(laws: TunedLaws) -> dict[str, tuple[Fraction, Fraction]]:
    """Exponents in the budget and in a held batch size, by letter, `bound` among them."""
    found = {
        law.variable: (law.exponent or Fraction(0), law.dependence.get("B") or Fraction(0))
        for law in laws.laws
    }
    return found | {"bound": (laws.rate.order, laws.rate.dependence.get("B") or Fraction(0))}


def laws_at(regime: Regime, tuned: Sequence[str], point: TunedPoint) -> TunedLaws:
    """Laws of the tuned variables, the others held where the point has them."""
    hold: dict[str, float | str] = {}
    if _BATCH not in tuned:
        factor = point.batch_size / point.tokens ** float(regime.batch_power)
        power = regime.batch_power
        hold[_BATCH] = f"{factor!r}*T^({power})" if power else point.batch_size
    if _MOMENTUM not in tuned and "alpha" in BOUNDS[regime.bound].names:
        hold["alpha"] = point.alpha
    return derive(BOUNDS[regime.bound], tuned, "tokens", hold)


def _move(
    start: TunedPoint, regime: Regime, tokens: float, chosen: float, smallest: float
) -> Moved:
    """Follows the power laws from the point; a variable that reaches its limit stays there."""
    point, events = _start(start, regime)
    tuned, first, left = list(regime.tuned), laws_at(regime, regime.tuned, point), 1.0
    grown = float(np.log(tokens / point.tokens))
    widened = float(np.log(chosen / point.batch_size)) if regime.free_batch else 0.0
    logs = _logs(point)
    while True:
        speeds = _speeds(regime, laws_at(regime, tuned, point), grown, widened)
        share, stopped = _until_limit(tuned, logs, speeds, float(np.log(smallest)), left)
        logs = {name: value + share * speeds[name] for name, value in logs.items()}
        left -= share
        point = _point_at(logs, tokens * float(np.exp(-left * grown)))
        if not stopped:
            break
        tuned.remove(stopped)
        reached = (
            "momentum reaches 0" if stopped == _MOMENTUM else "the batch is down to one sample"
        )
        events.append(reached if widened else f"{reached} at {point.tokens:.3g} tokens")
    for text in first.active:
        events.append(f"{text} holds with equality at large budgets")
    shifted = regime.without_momentum and start.alpha < 1.0
    ratio = None if shifted else float(np.exp(logs["bound"]))
    eta, alpha, batch = point.learning_rate, point.alpha, point.batch_size
    return Moved(regime, eta, alpha, batch, tokens / batch, ratio, first, tuple(events))


def _start(start: TunedPoint, regime: Regime) -> tuple[TunedPoint, list[str]]:
    """Where the law of the regime starts at the old budget."""
    if regime.without_momentum and start.alpha < 1.0:
        point = without_momentum(start)
        wider = point.batch_size / start.batch_size
        faster = point.learning_rate / start.learning_rate
        return point, [
            "first to momentum 0 at the old budget: "
            f"batch size x {wider:.3g}, learning rate x {faster:.3g}"
        ]
    if _MOMENTUM in regime.tuned and start.alpha == 1.0:
        return start, ["no momentum at the old budget: taken as just reached"]
    return start, []


def _logs(point: TunedPoint) -> dict[str, float]:
    values = {"eta": point.learning_rate, "alpha": point.alpha, "B": point.batch_size}
    return {name: float(np.log(value)) for name, value in values.items()} | {"bound": 0.0}


def _point_at(logs: Mapping[str, float], tokens: float) -> TunedPoint:
    eta, alpha, batch = (float(np.exp(logs[name])) for name in ("eta", "alpha", "B"))
    return TunedPoint(tokens, batch, eta, min(alpha, 1.0))


def _speeds(regime: Regime, laws: TunedLaws, grown: float, widened: float) -> dict[str, float]:
    """Change of all logarithms on the whole way."""
    speeds = {"eta": 0.0, "alpha": 0.0, "B": float(regime.batch_power) * grown + widened}
    for name, (of_budget, of_batch) in exponents(laws).items():
        speeds[name] = float(of_budget) * grown + float(of_batch) * widened
    return speeds


def _until_limit(
    tuned: Sequence[str],
    logs: Mapping[str, float],
    speeds: Mapping[str, float],
    log_smallest: float,
    left: float,
) -> tuple[float, str]:
    """Share of the way until a tuned variable reaches its limit, and which; all of it if none."""
    share, stopped = left, ""
    if _MOMENTUM in tuned and speeds["alpha"] > 0.0:
        reach = -logs["alpha"] / speeds["alpha"]
        if reach < share - _ROUNDING:
            share, stopped = max(reach, 0.0), _MOMENTUM
    if _BATCH in tuned and speeds["B"] < 0.0:
        reach = (log_smallest - logs["B"]) / speeds["B"]
        if reach < share - _ROUNDING:
            share, stopped = max(reach, 0.0), _BATCH
    return share, stopped


def without_momentum(point: TunedPoint) -> TunedPoint:
    """The sharper bound's best configuration of the same budget, if eta and alpha were tuned at B.

    With n = 2 sqrt(alpha/(2-alpha)) and l = 1/2 + 2 (1-alpha)/alpha the bound is
    Delta B/(eta T) + L eta l + rho sigma n/sqrt(B), to leading order. Tuned over eta and alpha, it
    says what rho sigma/sqrt(L Delta) is; with that, over eta and B at alpha = 1,
    B_1/B = -sqrt(2) l'/(sqrt(l) n') and eta_1/eta = sqrt(2 l B_1/B).
    """
    a = point.alpha
    lag, fall = 0.5 + 2.0 * (1.0 - a) / a, 2.0 / a**2
    rise = 2.0 / (np.sqrt(a) * (2.0 - a) ** 1.5)
    wider = float(np.sqrt(2.0) * fall / (np.sqrt(lag) * rise))
    faster = float(np.sqrt(2.0 * lag * wider))
    return TunedPoint(point.tokens, point.batch_size * wider, point.learning_rate * faster, 1.0)


def momentum_limit(runs: TunedRuns, tokens: float) -> float:
    """Batch size in tokens, at the new budget, from which tuned momentum is zero.

    At given batch size alpha ~ B^p T^q: it is one at B_0 (alpha_0 (T/T_0)^q)^(-1/p).
    """
    regime = next(regime for regime in LMO_REGIMES if regime.tuned == (_RATE, _MOMENTUM))
    logs = []
    for point in runs.points:
        of_budget, of_batch = exponents(laws_at(regime, regime.tuned, point))["alpha"]
        alpha = np.log(point.alpha) + float(of_budget) * np.log(tokens / point.tokens)
        logs.append(np.log(point.batch_size) - alpha / float(of_batch))
    return float(np.exp(np.mean(logs)))
