"""A study of conditioning cut into chunks: conditions and profiles of a source, fits on a design.

Designs with the same number of cells share compiled fits, whatever their source.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import jax
import numpy as np
import xarray as xr

from experiments.chunks import Chunk, over_grid
from experiments.conditioning_runs import (
    FORMS,
    OPTIMIZERS,
    PARAMETERS,
    PROFILED,
    SCALES,
    Data,
    conditioning_of_design,
    design,
    fitted,
    profiles_of_draw,
)
from experiments.optimizer_runs import fit_bytes


@dataclass(frozen=True)
class Fitting:
    """A design and how it is fitted.

    Attributes:
        source: where its losses come from, as of `design`.
        cells: of an optimizer.
        span: largest over smallest size.
        noise: standard deviation of log loss.
        delta: Huber threshold.
        starts: random starts of a fit.
    """

    source: str
    cells: int
    span: float
    noise: float
    delta: float
    starts: int

    @property
    def data(self) -> Data:
        """The design with its exact losses."""
        return _design(self.source, self.cells, self.span)

    @property
    def options(self) -> tuple[float, float, int]:
        """What follows the design wherever it is fitted."""
        return self.noise, self.delta, self.starts


_design = lru_cache(maxsize=1)(design)  # chunks of the smallest design follow each other


@dataclass(frozen=True)
class Draws:
    """Draws of the noise.

    Attributes:
        repeats: how many.
        seed: of noise and starts.
    """

    repeats: int
    seed: int

    @property
    def keys(self) -> jax.Array:
        """Randomness of each, [repeats]."""
        return jax.random.split(jax.random.key(self.seed), self.repeats)


# Cost of a fit in those of the other sources: on the edges the slowest start takes more steps.
DEARER: Mapping[str, float] = {"edges": 5.0}
# Refits of one value of a profile, in starts: where it has no end it is widened again and again.
REFITS: Mapping[str, float] = {"law": 35.0, "edges": 4.0, "bent": 35.0}


FITS: dict[str, tuple[str, ...]] = {
    "fitted": ("form", "optimizer", "parameter"),
    "extrapolation": ("form", "optimizer"),
    "agreement": ("form",),
}


def _memory(fitting: Fitting) -> int:
    """Of one fit."""
    return fit_bytes(fitting.starts, len(OPTIMIZERS) * fitting.cells)


def _work(fitting: Fitting) -> float:
    """Of both forms fitted once."""
    return DEARER.get(fitting.source, 1.0) * fitting.starts * fitting.cells


def conditions_chunk(fitting: Fitting) -> Chunk:
    """Conditions of one design, known before any draw."""
    forms, parameters = len(FORMS), len(PARAMETERS)
    return Chunk(
        f"{fitting.source}, conditions",
        conditions,
        {"fitting": fitting},
        {
            "correlation": (forms, 2, parameters, parameters),
            "condition": (forms, len(SCALES)),
            "standard_error": (forms, parameters),
        },
        _memory(fitting),
        _work(fitting),
    )


def conditions(*, fitting: Fitting) -> xr.Dataset:
    """What `conditioning_of_design` gives."""
    return conditioning_of_design(fitting.data, *fitting.options)


def profiles_chunk(fitting: Fitting, draws: Draws, points: int) -> Chunk:
    """Profiles of the first draw on one design."""
    grid = len(FORMS), len(PROFILED)
    return Chunk(
        f"{fitting.source}, profiles",
        profiles,
        {"fitting": fitting, "draws": draws, "points": points},
        {
            "profile_value": (*grid, points),
            "profile_excess": (*grid, points),
            "profile_interval": (*grid, 2),
        },
        _memory(fitting),
        _work(fitting) + REFITS[fitting.source] * points * fitting.cells,
    )


def profiles(*, fitting: Fitting, draws: Draws, points: int) -> xr.Dataset:
    """What `profiles_of_draw` gives."""
    return profiles_of_draw(fitting.data, *fitting.options, draws.keys[0], points)


def fits_chunk(fitting: Fitting, draws: Draws) -> Chunk:
    """Fits of both forms to all draws on one design."""
    lengths = {"form": len(FORMS), "optimizer": len(OPTIMIZERS), "parameter": len(PARAMETERS)}
    return Chunk(
        f"{fitting.source}, {fitting.cells} cells, span {fitting.span:g}",
        fits,
        {"fitting": fitting, "draws": draws},
        {name: (draws.repeats, *(lengths[dim] for dim in dims)) for name, dims in FITS.items()},
        _memory(fitting),
        draws.repeats * _work(fitting),
    )


def fits(*, fitting: Fitting, draws: Draws) -> xr.Dataset:
    """What `fitted` gives for every draw, [repeat, ...] each."""
    data = fitting.data
    found = zip(*(fitted(data, *fitting.options, key) for key in draws.keys), strict=True)
    return xr.Dataset(
        {
            name: (("repeat", *dims), np.array(values))
            for (name, dims), values in zip(FITS.items(), found, strict=True)
        }
    )


def of_source(results: Sequence[xr.Dataset], cells: int, spans: int) -> xr.Dataset:
    """What the chunks of one source found.

    Args:
        results: conditions, profiles, and fits on all designs, spans fastest.
        cells: how many numbers of cells there are.
        spans: how many spans.

    Returns:
        Their variables, without labels; those of fits over `cells` and `span`.
    """
    known, profiled, *each = results
    fields = {name: ("repeat", *dims) for name, dims in FITS.items()}
    found = over_grid(each, fields, {"cells": cells, "span": spans})
    return xr.merge([known, profiled]).assign(found)
