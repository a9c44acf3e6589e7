"""Claims about norm transfer: the source's own numbers, by the analysis that our runs go through.

Where the table disagrees with what is derived the row says so: it states the disagreement, and by
how much.
"""

import numpy as np

from experiments.claims.norm_networks import network_rows
from experiments.claims.norm_steps import budget_rows, noiseless_rows, small_batch_rows, tuned_rows
from experiments.compare import Verdict, agree_within, bound_holds
from experiments.norm_published import (
    PRINTED_MINIMUM,
    PRINTED_PARABOLA,
    PublishedTable,
    analyse,
)
from theory.parabola import fit_vertex
from theory.problem import power_law
from theory.published import LOSS_TABLE, OPTIMAL_LOG2_NORM
from theory.published_laws import LAWS
from theory.small_batch_steps import transfer_exponents


def norm_transfer(quick: bool) -> list[Verdict]:
    """The source's claims on its own numbers, the derivation on quadratics, and language models.

    The models are trained for the full table only.
    """
    found = analyse()
    return [
        *_table_rows(found),
        *_exponent_rows(found),
        *budget_rows(),
        *noiseless_rows(),
        *small_batch_rows(quick),
        *tuned_rows(quick),
        *([] if quick else network_rows()),
    ]


def _table_rows(found: PublishedTable) -> list[Verdict]:
    """The 4 x 7 table."""
    x = np.linspace(4.0, 10.0, 7)
    vertex = fit_vertex(x, np.polyval(PRINTED_PARABOLA, x), pinned=(0.0, PRINTED_PARABOLA[2]))
    value, error = OPTIMAL_LOG2_NORM
    smallest = np.array(LOSS_TABLE.loss)[:, 0]
    return [
        agree_within(
            "published table: least loss of each row is at the bold batch size",
            np.log2(LOSS_TABLE.best),
            np.log2(found.best),
            0.5,
            "half a column, an octave wide",
        ),
        agree_within(
            "published table: minimum of the printed parabola is the printed loss",
            PRINTED_MINIMUM,
            vertex.value,
            0.02,
            "three printed digits of its coefficients",
        ),
        agree_within(
            "published table: mean log2 norm at the best batch is 7.0",
            value,
            found.over_tokens.mean,
            error,
            "printed error",
        ),
        agree_within(
            "published table: that norm does not depend on the tokens",
            0.0,
            found.over_tokens.slope,
            2 * found.over_tokens.slope_error,
            "2 standard errors of the slope",
        ),
        bound_holds(
            "published table: at the smallest batch 64 times the tokens lower the loss by 0.02 at "
            "most",
            0.02,
            smallest[0] - smallest.min(),
        ),
        bound_holds(
            "published table, not as derived for small batches: with the rate tuned the norm falls "
            "with B at given tokens, exponent below -0.2",
            -0.2,
            found.norm_law.exponents["B"],
        ),
    ]


def _exponent_rows(found: PublishedTable) -> list[Verdict]:
    """Published exponents against each other and against those derived."""
    rate, batch, best = (
        LAWS[f"filatov{name}"] for name in (".learning_rate", ".batch_size", "_best.learning_rate")
    )
    derived = transfer_exponents(power_law(1.5, 1.5, 1e6))
    by_batch, by_tokens, grown = rate.exponents["B"], rate.exponents["D"], batch.exponents["D"]
    own = found.batch_law
    return [
        agree_within(
            "B* ~ D^r: the table's parabolas against the published 0.45",
            grown,
            own.exponents["D"],
            2 * np.hypot(own.errors["D"], batch.errors["D"]),
            "2 standard errors",
        ),
        agree_within(
            "B* ~ D^r: the table's parabolas against the derived 1/2 (a = b)",
            derived.batch_tokens,
            own.exponents["D"],
            2 * own.errors["D"],
            "2 standard errors",
        ),
        agree_within(
            "eta* ~ B^p: published 0.62 against the derived 1/2",
            derived.rate_batch,
            by_batch,
            3 * rate.errors["B"],
            "3 standard errors",
        ),
        bound_holds(
            "eta* ~ B^p: published 0.62 is above the derived 1/2 by more than 2 standard errors",
            by_batch - 2 * rate.errors["B"],
            derived.rate_batch,
        ),
        agree_within(
            "eta* ~ D^q: published -0.56 against the derived -1/2 (a = b)",
            derived.rate_tokens,
            by_tokens,
            2 * rate.errors["D"],
            "2 standard errors",
        ),
        agree_within(
            "derived q = -r for any power law: published -0.56 and 0.45",
            -grown,
            by_tokens,
            2 * np.hypot(rate.errors["D"], batch.errors["D"]),
            "2 standard errors",
        ),
        agree_within(
            "eta* ~ D^(p r + q) at the best batch: published laws against the published -0.28",
            best.exponents["D"],
            by_batch * grown + by_tokens,
            best.errors["D"],
            "printed error",
        ),
    ]
