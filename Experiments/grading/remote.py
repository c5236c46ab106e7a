"""The judge's end of the conversation with a candidate. Every answer is checked field by field."""

from __future__ import annotations

import math
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor

from Experiments.candidate import wire
from Experiments.candidate.trials import WHAT

NUMBERS = {torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.int64, torch.bool}
TEXT, TRACE = 1_000, 10_000  # characters of an error and of its traceback, at most
START_UP = 300.0  # seconds in which a process has to import the project's modules
PRINTED = 100_000  # characters of output, of all processes of a class
LISTED = 500  # names in a list, at most


class Lost(Exception):
    """The candidate's process has ended, is late, or has sent what was not asked for: its row fails."""


class Fault(Exception):
    """The grader or the machine has failed, which is nobody's mistake: no process could start, no memory was left."""


class Raised(Exception):
    """The class has raised an error, or has given what cannot be checked: its row fails, and the next one goes on."""

    def __init__(self, text: str, trace: str = "", refused: bool = False) -> None:
        super().__init__(text)
        self.text, self.trace, self.refused = text, trace, refused


def text(most: int) -> Callable[[Any], bool]:
    """Return a test for strings of at most so many characters."""
    return lambda value: isinstance(value, str) and len(value) <= most


def integer(value: Any) -> bool:
    """Return whether a value is a whole number that is no bool, and none of astronomical size."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53


def listed(value: Any) -> bool:
    """Return whether a value is a list of short strings."""
    return isinstance(value, list) and len(value) <= LISTED and all(map(text(200), value))


ERROR = {"text": text(TEXT), "trace": text(TRACE), "refused": lambda value: isinstance(value, bool)}
# operation -> the fields of its answer, each with the test that it has to pass
FIELDS: dict[str, dict[str, Callable[[Any], bool]]] = {
    "load": {"name": text(200)},
    "build": {"missing": listed},
    "stats": {"numbers": lambda value: isinstance(value, list) and len(value) <= 10 and all(map(integer, value))},
    "peak": {"bytes": lambda value: value is None or integer(value)},
    "effects": {
        "changed": lambda value: (
            isinstance(value, dict) and set(value) == set(WHAT) and all(map(listed, value.values()))
        )
    },
}


class Process(Protocol):
    """A candidate's process, in a box or not."""

    sock: socket.socket
    fault: str  # why the machine has ended it, which is not the class's fault

    def ready(self, until: float) -> None:
        """Wait for the process until it can be talked to. Raises Fault."""

    def gone(self) -> str | None:
        """Return how the process has ended, in words; None if it runs."""

    def close(self) -> None:
        """End it with all that it has started."""

    def output(self) -> str:
        """Return the beginning of what it has printed."""


class Candidate:
    """The class under test, in another process, which is started again when it is lost.

    limit: seconds for each row. ends: the moment of the monotonic clock at which all of it has to be done.
    """

    def __init__(self, start: Callable[[], Process], limit: float, ends: float = math.inf) -> None:
        self.start = start
        self.process: Process | None = None
        self.open = False  # whether a group's process is there
        self.limit, self.ends = limit, ends
        self.until = 0.0  # when the present row ends, on the monotonic clock
        self.trials = 0
        self.printed = ""

    def __enter__(self) -> Candidate:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def over(self) -> bool:
        """Return whether the time for everything is over."""
        return time.monotonic() >= self.ends

    @property
    def scratch(self) -> str | None:
        """Return a directory that ends with the process, even if the judge is killed; None if it has none."""
        return getattr(self.process, "directory", None)

    def begin(self) -> None:
        """Start the clock of a row. Nothing that the candidate does starts it again."""
        self.until = min(time.monotonic() + self.limit, self.ends)

    def load(self, file: str, name: str, sha256: str) -> str:
        """Open a group: a new process loads the class. Returns the class's name; Raised if it cannot be loaded."""
        self._ready()
        answer, _ = self.ask("load", {"file": file, "class": name, "sha256": sha256})
        return answer["name"]

    def shut(self) -> None:
        """Close a group; what it has started may live on until `close`."""
        if self.open and self.process is not None:
            self.open = False
            try:
                wire.send(self.process.sock, {"op": "close"}, {}, self.until)
                message, _ = wire.receive(self.process.sock, 0, self.until)
                if set(message) != {"ended"} or not wire.silent(self.process.sock):
                    self.close()
            except wire.Broken:
                self.close()

    def close(self) -> None:
        """End the process and all that it has started."""
        self.open = False
        if self.process is not None:
            process, self.process = self.process, None
            process.close()
            self.printed = (self.printed + process.output())[:PRINTED]

    def output(self) -> str:
        """Return the beginning of what the class has printed."""
        return self.printed + ("" if self.process is None else self.process.output())

    def ask(
        self,
        operation: str,
        fields: dict[str, Any],
        tensors: dict[str, Tensor] | None = None,
        shapes: Sequence[torch.Size] = (),
    ) -> tuple[dict[str, Any], list[Tensor]]:
        """Return the answer's fields and its tensors, which have these shapes.

        Raises Raised if the class has raised an error, and Lost if there is no answer or another than was asked for.
        """
        assert self.process is not None  # a group is open
        sock, nonce = self.process.sock, secrets.token_hex(8)
        most = sum(shape.numel() for shape in shapes) * 8 + wire.SAFETY
        try:
            self.settled()
            self.open = True
            wire.send(sock, {"op": operation, "nonce": nonce, **fields}, tensors or {}, self.until)
            answer, found = wire.receive(sock, most, self.until)
        except wire.Late:
            self._lose(f"did not end within {self.limit:g} s")
        except wire.Broken as error:
            self._lose(str(error))
        if set(answer) == {"ended"}:
            self.open = False
            words = answer["ended"]
            raise Lost(f"the process {words}" if text(TEXT)(words) else "the process ended")
        return self._checked(operation, nonce, answer, found, shapes)

    def _ready(self) -> None:
        if self.process is None:
            self.process = self.start()
            self.process.ready(time.monotonic() + START_UP)
            self.begin()  # starting is not the class's time

    def settled(self) -> None:
        """Raise Lost if the process has sent what was not asked for, or has ended."""
        assert self.process is not None  # a group is open
        if wire.silent(sock := self.process.sock):
            return
        try:
            answer, _ = wire.receive(sock, 0, self.until)
        except wire.Broken as error:
            self._lose(str(error))
        if set(answer) == {"ended"} and text(TEXT)(answer["ended"]):
            self.open = False
            raise Lost(f"the process {answer['ended']}")
        self._lose("sent a message that was not asked for")

    def _lose(self, words: str) -> NoReturn:
        gone = self.process.gone() if self.process is not None else None
        fault = self.process.fault if self.process is not None else ""
        self.close()
        if fault:
            raise Fault(fault)
        raise Lost(gone or words)

    def _checked(
        self, operation: str, nonce: str, answer: dict[str, Any], found: dict[str, Tensor], shapes: Sequence[torch.Size]
    ) -> tuple[dict[str, Any], list[Tensor]]:
        error = answer.get("error")
        fields = {} if error is not None else FIELDS.get(operation, {})
        if answer.get("nonce") != nonce or set(answer) != {"nonce", "error", *fields}:
            self._lose("sent a message that was not asked for")
        if error is not None:
            good = isinstance(error, dict) and set(error) == set(ERROR) and all(ERROR[k](error[k]) for k in ERROR)
            if not good or found:
                self._lose("sent a message in another form than agreed on")
            raise Raised(error["text"], error["trace"], error["refused"])
        names = [str(k) for k in range(len(shapes))]
        if not all(test(answer[name]) for name, test in fields.items()) or set(found) != set(names):
            self._lose("sent a message in another form than agreed on")
        tensors = [found[name] for name in names]
        if any(t.shape != shape or t.dtype not in NUMBERS for t, shape in zip(tensors, shapes, strict=True)):
            self._lose("sent tensors of other shapes or types than agreed on")
        return answer, [tensor.double() for tensor in tensors]  # one type, whatever the class computes in
