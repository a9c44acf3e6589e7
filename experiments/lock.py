"""One run of a sweep at a time: a lock that dies with the process that holds it."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, note: Callable[[str], None]) -> Iterator[None]:
    """Holds the lock file `path`; waits for another run that holds it, and says so.

    The kernel gives a lock back when its process ends, however it ends: none is ever stale. The
    file is removed while the lock is still held, and its folder too if that is empty.

    Raises:
        OSError: if it cannot be made or the disk does not know locks.
    """
    handle = _acquired(path, note)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
            path.parent.rmdir()
        os.close(handle)


def _acquired(path: Path, note: Callable[[str], None]) -> int:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # the last holder has just removed the folder
            continue
        try:
            _wait(handle, path, note)
            if _is_at(handle, path):
                # For who waits; a full disk keeps nobody from computing.
                with contextlib.suppress(OSError):
                    os.truncate(handle, 0)
                    os.write(handle, str(os.getpid()).encode())
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # removed by its last holder: whoever comes next would lock another file


def _wait(handle: int, path: Path, note: Callable[[str], None]) -> None:
    if sys.platform == "win32":
        return  # no such locks there
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 32, 0).decode(errors="replace") or "unknown"
        note(f"another run of this sweep, process {holder}, holds {path}; waiting for it to end.")
        fcntl.flock(handle, fcntl.LOCK_EX)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
