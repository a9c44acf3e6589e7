"""What the checkpoints of `ptq` say: costs, gains, and correlations with intervals."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.stats import rankdata

BITS = 4  # of the published table, of verdicts and figures
DRAWS = 2000
CELL = ("optimizer", "rate")


@dataclass(frozen=True)
class Correlation:
    """Pearson correlation of a metric with minus the loss increase, and Spearman's.

    Attributes:
        value: Pearson's r.
        low: of the 95 % interval, (optimizer, rate) pairs drawn anew.
        high: of that interval.
        rank: Spearman's.
        between: Pearson's r of the optimizers' values at their fastest rates, means over seeds.
        between_low: of its 95 % interval: the same optimizers, seeds drawn anew.
        between_high: of that interval.
    """

    value: float
    low: float
    high: float
    rank: float
    between: float
    between_low: float
    between_high: float

    @property
    def signs(self) -> tuple[int, int]:
        """Over all checkpoints and over the optimizers: -1, 1, or 0 if the interval holds zero."""
        ends = (self.low, self.high), (self.between_low, self.between_high)
        first, second = (int(low > 0) - int(high < 0) for low, high in ends)
        return first, second


def increase(dataset: xr.Dataset) -> xr.DataArray:
    """Loss that rounding costs, [network, optimizer, rate, seed, bits]."""
    return dataset.rounded - dataset.full


def metrics(dataset: xr.Dataset, bits: int) -> dict[str, xr.DataArray]:
    """What may predict the cost, [network, optimizer, rate, seed] each; means over layers."""
    found = {
        name: dataset[name].mean("between")
        for name in ("max_to_median", "max_to_mean", "kurtosis", "channel_kurtosis")
    }
    found["input_max_to_mean"] = dataset.input_max_to_mean.mean("layer")
    found["relative_error"] = last_error(dataset).sel(bits=bits)
    found["row_relative"] = dataset.row_relative.sel(bits=bits)
    found["output_error"] = dataset.output_error.sel(bits=bits)
    return found


def last_error(dataset: xr.Dataset) -> xr.DataArray:
    """R_L, the relative error of the network's output, [network, optimizer, rate, seed, bits]."""
    last = (dataset.stage_name != "").sum("stage") - 1
    return dataset.relative.isel(stage=last)


def fastest(dataset: xr.Dataset) -> xr.DataArray:
    """Place of the rate that reached the common loss soonest in the mean, [network, optimizer]."""
    return dataset.crossed_at.mean("seed", skipna=False).fillna(np.inf).argmin("rate")


def correlation(metric: xr.DataArray, cost: xr.DataArray, best: xr.DataArray) -> Correlation:
    """Correlation over all checkpoints of one network.

    Args:
        metric: [optimizer, rate, seed], NaN where there is no checkpoint.
        cost: loss increase, the same.
        best: place of each optimizer's rate for `between`, [optimizer].
    """
    x, y = (
        values.transpose(*CELL, "seed").values.reshape(-1, metric.sizes["seed"])
        for values in (metric, -cost)
    )
    there = np.isfinite(x) & np.isfinite(y)
    cells = np.flatnonzero(there.any(axis=1))
    rng, draws = np.random.default_rng(0), []
    for _ in range(DRAWS):
        drawn = rng.choice(cells, cells.size)
        draws.append(_pearson(x[drawn][there[drawn]], y[drawn][there[drawn]]))
    at_best = [
        values.isel(rate=best).transpose("optimizer", "seed").values for values in (metric, -cost)
    ]
    between = _pearson(*(values.mean(axis=1) for values in at_best))
    spread = [between]
    for _ in range(DRAWS):
        drawn = rng.integers(0, metric.sizes["seed"], at_best[0].shape)
        means = (np.take_along_axis(values, drawn, axis=1).mean(axis=1) for values in at_best)
        spread.append(_pearson(*means))
    rank = _pearson(rankdata(x[there]), rankdata(y[there]))
    return Correlation(
        _pearson(x[there], y[there]),
        *_interval(draws),
        rank,
        between,
        *_interval(spread),
    )


def _interval(draws: list[float]) -> tuple[float, float]:
    known = np.array(draws)[np.isfinite(draws)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    # Checkpoints without a finite metric were left out; equal ones have no correlation.
    if x.size < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def correlations(dataset: xr.Dataset, bits: int = BITS) -> dict[tuple[str, str], Correlation]:
    """By network and metric."""
    cost, best = increase(dataset).sel(bits=bits), fastest(dataset)
    return {
        (network, name): correlation(
            metric.sel(network=network), cost.sel(network=network), best.sel(network=network)
        )
        for network in map(str, dataset.network.values)
        for name, metric in metrics(dataset, bits).items()
    }


def mean_gain(dataset: xr.Dataset, part: str = "gain") -> xr.DataArray:
    """Geometric mean over the linear layers but the first, [network, optimizer, rate, seed]."""
    # The first layer's input carries its own rounding error only.
    log = xr.apply_ufunc(np.log, dataset[part].sel(bits=BITS).isel(layer=slice(1, None)))
    return xr.apply_ufunc(np.exp, log.mean(dim="layer"))


def later_layers(here: xr.Dataset) -> xr.Dataset:
    """A, B and C at the linear layers behind the first, whose input carries nothing."""
    there = here[["carried", "new", "cross"]].sel(bits=BITS)
    return there.isel(stage=(here.stage_name == "linear").values).isel(stage=slice(1, None))


def carried_share(here: xr.Dataset) -> float:
    """Share of the linear layers behind the first where A exceeds B and |C|."""
    behind = later_layers(here)
    largest = (behind.carried > behind.new) & (behind.carried > abs(behind.cross))
    return float(largest.where(behind.carried.notnull()).mean())


def carried_ratio(here: xr.Dataset) -> float:
    """Median of A / (B + |C|) over the linear layers behind the first."""
    behind = later_layers(here)
    return float((behind.carried / (behind.new + abs(behind.cross))).median())


def normalization_falls(here: xr.Dataset) -> float:
    """Share of the RMS normalisations at which the relative error falls; NaN without any."""
    relative = here.relative.sel(bits=BITS)
    ratio = relative / relative.shift(stage=1)
    norms = ratio.isel(stage=(here.stage_name == "normalize").values)
    # An error of exactly zero comes out of the embedding.
    norms = norms.where(np.isfinite(norms))
    return float((norms < 1).where(norms.notnull()).mean())


def rate_trends(here: xr.Dataset) -> dict[str, float]:
    """Rank correlation of MMR with the learning rate by optimizer, means over seeds.

    Rates that no seed or not every one took to the common loss are left out, and optimizers with
    fewer than three others.
    """
    ratio = here.max_to_median.mean("between").mean("seed", skipna=False)
    trends = {}
    for name in map(str, here.optimizer.values):
        values = ratio.sel(optimizer=name).values
        known = np.isfinite(values)
        if known.sum() >= 3:
            trends[name] = _pearson(np.flatnonzero(known), rankdata(values[known]))
    return trends


def optimizer_ranks(values: xr.DataArray) -> dict[str, float]:
    """Medians over rates and seeds by optimizer, the highest first."""
    middle = values.median(("rate", "seed"))
    order = np.argsort(-middle.values)
    return {str(middle.optimizer.values[k]): float(middle.values[k]) for k in order}


def gain_parts(here: xr.Dataset) -> tuple[np.ndarray, np.ndarray, float]:
    """95 % ranges of G_1 and G_2 over checkpoints and layers, and cov(log G, log G_2) / var."""
    logs = [
        np.log(here[name].sel(bits=BITS).isel(layer=slice(1, None)).values.ravel())
        for name in ("gain", "spectral", "alignment")
    ]
    known = np.isfinite(logs[0])
    gain, spectral, alignment = (values[known] for values in logs)
    first, second = (np.exp(np.percentile(part, [2.5, 97.5])) for part in (spectral, alignment))
    return first, second, float(np.cov(gain, alignment)[0, 1] / gain.var(ddof=1))
