"""How a sweep is cut into blocks of one shape, whatever the number of devices that take them.

Compilers order a reduction by the shape of the whole batch, so that a run of a batch of 8 differs
from the same run in a batch of 64 in its last bits. The shape of a block is therefore a function of
problem, sweep and kind of device alone.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from simulate.parallel import equations

RANDOM = ("random_bits", "threefry2x32")

# Parameters a block steps at once: beyond it the cost of a step outweighs that of starting it.
CPU_ELEMENTS, ACCELERATOR_ELEMENTS = 2**16, 2**21
# Noise is drawn once a block for all its configurations: smaller blocks would pay mostly for noise.
NOISY_ELEMENTS, SHARING_NOISE = 2**19, 32


@dataclass(frozen=True)
class Blocks:
    """A grid of configurations and seeds as equal blocks.

    Attributes:
        configurations: C.
        seeds: S.
        rows: configurations a block.
        columns: seeds a block, a divisor of S.
    """

    configurations: int
    seeds: int
    rows: int
    columns: int

    @property
    def count(self) -> int:
        """Number of blocks."""
        return -(-self.configurations // self.rows) * (self.seeds // self.columns)

    def indices(self) -> tuple[np.ndarray, np.ndarray]:
        """Configurations [count, rows] and seeds [count, columns] of the blocks.

        The last configuration is repeated where rows do not divide C.
        """
        starts = np.arange(0, self.configurations, self.rows)
        rows = np.minimum(starts[:, None] + np.arange(self.rows), self.configurations - 1)
        columns = np.arange(self.seeds).reshape(-1, self.columns)
        return np.repeat(rows, len(columns), axis=0), np.tile(columns, (len(rows), 1))

    def whole(self, results: np.ndarray) -> np.ndarray:
        """Results of the blocks [count, rows, columns, ...] as [C, S, ...]."""
        across = self.seeds // self.columns
        split = results.reshape(-1, across, *results.shape[1:])
        joined = np.moveaxis(split, 1, 2)
        shape = (-1, self.seeds, *results.shape[3:])
        return joined.reshape(shape)[: self.configurations]


def cut(problem: Any, configurations: int, seeds: int, platform: str) -> Blocks:
    """The blocks of a sweep.

    Args:
        problem: of one run.
        configurations: C >= 1.
        seeds: S >= 1.
        platform: kind of device, e.g. `cpu`.

    Returns:
        `Blocks` of about 2^16 parameters (2^21 on accelerators, 2^19 where gradients draw noise for
        every parameter), or one run, or 32 configurations that share their noise.
    """
    params = jax.eval_shape(problem.init)
    elements = sum(leaf.size for leaf in jax.tree.leaves(params))
    limit = CPU_ELEMENTS if platform == "cpu" else ACCELERATOR_ELEMENTS
    if configurations * seeds * elements <= limit:
        return Blocks(configurations, seeds, configurations, seeds)
    noisy = _draws(problem, params) >= elements
    if noisy:
        limit = max(limit, NOISY_ELEMENTS)
    return _fitting(configurations, seeds, max(1, limit // elements), noisy)


def _fitting(configurations: int, seeds: int, lanes: int, noisy: bool) -> Blocks:
    """Blocks of at most `lanes` runs, if that is possible; seeds are split before configurations.

    That draws no noise twice. XLA steps a single seed at the cost of two: noisy runs stay paired.
    """
    divisors = [n for n in range(1, seeds + 1) if seeds % n == 0]
    allowed = divisors[1:] if noisy and seeds > 1 else divisors
    columns = max((n for n in allowed if configurations * n <= lanes), default=allowed[0])
    most = max(lanes // columns, SHARING_NOISE if noisy else 1)
    # A power of two is divided evenly among most numbers of devices.
    rows = -(-configurations // 2 ** (-(-configurations // most) - 1).bit_length())
    return Blocks(configurations, seeds, rows, columns)


def _draws(problem: Any, params: Any) -> int:
    """How many random numbers a gradient draws."""
    traced = jax.make_jaxpr(problem.gradient)(params, jax.random.key(0))
    drawn = [e.outvars[0].aval for e in equations(traced.jaxpr) if e.primitive.name in RANDOM]
    return sum(math.prod(getattr(aval, "shape", ())) for aval in drawn)
