"""Training before quantization cut into chunks: one optimizer on one network, at all rates.

Which checkpoints will be rounded is known only when all optimizers have run, as their common loss
is that of the worst. A chunk therefore gives the weights at every record.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import numpy as np
import xarray as xr

from experiments.chunks import Chunk
from experiments.ptq_runs import SIDES, Runs, problems, rates_of, train
from simulate.network_problems import NextToken, Regression


@dataclass(frozen=True)
class Training:
    """What the runs of any optimizer on one network depend on; fields as in `PtqConfig`.

    Those of the text, its tokens and the language model's sides are zero for the other network.
    """

    depth: int
    batch_size: int
    steps: int
    every: int
    rates: int
    seeds: int
    evaluation: int
    seed: int
    text: str = ""
    text_digest: str = ""
    max_bytes: int = 0
    vocabulary: int = 0
    width: int = 0
    context: int = 0

    @property
    def records(self) -> np.ndarray:
        """Steps of the checkpoints, [P]."""
        return np.arange(0, self.steps + 1, self.every)

    @property
    def entries(self) -> int:
        """Weights of the network."""
        if self.width:
            ends = [2 * self.vocabulary * self.width, self.context * self.width**2]
            return sum(ends) + (self.depth - 2) * self.width**2
        inputs, width, outputs = SIDES
        return (inputs + outputs) * width + (self.depth - 2) * width**2

    @property
    def activations(self) -> int:
        """Numbers that pass through the network for one sample."""
        if self.width:
            return self.vocabulary + (self.context + self.depth) * self.width
        inputs, width, outputs = SIDES
        return inputs + outputs + self.depth * width


OF_BOTH = ("depth", "batch_size", "steps", "every", "rates", "seeds", "evaluation", "seed")
OF_LANGUAGE = ("text", "text_digest", "max_bytes", "vocabulary", "width", "context")


def training(network: str, config: Any) -> Training:
    """The fields of a `PtqConfig` that matter to a network."""
    names = OF_BOTH + OF_LANGUAGE * (network == "language")
    return Training(**{name: getattr(config, name) for name in names})


# All optimizers share them, and so does what measures the checkpoints.
@lru_cache(maxsize=2)
def tasks_of(network: str, part: Training) -> tuple[NextToken | Regression, ...]:
    """The task of a network for every seed, its text read and tokenised once a process.

    Raises:
        ValueError: naming the field that the network or its text refuses.
    """
    return tuple(problems(network, part))


# Weights at all records as the sweep leaves them, by themselves, and of all seeds in one array.
RECORD_COPIES = 3
# Of logits and activations of the evaluation, all rates at once.
PASS_COPIES = 3
# Weight steps that take as long as compiling.
COMPILING = 3e8
# Cost in that of AdamW: matrices are factorised.
DEARER: Mapping[str, float] = {"shampoo": 2.0, "soap": 1.3}


def training_chunk(network: str, method: str, part: Training) -> Chunk:
    """The runs of one optimizer on one network."""
    grid = part.rates, part.seeds, part.records.size
    records = RECORD_COPIES * int(np.prod(grid)) * part.entries
    passes = PASS_COPIES * part.rates * part.evaluation * part.activations
    steps = part.rates * part.seeds * part.steps * part.entries
    return Chunk(
        f"{network}, {method}",
        trained,
        {"network": network, "method": method, "part": part},
        {"loss": grid, "weights": (*grid, part.entries)},
        4 * (records + passes),
        DEARER.get(method, 1.0) * (COMPILING + steps),
    )


def trained(*, network: str, method: str, part: Training) -> xr.Dataset:
    """Losses and weights of all runs at every record; a network is one row of weights."""
    rates = rates_of(method, network, part.rates)
    runs = train(tasks_of(network, part), method, rates, part.records)
    grid = ("rate", "seed", "record")
    weights = np.empty((*runs.loss.shape, part.entries), np.float32)
    for seed, params in enumerate(runs.params):
        leaves = (leaf.reshape(*leaf.shape[:2], -1) for leaf in jax.tree.leaves(params))
        np.concatenate(list(leaves), axis=-1, out=weights[:, seed])
    return xr.Dataset({"loss": (grid, runs.loss), "weights": ((*grid, "entry"), weights)})


def runs_of(result: xr.Dataset, task: NextToken | Regression, part: Training) -> Runs:
    """The runs that a chunk has made, networks in the structure of the task's."""
    leaves, structure = jax.tree.flatten(task.initial)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    rows = np.split(result.weights.values, ends, axis=-1)
    params = []
    for seed in range(part.seeds):
        shaped = (
            row[:, seed].reshape(part.rates, part.records.size, *leaf.shape)
            for row, leaf in zip(rows, leaves, strict=True)
        )
        params.append(structure.unflatten(list(shaped)))
    return Runs(part.records, result.loss.values, tuple(params))
