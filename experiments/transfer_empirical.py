"""Published laws applied to the same transfer, next to the derived ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from experiments.transfer_input import TunedPoint, TunedRuns
from experiments.transfer_regimes import BOTH, Moved, exponents
from theory.published_laws import LAWS, PublishedLaw, published_ratio, published_value

# Law, record of the learning rate, record of the batch size, regime that answers the same question.
_LAWS = (
    ("Step Law", "step_law.learning_rate", "step_law.batch_size", BOTH),
    ("DeepSeek", "deepseek.learning_rate", "deepseek.batch_size", BOTH),
    ("Filatov", "filatov_best.learning_rate", "filatov.batch_size", BOTH),
    ("Filatov, batch held", "filatov.learning_rate", "", "learning_rate"),
    ("Filatov, batch held, 9 horizons", "filatov_9.learning_rate", "", "learning_rate"),
    ("Bjorck et al.", "bjorck.learning_rate", "", "learning_rate"),
    ("Power Lines", "", "power_lines.batch_size", BOTH),
    ("critical batch", "", "critical.batch_size", BOTH),
)
_UNCHANGED = 1e-9  # logarithms of factors below which nothing changes


@dataclass(frozen=True)
class Predicted:
    """What a published law makes of one quantity of the tuned point.

    Attributes:
        value: the tuned value times the law's ratio; batch sizes in tokens.
        factor: that ratio.
        error: standard error of the factor's logarithm from the printed exponents; 0 if not known.
        of_tokens: exponent of the tokens at given model size.
        over_derived: value over that of the regime compared with.
        absolute: value without the tuned point, where the law has a constant and N is known.
        law: the record.
    """

    value: float
    factor: float
    error: float
    of_tokens: float
    over_derived: float
    absolute: float | None
    law: PublishedLaw


@dataclass(frozen=True)
class Empirical:
    """A published law at the new budget.

    Attributes:
        name: of the law.
        compared: regime that answers the same question.
        learning_rate: its prediction, or None.
        batch_size: its prediction, or None.
    """

    name: str
    compared: str
    learning_rate: Predicted | None
    batch_size: Predicted | None


def empirical_laws(runs: TunedRuns, moved: Sequence[Moved], tokens: float) -> tuple[Empirical, ...]:
    """All published laws, each next to the regime that answers the same question.

    Args:
        runs: tuned points; ratios start from the first.
        moved: the regimes' configurations.
        tokens: of the new budget.

    Returns:
        One entry a law.
    """
    point, by_name = runs.points[0], {move.regime.name: move for move in moved}
    found = []
    for name, rate, batch, compared in _LAWS:
        move = by_name[compared]
        ratios = {"D": tokens / point.tokens, "B": move.batch_size / point.batch_size}
        values = {"D": tokens} | ({"N": runs.parameters} if runs.parameters else {})
        found.append(
            Empirical(
                name,
                compared,
                _predicted(rate, point, ratios, values, move) if rate else None,
                _predicted(batch, point, ratios, values, move) if batch else None,
            )
        )
    return tuple(found)


def _predicted(
    key: str,
    point: TunedPoint,
    ratios: Mapping[str, float],
    values: Mapping[str, float],
    move: Moved,
) -> Predicted:
    law = LAWS[key]
    factor, error = published_ratio(law, ratios)
    value = factor * getattr(point, law.quantity)
    # Batch sizes of laws in samples cannot be read off: a sample there is not one here.
    readable = law.absolute and "samples" not in law.unit
    if not readable or ("N" not in values and {"N", "C"} & set(law.exponents)):
        absolute = None
    else:
        absolute = published_value(law, values)
    of_tokens = law.exponents.get("D", 0.0) + law.exponents.get("C", 0.0)
    over = value / getattr(move, law.quantity)
    return Predicted(value, factor, error, of_tokens, over, absolute, law)


def disagreements(
    moved: Sequence[Moved], laws: Sequence[Empirical], start: TunedPoint
) -> list[str]:
    """Where regimes and published laws part, in words with numbers."""
    said = [_spread("derived learning rates", [move.learning_rate for move in moved], "")]
    said.append(_spread("derived batch sizes", [move.batch_size for move in moved], " tokens"))
    by_name = {move.regime.name: move for move in moved}
    for law in laws:
        if law.learning_rate is None:
            continue
        factor = law.learning_rate.factor
        derived = by_name[law.compared].learning_rate / start.learning_rate
        apart = max(factor / derived, derived / factor)
        signs = np.log(factor) * np.log(derived)
        if signs < -_UNCHANGED or (factor > 1.0 and signs < _UNCHANGED):
            how = "opposite signs" if signs < -_UNCHANGED else "no change there"
            said.append(
                f"{law.name} multiplies the learning rate by {factor:.3g} "
                f"(D^{law.learning_rate.of_tokens:+.3g}), the bound tuned over {law.compared} by "
                f"{derived:.3g}: {how}, a factor {apart:.3g} apart."
            )
    return said + [text for law in laws for text in _printed(law, by_name[law.compared])]


def _printed(law: Empirical, move: Moved) -> list[str]:
    """Printed exponents with errors against the derived ones."""
    powers, said = exponents(move.laws), []
    for letter, found in (("eta", law.learning_rate), ("B", law.batch_size)):
        if found is None or letter not in powers:
            continue
        derived: dict[str, Fraction] = dict(zip("DB", powers[letter], strict=True))
        for name, error in found.law.errors.items():
            power = found.law.exponents[name]
            away = abs(power - float(derived[name])) / error
            said.append(
                f"{law.name}: {letter} ~ {name}^({power:g} +- {error:g}), derived "
                f"{derived[name]}, {away:.1f} standard errors away."
            )
    return said


def _spread(what: str, values: Sequence[float], unit: str) -> str:
    low, high = min(values), max(values)
    return f"{what} range from {low:.4g} to {high:.4g}{unit}, a factor {high / low:.3g}."
