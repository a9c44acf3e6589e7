"""The runs of a norm-transfer study cut into chunks: a norm of steps, a network, a batch size.

A chunk of networks is one method at one width, with all of its batch sizes, two at a time: each is
a compilation that keeps one core busy.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from experiments.chunks import Chunk
from experiments.norm_config import Cell, NormRunsConfig, cells, rate_window, usable
from experiments.norm_quadratic import QuadraticConfig, quadratic_runs, rate_lattice
from experiments.norm_runs import network_runs
from experiments.norm_variants import VARIANTS, variant_rates, variant_runs, variant_window
from experiments.progress import Progress
from simulate.role_norms import ROLES

# Of the weights of a run: themselves, gradient, averages, update, and a step of each.
STATE_COPIES = 12
# Of logits and activations, forward and back; 2.6 of them were seen.
PASS_COPIES = 3
GRID = ("method", "width", "batch", "rate", "tokens")


def quadratic_chunks(config: QuadraticConfig) -> list[Chunk]:
    """One norm of the steps each."""
    return [_quadratic_chunk(replace(config, steps=(step,))) for step in config.steps]


def network_chunks(config: NormRunsConfig) -> list[Chunk]:
    """One method at one width each."""
    groups: dict[tuple[str, int], list[int]] = {}
    for cell in cells(config):
        groups.setdefault((cell.method, cell.width), []).append(cell.batch)
    return [
        _network_chunk(
            replace(
                _without_variants(config),
                methods=(method,),
                width=width,
                widths=(),
                width_methods=(),
                batches=tuple(batches),
            )
        )
        for (method, width), batches in groups.items()
    ]


def variant_chunks(config: NormRunsConfig) -> list[Chunk]:
    """One batch size each."""
    return [
        _variant_chunk(replace(config, variant_batches=(batch,)))
        for batch in config.variant_batches
    ]


def merged(results: Sequence[xr.Dataset], order: dict[str, Sequence[str]]) -> xr.Dataset:
    """What chunks ran as one Dataset, NaN where none did; `order` names labels of a dimension."""
    whole = xr.merge(results, join="outer", compat="no_conflicts", combine_attrs="no_conflicts")
    assert isinstance(whole, xr.Dataset)
    return whole.sel({name: list(labels) for name, labels in order.items()})


def _without_variants(config: NormRunsConfig) -> NormRunsConfig:
    """Other variants are the same networks."""
    plain = NormRunsConfig()
    names = ("variant_batches", "variant_tokens", "variant_seeds")
    return replace(config, **{name: getattr(plain, name) for name in names})


def _quadratic_chunk(part: QuadraticConfig) -> Chunk:
    rates = rate_lattice(part).size
    grid = (1, 1, len(part.batches), rates, len(part.tokens))
    names = ("loss", "loss_error", "predicted_loss", "predicted_norm")
    shapes = dict.fromkeys(names, grid) | {"norm": (1, *grid), "target_norm": (1,)}
    runs, entries = rates * part.seeds, part.size**2
    return Chunk(
        f"quadratic, {part.steps[0]}",
        _quadratics,
        {"config": part},
        shapes,
        8 * STATE_COPIES * runs * entries,
        float(runs * entries * sum(max(part.tokens) // batch for batch in part.batches)),
    )


def _quadratics(*, config: QuadraticConfig) -> xr.Dataset:
    """Rates of the whole lattice, so that shapes are known before any is tried; most are NaN."""
    found = quadratic_runs(config, Progress()).reindex(
        batch=list(config.batches), rate=rate_lattice(config), tokens=list(config.tokens)
    )
    # A new axis holds its labels as objects.
    labels = found.layer.astype(str)
    return found.assign_coords(layer=labels).transpose("layer", *GRID)


def _network_chunk(part: NormRunsConfig) -> Chunk:
    windows = [
        (
            batch,
            rate_window(
                Cell(part.methods[0], part.width, batch),
                np.array(part.tokens)[usable(part.tokens, batch)],
                part.margin,
            ),
        )
        for batch in part.batches
    ]
    rates = len({rate for _, window in windows for rate in window})
    tokens = int(usable(part.tokens, min(part.batches)).sum())
    grid = (1, 1, len(part.batches), rates, tokens)
    shapes = dict.fromkeys(("loss", "loss_error", "output_rms_norm"), grid)
    shapes |= {"norm": (len(ROLES), *grid), "seed_loss": (*grid, part.seeds)}
    shapes |= dict.fromkeys(("initial_loss", "parameters"), (1,))
    most = max(
        _bytes(part, window.size * part.seeds, max(batch, part.evaluation))
        for batch, window in windows
    )
    return Chunk(
        f"{part.methods[0]}, width {part.width}",
        _networks,
        {"config": part},
        shapes,
        2 * most,
        _weights(part) * part.seeds * sum(w.size * max(part.tokens) for _, w in windows),
    )


def _networks(*, config: NormRunsConfig) -> xr.Dataset:
    found = network_runs(config, Progress())
    return found.transpose("layer", *GRID, "seed")


def _variant_chunk(part: NormRunsConfig) -> Chunk:
    (batch,) = part.variant_batches
    rates = variant_rates(part, batch).size
    grid = (len(VARIANTS), 1, rates, int(usable(part.variant_tokens, batch).sum()))
    shapes = dict.fromkeys(("variant_loss", "variant_loss_error"), grid)
    shapes |= {"variant_norm": (len(ROLES), *grid)}
    # All variants at all rates; at once those of two kinds, all but two variants, at their own.
    runs = rates * len(VARIANTS) * part.variant_seeds
    _, window = variant_window(part, batch)
    at_once = window.size * (len(VARIANTS) - 2) * part.variant_seeds
    return Chunk(
        f"variants, batch {batch}",
        _variants,
        {"config": part},
        shapes,
        _bytes(part, at_once, max(batch, part.evaluation)),
        _weights(part) * runs * max(part.variant_tokens),
    )


def _variants(*, config: NormRunsConfig) -> xr.Dataset:
    found = variant_runs(config, Progress())
    return found.transpose("layer", "variant", "variant_batch", "variant_rate", "variant_tokens")


def _weights(part: NormRunsConfig) -> float:
    """Of a network, about: embedding, hidden layers, output."""
    inner = part.depth * part.width**2 + part.context * part.width**2
    return float(2 * part.vocabulary * part.width + inner)


def _bytes(part: NormRunsConfig, runs: int, windows: int) -> int:
    """Of single-precision states and one pass over some windows, all runs at once."""
    activations = part.vocabulary + (part.context + part.depth) * part.width
    return int(4 * runs * (STATE_COPIES * _weights(part) + PASS_COPIES * windows * activations))
