"""Reading of the tensors in a .pt file of torch's, without unpickling.

torch.load runs what such a file holds, and even its `weights_only` has let calls through (CVE-2025-32434). Here nothing
can run, see `pickles`.
"""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Utils import console
from Utils.errors import UserError
from Utils.store.pickles import Laid, Refused, Storage, of, run
from Utils.wording import listed

if TYPE_CHECKING:
    from torch import Tensor

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of files from before torch 1.6, which are no zip files
NESTED = ("state_dict", "model_state_dict", "model")  # where a checkpoint has the weights
ADVICE = "save the weights alone, with torch.save(model.state_dict(), FILE)"
DAMAGE = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, NotImplementedError,
    RecursionError, RuntimeError, TypeError, ValueError, struct.error, zipfile.BadZipFile,
)  # fmt: skip


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a state dict by name, on the CPU, whatever device they were saved from.

    A checkpoint may hold the state dict under one of `NESTED`, or as its only one; a note says which of several it is.
    Raises UserError of one line for a file that is damaged, or that holds anything that tensors do not need.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
        return _zipped(path) if zipped else _plain(path)
    except Refused as error:
        raise UserError(f"{path}: {error}; it is not read, and nothing of it was run: {ADVICE}") from None
    except DAMAGE as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:80]
        raise UserError(f"{path} is not a whole file of torch.save ({reason}); {ADVICE}") from error


def _zipped(path: Path) -> dict[str, Tensor]:
    """Read a file of torch 1.6 or later. Its entries are stored as they are, so they cannot unfold to more."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if any("/code/" in name for name in names):
            raise Refused("it is a TorchScript program, not a state dict")
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
        return _built(path, found, lambda storage: archive.read(f"{top}data/{storage.key}"))


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
            if of(str, key) not in kinds:  # its numbers' size is unknown, so what follows cannot be found
                raise Refused(f"it has a storage {key[:40]!r} of no tensor")
            count = int.from_bytes(stream.read(8), "little")
            places[key] = stream.tell()
            stream.seek(count * _itemsize(kinds[key].kind), io.SEEK_CUR)

        def content(storage: Storage) -> bytes:
            return stream[places[storage.key] : places[storage.key] + storage.count * _itemsize(storage.kind)]

        return _built(path, found, content)


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


def _built(path: Path, found: Any, content: Callable[[Storage], bytes]) -> dict[str, Tensor]:
    """Return the tensors of the state dict in `found`; content: returns the bytes of a storage."""
    import torch

    storages: dict[Storage, Tensor] = {}
    tensors = {}
    for name, laid in _state_dict(path, found).items():
        storage = laid.storage
        if storage not in storages:
            numbers = bytearray(content(storage))
            if len(numbers) != storage.count * _itemsize(storage.kind):
                raise ValueError(f"the storage of {name} has {len(numbers):,} bytes")
            kind = getattr(torch, storage.kind)
            storages[storage] = torch.frombuffer(numbers, dtype=kind) if numbers else torch.empty(0, dtype=kind)
        tensors[name] = storages[storage].as_strided(laid.size, laid.stride, laid.offset)
    return tensors


def _state_dict(path: Path, found: Any) -> dict[str, Laid]:
    """Return the tensors by name: `found` itself, or what a checkpoint has under one of its names."""
    if isinstance(found, Laid):
        raise Refused("it holds one tensor without a name")
    inside = {key: value for key, value in of(dict, found).items() if _tensors_alone(value)}
    if _tensors_alone(found):
        return found
    if not inside:
        other = next((key for key, value in found.items() if not isinstance(value, Laid)), None)
        raise Refused("it holds no tensors" if other is None else f"{str(other)[:40]!r} in it is no tensor")
    known = [name for name in NESTED if name in inside] or list(inside)
    names = listed([str(key)[:20] for key in inside])
    if len(known) > 1:
        raise Refused(f"it holds several sets of tensors ({names})")
    if len(inside) > 1:
        console.note_once(f"{path}: of its sets of tensors ({names}), {known[0]} is read")
    return inside[known[0]]


def _tensors_alone(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(key, str) and isinstance(one, Laid) for key, one in value.items())
    )
