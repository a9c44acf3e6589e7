"""Tables of the study of training with rounded weights.

Where a method is selected the selection is a mapping: `method` is also an argument of xarray.
"""

from itertools import combinations

import numpy as np
import xarray as xr
from scipy.stats import kendalltau

from experiments.qat_fits import LEAST_SIZES, verdict
from experiments.tables import Table
from theory.published_quantization import QAT_EFFICIENCY

# Our optimizers with a published rho; without weight decay, as here, AdamW is Adam.
PUBLISHED = {
    name: QAT_EFFICIENCY["adamw" if name == "adam" else name].rho
    for name in ("shampoo", "adam", "scion", "muon", "soap")
}
WORDS = {
    "rho": "falls like the law",
    "slower": "falls, slower than the law",
    "faster": "falls faster than the law",
    "floor": "stays",
    "grows": "grows",
    "either": "undecided",
    "no excess": "none above noise",
}


def compared_bits(dataset: xr.Dataset) -> int:
    """The width of the published comparison, four; if it is not there, the first below 16."""
    widths = [int(value) for value in dataset.bits.values[1:]]
    return 4 if 4 in widths else widths[0]


def trained(dataset: xr.Dataset, system: str) -> list[str]:
    """Methods that a system has, in the order of the record."""
    here = np.isfinite(dataset.rho.sel(system=system, form="one-term", end="middle"))
    return [str(name) for name in dataset.method.values if bool(here.sel({"method": name}).any())]


def verdicts(dataset: xr.Dataset, bits: int) -> dict[tuple[str, str], str]:
    """`verdict` of each system and method at a width."""
    found = {}
    for system in dataset.system.values:
        for method in trained(dataset, str(system)):
            here = dataset.sel({"system": system, "method": method, "bits": bits})
            alpha = float(here.law.sel(form="one-term", symbol="alpha"))
            slope, error = float(here.excess_slope), float(here.slope_error)
            found[str(system), method] = verdict(slope, error, alpha)
    return found


def order(dataset: xr.Dataset, system: str, bits: int) -> tuple[list[str], float, int, int, int]:
    """Our order of the published methods, and how it compares.

    Args:
        dataset: the record.
        system: its name.
        bits: width.

    Returns:
        Names, largest rho first; Kendall's tau with the published order; the number of pairs, of
        those that the intervals separate, and of those among them that are ordered as published.
    """
    names = [name for name in PUBLISHED if name in trained(dataset, system)]
    rho = dataset.rho.sel(system=system, form="one-term", bits=bits)
    low, middle, high = (
        {name: float(rho.sel({"method": name, "end": end})) for name in names}
        for end in ("low", "middle", "high")
    )
    tau = np.nan
    if len(names) > 1:
        both = [[table[name] for name in names] for table in (middle, PUBLISHED)]
        tau = float(np.asarray(kendalltau(*both))[0])
    pairs = list(combinations(names, 2))  # in the published order
    above = [pair for pair in pairs if low[pair[0]] > high[pair[1]]]
    below = [pair for pair in pairs if high[pair[0]] < low[pair[1]]]
    ranked = sorted(names, key=lambda name: -middle[name])
    return ranked, tau, len(pairs), len(above) + len(below), len(above)


def summary(dataset: xr.Dataset) -> list[Table]:
    """Rho with its intervals, whether there is one, the order, and the conclusion in words."""
    bits = compared_bits(dataset)
    return [
        _rho_table(dataset, bits),
        _excess_table(dataset, bits),
        _width_table(dataset),
        _order_table(dataset, bits),
        _conclusion_table(dataset, bits),
    ]


def _rho_table(dataset: xr.Dataset, bits: int) -> Table:
    rows = []
    for system, method in verdicts(dataset, bits):
        here = dataset.sel({"system": system, "method": method, "bits": bits})
        both = [here.rho.sel(form=form) for form in ("one-term", "quantized")]
        middle = [float(rho.sel(end="middle")) for rho in both]
        ends = [_interval(rho.values[::2]) for rho in both]
        left_out = _interval(here.rho_left_out.values)
        known = f"{PUBLISHED[method]:.3f}" if method in PUBLISHED else ""
        rows.append((system, method, middle[0], ends[0], left_out, middle[1], ends[1], known))
    columns = (
        "system",
        "method",
        "rho",
        "bootstrap",
        "one size left out",
        "two-term",
        "its bootstrap",
        "published",
    )
    note = (
        "rho from L = E + A (rho N)^-alpha at one D/N, as published, with its 95 % interval and "
        "its range when one size is left out; two-term: with B D^-beta, on all runs"
    )
    return Table(f"Effective size rho with {bits} bits", columns, tuple(rows), note)


def _excess_table(dataset: xr.Dataset, bits: int) -> Table:
    rows = []
    for (system, method), word in verdicts(dataset, bits).items():
        here = dataset.sel({"system": system, "method": method, "bits": bits})
        excess, rounding = here.excess.values, here.rounding_excess.values
        rows.append(
            (
                system,
                method,
                f"{float(here.excess_slope):.2f} +- {float(here.slope_error):.2f}",
                f"{-float(here.law.sel(form='one-term', symbol='alpha')):.2f}",
                WORDS[word],
                f"{here.local_rho.values[0]:.3f} to {here.local_rho.values[-1]:.3f}",
                f"{excess[-1] / rounding[-1]:.2f}" if np.isfinite(rounding[-1]) else "",
            )
        )
    columns = ("system", "method", "slope", "-alpha", "so it", "local rho", "over rounding")
    note = (
        "slope of the excess over full precision in N, 95 % interval; where it is not -alpha the "
        "rho of each size (smallest to largest, rates at an edge too) differ and one number "
        "describes these sizes only; over rounding: excess at the largest size over that of the "
        "rounded target"
    )
    return Table(f"Is there a rho? The excess with {bits} bits", columns, tuple(rows), note)


def _interval(ends: np.ndarray) -> str:
    low, high = (float(end) for end in ends)
    if high > 1e3:
        return "open"
    return f"{low:.3f} to {high:.3f}"


def _width_table(dataset: xr.Dataset) -> Table:
    rows = []
    runs = dataset.place.size * dataset.share.size * dataset.bits.size
    for system in dataset.system.values:
        for method in trained(dataset, str(system)):
            here = dataset.sel({"system": system, "method": method})
            middle = here.rho.sel(form="one-term", end="middle").values
            law = here.law.sel(form="one-term", symbol="E")
            out = int((~here.in_fits).sum())
            edge = f"{int(here.at_edge.sum())}, {out} left out"
            misfit = float(here.misfit.sel(form="one-term"))
            rows.append(
                (str(system), method, *(float(v) for v in middle[1:]), float(law), misfit, edge)
            )
    widths = (f"{int(value)} bits" for value in dataset.bits.values[1:])
    columns = ("system", "method", *widths, "E", "misfit", "at edge")
    true = ", ".join(f"{v:g}" for v in np.unique(dataset.irreducible.values))
    note = (
        f"one-term rho; its fitted E, to compare with {true}; root mean square residual of log "
        f"loss; how many of {runs} best rates are the first or last tried: left out of all fits, "
        f"but kept where fewer than {LEAST_SIZES} sizes of a format and budget would remain"
    )
    return Table("Rho by width", columns, tuple(rows), note)


def _order_table(dataset: xr.Dataset, bits: int) -> Table:
    rows: list[tuple[object, ...]] = [
        ("published, 4 bits", " > ".join(PUBLISHED), 1.0, "", "intervals not recovered")
    ]
    for system in dataset.system.values:
        names, tau, pairs, apart, agree = order(dataset, str(system), bits)
        if len(names) > 1:
            said = f"{agree} of {apart}"
            rows.append((str(system), " > ".join(names), tau, f"{apart} of {pairs}", said))
    columns = ("system", "order of rho", "tau", "pairs apart", "of those as published")
    note = "tau: Kendall's, with the published order; apart: bootstrap intervals do not overlap"
    return Table(f"Order of optimizers with {bits} bits", columns, tuple(rows), note)


def _conclusion_table(dataset: xr.Dataset, bits: int) -> Table:
    systems = [str(name) for name in dataset.system.values]
    found = verdicts(dataset, bits)
    rows: list[tuple[str, str]] = []
    for system in systems:
        said = [word for (where, _), word in found.items() if where == system]
        counts = [f"{said.count(key)} {WORDS[key]}" for key in WORDS if key in said]
        rows.append((f"{system}: the excess over full precision", "; ".join(counts)))
    for system in systems:
        names, tau, pairs, apart, agree = order(dataset, system, bits)
        if len(names) < 2:
            continue
        same = names == [name for name in PUBLISHED if name in names]
        said = "yes" if same else f"no (tau {tau:.2f})"
        said += f"; intervals separate {apart} of {pairs} pairs"
        if apart:
            said += f", {agree} of them as published"
        rows.append((f"{system}: order as published", said))
    rows += _reasons(dataset, bits)
    return Table("Conclusion", ("question", "answer"), tuple(rows))


def _reasons(dataset: xr.Dataset, bits: int) -> list[tuple[str, str]]:
    """What the fitted E are worth, how the two forms differ, and what the clip does to SOAP."""
    rows = []
    systems = [str(name) for name in dataset.system.values]
    for system in systems:
        fitted = dataset.law.sel(system=system, form="one-term", symbol="E").values
        fitted = fitted[np.isfinite(fitted)]
        true = float(dataset.irreducible.sel(system=system))
        said = f"{fitted.min():.3f} to {fitted.max():.3f} by optimizer; the problem has {true:g}"
        rows.append((f"{system}: fitted E", said))
    middle = dataset.rho.sel(form="one-term", end="middle", bits=bits)
    two = dataset.rho.sel(form="quantized", end="middle", bits=bits).values
    fits = int(np.isfinite(two).sum())
    said = f"{int((middle.values > two).sum())} of {fits}; derived: where only N is rescaled"
    rows.append(("one-term rho above the two-term one", said))
    if {"absmax", "clipped"} <= set(systems):
        pair = [
            float(middle.sel({"system": name, "method": "soap"})) for name in ("absmax", "clipped")
        ]
        said = f"{pair[0]:.3f} with the gradient everywhere, {pair[1]:.3f} without it beyond a clip"
        rows.append(("SOAP's rho on the matrix quadratic", said))
    return rows
