"""A bound of one's own, read from a TOML file."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from theory.bound_formula import BoundFormula, Range, bound_formula, budget

_ENTRIES = (
    "name",
    "expression",
    "terms",
    "constants",
    "variables",
    "budgets",
    "at_most_one",
    "source",
    "caveat",
)


def read_bound(path: Path) -> BoundFormula:
    """A bound from a TOML file; see `bound_from_mapping`.

    Args:
        path: of the file.

    Returns:
        The bound.

    Raises:
        ValueError: if the file is no TOML or says something that is not understood.
        OSError: if it cannot be read.

    Kind: definition.
    Valid: as `bound_from_mapping`.
    Source: none needed.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name}: {error}") from error
    return bound_from_mapping({"name": path.stem, **table})


def bound_from_mapping(table: Mapping[str, Any]) -> BoundFormula:
    """A bound from a mapping as a TOML file gives it.

    name = "mine"; expression = "..." or [terms] with named expressions; [constants] name = value;
    at_most_one = ["L*eta"]; [variables.NAME] at_least, at_most; [budgets.WORD] name = "C" and
    replaced = {K = "C/N"}.

    Args:
        table: the mapping.

    Returns:
        The bound.

    Raises:
        ValueError: naming the entry that is missing, unknown or wrong.

    Kind: definition.
    Valid: sums of monomials with positive coefficients.
    Source: none needed.
    """
    _only(table, _ENTRIES, "the bound")
    if ("expression" in table) == ("terms" in table):
        raise ValueError("a bound needs either `expression` or `[terms]`, and not both.")
    for key in ("name", "expression", "source", "caveat"):
        if not isinstance(table.get(key, ""), str):
            raise ValueError(f"`{key}` must be text, got {table[key]!r}.")
    terms = table["expression"] if "expression" in table else _text_table(table, "terms")
    ranges = {}
    for name, entry in _table(table, "variables").items():
        _only(entry, ("at_least", "at_most"), f"variables.{name}")
        ranges[name] = Range(**{key: _number(f"{name}.{key}", entry[key]) for key in entry})
    budgets = {}
    for word, entry in _table(table, "budgets").items():
        _only(entry, ("name", "replaced"), f"budgets.{word}")
        budgets[word] = budget(entry.get("name", word), _text_table(entry, "replaced"))
    return bound_formula(
        table.get("name", "bound"),
        terms,
        constants={k: _number(k, v) for k, v in _table(table, "constants").items()},
        ranges=ranges,
        budgets=budgets,
        at_most_one=_texts(table.get("at_most_one", [])),
        source=table.get("source", ""),
        caveat=table.get("caveat", ""),
    )


def _only(entry: Any, known: Sequence[str], where: str) -> None:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where} must be a table, got {entry!r}.")
    for key in entry:
        if key not in known:
            raise ValueError(f"{where} has an unknown entry {key!r}; known: {', '.join(known)}.")


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    entry = table.get(key, {})
    if not isinstance(entry, Mapping):
        raise ValueError(f"`{key}` must be a table, got {entry!r}.")
    return entry


def _text_table(table: Mapping[str, Any], key: str) -> dict[str, str]:
    entry = _table(table, key)
    for name, text in entry.items():
        if not isinstance(text, str):
            raise ValueError(f"`{key}.{name}` must be text, got {text!r}.")
    return dict(entry)


def _texts(entry: Any) -> list[str]:
    if not isinstance(entry, list) or not all(isinstance(text, str) for text in entry):
        raise ValueError(f"`at_most_one` must be a list of expressions, got {entry!r}.")
    return entry


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"`{name}` must be a number, got {value!r}.")
    return float(value)
