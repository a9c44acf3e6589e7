"""Chunks as tasks of a Dask cluster: computed there, handed back here as they finish."""

import time
import uuid
from collections.abc import Generator, Sequence
from typing import Any

from distributed import CancelledError, Future, KilledWorker, wait

from experiments.chunk_store import ChunkStore
from experiments.chunks import Chunk
from experiments.cluster import Cluster
from experiments.cluster_client import Connection, connected
from experiments.cluster_shares import Shares
from experiments.cluster_slurm import SlurmJobs
from experiments.cluster_worker import OtherConditionsError, arithmetic, check, conditions, work
from experiments.errors import UserError
from experiments.sweeps import Compute, Failure, Note, Results

LOOK_SECONDS = 2.0
# A scheduler that keeps its workers for longer than this without any has lost them for good.
PATIENCE_SECONDS = 60.0


def on_cluster(cluster: Cluster) -> Compute:
    """Computes chunks on the workers of a cluster.

    A chunk whose worker dies is computed by another; one that was there at every death is computed
    once more by itself, since others may have been to blame, and fails if its workers die again.
    """

    def compute(chunks: Sequence[Chunk], store: ChunkStore, note: Note) -> Results:
        if not chunks:
            return
        with connected(cluster) as connection:
            pool = _Pool(connection, cluster, store, note)
            suspects = []
            for chunk, found in pool.computed(chunks):
                if isinstance(found, KilledWorker):
                    suspects.append(chunk)
                else:
                    yield chunk, found
            for chunk in suspects:
                note(f"{chunk.name}: its workers died; it is computed once more, by itself.")
                for _, found in pool.computed([chunk]):
                    yield chunk, _killed(found) if isinstance(found, KilledWorker) else found

    return compute


def _killed(error: KilledWorker) -> Failure:
    reason = "every worker that computed it died (killed, out of memory or crashed)"
    return Failure(f"KilledWorker: {reason}", str(error))


Answer = bytes | Failure | KilledWorker


class _Pool:
    """The workers of one sweep; counts them and says what becomes of them."""

    def __init__(
        self, connection: Connection, cluster: Cluster, store: ChunkStore, note: Note
    ) -> None:
        self._client = connection.client
        self._refill = connection.refill
        self._place = cluster.place
        self._store = store
        self._note = note
        self._wanted = conditions()
        self._arithmetics = {arithmetic(self._wanted["float64"])}
        self._run = uuid.uuid4().hex[:8]  # another client of the scheduler may have the same chunks
        self._workers: dict[str, int] = {}
        self._since: float | None = None  # there has been no worker
        note(f"computing with {self._place}")
        checked: Any = self._client.run(check, self._wanted, on_error="return")
        for error in checked.values():
            if error is not None:
                raise self._refused(error)

    def computed(self, chunks: Sequence[Chunk]) -> Generator[tuple[Chunk, Answer]]:
        """Results as they come; at most as many chunks are out as the workers have threads."""
        out: dict[Future, tuple[Chunk, str]] = {}
        self._look()
        shares = Shares.of(chunks, max(1, self._queued(), sum(self._workers.values())))
        try:
            while shares or out:
                for worker in self._idle([worker for _, worker in out.values()]):
                    chunk = shares.take(worker)
                    if chunk is not None:
                        # Dask gives it to an idle worker, and only this one is. Named in the task,
                        # a worker that dies would leave it waiting for its return.
                        out[self._submit(chunk)] = chunk, worker
                for future in self._done(list(out)):
                    yield out.pop(future)[0], self._answer(future)
                self._look()
        finally:
            self._client.cancel(list(out))

    def _submit(self, chunk: Chunk) -> Future:
        key = f"{chunk.key}-{self._run}-{uuid.uuid4().hex[:8]}"
        return self._client.submit(work, chunk, self._store, self._wanted, key=key, pure=False)

    def _idle(self, busy: Sequence[str]) -> list[str]:
        """Workers that could begin a chunk, each as often; those that Slurm has yet to send: ""."""
        threads = self._workers | {"": self._queued() - sum(self._workers.values())}
        counts = {worker: count - busy.count(worker) for worker, count in threads.items()}
        return [worker for worker, count in counts.items() for _ in range(count)]

    def _queued(self) -> int:
        """Workers that Slurm sends only if there are chunks for them."""
        place = self._place
        if isinstance(place, SlurmJobs) and place.minimum < place.maximum:
            return place.maximum
        return 0

    def _look(self) -> None:
        """Counts the workers, says which have gone, sees to their successors."""
        try:
            found: Any = self._client.nthreads()
        except (OSError, RuntimeError, CancelledError) as error:
            raise self._lost() from error
        for address in self._workers.keys() - found.keys():
            self._note(f"the worker {address} is gone; others take up what it had.")
        self._workers = dict(found)
        self._refill()
        if found:
            self._since = None
        else:
            self._bear()

    def _bear(self) -> None:
        """Waits without workers, in a queue as long as it takes."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
            self._note(f"no worker is there; waiting for {self._place}")
        if now - self._since > PATIENCE_SECONDS and not isinstance(self._place, SlurmJobs):
            raise UserError(
                f"--cluster: {self._place} has had no worker for {PATIENCE_SECONDS:.0f} s. "
                f"{self._store.count()} finished chunks are kept; start workers and run the same "
                "command again."
            )

    def _done(self, out: list[Future]) -> list[Future]:
        if not out:
            time.sleep(LOOK_SECONDS / 10)  # no worker is there
            return []
        try:
            with self._client.as_current():
                found: Any = wait(out, timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
            return list(found.done)
        except TimeoutError:
            return []
        except CancelledError as error:
            raise self._lost() from error

    def _answer(self, future: Future) -> Answer:
        try:
            found, rounding, name = future.result()
        except KilledWorker as error:
            return error
        except CancelledError as error:
            raise self._lost() from error
        except Exception as error:  # of Dask: what a chunk raises comes back as a failure
            raise self._refused(error) from error
        if rounding not in self._arithmetics:
            self._arithmetics.add(rounding)
            self._note(
                f"{name} rounds differently from this process (another processor or "
                "number of threads): results agree up to rounding, not bit for bit."
            )
        return found

    def _refused(self, error: BaseException) -> UserError:
        if isinstance(error, OtherConditionsError):
            return UserError(f"--cluster: {error}; their results must not be mixed.")
        cause = error.__cause__ or error
        first = (str(cause).strip().splitlines() or [""])[0].rstrip(".")
        return UserError(
            f"--cluster: {self._place} cannot compute chunks: {type(cause).__name__}: {first}. "
            "Scheduler and workers need the packages of this process."
        )

    def _lost(self) -> UserError:
        return UserError(
            f"--cluster: {self._place} cannot be reached any more. {self._store.count()} finished "
            "chunks are kept; run the same command again."
        )
