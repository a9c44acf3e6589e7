"""Published findings on quantization after training, checked on a product of matrices.

The source is Vlassis et al. 2025 (arXiv 2509.23500): language models of up to 1.5 billion
parameters, of which a product of three small matrices says nothing. Study `ptq` goes through all
findings, on a language model too, and has those that need one: errors dip at RMS norms.
"""

from dataclasses import replace

import numpy as np

from experiments.compare import Verdict, agree_within, bound_holds
from experiments.progress import Progress
from experiments.ptq_analysis import (
    BITS,
    carried_share,
    correlations,
    gain_parts,
    mean_gain,
    optimizer_ranks,
    rate_trends,
)
from experiments.studies.ptq import PtqConfig, compute
from theory.published_quantization import PTQ_CORRELATIONS


def findings(quick: bool) -> list[Verdict]:
    """What is published as a finding, where it is seen here, and its contrary where that is."""
    config = PtqConfig(
        networks=("linear",),
        depth=3,
        steps=200,
        every=10,
        rates=5,
        seeds=3,
        evaluation=512,
        bits=(BITS,),
    )
    if quick:
        config = replace(config, methods=("adamw", "muon", "shampoo"), rates=4, seeds=2)
    dataset = compute(config, Progress())
    here, found = dataset.sel(network="linear"), correlations(dataset)
    error, ratio = found["linear", "relative_error"], found["linear", "max_to_median"]
    published = PTQ_CORRELATIONS
    first, _, share = gain_parts(here)
    gain = optimizer_ranks(mean_gain(here))
    outliers = optimizer_ranks(here.max_to_median.mean("between"))
    name = f"product of matrices, {BITS} bits after training: "
    return [
        agree_within(
            name + "cost follows the last relative error, as published",
            published.relative_error,
            error.value,
            1 + published.relative_error,
            "distance of the published value from -1",
        ),
        bound_holds(
            name + "MMR's correlation with less cost is below the published one (95 %)",
            published.max_to_median,
            ratio.high,
        ),
        bound_holds(
            name + "MMR grows with the rate in the mean over optimizers (published: for all)",
            np.mean(list(rate_trends(here).values())),
            0.0,
        ),
        bound_holds(
            name + "muon's MMR is not the lowest, though published: adamw's is lower",
            outliers["muon"],
            outliers["adamw"],
        ),
        bound_holds(
            name + "muon's linear gain is above adamw's, as published", gain["muon"], gain["adamw"]
        ),
        bound_holds(
            name + "muon's linear gain is not the highest, though published: shampoo's is higher",
            gain["shampoo"],
            gain["muon"],
        ),
        agree_within(name + "G_1 is about 1, as published", 1.0, first, 0.1, "a tenth"),
        agree_within(
            name + "G_2 decides, as published: share of log G", 1.0, share, 0.1, "a tenth"
        ),
        agree_within(
            name + "A is above B and C, as published: share of later layers",
            1.0,
            carried_share(here),
            0.1,
            "a tenth",
        ),
    ]
