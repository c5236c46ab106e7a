"""Measurement of wall time by purpose."""

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """A stopwatch: `with clock("train"):` adds the body's wall time, without inner bodies, to `seconds["train"]`."""

    def __init__(self, *purposes: str) -> None:
        self.seconds = dict.fromkeys(purposes, 0.0)
        self._running: list[str] = []
        self._since = 0.0

    def reading(self) -> dict[str, float]:
        """Return the seconds until now, by purpose."""
        self._charge()
        return dict(self.seconds)

    def state(self) -> dict[str, float]:
        """Return the seconds until now, for `restore`."""
        return self.reading()

    def restore(self, state: dict[str, float]) -> None:
        """Continue from the seconds of that state."""
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
