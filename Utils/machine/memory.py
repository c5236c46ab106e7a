"""Memory of the process: how the C library treats freed memory, and how much a body uses."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt, in glibc's malloc.h
CLEAR_REFS = Path("/proc/self/clear_refs")  # a 5 written there resets the peak of resident memory (proc(5))


def keep_freed() -> None:
    """Make glibc keep freed memory for later allocations. Other C libraries are left alone.

    Otherwise every large tensor is returned to the system when it is freed. The next one is then mapped page by page
    and zeroed again. That is a sizeable part of a convolution's time on the CPU.
    """
    _set(32 << 20, 1 << 30)  # the first is the largest that glibc accepts


def give_back() -> None:
    """Make glibc return freed memory at once, so that resident memory is memory in use.

    Other C libraries are left alone.
    """
    _set(1 << 16, 1 << 16)


def added(body: Callable[[], object]) -> int:
    """Return the bytes of resident memory that `body` needs at its peak, beyond those before it, as counted by Linux.

    Raises OSError or LookupError if the system does not count it. (The peak of getrusage includes the parent process.)
    """
    give_back()
    _begin_peak()
    before = _status("VmRSS")
    body()
    return max(0, _status("VmHWM") - before)


@contextlib.contextmanager
def peak(device: torch.device, phase: str, peaks: dict[str, int]) -> Iterator[None]:
    """Store the most memory in use during the body, in bytes, in `peaks[phase]`; a larger earlier value stays.

    On a GPU this is the memory that torch has allocated. On a CPU it is the resident memory of the process, including
    libraries. Nothing is stored if the system does not count it. Earlier peaks are not counted.
    """
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        yield
        peaks[phase] = max(torch.cuda.max_memory_allocated(device), peaks.get(phase, 0))
        return
    with contextlib.suppress(OSError):
        _begin_peak()
    yield
    with contextlib.suppress(OSError, LookupError):
        peaks[phase] = max(_status("VmHWM"), peaks.get(phase, 0))


def _begin_peak() -> None:
    """Forget earlier peaks of resident memory. Raises OSError if the system does not count them."""
    _trim()  # what has been freed is no longer in use
    CLEAR_REFS.write_text("5", encoding="ascii")


def _status(key: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return int(lines[key].split()[0]) * 1024


def _set(mmap: int, trim: int) -> None:
    with contextlib.suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(MMAP_THRESHOLD, mmap)
        libc.mallopt(TRIM_THRESHOLD, trim)
    _trim()


def _trim() -> None:
    """Have glibc return what is free to the system; elsewhere, nothing."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def physical() -> float:
    """Return the bytes of memory that this machine has; infinity if the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")
