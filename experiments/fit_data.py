"""From a table of runs to the data of a fit: duplicates, units, optimizers, the law's form."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.errors import UserError
from experiments.fit_options import FitOptions
from experiments.run_table import RunTable
from theory.grouped_runs import GroupedRuns, grouped_runs
from theory.law_forms import FORMS, LawForm, law_form

ALL = "all"
_SMALL = 1e4  # parameters or tokens below which a number was meant in millions or billions
_GAP_DECADES = 4.0


def chosen_form(options: FitOptions) -> LawForm:
    """The law that was asked for, from its name or from a TOML file.

    Raises:
        UserError: if it is neither, or needs an optimizer column that was not named.
    """
    path = Path(options.law)
    if path.suffix.lower() == ".toml":
        form = _form_of(path)
    elif options.law in FORMS:
        form = FORMS[options.law]
    else:
        raise UserError(
            f"--law {options.law!r} is unknown; there are: {', '.join(FORMS)}, or a .toml file."
        )
    if options.optimizer_column and not form.grouped:
        raise UserError(
            f"--law {form.name} has nothing that differs between optimizers; with "
            "--optimizer-column use shared, quantized, one-term or separate."
        )
    if form.grouped and not options.optimizer_column:
        if form.name in ("shared", "quantized", "separate"):
            raise UserError(f"--law {form.name} needs --optimizer-column.")
        form = replace(form, grouped=frozenset())
    return form


def _form_of(path: Path) -> LawForm:
    try:
        text: dict[str, Any] = tomllib.loads(path.read_text())
        terms = [(term["coefficient"], dict(term.get("powers", {}))) for term in text["terms"]]
        return law_form(str(text.get("name", path.stem)), terms, text.get("grouped", ()))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path.name} is no law: {str(error).splitlines()[0]} It needs tables [[terms]] with "
            'coefficient = "A" and, but for a constant, powers = { N = "alpha" }.'
        ) from error


def check_varied(table: RunTable, options: FitOptions, form: LawForm) -> None:
    """Refuses a column that never varies where the law has an exponent of it.

    Raises:
        UserError: naming the column and the exponent.
    """
    variables = {variable for term in form.terms for variable, _ in term.powers}
    for variable, column, values in (("N", options.n, table.size), ("D", options.d, table.tokens)):
        if variable in variables and np.unique(values).size < 2:
            raise UserError(
                f"{options.file.name}: {column} is {values[0]:g} in every row; "
                f"it must vary, or its exponent {_exponent(form, variable)} cannot be identified."
            )


def data_of(table: RunTable, options: FitOptions, form: LawForm) -> GroupedRuns:
    """Checked and centred runs of a table.

    Raises:
        UserError: naming an optimizer with too few cells, or if there are too few runs.
    """
    labels = np.full(table.loss.size, ALL) if table.optimizer is None else table.optimizer
    if table.groups is not None and np.unique(table.groups).size < 2:
        raise UserError(
            f"--group {options.group} names one training run only: nothing to resample."
        )
    if table.optimizer is None:
        cells = np.unique(np.stack([table.size, table.tokens]), axis=1).shape[1]
        if cells < len(form.symbols):
            raise UserError(
                f"{options.file.name}: {form.description} has {len(form.symbols)} parameters and "
                f"needs at least {len(form.symbols)} distinct runs, got {cells}."
            )
    least = 1 if table.optimizer is None else options.least_cells
    try:
        return grouped_runs(table.size, table.tokens, table.loss, labels, least)
    except ValueError as error:
        raise UserError(f"{options.file.name}: {error}") from error


def _exponent(form: LawForm, variable: str) -> str:
    names = [name for term in form.terms for key, name in term.powers if key == variable]
    return " and ".join(names)


def reference_of(data: GroupedRuns, options: FitOptions) -> str:
    """The reference optimizer.

    Raises:
        UserError: if the one named has no rows, or a relative cost is given for one that has none.
    """
    for part in options.relative_cost:
        name = part.partition("=")[0].strip()
        if name not in data.groups:
            raise UserError(f"--relative-cost {part!r}: no rows of {name!r}.")
    if not options.reference:
        return data.groups[0]
    if options.reference not in data.groups:
        raise UserError(
            f"--reference {options.reference!r} has no rows; there are: {', '.join(data.groups)}."
        )
    return options.reference


def without_duplicates(table: RunTable, options: FitOptions) -> tuple[RunTable, list[str]]:
    """Deals with rows of one optimizer, N and D, as `--duplicates` says.

    Raises:
        UserError: if there are such rows with different losses and nothing was said.
    """
    names = np.full(table.loss.size, ALL) if table.optimizer is None else table.optimizer
    keys = np.unique(names, return_inverse=True)[1]
    columns = np.stack([keys.astype(float), table.size, table.tokens])
    cell = np.unique(columns, axis=1, return_inverse=True)[1].reshape(-1)
    order = np.lexsort((table.loss, cell))
    repeated = np.flatnonzero(np.diff(cell[order]) == 0)
    if repeated.size == 0:
        return table, []
    different = repeated[np.diff(table.loss[order])[repeated] > 0]
    if options.duplicates == "refuse" and different.size:
        _refuse(table, names, options, int(order[different[0]]), int(order[different[0] + 1]))
    if options.duplicates in ("refuse", "keep"):
        what = "seeds or other repeats" if different.size else "the same run twice"
        return table, [f"{repeated.size} rows repeat an optimizer, N and D: {what}, all counted."]
    return _reduced(table, cell, order, options.duplicates)


def _refuse(
    table: RunTable, names: np.ndarray, options: FitOptions, first: int, second: int
) -> None:
    low, high = sorted((int(table.lines[first]), int(table.lines[second])))
    who = "" if table.optimizer is None else f"optimizer {names[first]}, "
    raise UserError(
        f"{options.file.name} lines {low} and {high} have one {who}{options.n} and {options.d} "
        f"but losses {table.loss[first]:g} and {table.loss[second]:g}: say --duplicates keep, "
        "least or mean."
    )


def _reduced(
    table: RunTable, cell: np.ndarray, order: np.ndarray, how: str
) -> tuple[RunTable, list[str]]:
    first = order[np.unique(cell[order], return_index=True)[1]]  # least loss of each cell
    loss = table.loss[first]
    if how == "mean":
        loss = np.bincount(cell, weights=table.loss) / np.bincount(cell)
    kept = {
        name: None if values is None else values[first]
        for name in ("size", "tokens", "optimizer", "groups", "lines")
        for values in (getattr(table, name),)
    }
    gone = table.loss.size - first.size
    word = "the least loss" if how == "least" else "the mean loss"
    return replace(table, loss=loss, **kept), [
        f"{gone} rows repeat an optimizer, N and D: {word} of each cell is fitted."
    ]


def unit_warnings(table: RunTable, options: FitOptions) -> list[str]:
    """Numbers that look as if N and D were counted in different units."""
    said = []
    middle = float(np.median(table.size)), float(np.median(table.tokens))
    for column, own, other in (
        (options.n, middle[0], middle[1]),
        (options.d, middle[1], middle[0]),
    ):
        if own < _SMALL <= other:
            said.append(
                f"{column} has a median of {own:g} beside {other:.3g}: counted in millions or "
                "billions? Give N in parameters and D in tokens."
            )
    for column, values in ((options.n, table.size), (options.d, table.tokens)):
        jumps = np.diff(np.sort(np.log10(values)))
        if jumps.size and jumps.max() > _GAP_DECADES:
            said.append(
                f"{column} jumps by {jumps.max():.1f} decades between neighbouring values: "
                "mixed units?"
            )
    return said
