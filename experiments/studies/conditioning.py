"""Why separate laws are ill-conditioned and what sharing exponents mends, on known laws."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import xarray as xr

from experiments.chunks import Chunk, Plan, computed
from experiments.conditioning_plan import (
    Draws,
    Fitting,
    conditions_chunk,
    fits_chunk,
    of_source,
    profiles_chunk,
)
from experiments.conditioning_runs import (
    FORMS,
    OPTIMIZERS,
    PARAMETERS,
    PROFILED,
    SCALES,
    SOURCES,
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
    return computed(plan(config), progress)


def plan(config: ConditioningConfig, memory: int | None = None) -> Plan:
    """Chunks of `experiments.conditioning_plan`, source by source; none of them is cut further.

    Raises:
        ValueError: naming the field outside its domain.
    """
    del memory
    _check(config)
    chunks = [chunk for source in config.sources for chunk in _chunks(config, source)]
    return Plan("fits", tuple(chunks), partial(_assembled, config), "cell fits")


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


def _chunks(config: ConditioningConfig, source: str) -> list[Chunk]:
    """Those of one source, in the order of `of_source`."""
    draws = Draws(config.repeats, config.seed)
    designs = [
        Fitting(source, count, span, config.noise, config.delta, config.starts)
        for count in config.cells
        for span in config.spans
    ]
    smallest = designs[0]  # that of published sweeps
    return [
        conditions_chunk(smallest),
        profiles_chunk(smallest, draws, config.points),
        *(fits_chunk(fitting, draws) for fitting in designs),
    ]


def _assembled(config: ConditioningConfig, results: Sequence[xr.Dataset]) -> xr.Dataset:
    each = len(results) // len(config.sources)
    parts = []
    for place, source in enumerate(config.sources):
        own = results[place * each : (place + 1) * each]
        found = of_source(own, len(config.cells), len(config.spans))
        parts.append(found.assign(truth=("parameter", truth(source))))
    dataset = xr.concat(parts, "source").assign_coords(
        optimizer=list(OPTIMIZERS),
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


STUDY = Study(
    "conditioning",
    "separate against shared fits: correlations, profiles and extrapolation on known laws",
    ConditioningConfig,
    compute,
    summary,
    plan=plan,
)
