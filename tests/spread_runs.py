"""Sweeps and giant problems on the devices at hand; a program of its own for other numbers of them.

`python -m tests.spread_runs OUT.npz NAME ...` writes what each run of `RUNS` gives. With `--join
ADDRESS PROCESSES INDEX` in front it joins others first.
"""

import re
import sys

import jax
import jax.numpy as jnp
import numpy as np

from simulate.adaptive import adam
from simulate.devices import configuration_mesh, join_hosts
from simulate.least_squares import least_squares
from simulate.lmo import muon
from simulate.matrix_problems import matrix_quadratic
from simulate.optimizers import sgd
from simulate.problems import diagonal_quadratic
from simulate.sharded_modes import shard_modes
from simulate.soap import soap
from simulate.sweep import sweep
from simulate.sweep_blocks import cut
from simulate.trajectory import _simulate, simulate
from theory.problem import power_law

STEPS = [0, 1, 7, 20]
MOMENTUM = {"learning_rate": 0.7, "momentum": 0.8}
GIANT = 70_001  # a prime: no number of devices divides it


def rates(count):
    return {"learning_rate": np.geomspace(0.01, 0.3, count)}


def quadratic(dtype=float):
    return diagonal_quadratic(power_law(1.5, 1.8, 16_384, 0.1), dtype)


def stochastic(dtype):
    return least_squares(power_law(1.5, 1.8, 4096, 0.1), 4, dtype)


def matrix(dtype, side):
    law = power_law(1.5, 1.8, side)
    return matrix_quadratic(law, alignment="turned", key=jax.random.key(0), dtype=dtype)


def first_row(problem, params):
    return {"row": params[0], "sum": jnp.sum(params)}


# Problem, method, configurations, seeds and the number of blocks they make. Fewer than eight leave
# devices idle, but a program is compiled for every device that runs it.
RUNS = {
    "gradient descent": (quadratic, sgd, 29, 0, 8),
    "gradient descent, float32": (lambda: quadratic(jnp.float32), sgd, 29, 0, 8),
    "adam": (quadratic, adam, 29, 0, 8),
    "adam, float32": (lambda: quadratic(jnp.float32), adam, 29, 0, 8),
    "least squares": (lambda: stochastic(jnp.float64), sgd, 250, 4, 8),
    "least squares, float32": (lambda: stochastic(jnp.float32), sgd, 250, 4, 8),
    "least squares, two blocks": (lambda: stochastic(jnp.float32), sgd, 63, 4, 2),
    "muon": (lambda: matrix(jnp.float64, 64), muon, 101, 0, 8),
    "muon, float32": (lambda: matrix(jnp.float32, 64), muon, 101, 0, 8),
    "muon, two blocks": (lambda: matrix(jnp.float32, 64), muon, 31, 0, 2),
    "soap": (lambda: matrix(jnp.float64, 24), soap, 799, 0, 8),
    "soap, float32": (lambda: matrix(jnp.float32, 24), soap, 799, 0, 8),
}


def run(name):
    """One of the sweeps, which must be cut into as many blocks as stated."""
    make, method, count, seeds, blocks = RUNS[name]
    problem, grid = make(), rates(count)
    assert cut(problem, count, max(1, seeds), "cpu").count == blocks
    keys = jax.random.split(jax.random.key(3), seeds) if seeds else None
    if seeds:
        grid["batch_size"] = 1.0 + np.arange(count) % 7
    observe = first_row if problem.init().ndim == 2 else None
    return sweep(problem, method, STEPS, grid, keys, observe)


def giant(name, spread):
    """One problem of many modes, its modes spread or not."""
    law = power_law(1.5, 1.8, GIANT, 0.1)
    problem = least_squares(law, 4) if name == "least squares" else diagonal_quadratic(law)
    method, numbers = {
        "momentum": (sgd, MOMENTUM),
        "adam": (adam, {"learning_rate": 0.01}),
        "least squares": (sgd, {"learning_rate": 0.2}),
    }[name]
    placed = shard_modes(problem) if spread else problem
    return simulate(placed, method, STEPS, key=jax.random.key(2), **numbers)


def giant_sweep(spread=True):
    """Configurations of a giant problem, whose devices run them all together."""
    law = diagonal_quadratic(power_law(1.5, 1.8, GIANT, 0.1))
    grid = rates(3) | {"size": [100, GIANT, 7]}
    return sweep(shard_modes(law) if spread else law, sgd, STEPS, grid).loss


def exchanges():
    """What the devices of a giant problem send each other, as XLA's program states it."""
    problem = shard_modes(diagonal_quadratic(power_law(1.5, 1.8, GIANT)))
    numbers = {name: jnp.asarray(value) for name, value in MOMENTUM.items()}
    key = jax.random.key(0)
    program = _simulate.lower(problem, sgd, jnp.array(STEPS), key, numbers, None, False)
    text = program.compile().as_text() or ""
    found = re.findall(r"= (\S+) (all-[a-z-]+|collective-[a-z]+|reduce-scatter)", text)
    return sorted({f"{shape} {kind}" for shape, kind in found})


def settings():
    """Devices that a sweep would use under various settings."""
    last = jax.local_devices()[-1]
    alone = sweep(quadratic(), sgd, STEPS, rates(29), mesh=configuration_mesh([last]))
    with jax.default_device(last):
        default = configuration_mesh().devices.tolist() == [last]
    moved = jax.device_put(quadratic(), last)
    placed = sweep(moved, sgd, STEPS, rates(2)).loss.devices() == {last}
    return np.array([default, placed]), alone.loss


def different():
    """Why a sweep is refused whose arguments are not the same everywhere."""
    numbers = {"learning_rate": np.full(3, 0.1 + jax.process_index())}
    try:
        sweep(quadratic(), sgd, STEPS, numbers)
    except ValueError as error:
        return str(error)
    return "nothing was refused"


def joined_again():
    try:
        join_hosts("127.0.0.1:1", 2, 1)
    except RuntimeError as error:
        return str(error)
    return "nothing was refused"


OTHERS = {f.__name__: f for f in (giant_sweep, exchanges, settings, different, joined_again)}


def main(out, *names):
    found = {"devices": len(jax.devices())}
    for name in names:
        kind, _, rest = name.partition(":")
        if name in OTHERS:
            result = OTHERS[name]()
        else:
            grown = giant(rest, True) if kind == "giant" else run(name)
            result = (grown.loss, grown.diverged_at, grown.observed)
        leaves = jax.tree.leaves(result)
        found |= {f"{name}/{number}": np.asarray(leaf) for number, leaf in enumerate(leaves)}
    np.savez(out, **found)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    arguments = sys.argv[1:]
    if arguments[0] == "--join":
        join_hosts(arguments[1], int(arguments[2]), int(arguments[3]), timeout=120)
        arguments = arguments[4:]
    main(*arguments)
