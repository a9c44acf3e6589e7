"""Which worker takes which chunk: neighbours of a plan stay together, and nobody waits."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from experiments.chunks import Chunk


@dataclass
class Shares:
    """Chunks that are still to be handed out, in runs of neighbours, a worker each.

    A process compiles a program once; chunks that need the same one are neighbours in a plan.

    Attributes:
        free: runs that no worker has yet.
        taken: runs by worker.
    """

    free: deque[deque[Chunk]]
    taken: dict[str, deque[Chunk]] = field(default_factory=dict)

    @classmethod
    def of(cls, chunks: Sequence[Chunk], parts: int) -> "Shares":
        """Cuts chunks into runs of about equal work.

        Args:
            chunks: in the order of their plan.
            parts: how many runs, at least 1; fewer where there are fewer chunks.
        """
        runs: list[deque[Chunk]] = [deque() for _ in range(parts)]
        total, before = sum(chunk.work for chunk in chunks), 0.0
        for place, chunk in enumerate(chunks):
            middle = (before + chunk.work / 2) / total if total else place / len(chunks)
            runs[min(int(middle * parts), parts - 1)].append(chunk)
            before += chunk.work
        return cls(deque(run for run in runs if run))

    def take(self, worker: str) -> Chunk | None:
        """The next chunk for a worker; None if all are handed out.

        It goes on with its own run, else begins one that is free, else takes over the second half
        of the run with most work, whoever has it or had it.
        """
        if not self.taken.get(worker):
            runs = [run for run in self.taken.values() if run]
            if self.free:
                self.taken[worker] = self.free.popleft()
            elif runs:
                most = max(runs, key=lambda run: sum(chunk.work for chunk in run))
                half = [most.pop() for _ in range((len(most) + 1) // 2)]
                self.taken[worker] = deque(reversed(half))
            else:
                return None
        return self.taken[worker].popleft()

    def __bool__(self) -> bool:
        return bool(self.free) or any(self.taken.values())
