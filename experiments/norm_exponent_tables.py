"""Tables of norm transfer: exponents at the optimum, and how far what is derived explains them."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from experiments.norm_laws import LAWS, OUTPUT, PARTS
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
        *(
            (f"derived, quadratic, {part}", "-", *_derived_exponents(dataset, part))
            for part in PARTS
        ),
    ]
    for method, width, at in groups(dataset, "quad_"):
        powers = [float(dataset.quad_expected_exponent.sel(at | {"law": law})) for law in LAWS]
        # The prediction is that of batches which tie: no best one.
        cells = [
            "-" if law in AT_BEST or not np.isfinite(power) else f"{power:.3f}"
            for law, power in zip(LAWS, powers, strict=True)
        ]
        rows.append((f"predicted at this size, {method}", width, *cells, "-", "-"))
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
        "tuned loss is 1.2 times its least. Its norm is that of modes learned and of modes that "
        "walk, powers for infinitely many modes; predicted at this size: the same limit summed "
        "over the modes there are, through the analysis of the runs. Norm: output layer; at B* it "
        "has the power of eta K where steps add up, that of eta K^(1/2) where they cancel at random"
    )
    columns = ("system", "width", *(MEANINGS[law] for law in LAWS), *GROWTH)
    return Table("Exponents at the optimum", columns, tuple(rows), note)


# Of the batch at which the loss is least.
AT_BEST = ("r", "s", "norm D at B*")
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


def _derived_exponents(dataset: xr.Dataset, part: str) -> list[str]:
    powers = {law: float(dataset.derived.sel(part=part, law=law)) for law in LAWS}
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


NEAR = 0.1
# Powers where gradients are exact: eta* K = |W*|, a finite norm that is reached.
EXACT = {"p": 1.0, "q": -1.0, "norm B": 0.0, "norm D": 0.0, "norm D at B*": 0.0}
# Laws, and which part of the norm is compared; elsewhere the parts agree.
REACH = (("p", ""), ("q", ""), ("r", ""), ("norm B", ""))
REACH += tuple((law, part) for law in ("norm D", "norm D at B*") for part in PARTS)


def reach_table(dataset: xr.Dataset) -> Table:
    """Which networks have the derived exponents, to 2 errors or 0.1."""
    rows = []
    for law, part in REACH:
        noisy, exact = float(dataset.derived.sel(part=part or PARTS[0], law=law)), EXACT.get(law)
        sorted_names = _nearer(dataset, law, noisy, exact)
        stated = f"{noisy:+.2f}", "-" if exact is None else f"{exact:+.2f}"
        seen = _span(_quadratic_powers(dataset, law, "exponent"))
        expected = _span(_quadratic_powers(dataset, law, "expected_exponent"))
        name = f"{MEANINGS[law]}, {part}" if part else MEANINGS[law]
        rows.append((name, *stated, expected, seen, *sorted_names))
    attrs = dataset.attrs
    note = (
        f"noise: limit of small batches for a = {attrs['capacity']:g}, b = {attrs['source']:g} and "
        "infinitely many modes; the norm is that of modes learned, or of modes that walk. At this "
        f"size ({int(dataset.quad_width[0])} modes): the same limit summed over the modes there "
        "are, to be compared with the quadratic's runs; the power of the learned norm is that of "
        "many modes and need not be seen. Exact: the distance budget, eta* K = |W*|. A network has "
        f"a derived exponent if it is within 2 standard errors or {NEAR:g} of it. A quadratic's "
        "target has a finite norm for b > a + 1 or finitely many modes, and is reached by long "
        "runs only; where a network's share of the budget is near one (below) its norm grows with "
        "eta K: there the derivation stops"
    )
    columns = ("law", "noise", "exact", "at this size", "quadratic", *WORDS)
    return Table("How far the derivation goes", columns, tuple(rows), note)


WORDS = ("networks: noise", "exact rather", "neither")


def _nearer(dataset: xr.Dataset, law: str, noisy: float, exact: float | None) -> list[str]:
    """Networks under each of `WORDS`."""
    found: dict[str, list[str]] = {word: [] for word in WORDS}
    for method, width, at in groups(dataset):
        value, error = exponent(dataset, "", at, law)
        if not np.isfinite(value):
            continue
        word = WORDS[2]
        if abs(value - noisy) <= max(2 * error, NEAR):
            word = WORDS[0]
        elif exact is not None and abs(value - exact) < abs(value - noisy):
            word = WORDS[1]
        found[word].append(f"{method} {width} ({value:+.2f})")
    return [", ".join(names) or "-" for names in found.values()]


def _quadratic_powers(dataset: xr.Dataset, law: str, name: str) -> list[float]:
    """Finite exponents of the quadratic's methods; small batches tie, so that none is at B*."""
    if name == "expected_exponent":
        at = {"law": law}
        values = [] if law in AT_BEST else dataset[f"quad_{name}"].sel(at).values.ravel()
    else:
        values = [exponent(dataset, "quad_", at, law)[0] for _, _, at in groups(dataset, "quad_")]
    return [float(value) for value in values if np.isfinite(value)]


def _span(values: list[float]) -> str:
    return f"{min(values):+.2f} .. {max(values):+.2f}" if values else "-"


def pinned_table(dataset: xr.Dataset) -> Table:
    """The norm at the optimum read at the best rate, and by the source's pinned parabola."""
    rows = []
    for method, width, at in groups(dataset):
        read = dataset.log2_norm.sel(at | {"layer": OUTPUT})
        moved = (dataset.pinned_log2_norm.sel(at) - read).values
        moved = moved[np.isfinite(moved)]
        shift = pm(float(moved.mean()), float(moved.std())) if moved.size else "-"
        cells = []
        for law in ("norm B", "norm D", "norm D at B*"):
            place = at | {"law": law}
            for prefix in ("", "pinned_"):
                value = float(dataset[f"{prefix}exponent"].sel(place))
                cells.append(pm(value, float(dataset[f"{prefix}exponent_error"].sel(place))))
        rows.append((method, width, int(np.isfinite(read).sum()), moved.size, shift, *cells))
    laws = [f"{MEANINGS[law]}{how}" for law in ("norm B", "norm D", "norm D at B*")
            for how in (": read", ": pinned")]  # fmt: skip
    columns = ("method", "width", "optima", "with a parabola", "pinned less read", *laws)
    note = (
        "output layer, log2. Read: norm at the best rate of parabolas in log2 rate. Pinned: as in "
        "the source, a parabola of the loss in log2 norm through the best point and three on "
        "either side that passes through the initial loss at log2 norm 0; none where the norm "
        "does not grow with the rate. Shift: mean and standard deviation over cells"
    )
    return Table("The source's parabola: is the norm the same?", columns, tuple(rows), note)
