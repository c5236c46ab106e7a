"""The judge's end of the conversation: every answer that is not in the form agreed on is lost, and renews no time."""

import json
import socket
import struct
import threading
import time

import pytest
import torch

from Experiments.candidate import wire
from Experiments.grading.remote import Candidate, Lost, Raised

SHAPES = [torch.Size([2, 3]), torch.Size([4])]
GOOD = {"0": torch.ones(2, 3), "1": torch.ones(4)}


class Scripted:
    """A process that sends what a test says, whatever it is asked."""

    fault = ""

    def __init__(self, answer) -> None:
        self.sock, self.theirs = socket.socketpair()
        self.answer, self.closed = answer, False
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        try:
            message, _ = wire.receive(self.theirs, 1 << 20, None)
            self.answer(self.theirs, message)
        except (wire.Broken, OSError):
            pass

    def ready(self, until: float) -> None: ...

    def gone(self) -> None: ...

    def output(self) -> str:
        return "printed"

    def close(self) -> None:
        self.closed = True
        self.sock.close()
        self.theirs.close()


def asked(answer, operation="score", shapes=(), limit=1.0):
    """What `ask` returns or raises when `answer(socket, message)` answers."""
    process = Scripted(answer)
    candidate = Candidate(lambda: process, limit)
    candidate.process = process
    candidate.begin()
    try:
        return candidate.ask(operation, {}, None, shapes)
    finally:
        if candidate.process is None:
            assert process.closed and candidate.printed == "printed"
        else:
            candidate.close()


def frame(fields, tensors=None, nonce=True):
    """answer(): these fields, with the nonce that was asked with."""

    def answer(sock, message):
        whole = {"nonce": message["nonce"], "error": None} if nonce else {}
        wire.send(sock, whole | fields, tensors or {}, None)

    return answer


def raw(*parts):
    def answer(sock, message):
        for part in parts:
            sock.sendall(part)

    return answer


def test_an_answer_as_agreed_on_is_returned_in_one_type():
    fields, tensors = asked(frame({}, GOOD), shapes=SHAPES)
    assert fields["error"] is None and [t.dtype for t in tensors] == [torch.float64] * 2
    assert asked(frame({"numbers": [3, 4]}), "stats")[0]["numbers"] == [3, 4]
    assert asked(frame({"bytes": None}), "peak")[0]["bytes"] is None


@pytest.mark.parametrize(
    ("fields", "tensors"),
    [
        ({"nonce": "0" * 16}, GOOD),
        ({"nonce": None}, GOOD),
        ({"ok": True}, GOOD),
        ({"error": "text"}, {}),
        ({"error": {"text": "x"}}, {}),
        ({"error": {"text": "x", "trace": 3, "refused": False}}, {}),
        ({"error": {"text": "x" * 10_000, "trace": "", "refused": False}}, {}),
        ({"error": {"text": "x", "trace": "", "refused": False}}, GOOD),
        ({}, {}),
        ({}, {"0": GOOD["0"]}),
        ({}, {**GOOD, "2": torch.ones(1)}),
        ({}, {"0": GOOD["1"], "1": GOOD["0"]}),
        ({}, {"0": GOOD["0"].to(torch.uint8), "1": GOOD["1"]}),
        ({}, {"0": GOOD["0"].T.contiguous(), "1": GOOD["1"]}),
        ({}, {"0": torch.ones(1 << 16), "1": GOOD["1"]}),
    ],
)
def test_an_answer_in_another_form_is_lost(fields, tensors):
    with pytest.raises(Lost):
        asked(frame(fields, tensors), shapes=SHAPES)


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        ("stats", {}),
        ("stats", {"numbers": "34"}),
        ("stats", {"numbers": [1.5, 2]}),
        ("stats", {"numbers": [True, 2]}),
        ("stats", {"numbers": [1 << 60]}),
        ("stats", {"numbers": [0] * 100}),
        ("stats", {"numbers": [1, 2], "more": 3}),
        ("build", {"missing": "score"}),
        ("build", {"missing": [["score"]]}),
        ("build", {"missing": ["x" * 1000]}),
        ("peak", {"bytes": "many"}),
        ("load", {"name": None}),
        ("load", {"name": "x" * 1000}),
        ("effects", {"changed": {"weights": []}}),
        ("effects", {"changed": []}),
    ],
)
def test_each_field_is_checked(operation, fields):
    with pytest.raises(Lost, match="sent a message"):
        asked(frame(fields), operation)


LENGTHS = struct.Struct(">QQ")


@pytest.mark.parametrize(
    "parts",
    [
        [b'["row", {"ok": true}]\n'],
        [LENGTHS.pack(1 << 40, 0)],
        [LENGTHS.pack(2, 1 << 40), b"{}"],
        [LENGTHS.pack(4, 0), b"null"],
        [LENGTHS.pack(2, 0), b"[]"],
        [LENGTHS.pack(3, 0), b"\xff\xfe{"],
        [LENGTHS.pack(40_000, 0), b"[" * 20_000 + b"]" * 20_000],
        [LENGTHS.pack(2, 8), b"{}", b"\x80\x04K\x01.   "],
        [LENGTHS.pack(5_005, 0), b'{"a":' + b"9" * 4999 + b"}"],
    ],
)
def test_what_is_no_frame_is_lost(parts):
    with pytest.raises(Lost):
        asked(raw(*parts), shapes=SHAPES)


def test_what_comes_drop_by_drop_renews_no_time():
    """Each byte comes in time, the whole does not."""

    def answer(sock, message):
        sock.sendall(LENGTHS.pack(1000, 0))
        while True:
            sock.sendall(b" ")
            time.sleep(0.02)

    with pytest.raises(Lost, match=r"did not end within 0.3 s"):
        asked(answer, limit=0.3)


def test_a_message_too_many_fails_the_row():
    def answer(sock, message):
        frame({"numbers": [1, 2]})(sock, message)
        frame({"numbers": [1, 2]})(sock, message)

    process = Scripted(answer)
    candidate = Candidate(lambda: process, 5.0)
    candidate.process = process
    candidate.begin()
    candidate.ask("stats", {})
    while wire.silent(process.sock):
        time.sleep(0.01)
    with pytest.raises(Lost, match="not asked for"):
        candidate.settled()
    assert candidate.process is None


def test_an_error_is_the_class_s_own():
    error = {"text": "ValueError: no", "trace": "line 3", "refused": False}
    with pytest.raises(Raised) as raised:
        asked(frame({"error": error}), shapes=SHAPES)
    assert (raised.value.text, raised.value.trace, raised.value.refused) == ("ValueError: no", "line 3", False)


def test_the_end_of_the_process_is_told():
    with pytest.raises(Lost, match="the process was ended by SIGSEGV"):
        asked(frame({"ended": "was ended by SIGSEGV"}, nonce=False))
    with pytest.raises(Lost, match="closed"):
        asked(lambda sock, message: sock.shutdown(socket.SHUT_RDWR))


def test_a_frame_carries_any_tensors_and_no_more_than_its_limit():
    here, there = socket.socketpair()
    base = torch.arange(12.0).view(3, 4)
    tensors = {"a": base.T, "b": base, "c": base[1:], "d": torch.zeros(0), "e": torch.tensor(2, dtype=torch.int64)}
    wire.send(here, {"x": [1, "ä"]}, tensors, None)
    content, found = wire.receive(there, 1 << 16, None)
    assert content == {"x": [1, "ä"]} and all(torch.equal(found[name], tensors[name]) for name in tensors)
    wire.send(here, {}, {"a": torch.zeros(1000)}, None)
    with pytest.raises(wire.Broken, match="longer"):
        wire.receive(there, 1000, None)
    assert json.dumps(content)
