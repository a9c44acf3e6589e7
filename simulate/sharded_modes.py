"""One giant problem over several devices: each holds and steps a part of the modes.

The engine is the same; XLA's partitioner follows the arrays. Steps of an element-wise method need
no exchange, and a loss one sum of a number a device.
"""

from dataclasses import fields, replace
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from simulate.devices import mode_mesh
from simulate.least_squares import LeastSquares
from simulate.problems import DiagonalQuadratic

ModesProblem = TypeVar("ModesProblem", DiagonalQuadratic, LeastSquares)


def shard_modes(problem: ModesProblem, mesh: Mesh | None = None) -> ModesProblem:
    """The same problem with its modes spread over the devices of a mesh.

    Args:
        problem: diagonal; on joined hosts the same on all.
        mesh: of one axis (default: all devices, `simulate.devices.mode_mesh`).

    Returns:
        The problem for `simulate`, filled up with modes of eigenvalue zero, which never move and
        carry no loss, to a size that the devices divide. On joined hosts all must run it alike.

    Raises:
        TypeError: if its modes are not independent coordinates.
        ValueError: if the mesh has more than one axis, or the problem has fewer modes than devices.
    """
    if not isinstance(problem, DiagonalQuadratic | LeastSquares):
        raise TypeError(
            "`problem` must be a DiagonalQuadratic or LeastSquares, got "
            f"{type(problem).__name__}: only their modes are independent coordinates."
        )
    where = mode_mesh() if mesh is None else mesh
    if len(where.axis_names) != 1:
        raise ValueError(f"`mesh` must have one axis, got {where.axis_names}.")
    size = problem.target.size
    if size < where.size:
        raise ValueError(f"`problem` must have at least {where.size} modes, got {size}.")
    filling = _even_size(size, where.size) - size
    placed = {}
    for field in fields(problem):
        array = np.asarray(getattr(problem, field.name))
        axes = where.axis_names if array.ndim else ()
        whole = np.pad(array, (0, filling)) if array.ndim else array
        sharding = NamedSharding(where, PartitionSpec(*axes))
        placed[field.name] = jax.make_array_from_callback(
            whole.shape, sharding, lambda index, whole=whole: whole[index]
        )
    return replace(problem, **placed)


def _even_size(size: int, devices: int) -> int:
    """The next size of which every device holds whole rows of `block_sum`."""
    rows = 2 ** (int(size - 1).bit_length() // 2 + 1)
    unit = rows * devices
    return -(-size // unit) * unit
