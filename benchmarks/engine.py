"""Speed of the engine against the loops one would write by hand, measured side by side.

    python -m benchmarks.engine

Peers: a NumPy loop of in-place operations on one large problem, and a Python loop over a jitted
JAX step, configuration by configuration, on a sweep. All in float32 on the same recording grid.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from simulate.optimizers import sgd
from simulate.problems import DiagonalQuadratic, diagonal_quadratic
from simulate.sweep import sweep
from simulate.trajectory import record_steps, simulate
from theory.problem import power_law

NUMPY_TARGET, SWEEP_TARGET = 3.0, 30.0
NO_KEY = jax.random.key(0)


def engine_rows(repeats: int = 5) -> list[dict[str, Any]]:
    """Best of several interleaved repeats of each pair.

    Returns:
        One dict a comparison: what, size, ours_seconds, peer_seconds, ratio, target.
    """
    return [_large(2**20, 500, repeats), _sweep(4096, 2000, 64, repeats)]


def _large(size: int, horizon: int, repeats: int) -> dict[str, Any]:
    problem = diagonal_quadratic(power_law(1.5, 1.8, size), jnp.float32)
    steps = record_steps(horizon, 30)

    def ours() -> np.ndarray:
        return np.asarray(simulate(problem, sgd, steps, learning_rate=0.5).loss)

    return _compare(
        "GD against a NumPy in-place loop",
        size,
        ours,
        lambda: numpy_loop(problem, steps, 0.5),
        NUMPY_TARGET,
        repeats,
    )


def _sweep(size: int, horizon: int, configurations: int, repeats: int) -> dict[str, Any]:
    problem = diagonal_quadratic(power_law(1.5, 1.8, size), jnp.float32)
    steps = record_steps(horizon, 30)
    rates = np.linspace(0.1, 1.9, configurations)
    # Compiled once, constants closed over: fewer arguments make the peer's calls cheaper.
    step = jax.jit(lambda params, rate: params - rate * problem.gradient(params, NO_KEY))
    loss = jax.jit(problem.loss)

    def ours() -> np.ndarray:
        return np.asarray(sweep(problem, sgd, steps, {"learning_rate": rates}).loss)

    return _compare(
        f"{configurations} learning rates against a Python loop over a jitted step",
        size,
        ours,
        lambda: step_loop(step, loss, problem.init(), steps, rates),
        SWEEP_TARGET,
        repeats,
    )


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
    loss: Callable[[jax.Array], jax.Array],
    start: jax.Array,
    steps: np.ndarray,
    rates: np.ndarray,
) -> np.ndarray:
    """One jitted step a call, one configuration after the other."""
    losses = []
    for rate in jnp.asarray(rates, jnp.float32):
        params, now, curve = start, 0, []
        for recording in steps:
            for _ in range(recording - now):
                params = step(params, rate)
            now = recording
            curve.append(loss(params))
        losses.append([float(value) for value in curve])
    return np.array(losses)


def _compare(
    what: str,
    size: int,
    ours: Callable[[], np.ndarray],
    peer: Callable[[], np.ndarray],
    target: float,
    repeats: int,
) -> dict[str, Any]:
    # A fast wrong answer is no answer; float32 sums of 2^20 terms differ by 1e-3.
    np.testing.assert_allclose(ours(), peer(), rtol=2e-3)
    ours_seconds = peer_seconds = np.inf
    for _ in range(repeats):
        ours_seconds = min(ours_seconds, _seconds(ours))
        peer_seconds = min(peer_seconds, _seconds(peer))
    return {
        "what": what,
        "size": size,
        "ours_seconds": ours_seconds,
        "peer_seconds": peer_seconds,
        "ratio": peer_seconds / ours_seconds,
        "target": target,
    }


def _seconds(call: Callable[[], np.ndarray]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    for row in engine_rows():
        print(
            f"{row['what']}, N = {row['size']}: {row['ours_seconds']:.4f} s against "
            f"{row['peer_seconds']:.4f} s, {row['ratio']:.1f}x (target {row['target']:.0f}x)"
        )
