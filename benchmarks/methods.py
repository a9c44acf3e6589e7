"""Cost of a step of each method against the least it could cost, measured side by side.

Muon and Scion against the matrix products of their Newton-Schulz steps alone; element-wise methods
against a loop that only streams the arrays they must read and write. All in float32, inside one
compiled loop each, on the same arrays. The engine itself, which keeps element-wise runs in cache,
is in `benchmarks.roofline`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from benchmarks.rows import best_seconds, row
from simulate.adaptive import adam, lion
from simulate.lmo import muon, normalized_sgd, scion_hidden, signum
from simulate.optimizers import sgd
from theory.newton_schulz import MUON

PRODUCTS_TARGET, STREAM_TARGET = 1.3, 1.5
Loop = Callable[[jax.Array], Any]


def methods_rows(repeats: int = 7) -> list[dict[str, Any]]:
    """Best of several interleaved repeats of each pair.

    Returns:
        One dict a method: what, size, ours_seconds, peer_seconds (both a step), ratio and roofline
        (both peer over ours: the peers are the least a step could cost), target.
    """
    rows = []
    for name, method in (("Muon", muon), ("Scion, hidden norm", scion_hidden)):
        for shape in ((512, 512), (256, 1024)):
            rows.append(_against_products(name, partial(method, 0.02, 0.9), shape, repeats))
    # Name, transformation, buffers that each step reads and writes, whether it needs a norm first.
    elementwise = [
        ("SGD", partial(sgd, 0.02), 0, False),
        ("Heavy ball", partial(sgd, 0.02, 0.9), 1, False),
        ("Signum", partial(signum, 0.02, 0.9), 1, False),
        ("Lion", partial(lion, 0.02), 1, False),
        ("Adam", partial(adam, 0.02), 2, False),
        ("Normalized SGD", partial(normalized_sgd, 0.02, 0.9), 1, True),
    ]
    for name, build, buffers, norm_first in elementwise:
        rows.append(_against_stream(name, build, 2**23, buffers, norm_first, repeats))
    return rows


def _optimizer_loop(build: Callable[[], optax.GradientTransformation], count: int) -> Loop:
    """The optimizer's own work: steps on a gradient that lies in memory, as a model leaves it."""
    transformation = build()

    def loop(gradient: jax.Array) -> Any:
        def body(_: int, carry: tuple) -> tuple:
            params, state = carry
            updates, state = transformation.update(gradient, state, params)
            return optax.apply_updates(params, updates), state

        params = jnp.zeros_like(gradient)
        return lax.fori_loop(0, count, body, (params, transformation.init(params)))

    return jax.jit(loop)


def _product_loop(count: int) -> Loop:
    """Only the products of the Newton-Schulz steps: X X^T, its square, and one with X."""

    def loop(matrix: jax.Array) -> Any:
        def body(_: int, current: jax.Array) -> jax.Array:
            for _step in MUON:
                gram = current @ current.T
                current = (gram @ gram) @ current
            return current

        return lax.fori_loop(0, count, body, matrix / jnp.linalg.norm(matrix))

    return jax.jit(loop)


def _stream_loop(count: int, buffers: int, norm_first: bool) -> Loop:
    """Reads the gradient, reads and writes weights and buffers, one fused operation each.

    With `norm_first` the weights can only move once the length of the buffer is known.
    """

    def loop(gradient: jax.Array) -> Any:
        def body(_: int, carry: tuple) -> tuple:
            params, *kept = (array + 1e-3 * gradient for array in carry)
            if norm_first:
                params = carry[0] + kept[0] / jnp.sqrt(jnp.sum(kept[0] ** 2))
            return params, *kept

        start = tuple(jnp.full_like(gradient, float(k)) for k in range(1 + buffers))
        return lax.fori_loop(0, count, body, start)

    return jax.jit(loop)


def _against_products(
    name: str,
    build: Callable[[], optax.GradientTransformation],
    shape: tuple[int, int],
    repeats: int,
) -> dict[str, Any]:
    gradient = jax.random.normal(jax.random.key(0), shape, jnp.float32)
    loops = _optimizer_loop(build, 20), _product_loop(20)
    what = f"{name} against its bare matrix products, {shape[0]} x {shape[1]}: at most 1.3"
    return _row(what, gradient, loops, 20, PRODUCTS_TARGET, repeats)


def _against_stream(
    name: str,
    build: Callable[[], optax.GradientTransformation],
    size: int,
    buffers: int,
    norm_first: bool,
    repeats: int,
) -> dict[str, Any]:
    gradient = jax.random.normal(jax.random.key(0), (size,), jnp.float32)
    loops = _optimizer_loop(build, 10), _stream_loop(10, buffers, norm_first)
    return _row(
        f"{name} against streaming memory: at most 1.5", gradient, loops, 10, STREAM_TARGET, repeats
    )


def _row(
    what: str,
    gradient: jax.Array,
    loops: tuple[Loop, Loop],
    count: int,
    target: float,
    repeats: int,
) -> dict[str, Any]:
    calls = [lambda loop=loop: jax.block_until_ready(loop(gradient)) for loop in loops]
    ours, peer = (seconds / count for seconds in best_seconds(calls, repeats))
    return row(what, gradient.size, ours, peer, 1 / target, is_roofline=True)
