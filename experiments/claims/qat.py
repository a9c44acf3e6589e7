"""Published claims on training with rounded weights, tested on quadratics and a small network.

The source is Vlassis et al. 2025 (arXiv 2509.23500): a 4-bit format acts like a model of rho times
the size, with one rho for each optimizer. Its systems are language models; ours are the matrix
quadratic and the two layers of study `qat`, rounded as there. A law with rho wants the excess of
loss to fall like N^-alpha; on the quadratic in its eigenbasis none is derived.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from experiments.compare import Verdict, bound_holds, finding_above, finding_below, finding_near
from experiments.qat_fits import SYMBOLS, Efficiencies, Settings, efficiencies, slope_of
from experiments.qat_runs import SYSTEMS, Spectrum, System, tuned
from theory.law_forms import ONE_TERM
from theory.published_quantization import QAT_EFFICIENCY

BITS, COARSE = np.array([16, 4]), np.array([16, 3])
SPECTRUM = Spectrum(1.5, 1.8, 0.1, 256)
MODES, SIDES, WIDTHS = (32, 64, 128, 256), (8, 12, 16, 24), (4, 6, 8, 12)
NAMES = {"clipped": "matrix quadratic", "network": "two layers"}
# Adam without weight decay stands for AdamW.
PUBLISHED = {"adam": "adamw"}
QUICK = {"clipped": ("adam", "muon")}
FULL = {
    "clipped": ("adam", "muon", "shampoo", "soap"),
    "network": ("adam", "muon", "scion", "shampoo", "soap"),
}


@dataclass(frozen=True)
class Runs:
    """Tuned runs of one method over sizes.

    Attributes:
        size: N, [places].
        tokens: D, [places].
        loss: [bits, places, seeds].
    """

    size: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray

    @property
    def slope(self) -> tuple[float, float]:
        """Power of N in the excess over full precision, and half its 95 % interval."""
        full, rounded = self.loss.mean(axis=-1)
        return slope_of(self.size, rounded - full)


def rounded_training(quick: bool) -> list[Verdict]:
    """Whether rho exists, whose is larger, and a system that has none."""
    seeds, rates = (4, 5) if quick else (6, 7)
    rows = [_floor_row(seeds, rates)]
    for system, methods in (QUICK if quick else FULL).items():
        sides = WIDTHS if system == "network" else SIDES
        runs = _runs(SYSTEMS[system], methods, sides, BITS, seeds, rates)
        fits = {name: _fit(run, 40 if quick else 200) for name, run in runs.items()}
        name = f"{NAMES[system]}, training in {BITS[1]} bits: "
        rows += [row for method in methods for row in _law_rows(name, method, runs, fits)]
        rows += _order_rows(name, fits)
    return rows


def _runs(
    system: System,
    methods: Sequence[str],
    sides: Sequence[int],
    bits: np.ndarray,
    seeds: int,
    rates: int,
) -> dict[str, Runs]:
    cases = [system.build(SPECTRUM, side, seeds) for side in sides]
    size = np.array([case.size for case in cases], float)
    ratio = system.tokens_per_parameter
    found = {}
    for method in methods:
        losses = [
            tuned(system, method, case, round(ratio * case.size / case.batch_size), bits, rates)
            for case in cases
        ]
        found[method] = Runs(size, ratio * size, np.stack([one.loss for one in losses], axis=1))
    return found


def _fit(runs: Runs, draws: int) -> Efficiencies:
    settings = Settings(delta=0.01, starts=6, draws=draws)
    cells = runs.size, runs.tokens[:, None], runs.loss[:, :, None]
    return efficiencies(ONE_TERM, BITS, *cells, settings)


def _floor_row(seeds: int, rates: int) -> Verdict:
    """In the eigenbasis the largest entry stays, and with it the grid: more modes cost no less."""
    runs = _runs(SYSTEMS["diagonal"], ["gd"], MODES, COARSE, seeds, rates)["gd"]
    slope, half = runs.slope
    return bound_holds(
        f"diagonal quadratic, training in {COARSE[1]} bits: the excess does not fall with the size "
        "like N^-alpha of the law, as derived: there is no rho",
        slope - half,
        -_alpha(_fit(runs, 2)),
    )


def _alpha(fit: Efficiencies) -> float:
    return float(fit.law[SYMBOLS.index("alpha")])


def _law_rows(
    name: str, method: str, runs: Mapping[str, Runs], fits: Mapping[str, Efficiencies]
) -> list[Verdict]:
    slope, half = runs[method].slope
    alpha = _alpha(fits[method])
    basis = "half of the 95 % interval of the slope"
    rows = [
        finding_below(
            f"{name}{method}'s excess falls with N, as a published rho needs: its power",
            0.0,
            slope,
            half,
            basis,
        )
    ]
    # A wider interval would agree with anything.
    if half < alpha:
        rows.append(
            finding_near(
                f"{name}and like N^-alpha of its law, {method}", -alpha, slope, half, basis
            )
        )
    return rows


def _order_rows(name: str, fits: Mapping[str, Efficiencies]) -> list[Verdict]:
    """Neighbours in the published order of rho."""
    published = {method: QAT_EFFICIENCY[PUBLISHED.get(method, method)].rho for method in fits}
    order = sorted(fits, key=lambda method: -published[method])
    rows: list[Verdict] = []
    for first, second in pairwise(order):
        (low, above, high), (least, below, most) = (fits[m].rho[1] for m in (first, second))
        # Each half of its interval that faces the other one.
        error = np.hypot(above - low, most - below)
        if above < below:
            error = np.hypot(high - above, below - least)
        rows.append(
            finding_above(
                f"{name}rho of {first} is above that of {second}, as published "
                f"({published[first]:g}, {published[second]:g}): difference",
                0.0,
                above - below,
                float(error),
                "95 % intervals of both, runs drawn anew",
            )
        )
    return rows
