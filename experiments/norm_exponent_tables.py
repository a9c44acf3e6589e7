"""Tables of norm transfer: exponents at the optimum, and how far what is derived explains them."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from experiments.norm_laws import LAWS
from experiments.norm_optima import NOT_RUN
from experiments.norm_published import analyse
from experiments.tables import Table
from theory.published_laws import LAWS as PUBLISHED

# Published counterparts: law, and letter of the exponent.
SOURCES = {
    "p": ("filatov.learning_rate", "B"),
    "q": ("filatov.learning_rate", "D"),
    "r": ("filatov.batch_size", "D"),
    "s": ("filatov_best.learning_rate", "D"),
}
MEANINGS = {
    "p": "eta* ~ B^p at given D",
    "q": "eta* ~ D^q at given B",
    "r": "B* ~ D^r",
    "s": "eta* ~ D^s at B*",
    "norm B": "norm ~ B^x at given D",
    "norm D": "norm ~ D^y at given B",
    "norm D at B*": "norm ~ D^u at B*",
}


def groups(dataset: xr.Dataset, prefix: str = "") -> Iterator[tuple[str, int, dict[str, object]]]:
    """Method, width and selection of whatever was run."""
    for width in dataset[f"{prefix}width"].values:
        for method in dataset[f"{prefix}method"].values:
            at = {f"{prefix}method": method, f"{prefix}width": width}
            if np.any(dataset[f"{prefix}edge"].sel(at).values != NOT_RUN):
                yield str(method), int(width), at


def pm(value: float, error: float, digits: int = 2) -> str:
    """A number with its error; a dash where there is none."""
    if not np.isfinite(value):
        return "-"
    bar = f"{error:.{digits}f}" if np.isfinite(error) else "?"
    return f"{value:.{digits}f} +- {bar}"


def exponent_table(dataset: xr.Dataset) -> Table:
    """Published, derived and measured exponents of rate, batch and norm."""
    rows: list[tuple[object, ...]] = [
        ("published", "-", *_published_exponents()),
        ("derived, bound", "-", *_bound_exponents()),
        ("derived, quadratic", "-", *_derived_exponents(dataset)),
    ]
    for prefix, system in (("", "network"), ("quad_", "quadratic")):
        for method, width, at in groups(dataset, prefix):
            pairs = {law: exponent(dataset, prefix, at, law) for law in LAWS}
            # Where batches tie there is no best one, and no rate at it.
            cells = ["-" if prefix and law == "s" else pm(*pairs[law]) for law in LAWS]
            growth = _growth(pairs["s"], pairs["r"]) if not prefix else ["-", "-"]
            rows.append((f"{system}, {method}", width, *cells, *growth))
    note = (
        "bound: theory.tuned_laws, rate and batch tuned without momentum. Quadratic: "
        f"theory.small_batch_steps at a = {dataset.attrs['capacity']:g}, b = "
        f"{dataset.attrs['source']:g}, small batches tie, and r is that of the batch at which the "
        "tuned loss is 1.2 times its least. Norm: output layer; at B* it has the power of eta K "
        "where steps add up, that of eta K^(1/2) where they cancel at random"
    )
    columns = ("system", "width", *(MEANINGS[law] for law in LAWS), *GROWTH)
    return Table("Exponents at the optimum", columns, tuple(rows), note)


GROWTH = ("eta K ~ D^x at B*", "eta K^(1/2) ~ D^x at B*")


def _growth(rate: tuple[float, float], batch: tuple[float, float]) -> list[str]:
    """Powers of D that the laws at B* give to eta K and to eta K^(1/2)."""
    return [
        pm(rate[0] + share * (1 - batch[0]), float(np.hypot(rate[1], share * batch[1])))
        for share in (1.0, 0.5)
    ]


def _published_exponents() -> list[str]:
    pairs = {
        law: (PUBLISHED[key].exponents[letter], PUBLISHED[key].errors[letter])
        for law, (key, letter) in SOURCES.items()
    }
    table = analyse().norm_law
    cells = [pm(*pairs[law]) for law in SOURCES]
    cells += [pm(table.exponents[letter], table.errors[letter]) for letter in "BD"]
    over = analyse().over_tokens
    return [*cells, pm(over.slope, over.slope_error), *_growth(pairs["s"], pairs["r"])]


def _bound_exponents() -> list[str]:
    rate, batch = (-0.25, 0.0), (0.5, 0.0)
    powers = ["0.50", "-0.50", "0.50", "-0.25", "-", "-", "-"]
    return [*powers, *(cell.split(" ")[0] for cell in _growth(rate, batch))]


def _derived_exponents(dataset: xr.Dataset) -> list[str]:
    powers = {law: float(dataset.derived.sel(law=law)) for law in LAWS}
    growth = _growth((powers["s"], 0.0), (powers["r"], 0.0))
    cells = [f"{value:.2f}" for value in powers.values()]
    return [*cells, *(cell.split(" ")[0] for cell in growth)]


def exponent(
    dataset: xr.Dataset, prefix: str, at: dict[str, object], law: str
) -> tuple[float, float]:
    """An exponent of one method and width with its error; NaN where there is none."""
    if prefix and law == "r":
        names, place = ("critical_law", "critical_error"), at
    else:
        names, place = ("exponent", "exponent_error"), at | {"law": law}
    value, error = (float(dataset[f"{prefix}{name}"].sel(place)) for name in names)
    return value, error


# What the derivation says of an exponent where noise fills the gradients, and where there is none.
STATEMENTS = {"p": (0.5, 1.0), "q": (-0.5, -1.0), "r": (0.5, None), "norm B": (0.0, 0.0)}
STATEMENTS |= {"norm D at B*": (0.0, 0.0)}
NEAR = 0.1


def reach_table(dataset: xr.Dataset) -> Table:
    """Which networks have the derived exponents, to 2 errors or 0.1."""
    rows = []
    for law, (noisy, exact) in STATEMENTS.items():
        found = {"as derived": [], "nearer to exact": [], "neither": []}
        for method, width, at in groups(dataset):
            value, error = exponent(dataset, "", at, law)
            if not np.isfinite(value):
                continue
            allowed = max(2 * error, NEAR)
            word = "as derived" if abs(value - noisy) <= allowed else "neither"
            if word == "neither" and exact is not None and exact != noisy:
                closer = abs(value - exact) < abs(value - noisy)
                word = "nearer to exact" if closer else word
            found[word].append(f"{method} {width} ({value:+.2f})")
        quad = [exponent(dataset, "quad_", at, law)[0] for _, _, at in groups(dataset, "quad_")]
        known = [value for value in quad if np.isfinite(value)]
        span = f"{min(known):+.2f} .. {max(known):+.2f}" if known else "-"
        stated = f"{noisy:+.2f}", "-" if exact is None else f"{exact:+.2f}"
        rows.append((MEANINGS[law], *stated, span, *(", ".join(v) or "-" for v in found.values())))
    note = (
        "noise: limit of small batches with a = b; exact: the distance budget, eta* K = |W*|. A "
        f"network has a derived exponent if it is within 2 standard errors or {NEAR:g} of it. A "
        "quadratic's target has a finite norm that is reached; rows of a cross entropy's output "
        "go on straight ahead (shares near one below), and the norm grows with eta K: there the "
        "derivation stops"
    )
    columns = ("law", "noise", "exact", "quadratic", "networks: noise", "exact rather", "neither")
    return Table("How far the derivation goes", columns, tuple(rows), note)
