"""Speed of the engine against the loops one would write by hand, measured side by side.

    python -m benchmarks.engine

Peers: a NumPy loop of in-place operations on one large problem; for a sweep, configuration by
configuration, a Python loop over a jitted step and a jitted loop of one step an iteration. All in
float32 on the same recording grid. `benchmarks.roofline` adds what the machine can do at best.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.roofline import roofline_rows
from benchmarks.rows import best_seconds, row
from simulate.least_squares import least_squares
from simulate.optimizers import sgd
from simulate.problems import DiagonalQuadratic, diagonal_quadratic
from simulate.sweep import sweep
from simulate.trajectory import record_steps, simulate
from theory.problem import power_law

NUMPY_TARGET, STEP_TARGET, RUN_TARGET = 3.0, 100.0, 10.0
# Of a sweep the peers do a part, which is scaled: the whole takes them minutes.
PEER_STEPS, PEER_RUNS = 3000, 16
NO_KEY = jax.random.key(0)


def engine_rows(repeats: int = 5) -> list[dict[str, Any]]:
    """Best of several interleaved repeats of each comparison.

    Returns:
        One dict a comparison: what, size, ours_seconds, peer_seconds, ratio, target, roofline (the
        fraction of the roofline that the engine reaches, if the peer is one, or None).
    """
    few = max(2, repeats // 2)
    return [
        _large(2**20, 500, repeats),
        *_sweep(4096, 10_000, 1024, few),
        _noisy_sweep(4096, 1000, 1024, few),
        *roofline_rows(repeats),
    ]


def _large(size: int, horizon: int, repeats: int) -> dict[str, Any]:
    problem = diagonal_quadratic(power_law(1.5, 1.8, size), jnp.float32)
    steps = record_steps(horizon, 30)

    def ours() -> np.ndarray:
        return np.asarray(simulate(problem, sgd, steps, learning_rate=0.5).loss)

    peer = partial(numpy_loop, problem, steps, 0.5)
    # A fast wrong answer is no answer; float32 sums of 2^20 terms differ by 1e-3.
    np.testing.assert_allclose(ours(), peer(), rtol=2e-3)
    what = f"GD, {horizon} steps, against a NumPy in-place loop"
    here, there = best_seconds([ours, peer], repeats)
    return row(what, size, here, there, NUMPY_TARGET)


def _sweep(size: int, horizon: int, configurations: int, repeats: int) -> list[dict[str, Any]]:
    problem = diagonal_quadratic(power_law(1.5, 1.8, size), jnp.float32)
    steps = record_steps(horizon, 30)
    rates = np.linspace(0.1, 1.9, configurations)
    # Constants closed over: fewer arguments make the peers' calls cheaper.
    step = jax.jit(lambda params, rate: params - rate * problem.gradient(params, NO_KEY))
    loop = jax.jit(partial(jitted_run, problem, jnp.asarray(steps), NO_KEY))
    some = jnp.asarray(rates[:: configurations // PEER_RUNS], jnp.float32)

    def ours() -> np.ndarray:
        return np.asarray(sweep(problem, sgd, steps, {"learning_rate": rates}).loss)

    def runs() -> np.ndarray:
        return np.array([np.asarray(loop(rate)) for rate in some])

    def python_steps() -> jax.Array:
        return jax.block_until_ready(step_loop(step, problem.init(), PEER_STEPS, some[1]))

    np.testing.assert_allclose(ours()[:: configurations // PEER_RUNS], runs(), rtol=1e-4)
    here, there, python = best_seconds([ours, runs, python_steps], repeats)
    of_runs = there * configurations / PEER_RUNS
    of_steps = python * configurations * horizon / PEER_STEPS
    what = f"{configurations:,} learning rates, {horizon:,} steps, against"
    return [
        row(
            f"{what} a Python loop over a jitted step (from {PEER_STEPS:,} steps of one)",
            size,
            here,
            of_steps,
            STEP_TARGET,
        ),
        row(
            f"{what} jitted runs one after the other (from {PEER_RUNS} of them)",
            size,
            here,
            of_runs,
            RUN_TARGET,
        ),
    ]


def _noisy_sweep(size: int, horizon: int, configurations: int, repeats: int) -> dict[str, Any]:
    """Where steps draw noise, a sweep draws it once for many configurations."""
    problem = least_squares(power_law(1.5, 1.8, size, 0.1), 8, jnp.float32)
    steps, key = record_steps(horizon, 30), jax.random.key(0)
    rates = np.linspace(0.01, 0.3, configurations)
    loop = jax.jit(partial(jitted_run, problem, jnp.asarray(steps), key))
    some = jnp.asarray(rates[:: configurations // PEER_RUNS], jnp.float32)

    def ours() -> np.ndarray:
        found = sweep(problem, sgd, steps, {"learning_rate": rates}, key[None])
        return np.asarray(found.loss)[:, 0]

    def runs() -> np.ndarray:
        return np.array([np.asarray(loop(rate)) for rate in some])

    np.testing.assert_allclose(ours()[:: configurations // PEER_RUNS], runs(), rtol=1e-3)
    here, there = best_seconds([ours, runs], repeats)
    what = (
        f"{configurations:,} learning rates of SGD on least squares, {horizon:,} steps, against "
        f"jitted runs one after the other (from {PEER_RUNS} of them)"
    )
    return row(what, size, here, there * configurations / PEER_RUNS, RUN_TARGET)


def numpy_loop(problem: DiagonalQuadratic, steps: np.ndarray, rate: float) -> np.ndarray:
    """Gradient descent with no temporary array, the rate multiplied in beforehand."""
    curvature, target = np.asarray(problem.curvature), np.asarray(problem.target)
    params, work = np.zeros_like(target), np.empty_like(target)
    scaled = np.float32(rate) * curvature
    losses, now = [], 0
    for recording in steps:
        for _ in range(recording - now):
            np.subtract(params, target, out=work)
            np.multiply(work, scaled, out=work)
            np.subtract(params, work, out=params)
        now = recording
        np.subtract(params, target, out=work)
        np.multiply(work, work, out=work)
        np.multiply(work, curvature, out=work)
        losses.append(float(problem.floor) + float(np.sum(work)) / 2)
    return np.array(losses)


def step_loop(
    step: Callable[[jax.Array, jax.Array], jax.Array],
    params: jax.Array,
    count: int,
    rate: jax.Array,
) -> jax.Array:
    """One jitted step a call; no losses at all."""
    for _ in range(count):
        params = step(params, rate)
    return params


def jitted_run(problem: Any, steps: jax.Array, key: jax.Array, rate: jax.Array) -> jax.Array:
    """One run as a loop of one step an iteration, losses at recording times only."""

    def one_step(step: jax.Array, params: jax.Array) -> jax.Array:
        return params - rate * problem.gradient(params, jax.random.fold_in(key, step))

    def advance(carry: tuple, target: jax.Array) -> tuple:
        params, now = carry
        params = lax.fori_loop(now, target, one_step, params)
        return (params, target), problem.loss(params)

    return lax.scan(advance, (problem.init(), jnp.zeros_like(steps[0])), steps)[1]


if __name__ == "__main__":
    for found in engine_rows():
        print(
            f"{found['what']}, N = {found['size']}: {found['ours_seconds']:.4f} s against "
            f"{found['peer_seconds']:.4f} s, {found['ratio']:.2f}x (target {found['target']})"
        )
