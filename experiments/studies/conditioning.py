"""Why separate laws are ill-conditioned and what sharing exponents mends, on known laws."""

from dataclasses import dataclass

import jax
import numpy as np
import xarray as xr

from experiments.conditioning_runs import (
    FORMS,
    PARAMETERS,
    PROFILED,
    SCALES,
    SOURCES,
    conditioning_of_design,
    design,
    fitted,
    profiles_of_draw,
    truth,
)
from experiments.conditioning_tables import summary
from experiments.progress import Progress
from experiments.records import with_units
from experiments.study import Study
from theory.checks import check_choice, check_real


@dataclass(frozen=True)
class ConditioningConfig:
    """Separate and shared fits of four optimizers over designs, with the noise of seeds."""

    sources: tuple[str, ...] = SOURCES
    """Where losses come from: `law`, exact quadratics on `edges`, on a `bent` grid."""
    cells: tuple[int, ...] = (12, 20, 36)
    """Cells of an optimizer, multiples of 4 from 12."""
    spans: tuple[float, ...] = (4.0, 16.0, 64.0)
    """Largest over smallest size."""
    noise: float = 0.003
    """Standard deviation of log loss, as seeds of language models show (0.001 to 0.006)."""
    delta: float = 0.01
    """Huber threshold on log loss, above the noise: errors here are normal."""
    repeats: int = 6
    """Draws of the noise."""
    starts: int = 24
    """Random starts of a fit; on the edges only some of them find the optimum."""
    points: int = 31
    """Of a profile."""
    seed: int = 0
    """Of noise and starts."""

    @classmethod
    def quick(cls) -> "ConditioningConfig":
        """Fewer designs and draws."""
        return cls(sources=("law", "edges"), cells=(12, 20), spans=(4.0,), repeats=3, starts=16)


def compute(config: ConditioningConfig, progress: Progress) -> xr.Dataset:
    """Conditioning, profiles and errors of both kinds of fits, on all designs.

    Raises:
        ValueError: naming the field outside its domain.
    """
    _check(config)
    parts = []
    designs = len(config.cells) * len(config.spans)
    with progress.task("fits", len(config.sources) * designs * config.repeats):
        for source in config.sources:
            parts.append(_source(config, source, progress))
    dataset = xr.concat(parts, "source").assign_coords(
        source=list(config.sources),
        form=list(FORMS),
        cells=list(config.cells),
        span=list(config.spans),
        parameter=list(PARAMETERS),
        other=list(PARAMETERS),
        scale=list(SCALES),
        units=list(SCALES[:2]),
        profiled=list(PROFILED),
    )
    dataset.attrs["noise"] = config.noise
    return with_units(dataset, extrapolation="log loss", span="largest / smallest size")


def _check(config: ConditioningConfig) -> None:
    for source in config.sources:
        check_choice("sources", source, SOURCES)
    check_real("cells", config.cells, at_least=12)
    check_real("spans", config.spans, at_least=2.0, at_most=64.0)
    check_real("noise", config.noise, above=0.0)
    check_real("repeats", config.repeats, at_least=2)
    check_real("points", config.points, at_least=5)
    if any(count % 4 for count in config.cells):
        raise ValueError(f"`cells` must be multiples of 4, got {config.cells}.")
    for name, values in (("cells", config.cells), ("spans", config.spans)):
        if list(values) != sorted(set(values)):
            raise ValueError(f"`{name}` must increase, got {values}.")


def _fits(config: ConditioningConfig, source: str, progress: Progress) -> list[np.ndarray]:
    """What `fitted` gives, [cells, span, repeat, ...] each."""
    seen = []
    for count in config.cells:
        for span in config.spans:
            data = design(source, count, span)
            for key in jax.random.split(jax.random.key(config.seed), config.repeats):
                seen.append(fitted(data, config.noise, config.delta, config.starts, key))
                progress.advance()
    shape = len(config.cells), len(config.spans), config.repeats
    return [np.reshape(values, (*shape, *values[0].shape)) for values in zip(*seen, strict=True)]


def _source(config: ConditioningConfig, source: str, progress: Progress) -> xr.Dataset:
    fits, errors, agreement = _fits(config, source, progress)
    options = config.noise, config.delta, config.starts
    grid = ("cells", "span", "repeat", "form")
    # The smallest design, that of published sweeps.
    smallest = design(source, config.cells[0], config.spans[0])
    conditions = conditioning_of_design(smallest, *options)
    first = jax.random.split(jax.random.key(config.seed), config.repeats)[0]
    profiles = profiles_of_draw(smallest, *options, first, config.points)
    return (
        xr.merge([conditions, profiles])
        .assign(
            fitted=((*grid, "optimizer", "parameter"), fits),
            extrapolation=((*grid, "optimizer"), errors),
            agreement=(grid, agreement),
            truth=("parameter", truth(source)),
        )
        .assign_coords(optimizer=list(smallest.optimizers))
    )


STUDY = Study(
    "conditioning",
    "separate against shared fits: correlations, profiles and extrapolation on known laws",
    ConditioningConfig,
    compute,
    summary,
)
