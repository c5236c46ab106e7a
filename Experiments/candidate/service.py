"""Answers to the judge in one group of rows: messages in, results or errors out. An error of the class is an answer."""

import contextlib
import gc
import hashlib
import socket
import traceback
from pathlib import Path
from typing import Any

from torch import Tensor

from Experiments.candidate import wire
from Experiments.candidate.trials import OPERATIONS, Trial, settle
from Utils import plugin
from Utils.errors import UserError

TENSORS = 1 << 28  # bytes that the judge may send at once
SHOWN = 200  # characters of an error's text
TRACED = 8_000  # characters of a traceback


class Service:
    """The class under test and its trials, by the numbers that the judge gives them."""

    def __init__(self) -> None:
        self.kind: Any = None
        self.file = ""
        self.trials: dict[int, Trial] = {}
        self.failed = False  # whether the present row has raised an error

    def serve(self, sock: socket.socket, first: dict[str, Any]) -> None:
        """Answer the judge until it closes the group. first: its message that opened the group."""
        message, tensors = first, {}  # type: dict[str, Any], dict[str, Tensor]
        while message["op"] != "close":
            answer, found = self.answer(message, tensors)
            wire.send(sock, answer, {str(k): tensor for k, tensor in enumerate(found)}, None)
            message, tensors = wire.receive(sock, TENSORS, None)

    def answer(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], list[Tensor]]:
        """Return the answer to one message of the judge, and its tensors. What the class raises is an answer, too."""
        answer: dict[str, Any] = {"nonce": message["nonce"], "error": None}
        try:
            fields, found = self._do(message, tensors)
            return {**answer, **fields}, found
        except BaseException as error:
            self.failed = True
            answer["error"] = {"text": said(error, self.file), "trace": trace(error, self.file)}
            answer["error"]["refused"] = isinstance(error, UserError) and message["op"] == "load"
            error.__traceback__ = None  # it refers to the objects that filled the memory
            return answer, []

    def _do(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], list[Tensor]]:
        if message["op"] == "load":
            return {"name": self._load(message)[:SHOWN]}, []
        if message["op"] == "row":
            self.trials.clear()
            if self.failed:  # what has filled the memory may be held by a cycle
                gc.collect()
            self.failed = False
            settle()
            return {}, []
        number = message["trial"]
        if message["op"] == "build":
            self.trials[number] = Trial(self.kind, message, tensors)
        return OPERATIONS[message["op"]](self.trials[number], message, tensors)

    def _load(self, message: dict[str, Any]) -> str:
        self.file = message["file"]
        found = plugin.read("--pruner-file", f"{message['file']}:{message['class']}")
        alone = hashlib.sha256(found.content).hexdigest()  # as the grader of a class has it
        if message["sha256"] not in (found.sha256, alone):
            raise UserError(f"{found.path} has changed while it was graded; grade it again")
        self.kind = found.load()
        return self.kind.__name__


def said(error: BaseException, file: str) -> str:
    """Return the error in one line, with the line of `file` where it was raised."""
    last = type(error).__name__
    with contextlib.suppress(Exception):  # the error may be of a class of the file's own
        last = (
            str(error) if isinstance(error, UserError) else traceback.format_exception_only(error)[-1].strip() or last
        )
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{last[:SHOWN]} (line {lines[-1]})" if lines else last[:SHOWN]


def trace(error: BaseException, file: str) -> str:
    """Return the last lines of the traceback, from where it enters `file`, whose folder is left out."""
    with contextlib.suppress(Exception):
        frames = traceback.extract_tb(error.__traceback__)
        first = next((k for k, frame in enumerate(frames) if frame.filename == file), len(frames))
        lines = traceback.format_list(frames[first:]) + traceback.format_exception_only(error)
        return "".join(lines).replace(file, Path(file).name)[-TRACED:]
    return type(error).__name__
