"""Tables of the tuning laws: exponents with verdicts, the valley in batch size, published laws."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from experiments.tables import Table
from experiments.tuning_exponents import NEAR, VERDICTS, WIDE, interval, verdict
from experiments.tuning_optima import REGIMES
from experiments.tuning_published import published_laws, published_losses


def summary(dataset: xr.Dataset) -> list[Table]:
    """Exponents under each noise and criterion, counts of verdicts, the valley, known rules."""
    tables = [
        _laws_table(dataset.sel({"noise": noise, "criterion": criterion}))
        for criterion in dataset.criterion.values
        for noise in dataset.noise.values
    ]
    known = [published_laws(dataset, cell), published_losses()]
    return [*tables, _counts(dataset), _flatness(dataset), _joint(dataset), _tie(dataset), *known]


def rows(data: xr.Dataset) -> list[tuple[str, str, str]]:
    """Regime, quantity and power of every exponent that the bound gives."""
    return [
        (regime, quantity, power)
        for regime in REGIMES
        for quantity in data.quantity.values
        for power in data.power.values
        if np.isfinite(data.derived.sel(regime=regime, quantity=quantity, power=power))
    ]


def cell(data: xr.Dataset, regime: str, quantity: str, power: str) -> tuple[float, float, str]:
    """Measured exponent of one method, noise and criterion, half its interval, its verdict."""
    at = {"regime": regime, "quantity": quantity, "power": power}
    here = data.sel(at)
    powers = 2 if REGIMES[regime].held_batch else 1
    measured = float(here.exponent)
    half = interval(float(here.exponent_error), int(here.points), powers)
    return measured, half, verdict(measured, half, float(here.derived))


def _laws_table(data: xr.Dataset) -> Table:
    lines = []
    for regime, quantity, power in rows(data):
        at = {"regime": regime, "quantity": quantity, "power": power}
        unit = {"tokens": "T", "steps": "K"}[REGIMES[regime].budget]
        by = unit if power == "budget" else "B"
        each = [data.sel({"method": method}) for method in data.method.values]
        cells = [_text(x.sel({"regime": regime}), *cell(x, regime, quantity, power)) for x in each]
        own = " ".join(f"{float(x):+.2f}" for x in data.bound_exponent.sel(at))
        lines.append(
            (regime, f"{quantity} ~ {by}", f"{float(data.derived.sel(at)):+.3f}", own, *cells)
        )
    columns = ("tuned", "law", "derived", "bound here", *data.attrs["labels"])
    title = f"Exponents, {data.criterion.item()} tuned, {data.noise.item()} noise"
    note = (
        f"held: alpha = {data.attrs['held_alpha']:g}, or each B; +- half a 95 % interval. agrees: "
        f"within it; near: off by at most {NEAR}; undecided: wider than {WIDE}, or too few optima "
        "inside the grid; *: most optima at alpha = 1 or B = 1. bound here: exponents of the "
        "bound's own optima at these budgets, fitted alike, one a method"
    )
    return Table(title, columns, tuple(lines), note)


def _text(here: xr.Dataset, measured: float, half: float, word: str) -> str:
    if not np.isfinite(measured):
        return word
    mark = "*" if float(here.at_limit) > 0.5 else ""
    return f"{measured:+.2f} +- {half:.2f} {word}{mark}"


def _counts(dataset: xr.Dataset) -> Table:
    lines = []
    for where, label, data in _each(dataset):
        found = [(row, cell(data, *row)) for row in rows(data)]
        words = [word for _, (_, _, word) in found]
        here = sum(_near_bound(data, *row, *measured[:2]) for row, measured in found)
        lines.append((*where, label, *(words.count(word) for word in VERDICTS), here, _worst(data)))
    columns = ("criterion", "noise", "method", *VERDICTS, "near the bound here", "farthest off")
    return Table("Bound against measurement", columns, tuple(lines))


def _each(dataset: xr.Dataset) -> Iterator[tuple[tuple[str, str], str, xr.Dataset]]:
    """Criterion and noise, label, and data of every method."""
    for criterion in dataset.criterion.values:
        for noise in dataset.noise.values:
            for method, label in zip(dataset.method.values, dataset.attrs["labels"], strict=True):
                at = {"criterion": criterion, "noise": noise, "method": method}
                yield (str(criterion), str(noise)), label, dataset.sel(at)


def _near_bound(
    data: xr.Dataset, regime: str, quantity: str, power: str, measured: float, half: float
) -> bool:
    """Whether an exponent is that of the bound's own optima at the same budgets, or near it."""
    at = {"regime": regime, "quantity": quantity, "power": power}
    return verdict(measured, half, float(data.bound_exponent.sel(at))) in ("agrees", "near")


def _worst(data: xr.Dataset) -> str:
    """The exponent that is farthest from the derived one, of those that differ."""
    found = []
    for regime, quantity, power in rows(data):
        measured, half, word = cell(data, regime, quantity, power)
        if word == "differs":
            derived = float(data.derived.sel(regime=regime, quantity=quantity, power=power))
            by = "budget" if power == "budget" else "B"
            text = f"{regime}: {quantity} ~ {by} measured {measured:.2f} +- {half:.2f}"
            found.append((abs(measured - derived), f"{text} against derived {derived:.2f}"))
    return max(found)[1] if found else "-"


def flatness(dataset: xr.Dataset) -> xr.DataArray:
    """Value at the best rate and momentum over its least over B, [..., batch, budget]."""
    value = dataset.optimum.sel(regime="eta, alpha", quantity="value")
    return value / value.min("batch")


def _flatness(dataset: xr.Dataset) -> Table:
    lines = []
    for where, label, data in _each(dataset):
        ratio = flatness(data)
        for place in (0, -1):
            here = ratio.isel(budget=place)
            lines.append((*where, label, int(here.budget), *(f"{float(x):.3f}" for x in here)))
    for method, label in zip(dataset.method.values, dataset.attrs["labels"], strict=True):
        value = dataset.bound_value.sel({"method": method})
        for place in (0, -1):
            here = (value / value.min("batch")).isel(budget=place)
            cells = (f"{float(x):.3f}" for x in here)
            lines.append(("bound", "-", label, int(here.budget), *cells))
    batches = [f"B = {batch:g}" for batch in dataset.batch.values]
    return Table(
        "Flatness in B: value at the best rate and momentum, over its least",
        ("criterion", "noise", "method", "tokens", *batches),
        tuple(lines),
    )


def _joint(dataset: xr.Dataset) -> Table:
    """The joint optimum against both ways to break the tie."""
    regime = "eta, alpha, B"
    lines = []
    for where, label, data in _each(dataset):
        cells = []
        for quantity in ("eta", "alpha", "B"):
            measured, half, printed = cell(data, regime, quantity, "budget")
            other = verdict(measured, half, float(data.other_tie_break.sel({"quantity": quantity})))
            cells.append(f"{measured:+.2f} +- {half:.2f}" if np.isfinite(measured) else "-")
            cells.append(f"{printed}, {other}")
        lines.append((*where, label, *cells))
    at = {"regime": regime, "power": "budget"}
    columns = ["criterion", "noise", "method"]
    for quantity in ("eta", "alpha", "B"):
        printed = float(dataset.derived.sel(at | {"quantity": quantity}))
        other = float(dataset.other_tie_break.sel({"quantity": quantity}))
        columns += [f"{quantity} ~ T", f"printed {printed:+.3f}, sharper {other:+.2f}"]
    note = "the tie leaves B open between T^0 and T^(1/2): next orders or chance decide"
    return Table("All three tuned: which end of the valley", tuple(columns), tuple(lines), note)


def _tie(dataset: xr.Dataset) -> Table:
    """Where the two bounds have the bottom of their valley."""
    lines = []
    for amount in dataset.amount.values:
        cells = []
        for bound in dataset.bound.values:
            curve = dataset.valley.sel(bound=bound, amount=amount)
            least = float(curve.min())
            flat = curve.sel(place=slice(0.0, 0.45))
            bottom = int(np.argmin(curve.values))
            cells += [f"{float(curve.place[bottom]):.2f}", f"{least:+.1e}"]
            cells += [f"{float(flat.max() - flat.min()):.1e}"]
        lines.append((f"{amount:g}", *cells))
    columns = ["tokens"]
    for bound in dataset.bound.values:
        columns += [f"{bound}: log B / log T", "bottom", "rise over T^0..T^0.45"]
    note = (
        "bound at the best rate and momentum over the leading order, less one; constants one. The "
        "tie is broken toward T^(1/6) by the printed bound, toward T^(1/2) by the sharper one"
    )
    return Table("What breaks the tie in B", tuple(columns), tuple(lines), note)
