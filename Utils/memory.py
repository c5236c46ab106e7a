"""What the C library does with freed memory."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt, in glibc's malloc.h


def keep_freed() -> None:
    """Have glibc keep freed memory for the next allocation of its size; elsewhere, nothing.

    Without it a tensor of megabytes is given back to the system when it dies, and its successor in the next step is
    fetched page by page again, each page zeroed first: a sizeable part of a convolution's time on the CPU.
    """
    _set(32 << 20, 1 << 30)  # the first is the most that glibc takes


def give_back() -> None:
    """Have glibc give back freed memory at once, so that what is resident is what is used; elsewhere, nothing."""
    _set(1 << 16, 1 << 16)


def _set(mmap: int, trim: int) -> None:
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(MMAP_THRESHOLD, mmap)
        libc.mallopt(TRIM_THRESHOLD, trim)
        libc.malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return
