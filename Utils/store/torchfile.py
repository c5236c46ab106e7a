"""Reading of the tensors in a .pt file of torch's, without unpickling.

Such a file holds a pickle, a program for a machine that can call any function of Python. torch.load runs it, and its
`weights_only` has let calls through (CVE-2025-32434). Here a machine of our own runs the few opcodes that build
containers of tensors. It knows functions by name only and has none to call. Everything else is refused.
"""

from __future__ import annotations

import io
import math
import mmap
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from Utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

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
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of files from before torch 1.6, which are no zip files
NESTED = ("state_dict", "model_state_dict", "model")  # where a checkpoint has the weights
DIMENSIONS = 64  # at most, as in numpy
ADVICE = "save the weights alone, with torch.save(model.state_dict(), FILE)"
DAMAGE = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, NotImplementedError,
    RecursionError, RuntimeError, TypeError, ValueError, struct.error, zipfile.BadZipFile,
)  # fmt: skip

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


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a state dict by name, on the CPU, whatever device they were saved from.

    A checkpoint may hold the state dict under one of `NESTED`, or as its only one.
    Raises UserError of one line for a file that is damaged, or that holds anything that tensors do not need.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
        return _zipped(path) if zipped else _plain(path)
    except Refused as error:
        raise UserError(f"{path}: {error}; it is not read, and nothing of it was run: {ADVICE}") from None
    except DAMAGE as error:
        reason = str(error).partition("\n")[0][:80] or type(error).__name__
        raise UserError(f"{path} is not a whole file of torch.save ({reason}); {ADVICE}") from error


def _zipped(path: Path) -> dict[str, Tensor]:
    """Read a file of torch 1.6 or later. Its entries are stored as they are, so they cannot unfold to more."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        programs = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(set(names)) < len(names) or len(programs) != 1:
            raise Refused(f"it has {len(programs)} entries data.pkl, or two of one name")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise Refused("it has compressed entries, which torch never writes")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise Refused("its entries are larger than the file")
        top = programs[0].removesuffix("data.pkl")
        if f"{top}byteorder" in names and archive.read(f"{top}byteorder") != b"little":
            raise Refused("its numbers are not little-endian")
        found = run(io.BytesIO(archive.read(programs[0])))
        return _built(found, lambda storage: archive.read(f"{top}data/{storage.key}"))


def _plain(path: Path) -> dict[str, Tensor]:
    """Read a file from before torch 1.6: five pickles, then each storage behind its length."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
        if run(stream) != MAGIC or run(stream) != PROTOCOL:
            raise Refused("it does not begin as torch's files do")
        if run(stream)["little_endian"] is not True:
            raise Refused("its numbers are not little-endian")
        found = run(stream)
        kinds = {storage.key: storage for storage in _storages(found)}
        places = {}
        for key in run(stream):
            if _of(str, key) not in kinds:  # its numbers' size is unknown, so what follows cannot be found
                raise Refused(f"it has a storage {key[:40]!r} of no tensor")
            count = int.from_bytes(stream.read(8), "little")
            places[key] = stream.tell()
            stream.seek(count * _itemsize(kinds[key].kind), io.SEEK_CUR)

        def content(storage: Storage) -> bytes:
            return stream[places[storage.key] : places[storage.key] + storage.count * _itemsize(storage.kind)]

        return _built(found, content)


def _storages(found: Any) -> Iterator[Storage]:
    """Yield the storages of all tensors below `found`."""
    waiting, seen = [found], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, Laid):
            yield value.storage
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value


def _itemsize(kind: str) -> int:
    import torch

    return getattr(torch, kind).itemsize


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
                _of(list, stack[-1]).extend(values)
            case "SETITEM" | "SETITEMS" as name:
                values = since_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
                _put(_of(dict, stack[-1]), values)
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
                stack.append(_named(f"{_of(str, module)}.{_of(str, attribute)}"))
            case "BINPERSID":
                stack.append(_storage(stack.pop()))
            case "REDUCE":
                called, given = stack.pop(-2), stack.pop()
                stack.append(_made(_of(Name, called).text, _of(tuple, given)))
            case "BUILD":  # the version numbers of a state dict's modules
                stack.pop()
                _of(dict, stack[-1])
            case name:
                raise Refused(f"it has the opcode {name}, which tensors do not need")
    raise EOFError("it has no end")


def _of(kind: type[Kind], value: Any) -> Kind:
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
    word, kind, key, _, count, *rest = _of(tuple, given)
    if word != "storage" or _of(Name, kind).text not in STORAGES or any(part is not None for part in rest):
        raise Refused("it refers to something that is no storage of a tensor")
    if _of(int, count) < 0:
        raise Refused("it has a storage of a negative length")
    return Storage(STORAGES[kind.text], _of(str, key), count)


def _made(called: str, given: tuple) -> Any:
    """Return what a call of `called` stands for."""
    if called in TENSORS:
        given = given[: TENSORS[called]]
        return _of(Laid, given[0]) if len(given) == 1 else _laid(*given)
    if called == ORDERED:  # empty, or of a list of pairs
        made: dict = {}
        for pair in given[0] if given else ():
            _put(made, pair)
        return made
    if called == SIZE:
        return _of(tuple, given[0])
    raise Refused(f"it calls {called}")


def _laid(storage: Any, offset: Any, size: Any, stride: Any) -> Laid:
    numbers = [offset, *_of(tuple, size), *_of(tuple, stride)]
    if any(type(number) is not int or number < 0 for number in numbers) or not len(size) == len(stride) <= DIMENSIONS:
        raise Refused("it has a tensor of an impossible shape")
    end = offset + 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and max(end, math.prod(size)) > _of(Storage, storage).count:
        raise Refused("it has a tensor that is larger than its storage")
    return Laid(storage, offset, size, stride)


def _built(found: Any, content: Callable[[Storage], bytes]) -> dict[str, Tensor]:
    """Return the tensors of the state dict in `found`; content: returns the bytes of a storage."""
    import torch

    storages: dict[Storage, Tensor] = {}
    tensors = {}
    for name, laid in _state_dict(found).items():
        storage = laid.storage
        if storage not in storages:
            numbers = bytearray(content(storage))
            if len(numbers) != storage.count * _itemsize(storage.kind):
                raise ValueError(f"the storage of {name} has {len(numbers):,} bytes")
            kind = getattr(torch, storage.kind)
            storages[storage] = torch.frombuffer(numbers, dtype=kind) if numbers else torch.empty(0, dtype=kind)
        tensors[name] = storages[storage].as_strided(laid.size, laid.stride, laid.offset)
    return tensors


def _state_dict(found: Any) -> dict[str, Laid]:
    """Return the tensors by name: `found` itself, or what a checkpoint has under one of its names."""
    if isinstance(found, Laid):
        raise Refused("it holds one tensor without a name")
    inside = {key: value for key, value in _of(dict, found).items() if _tensors_alone(value)}
    if _tensors_alone(found):
        return found
    if not inside:
        other = next((key for key, value in found.items() if not isinstance(value, Laid)), None)
        raise Refused("it holds no tensors" if other is None else f"{str(other)[:40]!r} in it is no tensor")
    known = [name for name in NESTED if name in inside] or list(inside)
    if len(inside) > 1 and known == list(inside):
        raise Refused(f"it holds several sets of tensors ({', '.join(str(key)[:20] for key in inside)})")
    return inside[known[0]]


def _tensors_alone(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(key, str) and isinstance(one, Laid) for key, one in value.items())
    )
