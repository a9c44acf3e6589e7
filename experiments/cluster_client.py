"""Connections to workers: started on the loopback, found at an address, or asked of Slurm."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask.config
import jax
import psutil
from distributed import Client, LocalCluster
from distributed.security import Security
from distributed.utils import silence_logging_cmgr

from experiments.cluster import Cluster, LocalProcesses, SchedulerAddress, Tls
from experiments.cluster_slurm import NO_DASHBOARD, SlurmJobs, check_submission, slurm_cluster
from experiments.errors import UserError

CONNECT_SECONDS = 10.0
LOOPBACK = "127.0.0.1"
# Deaths of workers that a chunk may be there at; one more, and it is suspected.
ALLOWED_FAILURES = 1
# A worker that is not back by then is given up, and another one started in its place.
LOST_WORKER_SECONDS = 30.0
THREADS_OF_LIBRARIES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Connection:
    """Workers to compute with.

    Attributes:
        client: of their scheduler.
        refill: starts workers in the place of those that were given up, where that is for us.
    """

    client: Client
    refill: Callable[[], object] = lambda: None


@contextmanager
def connected(cluster: Cluster) -> Iterator[Connection]:
    """A connection to the cluster; what was started for it ends with it.

    Raises:
        UserError: if the scheduler does not answer, or the workers cannot be started.
    """
    place = cluster.place
    with ExitStack() as stack:
        stack.enter_context(silence_logging_cmgr(logging.CRITICAL))
        if isinstance(place, SchedulerAddress):
            security = _named(place.url, cluster.tls)
            yield Connection(stack.enter_context(_client(place.url, security, place)))
            return
        stack.enter_context(dask.config.set(_configuration()))
        security = _security(cluster.tls) if cluster.tls else None
        if isinstance(place, LocalProcesses):
            started = stack.enter_context(_local(place, security))
            refill = partial(started.scale, place.workers)
        else:
            check_submission()
            started = stack.enter_context(slurm_cluster(place, security))
            refill = _asked(started, place)
        yield Connection(stack.enter_context(_client(started, security, place)), refill)


def _configuration() -> dict[str, Any]:
    """Of a scheduler in this process and of the workers that it starts."""
    # What adds in another number of threads rounds differently: workers have those of this process.
    environment = {name: os.environ.get(name) for name in THREADS_OF_LIBRARIES}
    return {
        "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.deploy.lost-worker-timeout": f"{LOST_WORKER_SECONDS} s",
        "distributed.nanny.pre-spawn-environ": environment,
    }


@contextmanager
def _client(address: Any, security: Security | None, place: object) -> Iterator[Client]:
    try:
        client = Client(address, timeout=CONNECT_SECONDS, security=security, set_as_default=False)
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(_failed(place, "reached", error)) from error
    with client:
        yield client


def _failed(place: object, done: str, error: Exception) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return f"--cluster: {place} cannot be {done}: {first}."


@contextmanager
def _local(place: LocalProcesses, security: Security | None) -> Iterator[LocalCluster]:
    device = jax.devices()[0]
    if device.platform != "cpu":
        raise UserError(
            f"--cluster local:{place.workers} computes on the processor, this process on "
            f"{device.device_kind}: set JAX_PLATFORMS=cpu, or leave --cluster out."
        )
    try:
        started = LocalCluster(
            n_workers=place.workers,
            threads_per_worker=1,
            processes=True,
            host=LOOPBACK,
            scheduler_kwargs=NO_DASHBOARD,
            memory_limit=0,
            security=security,
            silence_logs=logging.CRITICAL,
            preload=["experiments.cluster_worker"],
        )
    except (OSError, RuntimeError) as error:
        raise UserError(_failed(place, "started", error)) from error
    with started:
        try:
            yield started
        except BaseException:
            _stop_at_once(started)
            raise


def _stop_at_once(started: LocalCluster) -> None:
    """Ends the workers; asked politely, they would finish their chunks first."""
    for nanny in started.workers.values():
        nanny.auto_restart = False
        with contextlib.suppress(psutil.Error, TypeError):
            psutil.Process(nanny.pid).kill()


def _asked(started: Any, jobs: SlurmJobs) -> Callable[[], object]:
    """Asks Slurm for jobs; returns how to ask for those that have ended, as at their walltime."""
    if jobs.minimum < jobs.maximum:
        started.adapt(minimum=jobs.minimum, maximum=jobs.maximum)
        return lambda: None
    started.scale(jobs.maximum)
    return partial(started.scale, jobs.maximum)


def _named(url: str, tls: Tls) -> Security:
    """What a client shows to the scheduler at `url`.

    Raises:
        UserError: if that asks for certificates and there are none.
    """
    security = _security(tls)
    if url.startswith("tls://") and not security.get_connection_args("client")["ssl_context"]:
        raise UserError(
            f"--cluster {url} needs certificates: --tls-ca-file, --tls-cert and --tls-key, or "
            "distributed.comm.tls in the configuration of Dask."
        )
    return security


def _security(tls: Tls) -> Security:
    """The files given, for every role; the rest as Dask is configured."""
    given: dict[str, Any] = {"tls_ca_file": tls.ca_file}
    for role in ("client", "scheduler", "worker"):
        given |= {f"tls_{role}_cert": tls.cert, f"tls_{role}_key": tls.key}
    stated = {name: value for name, value in given.items() if value}
    return Security(**stated, **({"require_encryption": True} if tls else {}))
