"""A machine that runs the few opcodes of a pickle that build containers of tensors.

A pickle is a program that can call any function of Python, and the machine of the pickle module runs it. This one knows
functions by name only and has none to call. Everything that tensors do not need is refused.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

TYPES = {
    "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64", "Int": "int32",
    "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool",
}  # fmt: skip
STORAGES = {f"torch.{place}{name}Storage": kind for name, kind in TYPES.items() for place in ("", "cuda.")}
ORDERED, SIZE, REBUILD = "collections.OrderedDict", "torch.Size", "torch._utils._rebuild_"
# What a file may name beside the storages -> how many of its arguments are read
TENSORS = {f"{REBUILD}tensor": 4, f"{REBUILD}tensor_v2": 4, f"{REBUILD}parameter": 1}
VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINSTRING",
    "SHORT_BINSTRING",
}  # fmt: skip
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_DICT": dict, "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}  # fmt: skip
DIMENSIONS = 64  # at most, as in numpy

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Name:
    """A function or class that the file names; nothing is imported for it."""

    text: str


@dataclass(frozen=True)
class Storage:
    """Numbers that lie elsewhere in the file."""

    kind: str  # of torch's types
    key: str
    count: int


@dataclass(frozen=True)
class Laid:
    """A tensor as it is laid out in a storage, all in numbers of elements."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class Refused(Exception):
    """An entry that has no place in a file of tensors."""


def run(stream: Any) -> Any:
    """Return what one pickle builds, up to its end: None, numbers, text, lists, tuples, dictionaries and `Laid`.

    stream: a file in memory, so that no read takes more room than there is.
    Raises Refused for an opcode, and for a name, that no file of tensors needs.
    """
    stack: list[Any] = []
    marks: list[int] = []  # how high the stack was
    memo: dict[Any, Any] = {}

    def since_mark() -> list[Any]:
        place = marks.pop()
        taken = stack[place:]
        del stack[place:]
        return taken

    for opcode, argument, _ in pickletools.genops(stream):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                marks.append(len(stack))
            case name if name in CONSTANTS:
                stack.append(CONSTANTS[name]())
            case name if name in VALUES:
                stack.append(argument)
            case "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "APPEND" | "APPENDS" as name:
                values = since_mark() if name == "APPENDS" else [stack.pop()]
                of(list, stack[-1]).extend(values)
            case "SETITEM" | "SETITEMS" as name:
                values = since_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
                _put(of(dict, stack[-1]), values)
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(_named(str(argument).replace(" ", ".")))
            case "STACK_GLOBAL":
                module, attribute = stack.pop(-2), stack.pop()
                stack.append(_named(f"{of(str, module)}.{of(str, attribute)}"))
            case "BINPERSID":
                stack.append(_storage(stack.pop()))
            case "REDUCE":
                called, given = stack.pop(-2), stack.pop()
                stack.append(_made(of(Name, called).text, of(tuple, given)))
            case "BUILD":  # the version numbers of a state dict's modules
                stack.pop()
                of(dict, stack[-1])
            case name:
                raise Refused(f"it has the opcode {name}, which tensors do not need")
    raise EOFError("it has no end")


def of(kind: type[Kind], value: Any) -> Kind:
    """Return the value. Raises Refused if it is of another kind."""
    if not isinstance(value, kind):
        raise Refused(f"it has a {type(value).__name__} where tensors need a {kind.__name__}")
    return value


def _put(target: dict, pairs: Sequence[Any]) -> None:
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if not isinstance(key, (str, int)):  # the hash of a tuple may go deep
            raise Refused(f"it has a {type(key).__name__} as a key")
        target[key] = value


def _named(text: str) -> Name:
    if text not in STORAGES and text not in TENSORS and text not in (ORDERED, SIZE):
        raise Refused(f"it holds {text[:60]!r}, which is no tensor")
    return Name(text)


def _storage(given: Any) -> Storage:
    word, kind, key, _, count, *rest = of(tuple, given)
    if word != "storage" or of(Name, kind).text not in STORAGES or any(part is not None for part in rest):
        raise Refused("it refers to something that is no storage of a tensor")
    if of(int, count) < 0:
        raise Refused("it has a storage of a negative length")
    return Storage(STORAGES[kind.text], of(str, key), count)


def _made(called: str, given: tuple) -> Any:
    """Return what a call of `called` stands for."""
    if called in TENSORS:
        given = given[: TENSORS[called]]
        return of(Laid, given[0]) if len(given) == 1 else _laid(*given)
    if called == ORDERED:  # empty, or of a list of pairs
        made: dict = {}
        for pair in given[0] if given else ():
            _put(made, pair)
        return made
    if called == SIZE:
        return of(tuple, given[0])
    raise Refused(f"it calls {called}")


def _laid(storage: Any, offset: Any, size: Any, stride: Any) -> Laid:
    numbers = [offset, *of(tuple, size), *of(tuple, stride)]
    if any(type(number) is not int or number < 0 for number in numbers) or not len(size) == len(stride) <= DIMENSIONS:
        raise Refused("it has a tensor of an impossible shape")
    count = of(Storage, storage).count
    end = offset + 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and max(end, math.prod(size)) > count:
        raise Refused("it has a tensor that is larger than its storage (expanded?); save it with .contiguous()")
    return Laid(storage, offset, size, stride)
