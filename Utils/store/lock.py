"""One process at a time: a lock that the system takes back when its holder dies."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing keeps two processes apart there
    fcntl = None  # type: ignore[assignment]  # a module or None


@contextlib.contextmanager
def held(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of the file `path`, made with its directory where missing; `waiting` is called once if it is taken.

    Who moves or removes the file while holding the lock ends it: those who wait for it then take that of a new file.
    """
    if fcntl is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
        return
    told = False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # the directory has gone since
            continue
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    waiting()
                    told = True
                fcntl.flock(handle, fcntl.LOCK_EX)
            if _is(handle, path):
                yield
                return
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)  # also for a process forked meanwhile, which has the file open too
            os.close(handle)


def _is(handle: int, path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
