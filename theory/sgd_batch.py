"""Exact loss curves of SGD and GD for many configurations in one call.

`theory.sgd` diagonalises one configuration in milliseconds. For a million of them the noise comes
from its rational transform instead (`theory.noise_transform`), inverted along contours that all
configurations share (`theory.contours`); the first 31 steps are stepped. The bias is its sum over
modes, as for one curve. The few configurations for which a contour would lose digits are
diagonalised after all. Chunks run on every core, so that memory stays bounded.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from theory.accelerated import check_whole_steps
from theory.batch_nodes import many_mode_nodes
from theory.checks import Real, check_float64, check_real
from theory.contours import FIRST_STEPS, contours
from theory.curve_chunk import LANES, Configurations, chunk_curves, diagonalised_noise
from theory.decomposition import Decomposition
from theory.problem import MAX_SIZE
from theory.spectrum import POINTS_PER_BLOCK

# Configurations in one call of compiled code, by contours and by diagonalisation.
CHUNK, FEW = 1024, 16
# Counts of horizons are rounded up to a multiple of this: similar ones share compiled code.
HORIZONS_PER_CLASS = 8


def sgd_curves(
    capacity_exponent: Real,
    source_exponent: Real,
    size: Real,
    noise_variance: Real,
    learning_rate: Real,
    batch_size: Real,
    steps: Real,
    points_per_block: int = POINTS_PER_BLOCK,
) -> Decomposition:
    """Expected loss of one-pass SGD for many configurations, each at several horizons.

    Args:
        capacity_exponent: a > 0, [C] or a scalar, as all that follow up to `batch_size`.
        source_exponent: b > 1.
        size: N in [1, 1e15]; many different sizes take longer to prepare, 0.1 ms each.
        noise_variance: sigma^2 >= 0.
        learning_rate: eta > 0.
        batch_size: B >= 1.
        steps: whole T >= 0, [P] for all configurations or [C, P], one row each.
        points_per_block: Gauss points in an octave of modes.

    Returns:
        A `Decomposition` of arrays [C, P]. Where SGD diverges in mean square the noise is infinite
        after step 0.

    Raises:
        RuntimeError: without float64.
        TypeError: if an argument is not numeric.
        ValueError: if an argument is outside its domain or its shape does not fit.

    Kind: exact to 1e-10 of the loss (median 1e-14) for any T.
    Valid: Gaussian data, fresh samples.
    Source: derived; see the module's docstring. The recursion is that of `theory.sgd`.
    """
    check_real("noise_variance", noise_variance, at_least=0.0)
    check_real("batch_size", batch_size, at_least=1.0)
    many = _configurations(
        capacity_exponent=capacity_exponent,
        source_exponent=source_exponent,
        size=size,
        noise_variance=noise_variance,
        learning_rate=learning_rate,
        batch_size=batch_size,
    )
    return _in_chunks(many, _horizons(many, steps), points_per_block, noisy=True)


def gd_curves(
    capacity_exponent: Real,
    source_exponent: Real,
    size: Real,
    learning_rate: Real,
    steps: Real,
    points_per_block: int = POINTS_PER_BLOCK,
) -> Decomposition:
    """Loss of gradient descent without label noise for many configurations.

    Args:
        capacity_exponent: a > 0, [C] or a scalar, as all that follow up to `learning_rate`.
        source_exponent: b > 1.
        size: N in [1, 1e15]; many different sizes take longer to prepare, 0.1 ms each.
        learning_rate: eta > 0.
        steps: whole T >= 0, [P] for all configurations or [C, P], one row each.
        points_per_block: Gauss points in an octave of modes.

    Returns:
        A `Decomposition` of arrays [C, P]; noise is zero. A run that diverges gives the large loss
        it has, infinite beyond floating-point numbers.

    Raises:
        RuntimeError: without float64.
        TypeError: if an argument is not numeric.
        ValueError: if an argument is outside its domain or its shape does not fit.

    Kind: exact to quadrature error, see `theory.spectrum.mode_nodes`.
    Valid: every T.
    Source: derived; residual polynomial (1 - eta lam)^T, as `theory.linear_methods.gd`.
    """
    many = _configurations(
        capacity_exponent=capacity_exponent,
        source_exponent=source_exponent,
        size=size,
        noise_variance=0.0,
        learning_rate=learning_rate,
        batch_size=np.inf,
    )
    return _in_chunks(many, _horizons(many, steps), points_per_block, noisy=False)


def _configurations(**given: Real) -> Configurations:
    """Checked columns of one length, in the order of the arguments."""
    check_float64()
    check_real("capacity_exponent", given["capacity_exponent"], above=0.0)
    check_real("source_exponent", given["source_exponent"], above=1.0)
    check_real("size", given["size"], at_least=1.0, at_most=MAX_SIZE)
    check_real("learning_rate", given["learning_rate"], above=0.0)
    columns = {name: np.asarray(value, float) for name, value in given.items()}
    count = max(column.size for column in columns.values())
    for name, column in columns.items():
        if column.ndim > 1 or column.size not in (1, count) or count == 0:
            raise ValueError(
                f"`{name}` must be a scalar or one number for each of the {count} configurations, "
                f"got shape {column.shape}."
            )
    columns["size"] = np.floor(columns["size"])
    columns["batch_size"] = 1.0 / columns["batch_size"]
    whole = (np.broadcast_to(column, (count,)) for column in columns.values())
    return Configurations(*(jnp.asarray(column) for column in whole))


def _horizons(many: Configurations, steps: Real) -> np.ndarray:
    check_whole_steps(steps)
    horizons, count = np.asarray(steps, float), many.size.size
    fits = horizons.ndim == 1 or (horizons.ndim == 2 and horizons.shape[0] == count)
    if horizons.size == 0 or not fits:
        raise ValueError(
            f"`steps` must be a vector or have one row for each of the {count} configurations, "
            f"got shape {horizons.shape}."
        )
    return horizons


def _in_chunks(
    many: Configurations, steps: np.ndarray, points_per_block: int, noisy: bool
) -> Decomposition:
    """Computes whole chunks on all cores, repeats what is in doubt, and puts all together."""
    check_real("points_per_block", points_per_block, at_least=2)
    count = many.size.size
    chunk = min(CHUNK, LANES * 2 ** int(np.ceil(np.log2(max(count / LANES, 1.0)))))
    late, early = steps[steps >= FIRST_STEPS], steps[steps < FIRST_STEPS]
    path = contours(late.min(), late.max()) if noisy and late.size else None
    first = int(early.max(initial=0.0)) if noisy else 0
    width = steps.shape[-1]
    spare = [(0, 0)] * (steps.ndim - 1) + [(0, -width % HORIZONS_PER_CLASS)]
    take = _taker(many, np.pad(steps, spare, mode="edge"), points_per_block)
    shape = (count, width)
    bias, noise, approximation = np.empty(shape), np.empty(shape), np.empty(count)
    doubtful = np.zeros(count, dtype=bool)

    def compute(start: int) -> None:
        end = min(start + chunk, count)
        rows = np.minimum(np.arange(start, start + chunk), count - 1)
        result = chunk_curves(*take(rows), path, first, noisy)
        found = [np.asarray(part)[: end - start] for part in result]
        bias[start:end], noise[start:end] = (part[:, :width] for part in found[:2])
        approximation[start:end], doubtful[start:end] = found[2:]

    def repeat(start: int) -> None:
        rows = unsure[np.minimum(np.arange(start, start + FEW), unsure.size - 1)]
        found = np.asarray(diagonalised_noise(*take(rows)))[:, :width]
        own = steps if steps.ndim == 1 else steps[rows]
        # The first steps are exact; near the limit their losses are small against later ones.
        noise[rows] = np.where(own < FIRST_STEPS, noise[rows], found)

    _on_all_cores(compute, range(0, count, chunk))
    unsure = np.flatnonzero(doubtful)
    _on_all_cores(repeat, range(0, unsure.size, FEW))
    constant = (many.noise_variance / 2.0, approximation)
    parts = (*(np.broadcast_to(column[:, None], shape) for column in constant), bias, noise)
    return Decomposition(*(jnp.asarray(part) for part in parts))


def _taker(
    many: Configurations, steps: np.ndarray, points_per_block: int
) -> Callable[[np.ndarray], tuple[Any, ...]]:
    """A function that picks the configurations of some rows, with their nodes and horizons."""
    sizes, which = np.unique(many.size, return_inverse=True)
    index, weights = many_mode_nodes(sizes, points_per_block)
    log_index = np.log(index)

    def take(rows: np.ndarray) -> tuple[Any, ...]:
        some = jax.tree.map(lambda column: np.asarray(column)[rows], many)
        nodes = (log_index[which[rows]], weights[which[rows]])
        return some, nodes, steps if steps.ndim == 1 else steps[rows]

    return take


def _on_all_cores(work: Callable[[int], None], starts: range) -> None:
    """Runs chunks on as many threads as there are cores; compiled code holds no lock."""
    threads = (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1
    if threads == 1 or len(starts) < 2:
        for start in starts:
            work(start)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, starts))
