"""Seconds by purpose."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """`with clock("train"):` adds the body's wall time to `seconds["train"]`."""

    def __init__(self, *purposes: str) -> None:
        self.seconds = dict.fromkeys(purposes, 0.0)

    @contextlib.contextmanager
    def __call__(self, purpose: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[purpose] += time.perf_counter() - begun
