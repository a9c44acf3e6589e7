"""Trains the language models of a norm-transfer study: losses and norms over rates and budgets.

Rates are constant, so one run to the longest horizon gives every shorter token budget as well.
Cells run two at a time, a core each.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from experiments.norm_config import (
    RECIPES,
    Cell,
    NormRunsConfig,
    cells,
    check_config,
    rate_window,
    usable,
)
from experiments.progress import Progress
from experiments.stated_text import stated
from simulate.language import learn_tokens, read_bytes
from simulate.network_problems import HELD_OUT, NextToken, next_token
from simulate.networks import Network, language_model, operator_norms
from simulate.optimizers import OptimizerFactory
from simulate.role_norms import ROLES, operator_norm
from simulate.sweep import sweep

WORKERS = 2
BLOCK = 1024  # tokens no window crosses; every eighth block is held out
FIRST_SEED = 1000  # of the batches; initial networks have keys of their own
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Material:
    """What the runs of a configuration share.

    Attributes:
        tokens: the text, [m].
        networks: initial networks by width, one a seed.
        config: the configuration.
    """

    tokens: np.ndarray
    networks: dict[int, list[Network]]
    config: NormRunsConfig

    def problem(self, width: int, batch: int, seed: int) -> NextToken:
        """The task of a cell, from the initial network of a seed."""
        network, config = self.networks[width][seed], self.config
        return next_token(network, self.tokens, config.context, batch, config.evaluation, BLOCK)


def prepare(config: NormRunsConfig, widths: Iterable[int], seeds: int) -> Material:
    """Reads and tokenises the text and draws the initial networks.

    The first problem is built here too, so that what it refuses is refused before any run.

    Args:
        config: sizes and text.
        widths: one or more.
        seeds: networks a width, at least 1.

    Raises:
        ValueError: if the configuration or the text is refused.
    """
    check_config(config)
    text = stated(read_bytes, config.text, config.max_bytes, config.text_digest)
    tokens = learn_tokens(text, config.vocabulary).encode(text)
    if len(tokens) < HELD_OUT * BLOCK:
        raise ValueError(
            f"`text` must have at least {HELD_OUT * BLOCK} tokens, got {len(tokens)} in "
            f"{len(text)} bytes read."
        )
    networks = {}
    for width in widths:
        draw = jax.jit(
            partial(
                language_model,
                vocabulary=config.vocabulary,
                width=width,
                context=config.context,
                depth=config.depth,
                dtype=jnp.float32,
            )
        )
        key = jax.random.key(width)
        networks[width] = [draw(jax.random.fold_in(key, seed)) for seed in range(seeds)]
    material = Material(tokens, networks, config)
    material.problem(min(networks), config.batches[0], seed=0)
    return material


def observe(problem: NextToken, params: Network) -> dict[str, jax.Array]:
    """Norm of every role, and the output's RMS to RMS norm."""
    del problem
    return operator_norms(params) | {"rms": operator_norm("hidden", params.stages[-1].weight)}


def train(
    material: Material,
    width: int,
    batch: int,
    method: OptimizerFactory,
    configurations: dict[str, np.ndarray],
    steps: Sequence[int] | np.ndarray,
) -> dict[str, np.ndarray]:
    """All configurations of a method at one width and batch size, from every initial network.

    Args:
        material: from `prepare`.
        width: of the network.
        batch: windows a step.
        method: optimizer factory.
        configurations: its hyperparameters, [C] each.
        steps: recording times.

    Returns:
        `loss` and `output_rms_norm` [S, C, P], `norm` [S, C, P, layer].
    """
    runs = []
    for seed in range(len(material.networks[width])):
        problem = material.problem(width, batch, seed)
        key = jax.random.key(FIRST_SEED + seed)[None]
        run = sweep(problem, method, steps, configurations, key, observe)
        seen = jax.tree.map(lambda leaf: np.asarray(leaf, float)[:, 0], (run.loss, run.observed))
        norm = np.stack([seen[1][role] for role in ROLES], axis=-1)
        runs.append({"loss": seen[0], "norm": norm, "output_rms_norm": seen[1]["rms"]})
    return {name: np.array([run[name] for run in runs]) for name in runs[0]}


def averages(runs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Means over seeds, the loss of each, and its standard error (NaN with one seed).

    A mean loss is infinite where any seed has diverged.

    Returns:
        The means [C, P] by name, `loss_error`, and `seed_loss` [C, P, S].
    """
    loss = runs["loss"]
    seeds, finite = len(loss), np.isfinite(loss).all(axis=0)
    safe = np.where(np.isfinite(loss), loss, 0.0)
    error = np.full(finite.shape, np.nan)
    if seeds > 1:
        error = np.where(finite, safe.std(axis=0, ddof=1) / np.sqrt(seeds), np.inf)
    means = {name: values.mean(axis=0) for name, values in runs.items() if name != "loss"}
    losses = {"loss": np.where(finite, safe.mean(axis=0), np.inf), "loss_error": error}
    return losses | {"seed_loss": np.moveaxis(loss, 0, -1)} | means


def in_pairs(
    function: Callable[[Item], Result], items: Sequence[Item], progress: Progress
) -> list[Result]:
    """Results in order, two computed at a time; progress advances as they come.

    A compiled sweep over small matrices keeps one core busy only.
    """
    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(function, item) for item in items]
        results = []
        try:
            for future in futures:
                results.append(future.result())
                progress.advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def _run_cell(material: Material, cell: Cell) -> xr.Dataset:
    config, recipe = material.config, RECIPES[cell.method]
    tokens = np.array(config.tokens)[usable(config.tokens, cell.batch)]
    rates = 2.0 ** (rate_window(cell, tokens, config.margin) / 2)
    numbers = recipe.hyperparameters(cell.width)
    if cell.method == "scion_constrained":
        numbers = numbers | {"weight_decay": config.weight_decay}
    grid = {"learning_rate": rates} | {n: np.full(rates.size, v) for n, v in numbers.items()}
    runs = train(material, cell.width, cell.batch, recipe.method, grid, tokens // cell.batch)
    found = averages(runs)
    place = {"method": [cell.method], "width": [cell.width], "batch": [cell.batch]}
    dims = (*place, "rate", "tokens")
    extra = {"norm": ("layer",), "seed_loss": ("seed",)}
    return xr.Dataset(
        {n: (dims + extra.get(n, ()), v[None, None, None]) for n, v in found.items()},
        coords=place
        | {"rate": rates, "tokens": tokens, "layer": list(ROLES), "seed": range(config.seeds)},
    )


def network_runs(config: NormRunsConfig, progress: Progress) -> xr.Dataset:
    """Losses and norms of every cell at every rate and budget.

    Args:
        config: sizes, methods and text.
        progress: advanced once a cell.

    Returns:
        `loss`, `loss_error` (standard error over seeds) and `output_rms_norm`
        [method, width, batch, rate, tokens], `seed_loss` [these, and seed], `norm` [layer, and
        these], `initial_loss` and `parameters` [width]. Means over seeds. What was not run, a rate
        far from any optimum of its cell or a budget of too few steps, is NaN; what diverged is
        infinite: an optimum beside either is at the edge.

    Raises:
        ValueError: if the configuration or the text is refused.
    """
    widths = sorted({config.width, *config.widths})
    material = prepare(config, widths, config.seeds)
    todo = cells(config)
    with progress.task("networks", len(todo)):
        parts = in_pairs(partial(_run_cell, material), todo, progress)
    whole = xr.merge(parts, join="outer", compat="no_conflicts")
    whole = whole.sel({"method": list(config.methods)})  # in this order, not the alphabet's
    whole["norm"] = whole.norm.transpose("layer", ...)
    initial = [_initial_loss(material, width, config.batches[0]) for width in widths]
    sizes = [_size(material.networks[width][0]) for width in widths]
    whole["initial_loss"] = ("width", initial)
    whole["parameters"] = ("width", np.array(sizes, float))
    return whole.assign_attrs(text_tokens=material.tokens.size)


def _initial_loss(material: Material, width: int, batch: int) -> float:
    problems = (material.problem(width, batch, seed) for seed in range(material.config.seeds))
    return float(np.mean([float(problem.loss(problem.init())) for problem in problems]))


def _size(network: Network) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(network))
