"""Grids of configurations and seeds in one compiled call, and their averages."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from simulate.blocks import COMPILER_OPTIONS
from simulate.devices import (
    Shares,
    check_same,
    configuration_mesh,
    fixed_in_place,
    gather,
    is_spread,
    shares_of,
)
from simulate.optimizers import OptimizerFactory
from simulate.parallel import compile_all, run_all, threads_for
from simulate.problems import Problem
from simulate.sweep_blocks import Blocks, cut
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
    mesh: Mesh | None = None,
) -> Trajectory:
    """Runs C configurations, each with S seeds, on all devices.

    The grid is cut into blocks of one shape (`Blocks`), whatever the number of devices, which take
    them in turn: results do not depend on how many there are, to the last bit. Hosts joined by
    `simulate.devices.join_hosts` must all call this with the same arguments; each gets the whole
    result.

    Args:
        problem: what to train on.
        optimizer: factory from hyperparameters to an optax transformation.
        steps: increasing recording times.
        configurations: one array [C] a hyperparameter of the optimizer, e.g. `learning_rate`, or a
            numeric field of the problem with a leading axis C, e.g. `batch_size`, or `size`, the
            number of trained modes, for problems that have `with_size`.
        keys: one key a seed, [S]; every configuration sees the same seeds. Left out: one run each.
        observe: function of problem and parameters, called at every recording time.
        mesh: devices, see `simulate.devices.configuration_mesh` (default: all). A problem that was
            put on devices of its own, e.g. by `shard_modes`, stays there.

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
    arrays = {name: np.asarray(values, float) for name, values in configurations.items()}
    run_keys = jax.random.key(0)[None] if keys is None else keys
    where = configuration_mesh() if mesh is None else mesh
    count, *_ = next(iter(lengths.values()))
    platform = where.devices.flat[0].platform
    blocks = cut(problem, count, len(run_keys), platform)
    task = _Task(problem, optimizer, jnp.asarray(grid), arrays, run_keys, observe)
    lone = mesh is None and where.size == 1
    if fixed_in_place(problem) or (lone and blocks.count == 1):
        grown = task.in_turn(blocks)
    else:
        shares = Shares({None: range(blocks.count)}) if lone else shares_of(blocks.count, where)
        grown = task.at_once(blocks, shares, platform)
    if keys is None:
        grown = jax.tree.map(lambda leaf: leaf[:, 0], grown)
    return dataclasses.replace(grown, steps=jnp.asarray(grid))


@dataclass(frozen=True)
class _Task:
    """All that a sweep runs."""

    problem: Problem
    optimizer: OptimizerFactory
    steps: jax.Array
    configurations: dict[str, np.ndarray]
    keys: jax.Array
    observe: Observer | None

    def in_turn(self, blocks: Blocks) -> Trajectory:
        """One block after the other, where JAX or the problem puts it."""
        arguments = self._arguments(blocks, Shares({None: range(blocks.count)}))
        runs = []
        for _, (problem, *rest) in arguments.values():
            # Blocks of modes would have to travel between devices.
            by_blocks = not is_spread(problem)
            run = _sweep(problem, self.optimizer, *rest, self.observe, by_blocks=by_blocks)
            runs.append(run if blocks.count == 1 else jax.tree.map(np.asarray, run))
        return runs[0] if blocks.count == 1 else _whole(runs, blocks)

    def at_once(self, blocks: Blocks, shares: Shares, platform: str) -> Trajectory:
        """Blocks of different devices, and where that is safe of different cores, at once."""
        if shares.several_hosts:
            check_same((self.problem, self.steps, self.configurations, self.keys))
        found = self._found(self._arguments(blocks, shares), platform)
        numbers = sorted(found)
        mine = [found[number] for number in numbers]
        return _whole(gather(mine, numbers) if shares.several_hosts else mine, blocks)

    def _arguments(self, blocks: Blocks, shares: Shares) -> dict[int, tuple[Any, tuple]]:
        """Device and arguments of every block of this host, by number."""
        rows, columns = blocks.indices()
        arguments = {}
        for device, numbers in shares.numbers.items():
            shared = self.problem, self.steps
            if device is not None:
                shared = jax.device_put(shared, device)
            for number in numbers:
                block = min(number, blocks.count - 1)
                some = {name: values[rows[block]] for name, values in self.configurations.items()}
                own = jax.device_put((some, self.keys[columns[block]]), device)
                arguments[number] = device, (*shared, *own)
        return arguments

    def _found(self, arguments: dict[int, tuple[Any, tuple]], platform: str) -> dict[int, Any]:
        """Results of the blocks, NumPy arrays."""
        traced = {}
        for device, (problem, *rest) in arguments.values():
            if device not in traced:
                traced[device] = _sweep.trace(problem, self.optimizer, *rest, self.observe)
        threads = threads_for(next(iter(traced.values())), list(traced), platform)
        compiled = compile_all({device: program.lower() for device, program in traced.items()})

        def call(device: Any, inputs: tuple) -> Any:
            return jax.tree.map(np.asarray, compiled[device](*inputs))

        calls = {n: (device, partial(call, device, to)) for n, (device, to) in arguments.items()}
        return run_all(calls, threads)


def _whole(runs: list[Trajectory], blocks: Blocks) -> Trajectory:
    """Results of the blocks, and of repeats of the last, as one grid [C, S, ...]."""

    def join(*leaves: np.ndarray) -> jax.Array:
        return jnp.asarray(blocks.whole(np.stack(leaves[: blocks.count])))

    return jax.tree.map(join, *runs)


@partial(
    jax.jit,
    static_argnames=["optimizer", "observe", "by_blocks"],
    compiler_options=COMPILER_OPTIONS,
)
def _sweep(
    problem: Any,
    optimizer: OptimizerFactory,
    steps: jax.Array,
    configurations: dict[str, jax.Array],
    keys: jax.Array,
    observe: Observer | None,
    by_blocks: bool = True,
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
        return run(changed, optimizer, steps, key, hyperparameters, observe, by_blocks)

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
