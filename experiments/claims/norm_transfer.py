"""Claims about norm transfer: the source's own numbers, by the analysis that our runs go through.

The source is Filatov et al. 2025 (arXiv 2510.03871). What compares its numbers with each other is
arithmetic, and says so; what compares them with the derivation is a finding that may disagree.
"""

import numpy as np

from experiments.claims.norm_steps import budget_rows, noiseless_rows, small_batch_rows, tuned_rows
from experiments.compare import Verdict, agree_within, bound_holds, finding_near
from experiments.norm_published import (
    PRINTED_MINIMUM,
    PRINTED_PARABOLA,
    PublishedTable,
    analyse,
)
from theory.parabola import fit_vertex
from theory.plane_fit import PowerFit
from theory.problem import power_law
from theory.published import LAYER_GAINS, LOSS_TABLE, OPTIMAL_LOG2_NORM
from theory.published_laws import LAWS
from theory.small_batch_steps import transfer_exponents

ARITHMETIC = "arithmetic on published numbers: "
PRINTED = 0.005  # of a loss with two decimals
# Pairs that reach the best norm: powers of B and D in the rate, with the source's errors.
NORM_LINE = {"B": (1.32, 0.03), "D": (-0.96, 0.03)}
LARGEST_GAIN = 0.06  # of tuned rates of layers


def norm_transfer(quick: bool) -> list[Verdict]:
    """The source's claims on its own numbers, and the derivation on quadratics."""
    found = analyse()
    return [
        *_table_rows(found),
        *_law_rows(found),
        *_derived_rows(found),
        *budget_rows(),
        *noiseless_rows(),
        *small_batch_rows(quick),
        *tuned_rows(quick),
    ]


def _table_rows(found: PublishedTable) -> list[Verdict]:
    """The 4 x 7 table, and the gains of layers' rates."""
    x = np.linspace(4.0, 10.0, 7)
    vertex = fit_vertex(x, np.polyval(PRINTED_PARABOLA, x), pinned=(0.0, PRINTED_PARABOLA[2]))
    value, error = OPTIMAL_LOG2_NORM
    smallest = np.array(LOSS_TABLE.loss)[:, 0]
    gains = np.array([1 - tuned / equal for _, tuned, equal in LAYER_GAINS])
    return [
        agree_within(
            f"{ARITHMETIC}least loss of each row is at the bold batch size",
            np.log2(LOSS_TABLE.best),
            np.log2(found.best),
            0.5,
            "half a column, an octave wide",
        ),
        agree_within(
            f"{ARITHMETIC}minimum of the printed parabola is the printed loss",
            PRINTED_MINIMUM,
            vertex.value,
            0.02,
            "three printed digits of its coefficients",
        ),
        agree_within(
            f"{ARITHMETIC}mean log2 norm at the best batch is 7.0",
            value,
            found.over_tokens.mean,
            error,
            "printed error",
        ),
        agree_within(
            f"{ARITHMETIC}that norm does not depend on the tokens",
            0.0,
            found.over_tokens.slope,
            2 * found.over_tokens.slope_error,
            "2 standard errors of the slope",
        ),
        bound_holds(
            f"{ARITHMETIC}at the smallest batch 64 times the tokens do not lower the loss",
            smallest[-1] - 2 * PRINTED,  # last digits of both
            smallest[0],
        ),
        agree_within(
            f"{ARITHMETIC}layers' rates 1 : 1/8 : 1 lower the loss by up to 6 %",
            LARGEST_GAIN,
            gains.max(),
            0.005 + 2 * PRINTED / min(equal for *_, equal in LAYER_GAINS),
            "last digits of the gain and of both losses",
        ),
    ]


def _ratio(above: tuple[float, float], below: tuple[float, float]) -> tuple[float, float]:
    """Quotient of two numbers with independent errors, and its error."""
    value = above[0] / below[0]
    return value, abs(value) * float(np.hypot(above[1] / above[0], below[1] / below[0]))


def _line_of_norm(fit: PowerFit) -> tuple[float, float]:
    """Power of D in the batch along which a law keeps its value, and its error."""
    power, error = _ratio(*((fit.exponents[name], fit.errors[name]) for name in "DB"))
    return -power, error


def _law_rows(found: PublishedTable) -> list[Verdict]:
    """Published laws against each other and against the table."""
    rate, batch, best = (
        LAWS[f"filatov{name}"] for name in (".learning_rate", ".batch_size", "_best.learning_rate")
    )
    grown, own = (batch.exponents["D"], batch.errors["D"]), found.batch_law
    # Where the tuned rate has the best norm: both laws for the rate at once.
    apart = {
        name: (rate.exponents[name] - power, float(np.hypot(rate.errors[name], error)))
        for name, (power, error) in NORM_LINE.items()
    }
    meet, meet_error = _ratio(apart["D"], apart["B"])
    kept, kept_error = _line_of_norm(found.norm_law)
    both = "2 standard errors of both"
    return [
        agree_within(
            f"{ARITHMETIC}B* ~ D^r of the table's parabolas and the printed 0.45",
            grown[0],
            own.exponents["D"],
            2 * np.hypot(own.errors["D"], grown[1]),
            both,
        ),
        agree_within(
            f"{ARITHMETIC}eta* ~ D^(p r + q) at the best batch: printed laws and the printed -0.28",
            best.exponents["D"],
            rate.exponents["B"] * grown[0] + rate.exponents["D"],
            best.errors["D"],
            "printed error",
        ),
        agree_within(
            f"{ARITHMETIC}rates of the best norm (1.32, -0.96) meet the tuned ones on B* ~ D^0.45",
            grown[0],
            -meet,
            2 * np.hypot(meet_error, grown[1]),
            both,
        ),
        agree_within(
            f"{ARITHMETIC}along that line the table's norms are constant",
            -meet,
            kept,
            2 * np.hypot(meet_error, kept_error),
            both,
        ),
    ]


def _derived_rows(found: PublishedTable) -> list[Verdict]:
    """Published exponents against those derived for small batches, at a = b."""
    derived = transfer_exponents(power_law(1.5, 1.5, 1e6))
    rows: list[Verdict] = []
    for key, horizons in (("filatov", 4), ("filatov_9", 9)):
        law = LAWS[f"{key}.learning_rate"]
        for name, power, label in (
            ("B", derived.rate_batch, "eta* ~ B^p"),
            ("D", derived.rate_tokens, "eta* ~ D^q"),
        ):
            value, error = law.exponents[name], law.errors[name]
            rows.append(
                finding_near(
                    f"{label}: published {value:g} +- {error:g} ({horizons} horizons) against the "
                    f"derived {power:g}",
                    value,
                    power,
                    2 * error,
                    "2 printed standard errors",
                )
            )
    rate, batch, norm = LAWS["filatov.learning_rate"], LAWS["filatov.batch_size"], found.norm_law
    return [
        *rows,
        finding_near(
            "B* ~ D^r: published 0.45 +- 0.066 against the derived 0.5",
            batch.exponents["D"],
            derived.batch_tokens,
            2 * batch.errors["D"],
            "2 printed standard errors",
        ),
        finding_near(
            "derived r = -q for any power law: published 0.45 and -0.56",
            batch.exponents["D"],
            -rate.exponents["D"],
            2 * float(np.hypot(rate.errors["D"], batch.errors["D"])),
            "2 standard errors of both",
        ),
        finding_near(
            "norm ~ B^x at given tokens, rate tuned: published table against the derived 0",
            norm.exponents["B"],
            0.0,
            2 * norm.errors["B"],
            "2 standard errors",
        ),
    ]
