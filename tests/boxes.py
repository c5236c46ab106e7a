"""Boxes for tests: whether there can be any, and one that gradings share, since torch takes seconds to import."""

import contextlib
import time

import pytest

from Experiments.candidate import wire
from Experiments.grading import box
from Utils.errors import UserError


def isolation() -> str:
    """What a box is called here; skips the test where there can be none."""
    try:
        return box.isolation()
    except UserError as error:
        pytest.skip(f"no box: {error}")


class Shared(box.Box):
    """A box that serves the next grading, too, if it is as it was when this one is closed."""

    sound, born = True, 0

    def ready(self, until: float) -> None:
        if not self.born:
            super().ready(until)
            self.born = len(box.tree(self.process.pid))

    def close(self) -> None:
        self.sound = False
        with contextlib.suppress(wire.Broken):
            soon = time.monotonic() + 2.0
            wire.send(self.sock, {"op": "close"}, {}, soon)
            answer, _ = wire.receive(self.sock, 0, soon)
            alone = len(box.tree(self.process.pid)) == self.born and self.gone() is None
            self.sound = set(answer) == {"ended"} and wire.silent(self.sock) and alone
        if not self.sound:
            super().close()

    def end(self) -> None:
        if self.sound:
            super().close()


class Boxes:
    """Starts boxes with these files, as judge.rows asks for them: as few as will do, and each before it is needed."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.present, self.next = self._start(), self._start()

    def _start(self) -> Shared:
        return Shared(1, self.files)

    def __call__(self) -> Shared:
        if not self.present.sound:
            self.present, self.next = self.next, self._start()
        return self.present

    def end(self) -> None:
        self.present.end()
        self.next.end()
