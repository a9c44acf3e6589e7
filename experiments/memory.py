"""Sizes of memory, as typed and as printed."""

import math
import re

from experiments.errors import UserError

UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def parse_memory(text: str) -> int:
    """Bytes of "8GB", "500 MB" or "2GiB".

    Raises:
        UserError: unless it is a positive number and a unit.
    """
    match = re.fullmatch(r"\s*([0-9]+\.?[0-9]*(?:[eE][0-9]+)?)\s*([A-Za-z]+)\s*", text)
    factor = {name.lower(): value for name, value in UNITS.items()}
    if match is None or match[2].lower() not in factor or float(match[1]) <= 0:
        raise UserError(
            f"--memory must be a positive number and one of {', '.join(UNITS)}, "
            f"such as 8GB, got {text!r}."
        )
    return int(float(match[1]) * factor[match[2].lower()])


def format_memory(size: float) -> str:
    """A decimal unit and three digits, rounded up: what is printed suffices when typed."""
    whole = math.ceil(size)
    step = 10 ** max(len(str(whole)) - 3, 0)
    rounded = -(-whole // step) * step
    for unit in ("TB", "GB", "MB", "kB"):
        if rounded >= UNITS[unit]:
            return f"{rounded / UNITS[unit]:g} {unit}"
    return f"{rounded} B"
