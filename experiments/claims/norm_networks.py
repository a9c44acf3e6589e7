"""Rows about norm transfer in small language models: what agrees with the source, what does not.

Runs on the standard library's sources, some minutes of one core: not among the quick claims.
"""

import numpy as np
import xarray as xr

from experiments.compare import Verdict, agree_within, bound_holds
from experiments.norm_config import NormRunsConfig
from experiments.norm_laws import budget_share, constancies, fitted_laws
from experiments.norm_optima import cell_optima, joint_optima
from experiments.norm_runs import network_runs
from experiments.progress import Progress
from theory.norm_transfer import norm_limit
from theory.published_laws import LAWS

CONFIG = NormRunsConfig(
    methods=("scion", "scion_constrained", "adamw"),
    widths=(),
    batches=(128, 256, 512, 1024, 2048),
    tokens=(2**13, 2**14, 2**15, 2**16),
)
MAIN = {"method": "scion", "width": CONFIG.width}
ROUNDING = 1e-3  # of norms of single-precision weights after some hundred steps


def network_rows() -> list[Verdict]:
    """Trains the models and states what their optima do."""
    runs = network_runs(CONFIG, Progress())
    cells = cell_optima(runs)
    joint = joint_optima(cells)
    laws = fitted_laws(cells, joint)
    power = {law: float(laws.exponent.sel(MAIN | {"law": law})) for law in laws["law"].values}
    adam = laws.exponent.sel(MAIN | {"method": "adamw"})
    norm = constancies(joint).constancy.sel(MAIN | {"layer": "output"})
    share = budget_share(cells, start=1.0).sel(MAIN)
    return [
        agree_within(
            "language models, Scion: B* ~ D^r against the published 0.45",
            LAWS["filatov.batch_size"].exponents["D"],
            power["r"],
            2 * LAWS["filatov.batch_size"].errors["D"],
            "2 printed standard errors",
        ),
        agree_within(
            "language models, AdamW: eta* ~ B^(1/2) at given tokens",
            0.5,
            float(adam.sel(law="p")),
            0.15,
            "three tenths of the exponent",
        ),
        bound_holds(
            "language models, Scion, not as derived for small batches nor as published: eta* ~ B^p "
            "with p above 0.75",
            power["p"],
            0.75,
        ),
        bound_holds(
            "language models, Scion, not as published: the norm at the best rate and batch grows "
            "with the tokens, exponent above 0.2",
            float(norm.sel(number="slope")),
            0.2,
        ),
        bound_holds(
            "and scatters over budgets by more than the published 0.2",
            float(norm.sel(number="scatter")),
            0.2,
        ),
        bound_holds(
            "because its longest row goes straight ahead: the norm uses 0.6 of its budget or more",
            share.values[np.isfinite(share.values)],
            0.6,
        ),
        _limits(runs),
    ]


def _limits(runs: xr.Dataset) -> Verdict:
    """No norm beyond what its steps can reach, free and in the ball."""
    limits, norms = [], []
    steps = (runs.tokens / runs.batch).transpose("batch", "tokens").values[:, None]
    rates = runs.rate.values[:, None]
    for method, decay in (("scion", 0.0), ("scion_constrained", CONFIG.weight_decay)):
        seen = runs["norm"].sel(MAIN | {"method": method, "layer": "output"})
        seen = seen.transpose("batch", "rate", "tokens").values
        known = np.isfinite(seen)
        limit = np.asarray(norm_limit(rates, steps, 1.0, decay))
        limits.append(np.broadcast_to(limit, seen.shape)[known])
        norms.append(seen[known])
    return bound_holds(
        "language models, Scion free and constrained: no output norm is beyond its budget",
        np.concatenate(limits) * (1 + ROUNDING),
        np.concatenate(norms),
    )
