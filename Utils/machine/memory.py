"""What the C library does with freed memory, and what a body needs of it."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt, in glibc's malloc.h
CLEAR = "5"  # written to clear_refs: the peak of resident memory begins anew (proc(5))


def keep_freed() -> None:
    """Have glibc keep freed memory for the next allocation of its size; elsewhere, nothing.

    Without it a tensor of megabytes is given back to the system when it dies, and its successor in the next step is
    fetched page by page again, each page zeroed first: a sizeable part of a convolution's time on the CPU.
    """
    _set(32 << 20, 1 << 30)  # the first is the most that glibc takes


def give_back() -> None:
    """Have glibc give back freed memory at once, so that what is resident is what is used; elsewhere, nothing."""
    _set(1 << 16, 1 << 16)


def added(body: Callable[[], object]) -> int:
    """Bytes of resident memory that `body` needs at its peak beyond what stood before, as Linux keeps it.

    Raises OSError or LookupError where the system does not say. (What getrusage says began in the parent process.)
    """
    give_back()
    Path("/proc/self/clear_refs").write_text(CLEAR)
    before = _status("VmRSS")
    body()
    return max(0, _status("VmHWM") - before)


@contextlib.contextmanager
def peak(device: torch.device, phase: str, peaks: dict[str, int]) -> Iterator[None]:
    """Put the most memory in use within the body, in bytes, into `peaks[phase]`; if it is there, the larger stays.

    On a GPU that is what torch has allocated there, on a CPU what is resident of the process, libraries and all. Where
    the system does not say, nothing is put there. The peak begins anew with the body.
    """
    _begin_peak(device)
    yield
    if (found := _peak(device)) is not None:
        peaks[phase] = max(found, peaks.get(phase, 0))


def _begin_peak(device: torch.device) -> None:
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text(CLEAR, encoding="ascii")


def _peak(device: torch.device) -> int | None:
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    try:
        return _status("VmHWM")
    except (OSError, LookupError):
        return None


def _status(key: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) * 1024


def _set(mmap: int, trim: int) -> None:
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(MMAP_THRESHOLD, mmap)
        libc.mallopt(TRIM_THRESHOLD, trim)
        libc.malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return
