"""`--cluster` as typed: processes of this machine, a Dask scheduler, or jobs of Slurm."""

import importlib.util
import re
from dataclasses import dataclass, fields
from pathlib import Path

from experiments.arguments import take_value
from experiments.cluster_slurm import SlurmJobs, read_slurm_jobs
from experiments.errors import UserError
from experiments.sweeps import Compute

FORMS = "local:N, tcp://HOST:PORT, tls://HOST:PORT or FILE.toml"
MOST_LOCAL_WORKERS = 1024


@dataclass(frozen=True)
class LocalProcesses:
    """Worker processes of this machine, reached through its loopback only.

    Attributes:
        workers: how many.
    """

    workers: int

    def __str__(self) -> str:
        return f"{self.workers} worker processes of this machine"


@dataclass(frozen=True)
class SchedulerAddress:
    """A scheduler that is there already.

    Attributes:
        url: its scheme is `tcp` or `tls`.
    """

    url: str

    def __str__(self) -> str:
        return f"the scheduler at {self.url}"


@dataclass(frozen=True)
class Tls:
    """Files that prove who is who; what is empty comes from Dask's own configuration.

    Attributes:
        ca_file: certificate of the authority that signed the others, PEM.
        cert: certificate shown to the other side, PEM.
        key: its private key, PEM; empty if it is in the file of the certificate.
    """

    ca_file: str = ""
    cert: str = ""
    key: str = ""

    def __bool__(self) -> bool:
        return bool(self.ca_file or self.cert or self.key)


@dataclass(frozen=True)
class Cluster:
    """Where chunks are computed.

    Attributes:
        place: that has the workers.
        tls: how connections are secured, if they are.
    """

    place: LocalProcesses | SchedulerAddress | SlurmJobs
    tls: Tls = Tls()

    def computation(self) -> Compute:
        """Computes the chunks of a sweep there; starts or connects when called."""
        from experiments.cluster_sweep import on_cluster

        return on_cluster(self)


def take_cluster(arguments: list[str]) -> Cluster | None:
    """Removes `--cluster` and `--tls-...` and returns what they say; None without `--cluster`.

    Raises:
        UserError: naming the option, its value and what is accepted.
    """
    text = take_value(arguments, "--cluster")
    given = {
        field.name: take_value(arguments, f"--tls-{field.name.replace('_', '-')}")
        for field in fields(Tls)
    }
    tls = Tls(**{name: value for name, value in given.items() if value is not None})
    if text is not None:
        return parse_cluster(text, tls)
    if tls:
        raise UserError("--tls-ca-file, --tls-cert and --tls-key need --cluster.")
    return None


def parse_cluster(text: str, tls: Tls = Tls()) -> Cluster:
    """What `--cluster TEXT` means; reads a file of Slurm options, starts nothing.

    Args:
        text: in one of the forms above.
        tls: files for secure connections.

    Raises:
        UserError: if the text is of no form, a file is missing or wrong, or Dask is not installed.
    """
    for field in fields(tls):
        path = getattr(tls, field.name)
        if path and not Path(path).is_file():
            flag = f"--tls-{field.name.replace('_', '-')}"
            raise UserError(f"{flag} must be a file in PEM form, there is no {path!r}.")
    place = _place(text)
    if tls and isinstance(place, SchedulerAddress) and place.url.startswith("tcp://"):
        raise UserError(f"--tls-... secures tls://HOST:PORT, --cluster is {text!r}.")
    needed = ["distributed", *["dask_jobqueue"] * isinstance(place, SlurmJobs)]
    for package in needed:
        if not is_installed(package):
            raise UserError(
                f"--cluster {text} needs the package {package.replace('_', '-')}: "
                "pip install -e '.[cluster]' in the checkout."
            )
    return Cluster(place, tls)


def _place(text: str) -> LocalProcesses | SchedulerAddress | SlurmJobs:
    kind, _, rest = text.partition(":")
    if kind == "local":
        if re.fullmatch(r"[0-9]{1,6}", rest) and 1 <= int(rest) <= MOST_LOCAL_WORKERS:
            return LocalProcesses(int(rest))
        raise UserError(
            f"--cluster local:N needs a number of processes from 1 to {MOST_LOCAL_WORKERS}, "
            f"such as local:4, got {text!r}."
        )
    if kind in ("tcp", "tls"):
        host = re.fullmatch(r"//(\[[0-9a-fA-F:.%\w]+\]|[^\s:/\[\]]+):([0-9]{1,5})", rest)
        if host and 1 <= int(host[2]) <= 65535:
            return SchedulerAddress(text)
        raise UserError(
            f"--cluster {kind}://HOST:PORT needs a host and a port from 1 to 65535, "
            f"such as {kind}://127.0.0.1:8786, got {text!r}."
        )
    if text.endswith(".toml"):
        return read_slurm_jobs(Path(text))
    raise UserError(f"--cluster must be {FORMS}, got {text!r}.")


def is_installed(package: str) -> bool:
    """Whether it can be imported."""
    return importlib.util.find_spec(package) is not None
