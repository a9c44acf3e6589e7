"""The matrices of a spectral study cut into chunks: simulated methods, and their exact curves.

A simulated chunk is one method on one alignment at all sizes, which share a compiled sweep. An
exact one is a curve on the modes that a method sees; methods and alignments share it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from experiments.chunks import Chunk, over_grid
from experiments.padding import padded_error
from experiments.spectral_methods import METHODS, SPACING, WIDTH, tuned_run
from experiments.tuned_curves import curve_losses, off_exact, rate_grid, tuned_curve
from simulate.matrix_problems import ALIGNMENTS, MatrixQuadratic, matrix_quadratic
from theory.matrix_methods import kronecker_spectrum
from theory.problem import PowerLawQuadratic, power_law
from theory.spectrum import Spectrum

EXACT_HORIZONS = np.array([5, 9, 17, 33, 65, 129, 257])
EXACT_SIZES = {"singular": (1024, 4096, 16384), "entries": (32, 64, 128)}
FIELDS: dict[str, tuple[str, ...]] = {
    "start": (),
    "loss": ("size", "horizon"),
    "learning_rate": ("size", "horizon"),
    "log_rate_error": ("size", "horizon"),
    "at_edge": ("size", "horizon"),
    "exact": ("horizon",),
    "off": (),
}
# Of the matrices of a run: themselves, gradient, update, averages, factors, and a step of each.
STATE_COPIES = 8
# Of the modes of an exact curve at one horizon; nodes that stand for singular values are fewer.
CURVE_COPIES, NODES = 4, 1024
# Cost in that of an entry and step of GD: of compiling, of an entry, and of an entry and row where
# matrices are factorised.
COMPILING = 3e8
ENTRY_COST: Mapping[str, float] = {"adam": 2.0}
ROW_COST: Mapping[str, float] = {"muon": 0.5, "shampoo": 1.0, "soap": 1.0}
# Of a mode, rate and horizon of an exact curve.
CURVE_COST: Mapping[str, float] = {"gd": 60.0, "normalized_sgd": 120.0, "sign": 6.0}


def simulated_chunks(
    capacity: float, source: float, sizes: tuple[int, ...], horizons: tuple[int, ...], seed: int
) -> list[Chunk]:
    """One an alignment and method, methods fastest."""
    lengths = {"size": len(sizes), "horizon": len(horizons)}
    shapes = {name: tuple(lengths[dim] for dim in dims) for name, dims in FIELDS.items()}
    chunks = []
    for alignment in ALIGNMENTS:
        for method in METHODS:
            runs, held = rate_grid(*METHODS[method].rates, SPACING).size, max(sizes)
            stated = {
                "alignment": alignment,
                "method": method,
                "capacity": capacity,
                "source": source,
                "sizes": sizes,
                "horizons": horizons,
                # Only bases are drawn.
                "seed": 0 if alignment == "aligned" else seed,
            }
            memory = 8 * STATE_COPIES * runs * held**2
            work = COMPILING + runs * len(sizes) * max(horizons) * step_cost(method, held)
            chunks.append(Chunk(f"{method}, {alignment}", simulated, stated, shapes, memory, work))
    return chunks


def step_cost(method: str, side: int) -> float:
    """Of a step of a method on a square matrix, in entries of GD."""
    return side**2 * (ENTRY_COST.get(method, 1.0) + ROW_COST.get(method, 0.0) * side)


def exact_chunks(capacity: float, source: float, seed: int) -> list[Chunk]:
    """One a curve and kind of modes, at sizes that no simulation of matrices reaches."""
    return [
        Chunk(
            f"exact {method}, {which}",
            exact_sizes,
            {
                "method": method,
                "which": which,
                "capacity": capacity,
                "source": source,
                "seed": seed if which == "entries" else 0,
            },
            {"losses": (len(EXACT_SIZES[which]), EXACT_HORIZONS.size)},
            _curve_memory(which),
            _curve_work(method, which),
        )
        for method, which in dict.fromkeys(_curves().values())
    ]


def _curve_memory(which: str) -> int:
    modes = NODES if which == "singular" else max(EXACT_SIZES[which]) ** 2
    return 8 * CURVE_COPIES * modes * EXACT_HORIZONS.size


def _curve_work(method: str, which: str) -> float:
    """Few modes stand for many singular values; entries are all held, and their bases drawn."""
    if which == "singular":
        return COMPILING
    modes = sum(size**2 for size in EXACT_SIZES[which])
    curves = _exact_rates(method).size * EXACT_HORIZONS.size
    return 2 * COMPILING + CURVE_COST[method] * curves * modes


def _exact_rates(method: str) -> np.ndarray:
    low, high = METHODS[method].rates
    # Horizons four times those of the simulation ask for smaller steps.
    return rate_grid(low if method == "gd" else low / 8, high, SPACING)


def _curves() -> dict[tuple[str, str], tuple[str, str]]:
    """Alignment and method to the first method that has its curve, and the modes it sees."""
    found, first = {}, {}
    for alignment in ALIGNMENTS:
        for name, method in METHODS.items():
            if alignment in method.sees:
                which = method.sees[alignment]
                owner = first.setdefault((method.curve, which), name)
                found[alignment, name] = owner, which
    return found


@lru_cache(maxsize=3)  # the sizes of one alignment, for one method after the other
def matrix_problem(
    capacity: float, source: float, size: int, alignment: str, held: int, seed: int
) -> MatrixQuadratic:
    """The padded matrix quadratic with dense sides: all alignments share one compiled sweep."""
    family = power_law(capacity, source, size)
    stated = matrix_quadratic(family, alignment=alignment, key=jax.random.key(seed))
    left, right = (
        jnp.diag(side) if side.ndim == 1 else side for side in (stated.left, stated.right)
    )
    return padded_error(replace(stated, left=left, right=right), held)


def simulated(
    *,
    alignment: str,
    method: str,
    capacity: float,
    source: float,
    sizes: tuple[int, ...],
    horizons: tuple[int, ...],
    seed: int,
) -> xr.Dataset:
    """Tuned losses of a method at all sizes, and the exact one at the largest if it is known."""
    chosen, steps = METHODS[method], np.array(horizons)
    problems = [matrix_problem(capacity, source, n, alignment, max(sizes), seed) for n in sizes]
    runs = [tuned_run(chosen, problem, steps, chosen.rates) for problem in problems]
    exact, off = np.full(steps.size, np.nan), np.nan
    if alignment in chosen.sees:
        modes = _modes(power_law(capacity, source, max(sizes)), chosen.sees[alignment], seed)
        assert chosen.curve is not None
        losses = curve_losses(chosen.curve, modes, steps, runs[-1].rates)
        exact, off = tuned_curve(losses, WIDTH), off_exact(runs[-1].losses, losses)
    found = {
        "start": float(problems[-1].loss(problems[-1].init())),
        "loss": np.array([run.loss for run in runs]),
        "learning_rate": np.array([run.learning_rate for run in runs]),
        "log_rate_error": np.array([run.log_error for run in runs]),
        "at_edge": np.array([run.at_edge for run in runs], float),
        "exact": exact,
        "off": off,
    }
    return xr.Dataset({name: (dims, found[name]) for name, dims in FIELDS.items()})


def _modes(family: PowerLawQuadratic, which: str, seed: int) -> PowerLawQuadratic | Spectrum:
    """What theory is asked for: singular values, the vector problem's modes, or crossed entries."""
    if which == "singular":
        return family
    problem = matrix_quadratic(family, alignment="crossed", key=jax.random.key(seed))
    return kronecker_spectrum(problem.left, problem.right, np.asarray(problem.target))


def exact_sizes(
    *, method: str, which: str, capacity: float, source: float, seed: int
) -> xr.Dataset:
    """Exact tuned losses of a method on some modes at the sizes of the criterion."""
    chosen = METHODS[method]
    rates = _exact_rates(method)
    assert chosen.curve is not None
    found = []
    for size in EXACT_SIZES[which]:
        modes = _modes(power_law(capacity, source, size), which, seed)
        found.append(tuned_curve(curve_losses(chosen.curve, modes, EXACT_HORIZONS, rates), WIDTH))
    return xr.Dataset({"losses": (("exact_size", "exact_horizon"), np.array(found))})


def assembled_matrices(results: Sequence[xr.Dataset]) -> xr.Dataset:
    """Results of the simulated chunks, then of the exact ones, over alignments and methods."""
    count = len(ALIGNMENTS) * len(METHODS)
    outer = {"alignment": len(ALIGNMENTS), "method": len(METHODS)}
    variables = over_grid(results[:count], FIELDS, outer)
    # The same for all methods.
    variables["start"] = (("alignment",), variables["start"][1][:, 0])
    curves = _curves()
    exact = dict(zip(dict.fromkeys(curves.values()), results[count:], strict=True))
    shape = (*outer.values(), 3)
    sizes, losses = np.full(shape, np.nan), np.full((*shape, EXACT_HORIZONS.size), np.nan)
    for (alignment, method), key in curves.items():
        place = ALIGNMENTS.index(alignment), list(METHODS).index(method)
        sizes[place], losses[place] = EXACT_SIZES[key[1]], exact[key].losses.values
    dims = (*outer, "exact_size")
    return xr.Dataset(
        {
            **variables,
            "judged_sizes": (dims, sizes),
            "judged_loss": ((*dims, "exact_horizon"), losses),
        },
        coords={
            "alignment": list(ALIGNMENTS),
            "method": list(METHODS),
            "exact_horizon": EXACT_HORIZONS.astype(float),
        },
    )
