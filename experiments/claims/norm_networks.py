"""Published claims on norm transfer, tested on small language models of ours.

The source is Filatov et al. 2025 (arXiv 2510.03871): models of 69 million parameters and more. The
models here are trained on the standard library's sources; they agree or disagree, and neither says
that the source is wrong. Runs over batches and budgets take minutes of one core and are not among
the quick claims.
"""

import numpy as np
import xarray as xr

from experiments.compare import Verdict, bound_holds, finding_above, finding_below, finding_near
from experiments.norm_config import NormRunsConfig
from experiments.norm_laws import constancies, fitted_laws
from experiments.norm_optima import cell_optima, joint_optima
from experiments.norm_runs import Material, network_runs, prepare, train
from experiments.progress import Progress
from simulate.grouped import scion
from simulate.role_norms import ROLES
from simulate.schedules import Scheduled, warmup_stable_decay
from theory.norm_transfer import norm_limit
from theory.published import LAYER_RATES, OPTIMAL_LOG2_NORM
from theory.published_laws import LAWS

CONFIG = NormRunsConfig(
    methods=("scion", "scion_constrained", "adamw"),
    widths=(),
    batches=(128, 256, 512, 1024, 2048),
    tokens=(2**13, 2**14, 2**15, 2**16),
)
MAIN = {"method": "scion", "width": CONFIG.width}
ROUNDING = 1e-3  # of norms of single-precision weights after some hundred steps
OUTPUT = ROLES.index("output")
BOTH = "2 standard errors of both"

# One budget, many rates: layers' rates, weight decay, and decay of the rate.
WIDTH, BATCH, STEPS = 16, 64, 512
RATES = 2.0 ** np.arange(-7.0, -1.0, 0.5)
DECAYS = (0.1, 0.5, 2.0)
DECAY_RATE = 0.1  # of those runs: their start is forgotten to e^-5 or more
MOMENTUM, COOLING = 0.9, 0.25
FLAT_OCTAVES = 2.0  # "4 to 8 times"


def network_rows(quick: bool) -> list[Verdict]:
    """What tuned models do at one budget and, for the full table, over batches and budgets."""
    seeds = 4 if quick else 8
    config = NormRunsConfig(
        max_bytes=200_000, batches=(BATCH,), tokens=(BATCH * STEPS,), seeds=seeds, evaluation=1024
    )
    material = prepare(config, (WIDTH,), seeds)
    runs = _plain_runs(material)
    return [
        _layer_row(runs),
        *_settled_rows(runs),
        *_cooled_rows(material, runs),
        *([] if quick else _table_rows()),
    ]


def _plain_runs(material: Material) -> dict[str, np.ndarray]:
    """Scion with equal rates, with tuned ratios of layers, and with weight decay, in one sweep."""
    count = RATES.size
    ratios = np.repeat([np.ones(3), np.array(LAYER_RATES), np.ones(3)], [count, count, 3], axis=0)
    rates = np.concatenate([RATES, RATES, np.full(3, DECAY_RATE)])
    grid = {f"{role}_ratio": column for role, column in zip(ROLES, ratios.T, strict=True)}
    grid |= {"learning_rate": rates, "weight_decay": np.array([*np.zeros(2 * count), *DECAYS])}
    return train(material, WIDTH, BATCH, scion, grid, np.array([STEPS // 2, STEPS]))


def _layer_row(runs: dict[str, np.ndarray]) -> Verdict:
    """Least loss over rates, published ratios of layers minus equal ones, on the same seeds."""
    loss = runs["loss"][:, : 2 * RATES.size, -1].reshape(-1, 2, RATES.size)
    best = loss.mean(axis=0).argmin(axis=1)
    gap = loss[:, 1, best[1]] - loss[:, 0, best[0]]
    return finding_below(
        "language model, Scion: layers' rates 1 : 1/8 : 1 lower the loss, as published",
        0.0,
        gap.mean(),
        2 * float(_standard_error(gap)),
        "2 standard errors over seeds",
    )


def _standard_error(values: np.ndarray) -> np.ndarray:
    return values.std(axis=0, ddof=1) / len(values) ** 0.5


def _settled_rows(runs: dict[str, np.ndarray]) -> list[Verdict]:
    """Norms under weight decay, at the end of runs that have forgotten their start."""
    norms = runs["norm"][:, 2 * RATES.size :, -1]
    published, printed = DECAYS[0], OPTIMAL_LOG2_NORM[1]
    log_norm = np.log2(norms[:, 0, OUTPUT])
    start = norm_limit(DECAY_RATE, float(STEPS), 1.0, np.array(DECAYS))
    return [
        finding_near(
            f"language model, Scion with weight decay {published:g}: log2 of the output's norm "
            "settles at that of the inverse decay, as published",
            -np.log2(published),
            log_norm.mean(),
            float(np.hypot(printed, 2 * _standard_error(log_norm))),
            "printed error of a norm, and 2 standard errors",
        ),
        bound_holds(
            "language model, Scion with weight decay 0.1, 0.5 and 2: no layer's norm is beyond the "
            "ball and what is left of the start",
            np.asarray(start)[:, None] * (1 + ROUNDING),
            norms.max(axis=0),
        ),
    ]


def _cooled_rows(material: Material, runs: dict[str, np.ndarray]) -> list[Verdict]:
    """Range of norms of one loss, with momentum and a rate that falls to zero, and without."""
    count = RATES.size
    grid = {"learning_rate": RATES, "horizon": np.full(count, float(STEPS))}
    grid |= {"momentum": np.full(count, MOMENTUM), "decay": np.full(count, COOLING)}
    method = Scheduled(scion, warmup_stable_decay)
    cooled = train(material, WIDTH, BATCH, method, grid, np.array([STEPS]))
    wide = _flat_octaves(cooled["loss"][..., -1], cooled["norm"][:, :, -1, OUTPUT])
    plain = _flat_octaves(runs["loss"][:, :count, -1], runs["norm"][:, :count, -1, OUTPUT])
    name = "language model, Scion with momentum and decay of the rate: norms of one loss (within 2 "
    name += "standard deviations of a run) span "
    spacing = float(np.log2(RATES[1] / RATES[0]))  # the norm is about proportional
    return [
        finding_above(
            f"{name}2 octaves or more, as published (4 to 8 times)",
            FLAT_OCTAVES,
            wide,
            spacing,
            "half a step of the grid at both ends",
        ),
        finding_above(
            f"{name}more octaves than with neither, as published",
            plain,
            wide,
            2**0.5 * spacing,
            "half a step of the grid at all ends",
        ),
    ]


def _flat_octaves(loss: np.ndarray, norm: np.ndarray) -> float:
    """Octaves of the norm over which the mean loss is that of the best rate, for one run."""
    mean, best = loss.mean(axis=0), loss.mean(axis=0).argmin()
    same = np.flatnonzero(mean <= mean[best] + 2 * loss[:, best].std(ddof=1))
    logs = np.log2(norm.mean(axis=0)[same])
    return float(np.ptp(logs))


def _table_rows() -> list[Verdict]:
    """Laws over batches and budgets, and what they leave of the norm."""
    runs = network_runs(CONFIG, Progress())
    cells = cell_optima(_with_rms_norm(runs))
    joint = joint_optima(cells)
    constant = constancies(joint).constancy.sel(MAIN)
    labels = {
        "output": "RMS to max norm",
        "output, RMS": "RMS to RMS norm",
        "input": "input's norm",
    }
    transfer = []
    for layer, label in labels.items():
        slope, error = (
            float(constant.sel(layer=layer, number=n)) for n in ("slope", "slope_error")
        )
        transfer.append(
            finding_near(
                f"language models, Scion: {label} at the best rate and batch does not depend on "
                "the tokens, as published: its power",
                0.0,
                slope,
                2 * error,
                "2 standard errors of the slope",
            )
        )
    return [*_exponent_rows(fitted_laws(cells, joint)), *transfer, _limits(runs)]


def _with_rms_norm(runs: xr.Dataset) -> xr.Dataset:
    """The runs with the output's RMS to RMS norm as one more layer."""
    rms = runs.output_rms_norm.expand_dims(layer=["output, RMS"])
    both = xr.concat([runs["norm"], rms.transpose(*runs["norm"].dims)], "layer")
    return runs[["loss"]].assign({"norm": both})


def _exponent_rows(laws: xr.Dataset) -> list[Verdict]:
    """Exponents of Scion beside the printed ones, and AdamW's beside the square-root rule."""
    printed = (
        ("p", "eta* ~ B^p", "filatov.learning_rate", "B"),
        ("p", "eta* ~ B^p", "filatov_9.learning_rate", "B"),
        ("q", "eta* ~ D^q", "filatov.learning_rate", "D"),
        ("q", "eta* ~ D^q", "filatov_9.learning_rate", "D"),
        ("r", "B* ~ D^r", "filatov.batch_size", "D"),
        ("s", "eta* ~ D^s at B*", "filatov_best.learning_rate", "D"),
    )
    rows: list[Verdict] = []
    for law, label, key, name in printed:
        value, error = LAWS[key].exponents[name], LAWS[key].errors[name]
        own, own_error = _exponent(laws, "scion", law)
        claim = f"language models, Scion: {label}, published {value:g} +- {error:g}"
        rows.append(finding_near(claim, value, own, 2 * float(np.hypot(error, own_error)), BOTH))
    own, own_error = _exponent(laws, "adamw", "p")
    claim = "language models, AdamW: eta* ~ B^(1/2) at given tokens, the square-root rule"
    return [*rows, finding_near(claim, 0.5, own, 2 * own_error, "2 standard errors")]


def _exponent(laws: xr.Dataset, method: str, law: str) -> tuple[float, float]:
    at = MAIN | {"method": method, "law": law}
    return float(laws.exponent.sel(at)), float(laws.exponent_error.sel(at))


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
