"""Seconds by purpose."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """`with clock("train"):` adds the body's wall time to `seconds["train"]`, less what inner bodies add to theirs."""

    def __init__(self, *purposes: str) -> None:
        self.seconds = dict.fromkeys(purposes, 0.0)
        self._running: list[str] = []
        self._since = 0.0

    def reading(self) -> dict[str, float]:
        """The seconds up to now."""
        self._charge()
        return dict(self.seconds)

    def state(self) -> dict[str, float]:
        """Return the seconds up to now, for `restore`."""
        return self.reading()

    def restore(self, state: dict[str, float]) -> None:
        """Go on from the seconds of that state."""
        self._charge()
        self.seconds = dict(state)

    def _charge(self) -> None:
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now

    @contextlib.contextmanager
    def __call__(self, purpose: str) -> Iterator[None]:
        self._charge()
        self._running.append(purpose)
        try:
            yield
        finally:
            self._charge()
            self._running.pop()
