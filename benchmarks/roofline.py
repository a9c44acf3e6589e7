"""The engine against what the machine can do at best: streams of its arrays, bare random draws.

    python -m benchmarks.roofline

An element-wise method must read the two arrays of the problem (curvature, target) and read and
write its own (parameters, buffers) at every step. The in-cache roofline is a loop that does only
this, one multiply-add an array and pass, on arrays that stay in the first or second cache, on all
cores at once; the out-of-cache roofline is the same loop on arrays far larger than any cache. Both
are compiled like the engine, for 512-bit vectors. What a method computes besides (roots, quotients,
signs) the roofline does not count; for Adam, whose root and quotient keep a divider busy for longer
than the streams take, a second roofline does. Gradient descent takes four steps in registers a
pass, which the roofline does not: its fraction may pass one.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.rows import best_seconds, row
from simulate.adaptive import adam, lion
from simulate.blocks import COMPILER_OPTIONS
from simulate.least_squares import least_squares
from simulate.lmo import signum
from simulate.optimizers import OptimizerFactory, sgd
from simulate.parallel import cores, run_all
from simulate.problems import diagonal_quadratic
from simulate.trajectory import record_steps, simulate
from theory.problem import power_law

CACHE_TARGET, DRAWS_TARGET = 0.5, 0.7
IN_CACHE, OUT_OF_CACHE = (2048, 4096, 8192), 2**23
# Method, hyperparameters, arrays it keeps besides the parameters.
ELEMENTWISE: dict[str, tuple[OptimizerFactory, dict[str, Any], int]] = {
    "GD": (sgd, {"learning_rate": 0.5}, 0),
    "Heavy ball": (sgd, {"learning_rate": 0.1, "momentum": 0.9}, 1),
    "Sign descent": (signum, {"learning_rate": 0.01}, 0),
    "Signum": (signum, {"learning_rate": 0.01, "momentum": 0.9}, 1),
    "Lion": (lion, {"learning_rate": 0.01}, 1),
    "Adam": (adam, {"learning_rate": 0.01}, 2),
}


def roofline_rows(repeats: int = 5) -> list[dict[str, Any]]:
    """Best of several interleaved repeats of engine and roofline.

    Returns:
        One dict a comparison: what, size, ours_seconds, peer_seconds, ratio and roofline (both the
        roofline's time over the engine's), target.
    """
    rows = []
    for name, (method, numbers, buffers) in ELEMENTWISE.items():
        rows += _streams(name, method, numbers, buffers, 2**20, 1000, repeats)
    rows += [_draws(size, repeats) for size in (2**12, 2**16)]
    return rows


def _streams(
    name: str,
    method: OptimizerFactory,
    numbers: dict[str, Any],
    buffers: int,
    size: int,
    horizon: int,
    repeats: int,
) -> list[dict[str, Any]]:
    problem = diagonal_quadratic(power_law(1.5, 1.8, size), jnp.float32)
    steps = record_steps(horizon, 30)
    count = size * horizon
    passes = max(4, count // OUT_OF_CACHE // 8)
    calls = [
        lambda: np.asarray(simulate(problem, method, steps, **numbers).loss),
        *(partial(stream_in_cache, width, count, buffers) for width in IN_CACHE),
        partial(stream_memory, OUT_OF_CACHE, passes, buffers),
    ]
    ours, *cached, memory = best_seconds(calls, repeats)
    memory *= count / (OUT_OF_CACHE * passes)
    where = [("in cache", min(cached), CACHE_TARGET), ("from memory", memory, None)]
    if method is adam:
        divided = partial(stream_in_cache, IN_CACHE[0], count, buffers, is_divided=True)
        (quotients,) = best_seconds([divided], repeats)
        where.append(("in cache, with a root and a quotient", quotients, None))
    return [
        row(
            f"{name}, {horizon:,} steps, against streaming its arrays {place}",
            size,
            ours,
            peer,
            target,
            is_roofline=True,
        )
        for place, peer, target in where
    ]


def _draws(size: int, repeats: int) -> dict[str, Any]:
    problem = least_squares(power_law(1.5, 1.8, size, 0.1), 8, jnp.float32)
    horizon = 2**24 // size
    steps, key = np.array([0, horizon]), jax.random.key(0)
    ours, peer = best_seconds(
        [
            lambda: np.asarray(simulate(problem, sgd, steps, key=key, learning_rate=0.1).loss),
            lambda: bare_draws(key, jnp.int32(horizon), jnp.float32(8), size),
        ],
        repeats,
    )
    what = f"SGD on least squares, {horizon:,} steps, against its random draws alone"
    return row(what, size, ours, peer, DRAWS_TARGET, is_roofline=True)


@partial(jax.jit, static_argnames="is_divided", compiler_options=COMPILER_OPTIONS)
def _stream(
    problem: tuple[jax.Array, jax.Array],
    state: tuple[jax.Array, ...],
    factor: jax.Array,
    passes: jax.Array,
    is_divided: bool = False,
) -> tuple[jax.Array, ...]:
    slope, shift = problem

    def body(_: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        params, *kept = state
        moved = (params * slope + shift) * factor
        if is_divided:
            moved = moved + kept[0] / (jnp.sqrt(kept[1]) + factor)
        return moved, *(array * factor + factor for array in kept)

    return lax.fori_loop(0, passes, body, state)


def _arrays(width: int, buffers: int) -> tuple[Any, ...]:
    problem = tuple(jnp.full(width, value, jnp.float32) for value in (0.5, 0.25))
    state = tuple(jnp.full(width, 1.0 + k, jnp.float32) for k in range(1 + buffers))
    return problem, state, jnp.float32(0.5)


def stream_in_cache(width: int, count: int, buffers: int, is_divided: bool = False) -> None:
    """`count` multiply-adds an array, each core on its own arrays of `width` entries.

    Args:
        width: entries of an array.
        count: entries stepped, over all cores.
        buffers: arrays besides parameters and problem.
        is_divided: whether a step also takes the quotient of one buffer and the root of another.
    """
    passes = jnp.int32(count // (width * cores()))
    own = [_arrays(width, buffers) for _ in range(cores())]
    program = _stream.trace(*own[0], passes, is_divided).lower().compile()

    def call(core: int) -> None:
        jax.block_until_ready(program(*own[core], passes))

    run_all({core: (None, partial(call, core)) for core in range(cores())}, cores())


def stream_memory(size: int, passes: int, buffers: int) -> None:
    """Passes over arrays of `size` entries, which XLA shares among the cores."""
    jax.block_until_ready(_stream(*_arrays(size, buffers), jnp.int32(passes)))


@partial(jax.jit, static_argnames="size", compiler_options=COMPILER_OPTIONS)
def _draw(key: jax.Array, passes: jax.Array, batch: jax.Array, size: int) -> Any:
    def body(step: jax.Array, _: Any) -> Any:
        vector_key, square_key, cross_key = jax.random.split(jax.random.fold_in(key, step), 3)
        freedom = (batch - jnp.arange(2).astype(jnp.float32)) / 2
        return (
            jax.random.normal(vector_key, (size,), jnp.float32),
            jax.random.gamma(square_key, freedom, dtype=jnp.float32),
            jax.random.normal(cross_key, (), jnp.float32),
        )

    start = jnp.zeros(size, jnp.float32), jnp.zeros(2, jnp.float32), jnp.zeros((), jnp.float32)
    return lax.fori_loop(0, passes, body, start)


def bare_draws(key: jax.Array, passes: jax.Array, batch: jax.Array, size: int) -> None:
    """What a step of least squares draws: a normal a mode, two chi-squares, one normal."""
    jax.block_until_ready(_draw(key, passes, batch, size))


if __name__ == "__main__":
    for found in roofline_rows():
        print(
            f"{found['what']}, N = {found['size']}: {found['ours_seconds']:.4f} s, roofline "
            f"{found['peer_seconds']:.4f} s, fraction {found['roofline']:.2f} "
            f"(target {found['target']})"
        )
