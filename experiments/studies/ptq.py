"""Quantization after training: what optimizers leave behind at one loss, what predicts its cost.

Every optimizer trains to a common loss; its checkpoints, at several rates and seeds, are rounded to
few bits. Errors are followed layer by layer with an exact decomposition; outlier metrics and the
last layer's relative error are correlated with the loss that rounding costs. The findings of
Vlassis et al. 2025 (arXiv 2509.23500) are judged one by one on these small networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import xarray as xr

from experiments.chunks import Plan, computed
from experiments.progress import Progress
from experiments.ptq_plan import runs_of, tasks_of, training, training_chunk
from experiments.ptq_runs import (
    GAINS,
    METHODS,
    NETWORKS,
    OUTLIERS,
    PARTS,
    common_loss,
    measure,
    rates_of,
    stage_names,
)
from experiments.ptq_tables import summary
from experiments.records import with_units
from experiments.stated_text import digest_of, stated
from experiments.study import Study
from simulate.language import read_bytes
from theory.checks import check_real, check_whole


@dataclass(frozen=True)
class PtqConfig:
    """Optimizers at one common loss, rounded to few bits after training."""

    methods: tuple[str, ...] = tuple(METHODS)
    """Some of adamw, muon, scion, sign, shampoo, soap; at least two."""
    networks: tuple[str, ...] = NETWORKS
    """Some of language (next token of a text) and linear (a product of matrices)."""
    text: str = ""
    """File or folder; empty: the standard library of the running Python."""
    text_digest: str = ""
    """Hash of the text read; filled in by itself, so that another text is another record."""
    max_bytes: int = 1_000_000
    """Text read."""
    vocabulary: int = 128
    """Tokens: the distinct bytes of the text, then frequent pairs."""
    width: int = 32
    """Of the language model."""
    depth: int = 4
    """Linear layers of either network."""
    context: int = 2
    """Tokens the next one is predicted from."""
    batch_size: int = 64
    """Samples a step."""
    steps: int = 600
    """Longest run."""
    every: int = 20
    """Steps between the checkpoints among which the first at the common loss is looked for."""
    rates: int = 6
    """Constant learning rates of each optimizer, over a decade."""
    least_rates: int = 3
    """Rates of each optimizer that must reach the common loss, in all seeds."""
    seeds: int = 4
    """Repetitions, at least two, each with its own initial weights and batches."""
    bits: tuple[int, ...] = (8, 6, 4, 3)
    """Widths of weights and of linear layers' inputs; 4 is what tables and figures show."""
    evaluation: int = 2048
    """Samples that losses, errors and outliers are measured on."""
    seed: int = 0
    """Of everything."""

    @classmethod
    def quick(cls) -> "PtqConfig":
        """A narrower language model, fewer optimizers, rates and seeds."""
        return cls(
            methods=("adamw", "muon", "scion", "shampoo"),
            max_bytes=300_000,
            width=16,
            steps=300,
            every=15,
            rates=3,
            least_rates=2,
            seeds=2,
            evaluation=1024,
        )


def resolve(config: PtqConfig) -> PtqConfig:
    """The configuration with the hash of its text.

    Raises:
        ValueError: if another hash was asked for than that of the text now there.
    """
    text = stated(read_bytes, config.text, config.max_bytes, config.text_digest)
    return replace(config, text_digest=digest_of(text))


def compute(config: PtqConfig, progress: Progress) -> xr.Dataset:
    """Trains every optimizer on every network, rounds the checkpoints, measures.

    Raises:
        ValueError: naming the field outside its domain, or if some optimizer does not get below
            the initial losses at enough of its rates.
    """
    return computed(plan(config), progress)


def plan(config: PtqConfig, memory: int | None = None) -> Plan:
    """One chunk an optimizer and network; its rates are one compiled call, never cut.

    Raises:
        ValueError: naming the field outside its domain.
    """
    del memory
    _check(config)
    for network in config.networks:
        tasks_of(network, training(network, config))  # refuses before the first run
    chunks = tuple(
        training_chunk(network, method, training(network, config))
        for network in config.networks
        for method in config.methods
    )
    return Plan("optimizers x networks", chunks, partial(_assembled, config), "weight steps")


def _assembled(config: PtqConfig, results: Sequence[xr.Dataset]) -> xr.Dataset:
    """Checkpoints at the common loss of each network, rounded and measured."""
    each = len(config.methods)
    parts = [
        _network(network, config, results[each * place : each * (place + 1)])
        for place, network in enumerate(config.networks)
    ]
    # The networks have different numbers of stages; a missing one has no name.
    joined = xr.concat(parts, "network", join="outer", fill_value={"stage_name": ""})
    dataset = joined.assign_coords(network=list(config.networks), bits=list(config.bits))
    dataset.attrs["batch_size"] = config.batch_size
    return with_units(dataset, full="loss", rounded="loss", common="loss", crossed_at="steps")


def _check(config: PtqConfig) -> None:
    for name, allowed, least in (("methods", METHODS, 2), ("networks", NETWORKS, 1)):
        values = getattr(config, name)
        if len(values) < least or len(set(values)) < len(values) or not set(values) <= set(allowed):
            raise ValueError(
                f"`{name}` must be at least {least} of {', '.join(allowed)}, got {values}."
            )
    check_whole("bits", np.array(config.bits), 1, 16)
    if 4 not in config.bits or len(set(config.bits)) < len(config.bits):
        raise ValueError(f"`bits` must be different and hold 4, got {config.bits}.")
    check_real("every", config.every, at_least=1)
    check_real("steps", config.steps, at_least=config.every)
    # Intervals over optimizers draw the seeds anew; of one seed they would have no width.
    check_real("seeds", config.seeds, at_least=2)
    check_real("depth", config.depth, at_least=2)
    check_real("rates", config.rates, at_least=2)
    check_real("least_rates", config.least_rates, at_least=1, at_most=config.rates)


def _network(network: str, config: PtqConfig, results: Sequence[xr.Dataset]) -> xr.Dataset:
    part = training(network, config)
    tasks = tasks_of(network, part)
    runs = {
        method: runs_of(result, tasks[0], part)
        for method, result in zip(config.methods, results, strict=True)
    }
    loss = common_loss(runs, config.least_rates)
    shape = len(config.methods), config.rates, config.seeds
    crossed = np.full(shape, np.nan)
    found: dict[str, np.ndarray] = {}
    for i, run in enumerate(runs.values()):
        for j, seed in np.argwhere(run.crossing(loss) >= 0):
            place = int(run.crossing(loss)[j, seed])
            crossed[i, j, seed] = run.steps[place]
            numbers = measure(tasks[seed], run.checkpoint(j, seed, place), config.bits)
            for name, value in numbers.items():
                table = found.setdefault(name, np.full((*shape, *value.shape), np.nan))
                table[i, j, seed] = value
    return _dataset(network, config, found, crossed, stage_names(tasks[0].initial)).assign(
        common=loss
    )


def _dataset(
    network: str,
    config: PtqConfig,
    found: dict[str, np.ndarray],
    crossed: np.ndarray,
    stages: list[str],
) -> xr.Dataset:
    grid = ("optimizer", "rate", "seed")
    dims: dict[str, tuple[str, ...]] = {"full": ()}
    dims |= dict.fromkeys(("rounded", "row_relative", "output_error"), ("bits",))
    dims |= dict.fromkeys(PARTS, ("bits", "stage")) | dict.fromkeys(GAINS, ("bits", "layer"))
    dims |= dict.fromkeys(OUTLIERS, ("between",)) | {"input_max_to_mean": ("layer",)}
    rates = np.array([rates_of(name, network, config.rates) for name in config.methods])
    return xr.Dataset(
        {name: ((*grid, *dims[name]), values) for name, values in found.items()}
        | {
            "crossed_at": (grid, crossed),
            "learning_rate": (grid[:2], rates),
            "stage_name": ("stage", np.array(stages, object)),
        },
        coords={
            "optimizer": list(config.methods),
            "stage": np.arange(1, len(stages) + 1),
            "layer": np.arange(1, config.depth + 1),
        },
    )


STUDY = Study(
    "ptq",
    "quantization after training to one loss: error growth, outliers and what predicts the harm",
    PtqConfig,
    compute,
    summary,
    version=2,  # a common loss is below every initial one
    resolve=resolve,
    plan=plan,
)
