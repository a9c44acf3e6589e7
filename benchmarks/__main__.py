"""All comparisons of speed as one table: `python -m benchmarks [--only SUITE ...] [--json]`."""

import argparse
import datetime
import importlib
import json
import os
import platform
from pathlib import Path
from typing import Any

import jax

from experiments.records import code_state
from experiments.tables import Table, plain_console, print_table

# Suite: its module and the function that measures.
SUITES = {
    "engine": ("benchmarks.engine", "engine_rows"),
    "methods": ("benchmarks.methods", "methods_rows"),
    "fitting": ("benchmarks.fitting", "fitting_rows"),
    "theory": ("benchmarks.theory", "theory_rows"),
}
RESULTS = Path(__file__).parent / "results"
COLUMNS = {
    "what": "comparison",
    "size": "size",
    "ours_seconds": "ours, s",
    "peer_seconds": "peer, s",
    "ratio": "ratio",
    "target": "target",
    "roofline": "of roofline",
}
NOTE = (
    "ratio: the peer's time over ours, to be at least the target; of roofline: the least time the "
    "hardware could take, as measured beside it, over ours; docs/performance.md says how to read it"
)


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


def keep(rows: list[dict[str, Any]]) -> Path:
    """Writes the rows with machine, time and commit; returns the file."""
    now = datetime.datetime.now(datetime.UTC)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    stated = {"machine": machine(), "created": now.isoformat(timespec="seconds")}
    path.write_text(json.dumps(stated | {"code": code_state(), "rows": rows}, indent=1) + "\n")
    return path


def main() -> None:
    """Runs the suites and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SUITES, default=list(SUITES))
    parser.add_argument("--json", action="store_true", help=f"also write {RESULTS.name}/TIME.json")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    rows: list[dict[str, Any]] = []
    for suite in options.only:
        module, function = SUITES[suite]
        rows += getattr(importlib.import_module(module), function)()
    cells = tuple(
        tuple("-" if row.get(name) is None else row[name] for name in COLUMNS) for row in rows
    )
    table = Table("Speed", tuple(COLUMNS.values()), cells, f"{NOTE}; {machine()}")
    print_table(table, plain_console())
    if options.json:
        print(keep(rows))


if __name__ == "__main__":
    main()
