"""`quadlaw derive` for bounds that are no posynomials: exponents fitted to numeric optima."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from experiments.errors import UserError
from experiments.tables import Table
from theory.bound_formula import WORDS, letter
from theory.checks import check_real
from theory.lmo_bound_variants import frank_wolfe_bound, kl_bound, star_convex_bound
from theory.lmo_bounds import Bound, sharper_bound
from theory.lmo_constants import bound_constants
from theory.numeric_tuning import FittedExponent, numeric_exponents, numeric_optimum

BUDGETS = (1e12, 1e18, 1e24, 1e30)


@dataclass(frozen=True)
class NumericBound:
    """A bound by name that only numbers can tune.

    Attributes:
        bound: of constants, learning rate, alpha, batch size and steps.
        extra: its further numbers, and their values where none are given.
        source: where it is from.
    """

    bound: Callable[..., Bound]
    extra: Mapping[str, float]
    source: str


NUMERIC: dict[str, NumericBound] = {
    "sharper": NumericBound(sharper_bound, {}, "the five-term bound with the factors of its proof"),
    "frank_wolfe_exact": NumericBound(
        frank_wolfe_bound, {"weight_decay": 0.1}, "Frank-Wolfe gap with weight decay"
    ),
    "kl": NumericBound(
        kl_bound, {"weight_decay": 0.1, "kl_constant": 1.0}, "mu-KL condition with weight decay"
    ),
    "star_convex": NumericBound(
        star_convex_bound, {"weight_decay": 0.1}, "star-convex loss with weight decay"
    ),
}
_CONSTANTS = {"Delta": 1.0, "L": 1.0, "rho": 1.0, "sigma": 1.0}


def numeric_tables(
    name: str,
    tune: Sequence[str],
    budget: str,
    hold: Mapping[str, float | str],
    constants: Mapping[str, float],
    at: Sequence[float],
) -> list[Table]:
    """Fitted exponents, and optima at the budgets asked for.

    Args:
        name: key of `NUMERIC`.
        tune: words or letters.
        budget: `tokens`.
        hold: numbers by word or letter.
        constants: Delta, L, rho, sigma and the further numbers of the bound.
        at: budgets.

    Returns:
        One or two tables.

    Raises:
        UserError: for a budget, a constant or a held value that such a bound does not take.
        ValueError: if a number is outside its domain.
    """
    stated = NUMERIC[name]
    if budget != "tokens":
        raise UserError(f"{name} is tuned numerically, at a budget of tokens only, got {budget!r}.")
    numbers = _CONSTANTS | dict(stated.extra)
    for key in constants:
        if key not in numbers:
            raise UserError(f"{name} has no constant {key!r}; it has {', '.join(numbers)}.")
    numbers |= constants
    for key in stated.extra:
        check_real(key, numbers[key], above=0.0)
    function = _function(stated, numbers)
    most = 1 / numbers["weight_decay"] if "weight_decay" in numbers else float("inf")
    kept = {letter(key): _held(key, value) for key, value in hold.items()}
    exponents = numeric_exponents(function, tune, BUDGETS, kept, most)
    tables = [_exponent_table(name, stated, exponents, kept)]
    if at:
        found = [numeric_optimum(function, tune, amount, kept, most) for amount in at]
        names = ("eta", "alpha", "B", "K")
        rows = tuple(
            (
                f"{best.tokens:g}",
                *(float(best.values[n]) for n in names),
                best.bound,
                ", ".join(WORDS[limit] for limit in best.at_limit) or "-",
            )
            for best in found
        )
        columns = ("tokens", *(WORDS[n] for n in names), "bound", "at a limit")
        tables.append(Table("numeric optimum", columns, rows))
    return tables


def _function(stated: NumericBound, numbers: Mapping[str, float]) -> Callable:
    extra = {key: numbers[key] for key in stated.extra}
    problem = bound_constants(*(numbers[key] for key in _CONSTANTS))
    return lambda v: stated.bound(problem, v["eta"], v["alpha"], v["B"], v["K"], **extra).total


def _held(name: str, value: float | str) -> float:
    if isinstance(value, str):
        raise UserError(f"--hold {name} must be a number for a numeric bound, got {value!r}.")
    return 1.0 - value if name == "momentum" else value


def _exponent_table(
    name: str,
    stated: NumericBound,
    exponents: Mapping[str, FittedExponent],
    hold: Mapping[str, float],
) -> Table:
    rows = tuple(
        (
            WORDS.get(key, key),
            f"T^({law.value:.4f} +- {law.error:.1g})",
            law.constant if law.error < 0.01 else "-",
        )
        for key, law in exponents.items()
    )
    note = (
        f"{stated.source}; no posynomial: exponents are slopes between numeric optima at T = "
        f"{BUDGETS[0]:g} .. {BUDGETS[-1]:g}, extrapolated once in 1/log T; nothing here is exact"
    )
    if hold:
        held = ", ".join(f"{WORDS.get(key, key)} = {value:g}" for key, value in hold.items())
        note = f"held: {held}; {note}"
    columns = ("tuned", "scales as", "constant")
    return Table(f"{name}: hyperparameters against tokens, fitted", columns, rows, note)
