"""Messages between the judge and a candidate: a JSON object and tensors, in frames of stated and limited length.

A frame is two lengths of eight bytes (big-endian), the object, and the tensors in the format of safetensors. Nothing is
unpickled, and no length is believed beyond the limits that the reader sets.
"""

import json
import math
import select
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as unpack
from safetensors.torch import save as pack
from torch import Tensor

LENGTHS = struct.Struct(">QQ")
OBJECT = 1 << 18  # bytes of the object, at most
SAFETY = 1 << 16  # bytes of tensors beyond their entries: names and shapes


class Broken(Exception):
    """The other side has closed the connection, has not answered in time, or has sent what is no frame."""


class Late(Broken):
    """The other side has not answered in time."""


def _left(until: float | None) -> float | None:
    """Return the seconds until a moment of the monotonic clock; None for ever. Raises Late if there are none."""
    if until is None or until == math.inf:
        return None
    if (left := until - time.monotonic()) <= 0:
        raise Late("no answer in time")
    return left


def _exactly(sock: socket.socket, count: int, until: float | None) -> bytearray:
    data = bytearray(count)
    view, got = memoryview(data), 0
    while got < count:
        sock.settimeout(_left(until))
        try:
            part = sock.recv_into(view[got:])
        except TimeoutError:
            raise Late("no answer in time") from None
        except OSError as error:
            raise Broken(f"the connection is broken: {error.strerror}") from None
        if part == 0:
            raise Broken("the connection is closed")
        got += part
    return data


def send(sock: socket.socket, content: Mapping[str, Any], tensors: Mapping[str, Tensor], until: float | None) -> None:
    """Send a frame; `until` is a moment of the monotonic clock, None waits for ever. Raises Broken."""
    head = json.dumps(content).encode()
    copies = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    body = pack(copies) if copies else b""
    try:
        sock.settimeout(_left(until))
        sock.sendall(LENGTHS.pack(len(head), len(body)) + head + body)
    except TimeoutError:
        raise Late("a request was not read in time") from None
    except OSError as error:
        raise Broken(f"the connection is broken: {error.strerror}") from None


def receive(sock: socket.socket, most: int, until: float | None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the object and the tensors of the next frame.

    most: bytes that the tensors may have. Raises Broken if it is no frame or a longer one, and Late after `until`.
    """
    head, body = LENGTHS.unpack(_exactly(sock, LENGTHS.size, until))
    if head > OBJECT or body > most:
        raise Broken("a message is longer than any that was asked for")
    text, packed = bytes(_exactly(sock, head, until)), bytes(_exactly(sock, body, until))
    try:
        content = json.loads(text)
        tensors = unpack(packed) if packed else {}
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError, SafetensorError):
        raise Broken("a message is not in the form agreed on") from None
    if not isinstance(content, dict):
        raise Broken("a message is not in the form agreed on")
    return content, tensors


def silent(sock: socket.socket) -> bool:
    """Return whether nothing waits to be read."""
    return not select.select([sock], [], [], 0)[0]
