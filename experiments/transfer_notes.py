"""What `quadlaw transfer` says in sentences: limits, disagreements, assumptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.transfer_empirical import disagreements
from experiments.transfer_fit import LEVEL
from theory.bound_library import TIE

if TYPE_CHECKING:
    from experiments.transfer import Transfer


def notes(result: Transfer) -> dict[str, list[str]]:
    """Limits reached, what the points say, disagreements and assumptions, in sentences."""
    start = result.runs.points[0]
    found = {"limits and ties": _limits(result)}
    if len(result.runs.points) > 1:
        found["your points"] = _points(result)
    found["disagreement"] = disagreements(result.moved, result.empirical, start)
    found["assumptions"] = assumptions(result)
    return found


def _limits(result: Transfer) -> list[str]:
    said = [f"{move.regime.name}: {event}." for move in result.moved for event in move.events]
    for move in result.moved:
        if move.laws.rate.order == 0:
            terms = ", ".join(move.laws.rate.terms)
            said.append(f"{move.regime.name}: the bound stops falling, at its term {terms}.")
    if result.momentum_limit is not None:
        limit = result.momentum_limit / result.runs.tokens_per_unit
        said.append(
            f"learning_rate, momentum: from a batch size of {limit:.4g} {result.runs.unit} on the "
            "best momentum is 0 (alpha = 1)."
        )
        said.append(f"to leading order all batch sizes from T^0 to T^1/2 tie. {TIE}")
    else:
        start = result.runs.points[0]
        faster = start.learning_rate * (result.tokens / start.tokens) ** 0.5
        said.append(
            "learning_rate, batch_size: all batch sizes from T^0 to T^1/2 tie (eta ~ B T^-1/2): "
            "the row is the large end, the row `learning_rate` the small one."
        )
        said.append(
            "learning_rate; steps held: the row is the cap eta <= 1/L, which one point does not "
            f"show; as long as eta is below it, eta ~ B T^-1/2 gives {faster:.4g}."
        )
    return said


def _points(result: Transfer) -> list[str]:
    count = len(result.runs.points)
    if not result.lines:
        return [f"{count} points, all at one budget: they fit constants and no exponent."]
    said = ["constants of every regime: geometric mean over the points."]
    if count < 3:
        said.append("2 points give exponents without intervals: too few to reject a regime.")
    names = list(dict.fromkeys(check.regime for check in result.checks))
    lost = [n for n in names if any(c.rejected for c in result.checks if c.regime == n)]
    tested = [
        n for n in names if any(c.verdict == "not rejected" for c in result.checks if c.regime == n)
    ]
    kept = [name for name in tested if name not in lost]
    if lost:
        said.append(f"rejected at {LEVEL:.0%}: {'; '.join(lost)}.")
    if kept:
        said.append(f"not rejected in what could be tested: {'; '.join(kept)}.")
    return said


def assumptions(result: Transfer) -> list[str]:
    """What the numbers rest on."""
    runs = result.runs
    said = [
        "the configuration was tuned, in each row over what the row names, at its own budget.",
        "model size, data and everything not named stay the same.",
        "constant learning rate: a decay to zero may change exponents.",
        "smooth loss, independent noise of bounded variance in each sample.",
        "an upper bound is minimised, to leading order in the budget; the loss itself is not.",
    ]
    if len(runs.points) == 1:
        moved = any(move.bound_ratio is None for move in result.moved)
        but = ", but for the way to momentum 0 in the last row" if moved else ""
        said.insert(0, f"one tuned point: exponents are used, no constant of the bound{but}.")
    if runs.geometry == "gradient":
        said.append("the bound has no momentum: it is held, and eta/(1 - momentum) acts as eta.")
    else:
        said.append("momentum is beta, the share kept: a Scion argument of 0.1 is beta = 0.9.")
    if runs.optimizer in ("adam", "adamw", "lion"):
        said.append(
            f"{runs.optimizer} is treated as a sign method: second moments, epsilon and weight "
            "decay are not in the bound."
        )
    return said
