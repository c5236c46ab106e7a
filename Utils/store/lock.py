"""A lock between processes, which the operating system releases if its holder dies."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system: there is no lock
    fcntl = None  # type: ignore[assignment]  # a module or None


@contextlib.contextmanager
def held(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of the file `path` in the body; the file and its directory are created if missing.

    waiting: called once if another process holds the lock.
    If the holder moves or deletes the file, the lock ends with it. Waiting processes then lock a new file.
    """
    if fcntl is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
        return
    notified = False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # the directory has been deleted meanwhile
            continue
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not notified:
                    waiting()
                    notified = True
                fcntl.flock(handle, fcntl.LOCK_EX)
            if _is(handle, path):
                yield
                return
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)  # a process forked meanwhile also has the file open
            os.close(handle)


def _is(handle: int, path: Path) -> bool:
    """Return whether the open file is still the one called `path`."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
