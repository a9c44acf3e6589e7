"""All comparisons of speed as one table: `python -m benchmarks`."""

import os
import platform
from pathlib import Path

import jax

from experiments.tables import Table, plain_console, print_table


def machine() -> str:
    """Processor, cores, device and versions, in one line."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        names = [li for li in information.read_text().splitlines() if li.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    device = jax.devices()[0].device_kind
    versions = f"Python {platform.python_version()}, JAX {jax.__version__}"
    return f"{model}, {os.cpu_count()} cores, device {device}, {versions}"


def main() -> None:
    """Runs every suite and prints the table."""
    jax.config.update("jax_enable_x64", True)
    from benchmarks.engine import engine_rows
    from benchmarks.fitting import fitting_rows
    from benchmarks.methods import methods_rows
    from benchmarks.theory import theory_rows

    rows = [*engine_rows(), *methods_rows(), *fitting_rows(), *theory_rows()]
    names = ("what", "size", "ours_seconds", "peer_seconds", "ratio", "target")
    columns = ("comparison", "size", "ours, s", "peer, s", "ratio", "target")
    cells = tuple(tuple("-" if row[k] is None else row[k] for k in names) for row in rows)
    note = f"ratio: the peer's time over ours, to be at least the target; {machine()}"
    print_table(Table("Speed against peers", columns, cells, note), plain_console())


if __name__ == "__main__":
    main()
