"""Checkpoints of one loss for every optimizer, and what quantization after training does to them.

Two networks are trained: a language model on real text and a product of matrices on a
power-law target. Each optimizer runs at several constant rates; of every run the first checkpoint
at or below a common loss is kept, the lowest that all optimizers reach. Checkpoints are then
rounded (symmetric absmax of each row, to the nearest; weights and inputs of all linear layers) and
measured in float64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.stated_text import stated
from simulate.adaptive import adamw
from simulate.grouped import (
    GroupedMethod,
    layered_adamw,
    layered_signum,
    muon_adamw,
    scion,
)
from simulate.language import learn_tokens, read_bytes
from simulate.network_problems import NextToken, Regression, next_token, regression
from simulate.networks import Linear, Network, deep_linear, language_model
from simulate.optimizers import OptimizerFactory
from simulate.quantize import Quantizer, quantize_network
from simulate.shampoo import shampoo
from simulate.soap import Soap
from simulate.sweep import sweep
from theory.linear_gain import linear_gain
from theory.outliers import channel_kurtosis, excess_kurtosis, max_ratio
from theory.problem import power_law
from theory.quantization import relative_errors, split_errors

ABSMAX = Quantizer("absmax")
NETWORKS = ("language", "linear")
PARTS = ("relative", "carried", "new", "cross")
GAINS = ("gain", "spectral", "alignment")
# Of the outputs of all linear layers but the last. (Behind a GELU many values are as good as zero,
# and no ratio to the median is left.)
OUTLIERS = {
    "max_to_median": max_ratio,
    "max_to_mean": partial(max_ratio, typical="mean"),
    "kurtosis": excess_kurtosis,
    "channel_kurtosis": channel_kurtosis,
}
SIDES = (32, 32, 16)  # inputs, width and outputs of the product of matrices
CAPACITY, SOURCE, LABEL_NOISE = 1.0, 1.3, 0.1


@dataclass(frozen=True)
class Trainee:
    """An optimizer, its fixed numbers, and the range of rates that suits each network.

    Attributes:
        method: factory.
        rates: lowest and highest learning rate by network.
        numbers: other hyperparameters.
    """

    method: OptimizerFactory
    rates: Mapping[str, tuple[float, float]]
    numbers: Mapping[str, float] = field(default_factory=dict)


_ADAM = {"momentum": 0.9, "second_momentum": 0.95}
# Layers whose optimizer is for matrices only in name (embedding, output) are AdamW's there.
METHODS: Mapping[str, Trainee] = {
    "adamw": Trainee(layered_adamw, {"language": (3e-3, 3e-2), "linear": (1e-3, 1e-2)}, _ADAM),
    "muon": Trainee(muon_adamw, {"language": (5e-3, 5e-2), "linear": (1e-3, 1e-2)}, _ADAM),
    "scion": Trainee(scion, {"language": (2e-2, 2e-1), "linear": (3e-3, 3e-2)}, {"momentum": 0.9}),
    "sign": Trainee(
        layered_signum, {"language": (1e-3, 1e-2), "linear": (3e-4, 3e-3)}, {"momentum": 0.9}
    ),
    "shampoo": Trainee(
        GroupedMethod(adamw, shampoo, adamw),
        {"language": (1e-2, 1e-1), "linear": (2e-3, 2e-2)},
        _ADAM,
    ),
    "soap": Trainee(
        GroupedMethod(adamw, Soap(interval=10), adamw),
        {"language": (3e-3, 3e-2), "linear": (1e-3, 1e-2)},
        _ADAM,
    ),
}


@dataclass(frozen=True)
class Runs:
    """All runs of one optimizer on one network.

    Attributes:
        steps: recording times, [P].
        loss: [rates, seeds, P]; infinite from divergence on.
        params: one network of host arrays a seed, leaves [rates, P, ...].
    """

    steps: np.ndarray
    loss: np.ndarray
    params: tuple[Network, ...]

    def crossing(self, loss: float) -> np.ndarray:
        """Place of the first record at or below a loss, [rates, seeds]; -1 if there is none."""
        below = self.loss <= loss
        return np.where(below.any(axis=-1), below.argmax(axis=-1), -1)

    def checkpoint(self, rate: int, seed: int, place: int) -> Network:
        """Parameters at a record."""
        return jax.tree.map(lambda leaf: leaf[rate, place], self.params[seed])


def problems(network: str, config: Any) -> list[NextToken | Regression]:
    """The task of a network once for every seed: the same data, other initial weights."""
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    if network == "linear":
        inputs, width, outputs = SIDES
        starts = [deep_linear(k, inputs, width, outputs, config.depth, jnp.float32) for k in keys]
        target = power_law(CAPACITY, SOURCE, inputs, LABEL_NOISE)
        task_key = jax.random.key(config.seed + 1)
        task: Any = regression(
            target, starts[0], outputs, config.batch_size, task_key, config.evaluation
        )
    else:
        text = stated(read_bytes, config.text, config.max_bytes, config.text_digest)
        tokenizer = learn_tokens(text, config.vocabulary)
        starts = [
            language_model(
                key,
                tokenizer.vocabulary,
                config.width,
                config.context,
                config.depth - 1,
                "gelu",
                jnp.float32,
            )
            for key in keys
        ]
        tokens = tokenizer.encode(text)
        task = next_token(starts[0], tokens, config.context, config.batch_size, config.evaluation)
    return [replace(task, initial=start) for start in starts]


def rates_of(method: str, network: str, count: int) -> np.ndarray:
    """Learning rates, evenly spaced in their logarithm."""
    return np.geomspace(*METHODS[method].rates[network], count)


def _params(problem: Any, params: Any) -> Any:
    del problem
    return params


def train(tasks: Sequence[Any], method: str, rates: np.ndarray, steps: np.ndarray) -> Runs:
    """Trains at all rates from every task's start, with batches of its own."""
    trainee = METHODS[method]
    grid = {name: np.full(rates.size, value) for name, value in trainee.numbers.items()}
    losses, params = [], []
    for seed, task in enumerate(tasks):
        run = sweep(
            task,
            trainee.method,
            steps,
            {"learning_rate": rates} | grid,
            jax.random.key(seed)[None],
            observe=_params,
        )
        losses.append(np.asarray(run.loss, float)[:, 0])
        params.append(jax.tree.map(lambda leaf: np.asarray(leaf)[:, 0], run.observed))
    return Runs(steps, np.stack(losses, axis=1), tuple(params))


def common_loss(runs: Mapping[str, Runs], least_rates: int) -> float:
    """The lowest loss that every optimizer reaches in all seeds of `least_rates` of its rates.

    Raises:
        ValueError: if an optimizer that diverges or does not learn leaves it at an initial loss,
            so that there would be checkpoints without training.
    """
    reached = {
        name: np.sort(run.loss.min(axis=-1).max(axis=-1))[least_rates - 1]
        for name, run in runs.items()
    }
    last = max(reached, key=lambda name: reached[name])
    start = min(run.loss[..., 0].min() for run in runs.values())
    if not reached[last] < start:
        raise ValueError(
            f"`least_rates`: {last} gets below the initial loss {start:.4g} at fewer than "
            f"{least_rates} rates: lower it, train for more `steps` or leave {last} out."
        )
    return float(reached[last])


def measure(task: Any, params: Network, bits: Sequence[int]) -> dict[str, np.ndarray]:
    """Losses, errors and outliers of a checkpoint at every width.

    Args:
        task: of the network.
        params: the checkpoint.
        bits: widths.

    Returns:
        By name: `full` [], `rounded` [bits], the parts of `PARTS` [bits, stages], of the last
        stage `row_relative` [bits] (R as a mean of ratios) and `output_error` [bits] (mean over
        rows of |h^q - h|^2, relative to nothing), `GAINS` [bits, linear layers], `OUTLIERS`
        [linear layers but the last] and `input_max_to_mean` [linear layers], of what is rounded.
    """
    precise = jax.tree.map(_double, (task, params))
    found = _measure(*precise, jnp.asarray(bits, float))
    return {name: np.asarray(values) for name, values in found.items()}


def _double(leaf: Any) -> jax.Array:
    array = jnp.asarray(leaf)
    return array.astype(jnp.float64) if jnp.issubdtype(array.dtype, jnp.floating) else array


@jax.jit
def _measure(task: Any, params: Network, bits: jax.Array) -> dict[str, jax.Array]:
    hidden = [task.inputs]
    for stage in params.stages:
        hidden.append(stage(hidden[-1]))
    places = [place for place, stage in enumerate(params.stages) if isinstance(stage, Linear)]
    outliers = {
        name: jnp.stack([metric(hidden[place + 1]) for place in places[:-1]])
        for name, metric in OUTLIERS.items()
    }
    rounded = jnp.stack([max_ratio(hidden[place], "mean") for place in places])

    def at(width: jax.Array) -> dict[str, jax.Array]:
        low = quantize_network(params, ABSMAX, width, ABSMAX)
        parts = split_errors(params.stages, low.stages, task.inputs)
        errors = relative_errors(parts)
        return {
            "rounded": task.loss(low),
            "row_relative": relative_errors(parts[-1:], "rows").relative[0],
            "output_error": jnp.mean(parts[-1].error),
            **{name: getattr(errors, name) for name in PARTS},
            **_gains(params, low, hidden, width),
        }

    # In turn: each width factorises matrices, and those must not run side by side.
    whole = {"full": task.loss(params), "input_max_to_mean": rounded}
    return whole | outliers | jax.lax.map(at, bits)


def _gains(
    params: Network, low: Network, hidden: list[jax.Array], width: jax.Array
) -> dict[str, jax.Array]:
    """Exact gains of the products, whose inputs are rounded in a step of their own."""
    found, values = [], hidden[0]
    for stage, rounded, exact in zip(params.stages, low.stages, hidden, strict=False):
        if isinstance(stage, Linear):
            error = ABSMAX(values, width) - exact
            found.append(linear_gain(stage.weight, rounded.weight, exact, error))
        values = rounded(values)
    return {name: jnp.stack([getattr(gain, name) for gain in found]) for name in GAINS}


def stage_names(network: Network) -> list[str]:
    """What each stage is, in lower case."""
    return [type(stage).__name__.lower() for stage in network.stages]
