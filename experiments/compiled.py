"""Compiled programs that a long process no longer needs.

Each holds memory maps, of which Linux gives a process 65,530 unless told otherwise: with all of
them taken XLA's compiler brings the process down. JAX lets no program go by itself.
"""

from pathlib import Path

import jax

MAPS, LIMIT = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")


def bound_compiled(most_maps: int | None = None) -> bool:
    """Lets compiled programs go if the process has many memory maps; what is needed is recompiled.

    Args:
        most_maps: number of maps that are left alone; left out, half of what the system allows: one
            part of a study takes some thousands at most.

    Returns:
        Whether they were let go. Never where the system does not list its maps.
    """
    if not (MAPS.is_file() and LIMIT.is_file()):
        return False
    most = int(LIMIT.read_text()) // 2 if most_maps is None else most_maps
    if MAPS.read_bytes().count(b"\n") <= most:
        return False
    jax.clear_caches()
    return True
