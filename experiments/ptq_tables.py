"""Tables of `ptq`, and the findings of arXiv 2509.23500 judged one by one."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from experiments.ptq_analysis import (
    BITS,
    Correlation,
    carried_ratio,
    carried_share,
    correlations,
    fastest,
    gain_parts,
    increase,
    last_error,
    mean_gain,
    normalization_falls,
    optimizer_ranks,
    rate_trends,
)
from experiments.tables import Table
from theory.published_quantization import (
    HIGHEST_GAIN,
    LEAST_OUTLIERS,
    MOST_OUTLIERS,
    PTQ_CORRELATIONS,
)

FAR_ABOVE = 5.0  # A / (B + |C|) from which A counts as far above both
PUBLISHED = {
    "max_to_median": PTQ_CORRELATIONS.max_to_median,
    "max_to_mean": np.nan,
    "kurtosis": PTQ_CORRELATIONS.kurtosis,
    "channel_kurtosis": PTQ_CORRELATIONS.kurtosis,
    "input_max_to_mean": np.nan,
    "relative_error": PTQ_CORRELATIONS.relative_error,
    "row_relative": PTQ_CORRELATIONS.relative_error,
    "output_error": np.nan,
}


def summary(dataset: xr.Dataset) -> list[Table]:
    """Costs of rounding, error growth, correlations, verdicts."""
    tables = []
    for network in map(str, dataset.network.values):
        tables += [_cost_table(dataset, network), _error_table(dataset, network)]
    found = correlations(dataset)
    return [*tables, _correlation_table(found), _verdict_table(dataset, found)]


def _cost_table(dataset: xr.Dataset, network: str) -> Table:
    here = dataset.sel(network=network)
    columns = {"rate": here.learning_rate, "steps": here.crossed_at}
    columns |= {f"{int(b)} bits": increase(here).sel(bits=b) for b in dataset.bits.values}
    title = f"{network}: what rounding costs at loss {float(here.common):.4g}"
    note = (
        f"each optimizer's fastest rate, means over seeds; {int(here.crossed_at.count())} of "
        f"{here.crossed_at.size} runs reached that loss"
    )
    return _by_optimizer(dataset, network, columns, title, note)


def _error_table(dataset: xr.Dataset, network: str) -> Table:
    here = dataset.sel(network=network)
    columns = {
        "R, last": last_error(here).sel(bits=BITS),
        "MMR": here.max_to_median.mean("between"),
        "kurtosis": here.kurtosis.mean("between"),
        "G": mean_gain(here),
        "G_1": mean_gain(here, "spectral"),
        "G_2": mean_gain(here, "alignment"),
    }
    title = f"{network}: errors at {BITS} bits, outliers, gains of linear layers behind the first"
    note = "each optimizer's fastest rate, means over seeds and layers (gains: geometric)"
    return _by_optimizer(dataset, network, columns, title, note)


def _by_optimizer(
    dataset: xr.Dataset, network: str, columns: dict[str, xr.DataArray], title: str, note: str
) -> Table:
    best = fastest(dataset).sel(network=network)
    rows = []
    for optimizer in map(str, dataset.optimizer.values):
        place = {"rate": int(best.sel(optimizer=optimizer))}
        cells = (values.sel(optimizer=optimizer).isel(place) for values in columns.values())
        rows.append((optimizer, *(float(f"{float(cell.mean()):.3g}") for cell in cells)))
    return Table(title, ("optimizer", *columns), tuple(rows), note)


def _correlation_table(found: dict[tuple[str, str], Correlation]) -> Table:
    rows = tuple(
        (
            network,
            name.replace("_", " "),
            round(one.value, 2),
            f"{one.low:.2f} .. {one.high:.2f}",
            round(one.rank, 2),
            f"{one.between:.2f} ({one.between_low:.2f} .. {one.between_high:.2f})",
            f"{PUBLISHED[name]:.2f}" if np.isfinite(PUBLISHED[name]) else "",
        )
        for (network, name), one in found.items()
    )
    columns = ("network", "metric", "Pearson", "95 %", "Spearman", "over optimizers", "published")
    note = (
        "with minus the loss increase: over all checkpoints, (optimizer, rate) pairs drawn anew; "
        "over optimizers at their fastest rates, seeds drawn anew, as published with accuracy for "
        f"{PTQ_CORRELATIONS.size} models (which kurtosis: unknown)"
    )
    return Table(f"What predicts the cost of {BITS} bits", columns, rows, note)


def _verdict_table(dataset: xr.Dataset, found: dict[tuple[str, str], Correlation]) -> Table:
    rows = tuple(
        (network, *row)
        for network in map(str, dataset.network.values)
        for row in verdicts(dataset, found, network)
    )
    columns = ("network", "published finding", "here", "agrees")
    return Table("Findings of arXiv 2509.23500 on these networks", columns, rows)


def verdicts(
    dataset: xr.Dataset, found: dict[tuple[str, str], Correlation], network: str
) -> Iterator[tuple[str, str, str]]:
    """Finding, what is seen here, and whether that agrees."""
    here = dataset.sel(network=network)
    one = found[network, "relative_error"]
    said = "the last relative error predicts the cost"
    yield said, _seen(one), _expected(one, -1)
    for name, words in (("max_to_median", "MMR"), ("kurtosis", "kurtosis")):
        one = found[network, name]
        said = f"{words} does not: more of it, less cost"
        yield said, _seen(one), _expected(one, 1)
    yield from _outlier_verdicts(here)
    yield from _error_verdicts(here)
    gain = optimizer_ranks(mean_gain(here))
    yield (
        f"{HIGHEST_GAIN} has the highest linear gain",
        ", ".join(f"{name} {value:.2f}" for name, value in gain.items()),
        _yes(next(iter(gain)) == HIGHEST_GAIN),
    )
    first, second, share = gain_parts(here)
    seen = f"G_1 {first[0]:.2f} .. {first[1]:.2f}, G_2 {second[0]:.2f} .. {second[1]:.2f} (95 %)"
    yield "G_1 is about 1 for all", seen, _yes(first[0] > 0.9 and first[1] < 1.1)
    said = "G_2 decides"
    yield said, f"share of the variance of log G: {share:.3f}", _yes(share > 0.9)


def _seen(one: Correlation) -> str:
    return (
        f"Pearson {one.value:.2f} ({one.low:.2f} .. {one.high:.2f}), "
        f"over optimizers {one.between:.2f}"
    )


def _expected(one: Correlation, sign: int) -> str:
    """Whether both correlations have the sign, or none has and one the other sign."""
    if one.signs == (sign, sign):
        return "yes"
    return "no" if sign not in one.signs and -sign in one.signs else "open"


def _outlier_verdicts(here: xr.Dataset) -> Iterator[tuple[str, str, str]]:
    trends = rate_trends(here)
    rising = sum(trend > 0 for trend in trends.values()) / max(len(trends), 1)
    seen = ", ".join(f"{name} {trend:+.1f}" for name, trend in trends.items())
    if trends:
        yield "larger rate, larger MMR", f"rank correlation {seen}", _graded(rising)
    order = list(optimizer_ranks(here.max_to_median.mean("between")))
    seen = f"lowest {order[-1]}, highest {order[0]}"
    said = f"MMR lowest for {LEAST_OUTLIERS}, highest for {MOST_OUTLIERS}"
    yield said, seen, _yes((order[-1], order[0]) == (LEAST_OUTLIERS, MOST_OUTLIERS))


def _error_verdicts(here: xr.Dataset) -> Iterator[tuple[str, str, str]]:
    share, ratio = carried_share(here), carried_ratio(here)
    seen = f"median A / (B + |C|) {ratio:.1f}; A is largest in {share:.0%} of linear layers"
    far = ratio >= FAR_ABOVE
    yield "A far above B and C", seen, "yes" if far else "partly" if share > 0.5 else "no"
    falls = normalization_falls(here)
    if np.isfinite(falls):
        yield "errors dip at RMS norms", f"in {falls:.0%} of them", _graded(falls)


def _graded(share: float) -> str:
    return "yes" if share > 0.9 else "partly" if share > 0.5 else "no"


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"
