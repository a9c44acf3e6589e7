"""The engine: one jitted loop that steps an optimizer and records the loss at log-spaced steps.

Compiled once per (problem shape, optimizer, number of recording points). Step counts, learning
rates and every other hyperparameter are traced, so a new horizon or a new rate costs no
compilation. Losses are computed at recording times only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from simulate.blocks import COMPILER_OPTIONS, blocked, in_blocks, parts_of
from simulate.devices import is_spread
from simulate.optimizers import OptimizerFactory
from simulate.parallel import run_all
from simulate.problems import Problem
from simulate.stepping import Observer, recorded
from theory.checks import Real, check_real, check_whole

DIVERGENCE_FACTOR = 1e6
NEVER = -1


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["steps", "loss", "diverged_at", "observed"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Trajectory:
    """Losses along training.

    Attributes:
        steps: recording times, [P].
        loss: population loss at those times, [..., P]; infinite from divergence on, never NaN.
        diverged_at: recording step at which divergence was seen, [...]; -1 if never.
        observed: what an observer returned at those times, leaves [..., P, ...]; None without one.
            From divergence on it tells nothing.
    """

    steps: jax.Array
    loss: jax.Array
    diverged_at: jax.Array
    observed: Any = None


def record_steps(horizon: int, points: int = 50) -> np.ndarray:
    """Zero, one, and log-spaced whole steps up to `horizon`.

    Args:
        horizon: last step, at least 1.
        points: about how many recording times, at least 2.

    Returns:
        Increasing integers, the first 0 and the last `horizon`.

    Raises:
        ValueError: if an argument is outside its domain.
    """
    check_whole("horizon", horizon, at_least=1)
    check_real("points", points, at_least=2)
    spaced = np.round(np.geomspace(1, horizon, points - 1)).astype(np.int64)
    return np.unique(np.concatenate([[0], spaced]))


def check_steps(steps: Sequence[int] | np.ndarray) -> np.ndarray:
    """The recording grid as integers.

    Raises:
        ValueError: unless `steps` are increasing non-negative whole numbers below 2^31.
    """
    check_real("steps", steps, at_least=0, below=2**31)
    grid = np.asarray(steps, dtype=float)
    if grid.ndim != 1 or grid.size == 0 or np.any(grid != np.round(grid)):
        raise ValueError(f"`steps` must be a vector of whole numbers, got {steps!r}.")
    if np.any(np.diff(grid) <= 0):
        raise ValueError(f"`steps` must increase, got {steps!r}.")
    return grid.astype(np.int32)


def check_hyperparameters(
    optimizer: OptimizerFactory, steps: np.ndarray, numbers: Mapping[str, Any]
) -> None:
    """Lets an optimizer refuse its hyperparameters before they are traced.

    A factory with a method `check` is asked; any other is built once with the numbers themselves,
    so that whatever it checks speaks here.

    Args:
        optimizer: the factory.
        steps: recording grid.
        numbers: hyperparameters, scalars or arrays.

    Raises:
        ValueError: naming the hyperparameter.
    """
    for name, value in numbers.items():
        check_real(name, value)
    check = getattr(optimizer, "check", None)
    if check is None:
        optimizer(**numbers)
    else:
        check(steps=steps, **numbers)


def simulate(
    problem: Problem,
    optimizer: OptimizerFactory,
    steps: Sequence[int] | np.ndarray,
    *,
    key: jax.Array | None = None,
    observe: Observer | None = None,
    **hyperparameters: Real,
) -> Trajectory:
    """Trains once and records the loss.

    Args:
        problem: what to train on.
        optimizer: factory from hyperparameters to an optax transformation.
        steps: increasing recording times; see `record_steps`.
        key: randomness of the run; may be left out for deterministic problems.
        observe: function of problem and parameters, called at every recording time.
        hyperparameters: passed to the factory, e.g. `learning_rate=0.3`.

    Returns:
        A `Trajectory` with loss [P]. A run whose loss exceeds 1e6 times its first value, or is not
        finite, at a recording time has diverged: its losses are infinite from there on.

    Raises:
        ValueError: if the steps are not increasing whole numbers, or a hyperparameter is infinite
            or NaN.
    """
    grid = check_steps(steps)
    check_hyperparameters(optimizer, grid, hyperparameters)
    run_key = jax.random.key(0) if key is None else key
    # One dtype whatever the caller's: a Python and a NumPy number would compile twice.
    numbers = {name: jnp.asarray(value, float) for name, value in hyperparameters.items()}
    recording = jnp.asarray(grid)
    by_blocks = not is_spread(problem)  # blocks of modes would have to travel
    if not (by_blocks and observe is None and in_blocks(problem, optimizer)):
        return _simulate(problem, optimizer, recording, run_key, numbers, observe, by_blocks)
    parts = parts_of(problem)
    if parts == 1:
        return _simulate(problem, optimizer, recording, run_key, numbers, None)
    first = jnp.zeros((), jnp.int32)
    traced = _simulate_part.trace(problem, optimizer, recording, numbers, first, parts)
    program = traced.lower().compile()

    def part(number: int) -> jax.Array:
        return jax.block_until_ready(program(problem, recording, numbers, first + number))

    found = run_all({n: (None, partial(part, n)) for n in range(parts)}, parts)
    return _joined(problem, recording, list(found.values()))


@partial(
    jax.jit,
    static_argnames=["optimizer", "observe", "by_blocks"],
    compiler_options=COMPILER_OPTIONS,
)
def _simulate(
    problem: Problem,
    optimizer: OptimizerFactory,
    steps: jax.Array,
    key: jax.Array,
    hyperparameters: dict[str, Any],
    observe: Observer | None,
    by_blocks: bool = True,
) -> Trajectory:
    return run(problem, optimizer, steps, key, hyperparameters, observe, by_blocks)


@partial(jax.jit, static_argnames=["optimizer", "parts"], compiler_options=COMPILER_OPTIONS)
def _simulate_part(
    problem: Problem,
    optimizer: OptimizerFactory,
    steps: jax.Array,
    hyperparameters: dict[str, Any],
    part: jax.Array,
    parts: int,
) -> jax.Array:
    return blocked(problem, optimizer, steps, hyperparameters, part, parts)


@jax.jit
def _joined(problem: Any, steps: jax.Array, parts: Sequence[jax.Array]) -> Trajectory:
    return _trajectory(problem, steps, problem.floor + sum(parts), None)


def run(
    problem: Problem,
    optimizer: OptimizerFactory,
    steps: jax.Array,
    key: jax.Array,
    hyperparameters: dict[str, Any],
    observe: Observer | None = None,
    by_blocks: bool = True,
) -> Trajectory:
    """The engine itself, to be jitted or vmapped by the caller; arguments as in `simulate`.

    With `by_blocks` it goes by cache-sized blocks where `simulate.blocks.in_blocks` says so and
    nothing is observed; else all parameters take each step together.
    """
    if by_blocks and observe is None and in_blocks(problem, optimizer):
        uncoupled: Any = problem
        loss = uncoupled.floor + blocked(uncoupled, optimizer, steps, hyperparameters)
        return _trajectory(problem, steps, loss, None)
    loss, seen = recorded(problem, optimizer, steps, key, hyperparameters, problem.unroll, observe)
    return _trajectory(problem, steps, loss, seen)


def _trajectory(problem: Problem, steps: jax.Array, loss: jax.Array, seen: Any) -> Trajectory:
    """Losses as they were computed, infinite from divergence on."""
    first_loss = problem.loss(problem.init())
    bad = ~(loss <= DIVERGENCE_FACTOR * first_loss)  # also catches NaN
    diverged_at = jnp.where(jnp.any(bad), steps[jnp.argmax(bad)], NEVER)
    past = lax.cummax(bad.astype(jnp.int8)) > 0
    return Trajectory(steps, jnp.where(past, jnp.inf, loss), diverged_at, seen)
