"""Grids of configurations and seeds in one compiled call, and their averages."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from simulate.optimizers import OptimizerFactory
from simulate.problems import Problem
from simulate.trajectory import (
    NEVER,
    Observer,
    Trajectory,
    check_hyperparameters,
    check_steps,
    run,
)
from theory.checks import check_real


def sweep(
    problem: Problem,
    optimizer: OptimizerFactory,
    steps: Sequence[int] | np.ndarray,
    configurations: Mapping[str, Any],
    keys: jax.Array | None = None,
    observe: Observer | None = None,
) -> Trajectory:
    """Runs C configurations, each with S seeds.

    Args:
        problem: what to train on.
        optimizer: factory from hyperparameters to an optax transformation.
        steps: increasing recording times.
        configurations: one array [C] a hyperparameter of the optimizer, e.g. `learning_rate`, or a
            numeric field of the problem with a leading axis C, e.g. `batch_size`, or `size`, the
            number of trained modes, for problems that have `with_size`.
        keys: one key a seed, [S]; every configuration sees the same seeds. Left out: one run each.
        observe: function of problem and parameters, called at every recording time.

    Returns:
        A `Trajectory` with loss [C, S, P], or [C, P] without `keys`.

    Raises:
        ValueError: if arrays differ in length, are empty or not finite, sizes exceed the modes
            held, a field is static, or the steps are wrong.
    """
    grid = check_steps(steps)
    lengths = {name: np.shape(values)[:1] for name, values in configurations.items()}
    if len(set(lengths.values())) != 1 or () in lengths.values():
        raise ValueError(f"`configurations` must hold arrays of one length, got {lengths}.")
    for name, values in configurations.items():
        check_real(name, values)
        if isinstance(getattr(problem, name, None), int):
            raise ValueError(f"`{name}` of this problem is fixed when it is built, not swept.")
    if "size" in configurations:
        held = jax.tree.leaves(problem.init())[0].size
        check_real("size", configurations["size"], at_least=1, at_most=held)
    stated: Any = problem
    fields = {field.name for field in dataclasses.fields(stated)} | {"size"}
    own = {name: np.asarray(v) for name, v in configurations.items() if name not in fields}
    check_hyperparameters(optimizer, grid, own)
    arrays = {name: jnp.asarray(values, float) for name, values in configurations.items()}
    run_keys = jax.random.key(0)[None] if keys is None else keys
    grown = _sweep(problem, optimizer, jnp.asarray(grid), arrays, run_keys, observe)
    if keys is None:
        grown = jax.tree.map(lambda leaf: leaf[:, 0], grown)
    return dataclasses.replace(grown, steps=jnp.asarray(grid))


@partial(jax.jit, static_argnames=["optimizer", "observe"])
def _sweep(
    problem: Any,
    optimizer: OptimizerFactory,
    steps: jax.Array,
    configurations: dict[str, jax.Array],
    keys: jax.Array,
    observe: Observer | None,
) -> Trajectory:
    fields = {field.name for field in dataclasses.fields(problem)}

    def one(configuration: dict[str, jax.Array], key: jax.Array) -> Trajectory:
        stated = {name: value for name, value in configuration.items() if name in fields}
        dtype = jax.tree.leaves(problem.init())[0].dtype
        changed = dataclasses.replace(
            problem, **{name: value.astype(dtype) for name, value in stated.items()}
        )
        hyperparameters = {n: value for n, value in configuration.items() if n not in fields}
        if "size" in hyperparameters:
            changed = changed.with_size(hyperparameters.pop("size"))
        return run(changed, optimizer, steps, key, hyperparameters, observe)

    over_seeds = jax.vmap(one, in_axes=(None, 0))
    return jax.vmap(over_seeds, in_axes=(0, None))(configurations, keys)


@dataclass(frozen=True)
class Ensemble:
    """Average over seeds of runs that did not diverge.

    Attributes:
        steps: recording times, [P].
        mean: mean loss, [..., P]; infinite where any seed has diverged.
        standard_error: of that mean, [..., P].
        seeds: number of seeds.
        diverged: number of seeds that diverged, [...].
    """

    steps: np.ndarray
    mean: np.ndarray
    standard_error: np.ndarray
    seeds: int
    diverged: np.ndarray


def ensemble(trajectory: Trajectory) -> Ensemble:
    """Mean and standard error over the seed axis, the last but one of the losses.

    Args:
        trajectory: losses [..., S, P] with S >= 2.

    Returns:
        An `Ensemble`.

    Raises:
        ValueError: with fewer than two seeds.
    """
    loss = np.asarray(trajectory.loss, dtype=float)
    if loss.ndim < 2 or loss.shape[-2] < 2:
        raise ValueError(f"`trajectory` must hold at least 2 seeds, got losses {loss.shape}.")
    seeds = loss.shape[-2]
    finite = np.isfinite(loss).all(axis=-2)
    safe = np.where(np.isfinite(loss), loss, 0.0)
    mean = np.where(finite, safe.mean(axis=-2), np.inf)
    error = np.where(finite, safe.std(axis=-2, ddof=1) / np.sqrt(seeds), np.inf)
    diverged = np.sum(np.asarray(trajectory.diverged_at) != NEVER, axis=-1)
    return Ensemble(np.asarray(trajectory.steps), mean, error, seeds, diverged)
