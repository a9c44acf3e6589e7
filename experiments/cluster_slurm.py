"""Jobs of Slurm that are Dask workers: a TOML file, checked, and what dask-jobqueue makes of it."""

import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import UserError

# Key, type, and what it is called in complaints.
COUNTS = ("workers", "minimum", "maximum")
ACCEPTED: Mapping[str, type] = {
    **dict.fromkeys(COUNTS, int),
    "processes": int,
    "cores": int,
    "memory": str,
    "walltime": str,
    "queue": str,
    "account": str,
    "interface": str,
    "python": str,
    "local_directory": str,
    "log_directory": str,
    "death_timeout": int,
    "job_extra_directives": list,
    "job_script_prologue": list,
    "worker_extra_args": list,
    "scheduler_options": dict,
}
# Of a scheduler: what is left of its pages stays on the loopback, at any port.
NO_DASHBOARD: Mapping[str, Any] = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
WORDS = {int: "a whole number", str: "a text", list: "a list of texts", dict: "a table"}


@dataclass(frozen=True)
class SlurmJobs:
    """Jobs to ask Slurm for; each holds worker processes of one thread.

    Attributes:
        name: of the file, for messages.
        minimum: worker processes kept even if there is little to do.
        maximum: worker processes at once.
        options: keywords of `dask_jobqueue.SLURMCluster`.
    """

    name: str
    minimum: int
    maximum: int
    options: Mapping[str, Any]

    def __str__(self) -> str:
        fixed = self.minimum == self.maximum
        count = f"{self.maximum}" if fixed else f"{self.minimum} to {self.maximum}"
        return f"{count} worker processes in jobs of Slurm ({self.name})"


def read_slurm_jobs(path: Path) -> SlurmJobs:
    """The jobs that a file asks for.

    Args:
        path: a TOML file: `workers`, or `minimum` and `maximum`, then `memory` and other options of
            a job.

    Raises:
        UserError: if it cannot be read, a key is unknown, missing, or of another type.
    """
    try:
        stated = tomllib.loads(path.read_text())
    except OSError as error:
        raise UserError(f"--cluster {path}: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"--cluster {path} is no TOML: {error}.") from error
    for key, value in stated.items():
        _check(path, key, value)
    minimum, maximum = _counts(path, stated)
    if "memory" not in stated:
        raise UserError(f'{path}: `memory` of a job must be given, such as memory = "4GB".')
    options = {key: value for key, value in stated.items() if key not in COUNTS}
    # One thread a process: chunks that share a process would share its memory and its death.
    processes = options.setdefault("processes", 1)
    options |= {"cores": processes, "job_cpu": options.get("cores", processes)}
    options["scheduler_options"] = {**NO_DASHBOARD, **options.get("scheduler_options", {})}
    return SlurmJobs(path.name, minimum, maximum, options)


def _check(path: Path, key: str, value: Any) -> None:
    if key not in ACCEPTED:
        raise UserError(f"{path}: unknown key `{key}`; accepted are: {', '.join(ACCEPTED)}.")
    wanted = ACCEPTED[key]
    words = value if isinstance(value, list) else []
    wrong = not isinstance(value, wanted) or isinstance(value, bool)
    if wrong or not all(isinstance(word, str) for word in words):
        raise UserError(f"{path}: `{key}` must be {WORDS[wanted]}, got {value!r}.")
    least = 0 if key == "minimum" else 1
    if isinstance(value, int) and value < least:
        raise UserError(f"{path}: `{key}` must be at least {least}, got {value}.")


def _counts(path: Path, stated: Mapping[str, Any]) -> tuple[int, int]:
    if "workers" in stated:
        if "minimum" in stated or "maximum" in stated:
            raise UserError(f"{path}: give either `workers` or `minimum` and `maximum`, not both.")
        return stated["workers"], stated["workers"]
    if "maximum" not in stated:
        raise UserError(f"{path}: give `workers`, or `minimum` and `maximum`, of worker processes.")
    minimum, maximum = stated.get("minimum", 0), stated["maximum"]
    if minimum > maximum:
        raise UserError(f"{path}: `minimum` must be at most `maximum` {maximum}, got {minimum}.")
    return minimum, maximum


def check_submission() -> None:
    """Refuses a machine that cannot hand jobs to Slurm.

    Raises:
        UserError: if there is no `sbatch`.
    """
    if shutil.which("sbatch") is None:
        raise UserError("jobs of Slurm need its command sbatch: run this on a machine that has it.")


def slurm_cluster(jobs: SlurmJobs, security: Any) -> Any:
    """The cluster of the jobs, a scheduler in this process; asks for no job yet.

    Args:
        jobs: what to ask for.
        security: of all connections; None for plain TCP.

    Raises:
        UserError: if dask-jobqueue refuses an option.
    """
    from dask_jobqueue.slurm import SLURMCluster, SLURMJob

    security = {"security": security} if security else {}
    of_jobs = {key: value for key, value in jobs.options.items() if key != "scheduler_options"}
    try:
        # A cluster that refuses its options leaves half an object behind; a job does not.
        SLURMJob(scheduler="tcp://scheduler:0", name="trial", **of_jobs, **security)
    except (ValueError, TypeError, OSError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(f"--cluster {jobs.name}: {first}.") from error
    return SLURMCluster(**jobs.options, **security, silence_logs="critical")
