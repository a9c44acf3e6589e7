"""Devices and hosts: meshes for sweeps and for the modes of one giant problem."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from simulate.rendezvous import gather_hosts, meet_host, split_address
from theory.checks import check_real, check_whole

CONFIGURATIONS = "configurations"
MODES = "modes"


def configuration_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """The devices that a sweep spreads its configurations over.

    Args:
        devices: which; left out: all devices of all joined hosts, or the one that
            `jax.default_device` names.

    Returns:
        A mesh of one axis.

    Raises:
        ValueError: without devices.
    """
    return _mesh(devices, CONFIGURATIONS)


def mode_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """The devices that `shard_modes` spreads one problem over; arguments as for configurations."""
    return _mesh(devices, MODES)


def _mesh(devices: Sequence[Any] | None, axis: str) -> Mesh:
    if devices is None:
        chosen = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
        named = chosen is None or isinstance(chosen, str)
        devices = jax.devices(chosen) if named else [chosen]
    if len(devices) == 0:
        raise ValueError("`devices` must hold at least one device, got none.")
    return Mesh(np.array(devices), (axis,))


def join_hosts(
    coordinator: str | None = None,
    processes: int | None = None,
    index: int | None = None,
    *,
    bind: str | None = None,
    timeout: float = 300.0,
) -> None:
    """Joins processes, one a host, into one program: `jax.devices()` are then those of all.

    To be called before anything else asks JAX for a device. A sweep must then be called by all
    alike; if one of them dies, JAX ends the others within two minutes.

    Args:
        coordinator: host:port of process 0, reachable from all; left out together with the
            next two: found as JAX does, from Slurm, Open MPI or a TPU pod.
        processes: how many.
        index: of this one, 0 <= index < processes.
        bind: address that process 0 listens on (default: the coordinator's host).
        timeout: seconds to wait for the others.

    Raises:
        ValueError: if an argument is malformed, or some are left out and not found.
        ConnectionError: if process 0 cannot listen there, or refuses this one.
        TimeoutError: if process 0 cannot be reached in time, or others are missing.
        RuntimeError: if JAX already runs.
    """
    check_real("timeout", timeout, above=0.0)
    if jax.distributed.is_initialized():
        raise RuntimeError("this process has already joined others.")
    if coordinator is None and processes is None and index is None:
        jax.distributed.initialize(initialization_timeout=math.ceil(timeout))
        return
    if coordinator is None or processes is None or index is None:
        raise ValueError(
            "`coordinator`, `processes` and `index` must be given together or not at all, got "
            f"{coordinator!r}, {processes!r} and {index!r}."
        )
    host, port = split_address(coordinator)
    check_whole("processes", processes, at_least=1)
    check_whole("index", index, at_most=processes - 1)
    own = host if bind is None else bind
    if index == 0:
        gather_hosts(own, port, processes, timeout)
    else:
        meet_host(host, port, processes, index, timeout)
    jax.distributed.initialize(
        coordinator,
        int(processes),
        int(index),
        cluster_detection_method="deactivate",
        initialization_timeout=math.ceil(timeout),
        coordinator_bind_address=f"[{own}]:{port}" if ":" in own else f"{own}:{port}",
    )


@dataclass(frozen=True)
class Shares:
    """Which blocks of a sweep each device of this host takes.

    Attributes:
        numbers: equally many block numbers a device, past the last for repeats of it; the device
            None is where JAX puts things.
        several_hosts: whether other hosts take blocks too.
    """

    numbers: dict[Any, range]
    several_hosts: bool = False


def shares_of(blocks: int, mesh: Mesh) -> Shares:
    """Spreads blocks over the devices of a mesh, or over fewer that need as many turns.

    Args:
        blocks: how many.
        mesh: of one axis, with as many devices of every host it reaches.

    Returns:
        `Shares` of this host.

    Raises:
        ValueError: if the mesh is not like that, or has no device of this host.
    """
    here = jax.process_index()
    owners = [device.process_index for device in mesh.devices.flat]
    each = {owner: owners.count(owner) for owner in owners}
    if mesh.devices.ndim != 1 or here not in each or len(set(each.values())) != 1:
        raise ValueError(
            f"`mesh` must have one axis and as many devices of every host, this one ({here}) "
            f"included, got axes {mesh.axis_names} and devices by host {each}."
        )
    several_hosts = len(each) > 1
    turns = -(-blocks // mesh.size)
    if not several_hosts:
        mesh = Mesh(mesh.devices.ravel()[: -(-blocks // turns)], mesh.axis_names)
    total = turns * mesh.size
    sharding = NamedSharding(mesh, PartitionSpec(*mesh.axis_names))
    places = sharding.addressable_devices_indices_map((total,))
    numbers = {device: range(total)[where[0]] for device, where in places.items() if where}
    return Shares(numbers, several_hosts)


def gather(trees: list[Any], numbers: Sequence[int]) -> list[Any]:
    """What all joined hosts hold, in order.

    Args:
        trees: of NumPy arrays, alike, as many on every host.
        numbers: their places in the whole.

    Returns:
        Trees of NumPy arrays, the same on every host.
    """
    mine = jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
    everywhere, found = multihost_utils.process_allgather((np.array(numbers), mine))
    places = [tuple(place) for place in np.argwhere(np.asarray(everywhere) >= 0)]
    ordered = sorted(places, key=lambda place: everywhere[place])
    return [jax.tree.map(lambda leaf, at=place: np.asarray(leaf[at]), found) for place in ordered]


def fixed_in_place(tree: Any) -> bool:
    """True if someone put an array of the tree on devices of their choice."""
    return any(getattr(leaf, "committed", False) for leaf in jax.tree.leaves(tree))


def is_spread(tree: Any) -> bool:
    """True if an array of the tree lies on several devices."""
    arrays = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
    return any(len(array.sharding.device_set) > 1 for array in arrays)


def check_same(tree: Any) -> None:
    """Refuses arrays that differ between joined hosts, where the next exchange would hang.

    Raises:
        ValueError: on every host, if any array differs.
    """
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        whole = np.asarray(_without_key(leaf))
        digest.update(f"{whole.dtype} {whole.shape} ".encode() + whole.tobytes())
    mine = np.frombuffer(digest.digest(), np.uint32)
    others = np.asarray(multihost_utils.process_allgather(mine))
    different = np.flatnonzero((others != others[0]).any(axis=1)).tolist()
    if different:
        raise ValueError(
            f"joined hosts must call a sweep with the same arguments; "
            f"hosts {different} differ from host 0."
        )


def _without_key(leaf: Any) -> Any:
    is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf
