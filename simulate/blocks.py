"""Uncoupled runs in blocks: a few thousand modes take all their steps before the next ones start.

Where neither problem nor optimizer couples modes, a run is many small ones side by side. Done one
after the other, each stays in the fast cache for all of its steps, and its part of the loss is
summed there too; the plain loop sends every array through memory at every pass. The blocks of one
large run are shared among the cores of the machine, one thread each.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from simulate.elementwise import is_elementwise
from simulate.optimizers import OptimizerFactory, sgd
from simulate.parallel import cores, equations
from simulate.problems import CenteredQuadratic, Problem, block_sum
from simulate.stepping import recorded, stepper

# Of each array of a block; half a dozen of them nearly fit into a first-level cache of 48 KB, and
# starting a pass costs little against it.
ARRAY_BYTES = 2**14
# Operations on arrays in a step of plain descent: two by the problem, two by the method. So short a
# step costs less than a pass; from five of them on a pass was seen to be three times slower.
SHORT_STEP, SHORT_STEPS_A_PASS = 4, 4
# A thread takes some 0.1 ms to start: below this many modes each it is not worth it.
MODES_A_CORE = 2**15
# Vectors as wide as the registers: XLA's choice of half the width was made for older processors.
COMPILER_OPTIONS = {"xla_cpu_prefer_vector_width": 512}


def in_blocks(problem: Problem, optimizer: OptimizerFactory) -> bool:
    """The rule: an uncoupled problem, an element-wise method, and processors with caches."""
    uncoupled = hasattr(problem, "block") and is_elementwise(optimizer)
    return uncoupled and jax.default_backend() == "cpu"


def blocked(
    problem: Any,
    optimizer: OptimizerFactory,
    steps: jax.Array,
    hyperparameters: dict[str, Any],
    part: jax.Array | int = 0,
    parts: int = 1,
) -> jax.Array:
    """Losses of a run without its floor, or of a part of its modes.

    A batch of runs (under `jax.vmap`) goes one after the other, or a few small ones at once.

    Args:
        problem: uncoupled; see `Problem.block`.
        optimizer: factory of element-wise methods.
        steps: increasing recording times, [P].
        hyperparameters: of the factory.
        part: which part of the modes, 0 <= part < parts; may be traced.
        parts: of how many.

    Returns:
        Losses, [P].
    """
    size = _size(problem)
    most = ARRAY_BYTES // jax.eval_shape(problem.init).dtype.itemsize
    width = min(most, size)
    count = -(-size // (width * parts))

    def losses(
        problem: Any, steps: jax.Array, numbers: dict[str, Any], part: jax.Array
    ) -> jax.Array:
        def one(number: jax.Array) -> jax.Array:
            block = problem.block(number * width, width)
            block, own = _folded(block, optimizer, numbers)
            # An uncoupled problem has exact gradients: it draws nothing.
            key = jax.random.key(0)
            unroll = _steps_a_pass(block, optimizer, key, own)
            return recorded(block, optimizer, steps, key, own, unroll)[0]

        if count == 1:
            return one(part)
        found = lax.map(one, part * count + jnp.arange(count, dtype=jnp.int32))
        return jax.vmap(block_sum, in_axes=1)(found)

    run = _one_after_the_other(losses, max(1, most // size))
    return run(problem, steps, hyperparameters, jnp.asarray(part, jnp.int32))


def _one_after_the_other(function: Callable[..., jax.Array], lanes: int) -> Callable[..., Any]:
    """The function, a batch of which is computed `lanes` at a time."""
    batched_function = custom_vmap(function)

    @batched_function.def_vmap
    def rule(axis_size: int, in_batched: Any, *arguments: Any) -> tuple[jax.Array, bool]:
        leaves, structure = jax.tree.flatten(arguments)
        moves = jax.tree.leaves(in_batched)

        def one(moving: list[jax.Array]) -> jax.Array:
            rest = iter(moving)
            whole = [next(rest) if m else leaf for leaf, m in zip(leaves, moves, strict=True)]
            return function(*structure.unflatten(whole))

        moving = [leaf for leaf, m in zip(leaves, moves, strict=True) if m]
        # As a map of one lane: `batch_size=1` would keep an axis of length one in every loop.
        batch_size = None if lanes == 1 else min(lanes, axis_size)
        return lax.map(one, moving, batch_size=batch_size), True

    return batched_function


def _folded(
    block: Any, optimizer: OptimizerFactory, numbers: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Plain descent with its rate multiplied into the curvature: one operation a step less."""
    is_plain = optimizer is sgd and set(numbers) == {"learning_rate"}
    if not (is_plain and type(block) is CenteredQuadratic):
        return block, numbers
    rate = jnp.asarray(numbers["learning_rate"], block.curvature.dtype)
    return replace(block, curvature=rate * block.curvature), {"learning_rate": 1.0}


def _steps_a_pass(
    block: Any, optimizer: OptimizerFactory, key: jax.Array, hyperparameters: dict[str, Any]
) -> int:
    """Several where a step is so short that the next one waiting for it costs less than a pass."""
    one_step, start = stepper(block, optimizer, key, hyperparameters)
    traced = jax.make_jaxpr(one_step)(jnp.zeros((), jnp.int32), start)
    shapes = [out.aval.shape for step in equations(traced.jaxpr) for out in step.outvars]
    return SHORT_STEPS_A_PASS if shapes.count(start[0].shape) <= SHORT_STEP else 1


def _size(problem: Problem) -> int:
    return jax.tree.leaves(jax.eval_shape(problem.init))[0].size


def parts_of(problem: Problem) -> int:
    """How many threads a single run is worth."""
    return max(1, min(cores(), _size(problem) // MODES_A_CORE))
