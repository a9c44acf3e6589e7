"""Where a constraint starts to bind as the budget or a held hyperparameter changes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import brentq

from theory.bound_formula import BoundFormula, Range, letter
from theory.checks import check_choice, check_real
from theory.tuned_optimum import optimum
from theory.tuning import laws_of
from theory.tuning_problem import tuning_problem


def threshold(
    bound: BoundFormula,
    tune: Sequence[str],
    limit: str,
    vary: str,
    between: tuple[float, float],
    *,
    amount: float | None = None,
    budget: str = "tokens",
    hold: Mapping[str, float | str] | None = None,
    constants: Mapping[str, float] | None = None,
) -> float:
    """The value of a held variable, or of the budget, at which a limit starts or stops to bind.

    Args:
        bound: a posynomial bound.
        tune: words or letters of the variables to tune.
        limit: which of them reaches an end of its range.
        vary: word or letter of a held variable (the letter alpha, not momentum), or of the budget.
        between: values between which to search.
        amount: of the budget, where it is not varied.
        budget: `tokens`, `steps` or one that the bound brings.
        hold: values of the other variables.
        constants: numbers for the other names.

    Returns:
        The value; at it the optimum without the limit just touches it.

    Raises:
        ValueError: if `limit` has no range, or is free or binding at both ends of `between`.

    Kind: exact, to 1e-10 of the logarithm.
    Valid: one change between the ends (the minimum is unique: a convex program).
    Source: root of the distance of the optimum without the limit, by Brent's method.
    """
    for end in between:
        check_real("between", end, above=0.0)
    name, moved = letter(limit), letter(vary)
    check_choice("limit", name, tuple(map(letter, tune)))
    ends = bound.ranges.get(name, Range())
    if (ends.at_least is None) == (ends.at_most is None):
        raise ValueError(f"`limit`: {limit} must have one end of its range, at_least or at_most.")
    end = ends.at_most if ends.at_least is None else ends.at_least
    assert end is not None
    open_bound = replace(bound, ranges={k: v for k, v in bound.ranges.items() if k != name})
    budget_moves = moved == bound.budgets[budget].name if budget in bound.budgets else False
    if not budget_moves and amount is None:
        raise ValueError("`amount` of the budget must be given where the budget is not varied.")

    def beyond(log_value: float) -> float:
        value = float(np.exp(log_value))
        kept = dict(hold or {}) if budget_moves else {**(hold or {}), moved: value}
        laws = laws_of(tuning_problem(open_bound, tune, budget, kept, constants))
        best = optimum(laws, log_budget=log_value if budget_moves else float(np.log(amount)))  # pyright: ignore
        return float(np.log(best.values[name] / end))

    low, high = np.log(between[0]), np.log(between[1])
    first, last = beyond(low), beyond(high)
    if first * last > 0.0:
        side = "at both ends" if (first > 0.0) == (ends.at_least is None) else "at neither end"
        raise ValueError(f"the limit on {limit} binds {side} of `between`.")
    root = brentq(beyond, low, high, xtol=1e-10)
    assert isinstance(root, float)
    return float(np.exp(root))
