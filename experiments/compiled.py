"""Compiled programs that a long process no longer needs.

Each holds memory maps, of which Linux gives a process 65,530 unless told otherwise: with all of
them taken XLA's compiler brings the process down. JAX lets no program go by itself.
"""

from pathlib import Path

import jax

MAPS = Path("/proc/self/maps")
# Half of what there is: one part of a study takes some thousands at most.
MOST_MAPS = 30_000


def bound_compiled(most_maps: int = MOST_MAPS) -> bool:
    """Lets compiled programs go if the process has many memory maps; what is needed is recompiled.

    Args:
        most_maps: number of maps that are left alone.

    Returns:
        Whether they were let go. Never where the system does not list its maps.
    """
    if not MAPS.is_file() or MAPS.read_bytes().count(b"\n") <= most_maps:
        return False
    jax.clear_caches()
    return True
