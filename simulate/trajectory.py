"""The engine: one jitted loop that steps an optimizer and records the loss at log-spaced steps.

Compiled once per (problem shape, optimizer, number of recording points). Step counts, learning
rates and every other hyperparameter are traced, so a new horizon or a new rate costs no
compilation. Losses are computed at recording times only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from simulate.optimizers import OptimizerFactory
from simulate.problems import Problem
from theory.checks import Real, check_real

DIVERGENCE_FACTOR = 1e6
NEVER = -1


Observer = Callable[[Any, Any], Any]


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
    check_real("horizon", horizon, at_least=1)
    check_real("points", points, at_least=2)
    if horizon != int(horizon):
        raise ValueError(f"`horizon` must be a whole number, got {horizon!r}.")
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
    return _simulate(problem, optimizer, jnp.asarray(grid), run_key, numbers, observe)


@partial(jax.jit, static_argnames=["optimizer", "observe"])
def _simulate(
    problem: Problem,
    optimizer: OptimizerFactory,
    steps: jax.Array,
    key: jax.Array,
    hyperparameters: dict[str, Any],
    observe: Observer | None,
) -> Trajectory:
    return run(problem, optimizer, steps, key, hyperparameters, observe)


def run(
    problem: Problem,
    optimizer: OptimizerFactory,
    steps: jax.Array,
    key: jax.Array,
    hyperparameters: dict[str, Any],
    observe: Observer | None = None,
) -> Trajectory:
    """The engine itself, to be jitted or vmapped by the caller; arguments as in `simulate`."""
    params = problem.init()
    dtype = jax.tree.leaves(params)[0].dtype
    cast = {name: jnp.asarray(value, dtype) for name, value in hyperparameters.items()}
    first_loss = problem.loss(params)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes counters with floats
        transformation = optimizer(**cast)
        state = transformation.init(params)

    def one_step(step: jax.Array, carry: tuple) -> tuple:
        params, state = carry
        gradient = problem.gradient(params, jax.random.fold_in(key, step))
        with jax.numpy_dtype_promotion("standard"):
            updates, state = transformation.update(gradient, state, params)
            return optax.apply_updates(params, updates), state

    def advance(carry: tuple, target: jax.Array) -> tuple:
        (params, state), now, diverged_at = carry
        # The step count must not depend on the run: in a sweep every configuration would count,
        # and draw its noise, for itself.
        params, state = _repeat(one_step, (params, state), now, target - now, problem.unroll)
        loss = problem.loss(params)
        bad = ~(loss <= DIVERGENCE_FACTOR * first_loss)  # also catches NaN
        diverged_at = jnp.where((diverged_at == NEVER) & bad, target, diverged_at)
        recorded = jnp.where(diverged_at == NEVER, loss, jnp.inf)
        seen = None if observe is None else observe(problem, params)
        return ((params, state), target, diverged_at), (recorded, seen)

    start = (params, state), jnp.zeros_like(steps[0]), jnp.full_like(steps[0], NEVER)
    (_, _, diverged_at), (losses, seen) = lax.scan(advance, start, steps)
    return Trajectory(steps, losses, diverged_at, seen)


def _repeat(body: Any, carry: Any, start: jax.Array, count: jax.Array, unroll: int) -> Any:
    """`count` steps from `start`, `unroll` of them fused into one pass over memory."""
    if unroll == 1:
        return lax.fori_loop(start, start + count, body, carry)
    blocks = count // unroll

    def block(number: jax.Array, carry: Any) -> Any:
        for offset in range(unroll):
            carry = body(start + number * unroll + offset, carry)
        return carry

    carry = lax.fori_loop(0, blocks, block, carry)
    return lax.fori_loop(start + blocks * unroll, start + count, body, carry)
