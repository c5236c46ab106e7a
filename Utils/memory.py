"""What the C library does with freed memory."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt, in glibc's malloc.h


def keep_freed() -> None:
    """Have glibc keep freed memory for the next allocation of its size; elsewhere, nothing.

    Without it a tensor of megabytes is given back to the system when it dies, and its successor in the next step is
    fetched page by page again, each page zeroed first: a sizeable part of a convolution's time on the CPU.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(MMAP_THRESHOLD, 32 << 20)  # the most that glibc takes
    mallopt(TRIM_THRESHOLD, 1 << 30)
