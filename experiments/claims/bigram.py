"""Claims on real text."""

import numpy as np

from experiments.compare import Verdict, agree_within, relative_within
from experiments.progress import Progress
from experiments.studies.bigram import BigramConfig, compute, prediction_error


def real_text(quick: bool) -> list[Verdict]:
    """GD on the bigram model of the standard library's sources."""
    del quick  # the small preset takes a second
    dataset = compute(BigramConfig.quick(), Progress())
    return [
        relative_within(
            "bigram: exact curve equals simulated GD on real text",
            dataset.exact_at_steps.values,
            dataset.simulated_loss.values,
            1e-12,
            "rounding",
        ),
        agree_within(
            "bigram: two fitted exponents predict log excess loss down to a tenth",
            0.0,
            prediction_error(dataset),
            np.log(1.25),
            "25 % model error, the text is no exact power law",
        ),
    ]
