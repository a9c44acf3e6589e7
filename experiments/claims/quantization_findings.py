"""Published findings on quantization after training, tested on small networks of ours.

The source is Vlassis et al. 2025 (arXiv 2509.23500): language models of up to 1.5 billion
parameters, at one common loss for all optimizers. A product of three matrices and a language model
of some thousand weights agree or disagree with it; neither says that the source is wrong. Study
`ptq` has the tables behind these rows.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import xarray as xr

from experiments.compare import Verdict, finding_above, finding_below, finding_near
from experiments.progress import Progress
from experiments.ptq_analysis import (
    BITS,
    Correlation,
    correlation,
    fastest,
    increase,
    later_layers,
    mean_gain,
    metrics,
)
from experiments.studies.ptq import PtqConfig, compute
from theory.plane_fit import fit_power
from theory.published_quantization import (
    HIGHEST_GAIN,
    LEAST_OUTLIERS,
    LOWEST_GAINS,
    MOST_OUTLIERS,
    PTQ_ACCURACY,
    PTQ_CORRELATIONS,
)

NAMES = {"linear": "product of matrices", "language": "language model"}
DRAWS = 1000
MODELS = len(PTQ_ACCURACY[PTQ_CORRELATIONS.size])  # behind a printed correlation, without errors
DIGIT = 0.05  # of a factor that is stated as one
OVER_CELLS = "2 standard errors, checkpoints drawn anew"
OVER_CHECKPOINTS = "2 standard errors over checkpoints"
# Compiling costs more than running: many seeds are cheap, another network is not.
FULL = PtqConfig(
    max_bytes=300_000,
    width=16,
    depth=3,
    steps=300,
    every=10,
    rates=6,
    seeds=8,
    evaluation=512,
    bits=(BITS,),
)
QUICK = replace(FULL, networks=("linear",), methods=("adamw", "muon", "shampoo"), seeds=6)


def findings(quick: bool) -> list[Verdict]:
    """What is published as a finding, and what a product of matrices and a language model do."""
    dataset = compute(QUICK if quick else FULL, Progress())
    rows: list[Verdict] = []
    for network in map(str, dataset.network.values):
        here = dataset.sel(network=network)
        name = f"{NAMES[network]}, {BITS} bits after training: "
        rows += _correlation_rows(name, dataset, network)
        rows += [_rate_row(name, here), *_order_rows(name, here)]
        rows += [*_gain_rows(name, here), _carried_row(name, here)]
        if "normalize" in here.stage_name.values:
            rows.append(_norm_row(name, here))
    return rows


def _correlation_rows(name: str, dataset: xr.Dataset, network: str) -> list[Verdict]:
    """Correlations of metrics with less cost, beside the printed ones."""
    cost = increase(dataset).sel(bits=BITS, network=network)
    best, found = fastest(dataset).sel(network=network), metrics(dataset, BITS)
    printed = {
        "max_to_median": ("MMR", PTQ_CORRELATIONS.max_to_median),
        "kurtosis": ("kurtosis of all entries", PTQ_CORRELATIONS.kurtosis),
        "channel_kurtosis": ("kurtosis of channels", PTQ_CORRELATIONS.kurtosis),
        "relative_error": ("the last relative error", PTQ_CORRELATIONS.relative_error),
    }
    known = {k: correlation(found[k].sel(network=network), cost, best) for k in printed}
    rows = [
        finding_near(
            f"{name}correlation of {label} with less cost, published {value:g}: Fisher's z",
            float(np.arctanh(value)),
            float(np.arctanh(known[key].value)),
            float(np.hypot(_reach(known[key], value), 2 / (MODELS - 3) ** 0.5)),
            f"95 % intervals of ours, (optimizer, rate) pairs drawn anew, and of {MODELS} models",
        )
        for key, (label, value) in printed.items()
    ]
    last = known["relative_error"]
    half = max(last.between_high - last.between, last.between - last.between_low)
    return [
        *rows,
        finding_below(
            f"{name}between optimizers a smaller last relative error costs less, as published",
            0.0,
            last.between,
            half,
            "95 % interval, seeds drawn anew",
        ),
    ]


def _reach(found: Correlation, published: float) -> float:
    """How far the interval of z goes towards a published value."""
    end = found.high if published > found.value else found.low
    return float(abs(np.arctanh(end) - np.arctanh(found.value)))


def _rate_row(name: str, here: xr.Dataset) -> Verdict:
    """The optimizer whose MMR grows with the rate least surely."""
    slopes = []
    for row in range(here.sizes["optimizer"]):
        one = here.isel(optimizer=row)
        ratio = one.max_to_median.mean("between").transpose("rate", "seed").values
        rates = np.broadcast_to(one.learning_rate.values[:, None], ratio.shape)
        known = np.isfinite(ratio)
        if known.sum() >= 3 and np.ptp(rates[known]) > 0:
            fit = fit_power(ratio[known], {"rate": rates[known]})
            slopes.append((fit.exponents["rate"], fit.errors["rate"]))
    slope, error = min(slopes, key=lambda pair: pair[0] / pair[1])
    return finding_above(
        f"{name}MMR grows with the rate for every optimizer, as published: its power, where least "
        "sure",
        0.0,
        slope,
        2 * error,
        "2 standard errors",
    )


def _order_rows(name: str, here: xr.Dataset) -> list[Verdict]:
    """Which optimizer is first or last in a median over checkpoints."""
    ratio = _by_optimizer(here.max_to_median.mean("between"))
    gain = _by_optimizer(mean_gain(here))
    rows = [
        _order(f"{name}{LEAST_OUTLIERS} has the least MMR", ratio, (LEAST_OUTLIERS,), False),
        _order(f"{name}{MOST_OUTLIERS} has the largest MMR", ratio, (MOST_OUTLIERS,), True),
        _order(f"{name}{HIGHEST_GAIN} has the highest gain", gain, (HIGHEST_GAIN,), True),
    ]
    # With these and one other, the last row says as much.
    if len(gain) > len(LOWEST_GAINS) + 1:
        both = " and ".join(LOWEST_GAINS)
        rows.append(_order(f"{name}{both} have the lowest gains", gain, LOWEST_GAINS, False))
    return rows


def _by_optimizer(values: xr.DataArray) -> dict[str, np.ndarray]:
    """What is known of each optimizer, one number a checkpoint."""
    ordered = values.transpose("optimizer", "rate", "seed")
    rows = zip(map(str, values.optimizer.values), ordered.values, strict=True)
    return {name: row[np.isfinite(row)] for name, row in rows}


def _order(
    claim: str, values: Mapping[str, np.ndarray], chosen: tuple[str, ...], above: bool
) -> Verdict:
    """Log ratio of the chosen optimizers' medians to the nearest of the others'."""

    def ratio(middle: Mapping[str, np.ndarray]) -> np.ndarray:
        mine = [np.log(middle[name]) for name in chosen]
        others = [np.log(middle[name]) for name in middle if name not in chosen]
        if above:
            return np.min(mine, axis=0) - np.max(others, axis=0)
        return np.max(mine, axis=0) - np.min(others, axis=0)

    rng = np.random.default_rng(0)
    draws = {
        name: np.median(row[rng.integers(0, row.size, (DRAWS, row.size))], axis=1)
        for name, row in values.items()
    }
    finding = finding_above if above else finding_below
    return finding(
        f"{claim}, as published: log ratio to the next",
        0.0,
        float(ratio({name: np.median(row) for name, row in values.items()})),
        2 * float(np.std(ratio(draws))),
        OVER_CELLS,
    )


def _gain_rows(name: str, here: xr.Dataset) -> list[Verdict]:
    """G_1 of every optimizer, and what G_2 explains of G."""
    # Behind the first layer, whose input carries its own rounding only.
    gain, first, second = (
        here[part].sel(bits=BITS).isel(layer=slice(1, None)).transpose("optimizer", ...).values
        for part in ("gain", "spectral", "alignment")
    )
    rows = [row[np.isfinite(row)] for row in first]
    worst = max(rows, key=lambda row: abs(row.mean() - 1.0))
    known = np.isfinite(gain)
    logs = np.log(np.stack([gain[known], second[known]]))
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, logs.shape[1], (DRAWS, logs.shape[1]))
    shares = [_share(logs[:, places]) for places in drawn]
    return [
        finding_near(
            f"{name}G_1 is about 1 for every optimizer, as published: mean, where farthest",
            1.0,
            float(worst.mean()),
            float(np.hypot(DIGIT, 2 * worst.std(ddof=1) / worst.size**0.5)),
            "half a tenth, and 2 standard errors",
        ),
        finding_above(
            f"{name}G_2 decides, as published: its share of log G is above a half",
            0.5,
            _share(logs),
            2 * float(np.std(shares)),
            OVER_CELLS,
        ),
    ]


def _share(logs: np.ndarray) -> float:
    """Slope of the second in the first."""
    return float(np.cov(logs)[0, 1] / logs[0].var(ddof=1))


def _carried_row(name: str, here: xr.Dataset) -> Verdict:
    """A beside the larger of B and |C| at the layer where it is least."""
    behind = later_layers(here)
    ratio = behind.carried / np.maximum(behind.new, abs(behind.cross))
    middle, error = _worst(ratio, largest=False)
    return finding_above(
        f"{name}A is above B and C in all later layers, as published: log ratio, where least",
        0.0,
        middle,
        2 * error,
        OVER_CHECKPOINTS,
    )


def _norm_row(name: str, here: xr.Dataset) -> Verdict:
    """The change of the relative error at the normalisation where it falls least."""
    relative = here.relative.sel(bits=BITS)
    ratio = (relative / relative.shift(stage=1)).isel(stage=(here.stage_name == "normalize").values)
    middle, error = _worst(ratio, largest=True)
    return finding_below(
        f"{name}the relative error dips at all RMS norms, as published: log ratio, where least",
        0.0,
        middle,
        2 * error,
        OVER_CHECKPOINTS,
    )


def _worst(ratio: xr.DataArray, largest: bool) -> tuple[float, float]:
    """Mean of log ratios and its standard error, at the stage of the least or largest mean."""
    rows = ratio.transpose("stage", ...).values.reshape(ratio.sizes["stage"], -1)
    # An error of exactly zero comes out of the embedding.
    known = [np.log(row[np.isfinite(row) & (row > 0)]) for row in rows]
    known = [row for row in known if row.size > 1]
    chosen = (max if largest else min)(known, key=np.mean)
    return float(chosen.mean()), float(chosen.std(ddof=1) / chosen.size**0.5)
