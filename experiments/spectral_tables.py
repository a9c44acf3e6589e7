"""Tables of the matrix study: an alignment each, what turning does to each method, and the text."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from experiments.criterion import Judgement, judge, power_law_fit
from experiments.tables import Table
from simulate.matrix_problems import ALIGNMENTS

# Tuned losses of the turned and the aligned problem this close are the same: some paths are
# unstable, and rounding then moves single steps.
INVARIANT = 0.01
# Below this part of the loss at the start a loss is the square of rounding errors.
ROUNDING = 1e-28


def judgements(dataset: xr.Dataset) -> dict[tuple[str, str], Judgement]:
    """The criterion for every method and alignment, on exact curves where there are any."""
    found = {}
    for method in map(str, dataset.method.values):
        for alignment in map(str, dataset.alignment.values):
            row = dataset.sel({"method": method, "alignment": alignment})
            exact = row.judged_sizes.notnull().all()
            numbers = (
                (row.judged_sizes.values, dataset.exact_horizon.values, row.judged_loss.values)
                if exact
                else (dataset["size"].values, dataset.horizon.values, row.loss.values)
            )
            found[method, alignment] = judge(*numbers, float(row.derived))
    return found


def difference(dataset: xr.Dataset, method: str) -> float:
    """Largest relative difference of the turned problem's tuned losses from the aligned one's."""
    loss = dataset.loss.sel({"method": method})
    aligned, turned = (loss.sel(alignment=name).values for name in ("aligned", "turned"))
    above = np.maximum(aligned, turned) > ROUNDING
    return float(np.abs(turned[above] / np.maximum(aligned[above], ROUNDING) - 1).max())


def turning(dataset: xr.Dataset, verdicts: Mapping[tuple[str, str], Judgement], method: str) -> str:
    """What turning the whole problem does to a method's Chinchilla form.

    `unchanged`: tuned losses agree to `INVARIANT`; `lost`: the criterion fails on the turned
    problem and not on the aligned one; `none to lose`: it fails on both; `kept`: on neither;
    `undecided`: one of them is.
    """
    if difference(dataset, method) <= INVARIANT:
        return "unchanged"
    forms = [verdicts[method, name].holds for name in ("aligned", "turned")]
    if "undecided" in forms:
        return "undecided at these sizes"
    before, after = (form != "fails" for form in forms)
    if before:
        return "kept, other losses" if after else "lost"
    return "gained" if after else "none to lose"


def summary(dataset: xr.Dataset) -> list[Table]:
    """One table an alignment, what turning does, and the text."""
    verdicts = judgements(dataset)
    tables = [_alignment_table(dataset, str(name), verdicts) for name in dataset.alignment.values]
    texts = _text_table(dataset), _zipf_table(dataset)
    return [*tables, _turning_table(dataset, verdicts), *texts]


def _alignment_table(
    dataset: xr.Dataset, alignment: str, verdicts: Mapping[tuple[str, str], Judgement]
) -> Table:
    rows = []
    for method in map(str, dataset.method.values):
        row = dataset.sel({"method": method, "alignment": alignment})
        verdict = verdicts[method, alignment]
        with np.errstate(divide="ignore"):
            logs = np.log(row.loss.values[-1])
        with np.errstate(invalid="ignore"):
            local = -np.diff(logs) / np.diff(np.log(dataset.horizon.values))
        edge = " (edge)" if row.at_edge.values[-1].any() else ""
        rows.append(
            (
                method,
                _number(float(row.derived)),
                f"{local[0]:.2f} .. {local[-1]:.2f}",
                _number(verdict.exponent),
                _number(float(row.off), ".1e"),
                f"{row.learning_rate.values[-1, -1]:.3g}{edge}",
                verdict.sentence,
                "exact" if row.judged_sizes.notnull().all() else "simulated",
            )
        )
    columns = (
        "method",
        "beta derived (aligned)",
        f"local exponents, N = {int(dataset['size'].values[-1])}",
        "beta, N to infinity",
        "off exact",
        f"eta*, T = {int(dataset.horizon.values[-1])}",
        "Chinchilla form",
        "judged on",
    )
    a, b = dataset.attrs["capacity"], dataset.attrs["source"]
    return Table(f"Tuned loss, {alignment}, a = {a:g}, b = {b:g}", columns, tuple(rows))


def _turning_table(dataset: xr.Dataset, verdicts: Mapping[tuple[str, str], Judgement]) -> Table:
    rows = []
    for method in map(str, dataset.method.values):
        last = dataset.loss.sel({"method": method}).isel({"size": -1, "horizon": -1})
        aligned, turned, crossed = (float(last.sel(alignment=name)) for name in ALIGNMENTS)
        known = min(aligned, turned) > ROUNDING
        first = dataset.loss.sel({"method": method, "alignment": "crossed"}).isel(horizon=0)
        rows.append(
            (
                method,
                f"{difference(dataset, method):.1e}",
                f"{turned / aligned:.3g}" if known else "rounding",
                turning(dataset, verdicts, method),
                f"{crossed / aligned:.3g}" if known else "-",
                -power_law_fit(dataset["size"].values, first.values)[0],
            )
        )
    columns = (
        "method",
        "turned against aligned, largest difference",
        "turned / aligned, last T",
        "Chinchilla form when turned",
        "crossed / aligned, last T",
        "crossed: exponent of N, first T",
    )
    note = f"unchanged: tuned losses within {100 * INVARIANT:g} %; form: experiments/criterion.py"
    return Table("What the bases do to each method", columns, tuple(rows), note)


def _number(value: float, form: str = ".3f") -> str:
    return format(value, form) if np.isfinite(value) else "-"


def _text_table(dataset: xr.Dataset) -> Table:
    rows = []
    for method in map(str, dataset.text_method.values):
        row = dataset.sel({"text_method": method})
        off = float(row.text_off)
        rows.append(
            (
                method + (" (edge)" if row.text_at_edge.values.any() else ""),
                *(f"{x:.2g}" for x in row.text_loss.values / dataset.attrs["start"]),
                float(row.text_speedup[-1]),
                f"{off:.1e}" if np.isfinite(off) else "-",
            )
        )
    steps = [f"T = {int(count)}" for count in dataset.text_horizon.values]
    return Table(
        f"Real text, {int(dataset.vocabulary[0])} words: tuned loss over that at the start",
        ("method", *steps, "steps of tuned GD / steps, last T", "off exact"),
        tuple(rows),
    )


def _zipf_table(dataset: xr.Dataset) -> Table:
    rows = []
    for k, size in enumerate(dataset.vocabulary.values):
        cells = [int(size), float(dataset.occupied[k])]
        for name in ("gd_steps", "sign_steps"):
            cells += [float(dataset[name].sel(route=route)[k]) for route in ("zipf", "text")]
        speedup = dataset.gd_steps[:, k] / dataset.sign_steps[:, k]
        rows.append((*cells, *(float(speedup.sel(route=route)) for route in ("zipf", "text"))))
    columns = (
        "words",
        "pairs seen",
        "GD, Zipf",
        "GD, text",
        "sign, Zipf",
        "sign, text",
        "speed-up, Zipf",
        "speed-up, text",
    )
    note = "GD at 1/pi_1, sign descent tuned; Zipf: frequencies and conditionals k^-1, all pairs"
    return Table(
        f"Steps to {dataset.attrs['target']:g} of the loss at the start", columns, tuple(rows), note
    )
