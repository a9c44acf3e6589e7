"""Published laws of learning rate and batch size, as data with source and confidence.

The measurements behind one of them: `theory.published`.

Letters: N parameters, D training tokens, B batch size, C training FLOP. How a number is known:
`paper` read in the paper itself, `digest` read in somebody else's account of it, `memory` not
verified. A law of unknown constant, or of unknown unit, is good for ratios only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from theory.checks import check_real

KNOWN = ("paper", "digest", "memory")
_NORM_TRANSFER = "Filatov et al. 2025 (arXiv 2510.03871 v1) section 4"


@dataclass(frozen=True)
class PublishedLaw:
    """A law quantity = constant * product of variables^exponent.

    Attributes:
        name: of the law, for tables.
        quantity: `learning_rate` or `batch_size`.
        exponents: by letter N, D, B or C.
        unit: of the quantity; of B too where B is a variable. `unknown` if not recovered.
        known: how the exponents are known, one of `KNOWN`.
        source: where they are printed.
        setting: optimizer and what was tuned or held, as far as known.
        errors: printed standard errors of exponents, by letter; missing where none is printed.
        constant: the factor, or None.
        constant_known: how the constant is known; empty without one.
        gap: what is not known of it.
    """

    name: str
    quantity: str
    exponents: Mapping[str, float]
    unit: str
    known: str
    source: str
    setting: str
    errors: Mapping[str, float] = field(default_factory=dict)
    constant: float | None = None
    constant_known: str = ""
    gap: str = ""

    @property
    def absolute(self) -> bool:
        """Whether it gives a value and not only ratios."""
        return self.constant is not None and self.unit != "unknown"


_SCION = "Scion, no momentum, constant learning rate, fixed model size"
_STEP_LAW = "Step Law, Li et al. 2025 (arXiv 2503.04715)"
_DEEPSEEK = "DeepSeek LLM 2024 (arXiv 2401.02954)"
_COMPUTE = "C there counts non-embedding FLOP a token times tokens; 6 N D is close for large models"

LAWS: Mapping[str, PublishedLaw] = {
    "filatov.learning_rate": PublishedLaw(
        "Filatov at given B",
        "learning_rate",
        {"B": 0.62, "D": -0.56},
        "samples",
        "paper",
        _NORM_TRANSFER,
        f"{_SCION}; 4 horizons, R^2 0.92",
        {"B": 0.05, "D": 0.05},
        2.0**9.8,
        "paper",
        "the constant's logarithm to base 2 is 9.8 +- 1.6",
    ),
    "filatov_9.learning_rate": PublishedLaw(
        "Filatov at given B, 9 horizons",
        "learning_rate",
        {"B": 0.55, "D": -0.53},
        "samples",
        "paper",
        _NORM_TRANSFER,
        f"{_SCION}; R^2 0.94",
        {"B": 0.03, "D": 0.02},
        2.0**9.1,
        "paper",
        "the constant's logarithm to base 2 is 9.1 +- 0.77",
    ),
    "filatov.batch_size": PublishedLaw(
        "Filatov",
        "batch_size",
        {"D": 0.450},
        "samples",
        "paper",
        _NORM_TRANSFER,
        f"{_SCION}; 9 horizons, R^2 0.868",
        {"D": 0.066},
        0.009,
        "paper",
        "the constant is 0.009 +- 0.013: of the right order at best",
    ),
    "filatov_best.learning_rate": PublishedLaw(
        "Filatov",
        "learning_rate",
        {"D": -0.28},
        "1",
        "paper",
        _NORM_TRANSFER,
        f"{_SCION}; batch size tuned too",
        {"D": 0.07},
        gap="no constant is printed",
    ),
    "step_law.learning_rate": PublishedLaw(
        "Step Law",
        "learning_rate",
        {"N": -0.713, "D": 0.307},
        "1",
        "digest",
        _STEP_LAW,
        "AdamW, peak rate of a decaying schedule, batch size tuned too; 215M to 1.1B parameters",
        constant=1.79,
        constant_known="digest",
        gap="N without embeddings",
    ),
    "step_law.batch_size": PublishedLaw(
        "Step Law",
        "batch_size",
        {"D": 0.571},
        "tokens",
        "digest",
        _STEP_LAW,
        "as its learning rate",
        constant=0.58,
        constant_known="digest",
    ),
    "bjorck.learning_rate": PublishedLaw(
        "Bjorck et al.",
        "learning_rate",
        {"N": -0.23, "D": -0.32},
        "1",
        "digest",
        "Bjorck et al. 2024 (arXiv 2409.19913)",
        "Adam type; that the batch size was held while D grew is memory",
        gap="no constant recovered",
    ),
    "deepseek.learning_rate": PublishedLaw(
        "DeepSeek",
        "learning_rate",
        {"C": -0.1250},
        "1",
        "digest",
        _DEEPSEEK,
        "AdamW, batch size tuned too, size and tokens grow together",
        constant=0.3118,
        constant_known="memory",
        gap=_COMPUTE,
    ),
    "deepseek.batch_size": PublishedLaw(
        "DeepSeek",
        "batch_size",
        {"C": 0.3271},
        "tokens",
        "digest",
        _DEEPSEEK,
        "as its learning rate",
        constant=0.2920,
        constant_known="memory",
        gap=_COMPUTE,
    ),
    "power_lines.batch_size": PublishedLaw(
        "Power Lines",
        "batch_size",
        {"D": 0.383},
        "unknown",
        "digest",
        "Power Lines 2025 (arXiv 2505.13738), as nanochat's notes quote it",
        "AdamW; weight decay, not learning rate, carries the change of timescale",
        gap="constant and unit not recovered",
    ),
    "critical.batch_size": PublishedLaw(
        "critical batch",
        "batch_size",
        {"D": 0.47},
        "unknown",
        "memory",
        "Zhang et al. 2024 (arXiv 2410.21676)",
        "a critical batch, where larger batches stop to save steps: not an optimum",
        constant=22.91,
        constant_known="memory",
        gap="unit of the constant not recovered",
    ),
}


def published_value(law: PublishedLaw, values: Mapping[str, float]) -> float:
    """Constant * product of variables^exponent.

    Args:
        law: with a constant and a known unit.
        values: of N, D, B (in the law's unit), C by letter; C = 6 N D where it is not given.

    Returns:
        The quantity, in the law's unit.

    Raises:
        ValueError: if the law gives ratios only or a variable is missing.

    Kind: fit.
    Valid: near the runs it was fitted to, see `setting`.
    Source: the law's.
    """
    if not law.absolute or law.constant is None:
        raise ValueError(f"the {law.quantity} law of {law.name} gives ratios only: {law.gap}.")
    given = dict(values)
    if "C" in law.exponents and "C" not in given and {"N", "D"} <= set(given):
        given["C"] = 6.0 * given["N"] * given["D"]
    return law.constant * _product(law, given)


def published_ratio(law: PublishedLaw, ratios: Mapping[str, float]) -> tuple[float, float]:
    """Factor by which the quantity changes, and the standard error of its logarithm.

    Args:
        law: any.
        ratios: new over old value of N, D, B, C by letter; N stays where it is not given, and C
            changes like N D.

    Returns:
        (factor, error): the error is that of the printed exponents, taken as independent; zero
        where none is printed.

    Raises:
        ValueError: if a ratio that the law needs is missing or not positive.

    Kind: fit.
    Valid: near the runs it was fitted to, see `setting`.
    Source: the law's; error of a sum of independent errors.
    """
    given = {"N": 1.0, **ratios}
    if "C" not in given and "D" in given:
        given["C"] = given["N"] * given["D"]
    factor = _product(law, given)
    parts = [error * np.log(given[name]) for name, error in law.errors.items()]
    return factor, float(np.sqrt(np.sum(np.square(parts))))


def _product(law: PublishedLaw, values: Mapping[str, float]) -> float:
    missing = [name for name in law.exponents if name not in values]
    if missing:
        raise ValueError(f"the {law.quantity} law of {law.name} needs {', '.join(missing)}.")
    for name in law.exponents:
        check_real(name, values[name], above=0.0)
    logs = [power * np.log(values[name]) for name, power in law.exponents.items()]
    return float(np.exp(np.sum(logs)))
