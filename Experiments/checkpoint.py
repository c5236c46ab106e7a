"""The state of a run in one file. A run that continues from it gives the same bits as an uninterrupted one."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from Utils import console
from Utils.errors import UserError
from Utils.store import files

# A dictionary whose values are tensors, JSON values or further such dictionaries. All keys are strings.
State = dict[str, Any]


class Part(Protocol):
    """An object with state that a checkpoint saves."""

    def state(self) -> State:
        """Return everything that the later behaviour depends on. The tensors may be shared with the part."""

    def restore(self, state: State) -> None:
        """Load `state` into this part, which must be newly built from the same settings."""


def take(parts: Mapping[str, Part]) -> State:
    """Return the state of each part by the part's name."""
    return {name: part.state() for name, part in parts.items()}


def restore(parts: Mapping[str, Part], state: State) -> None:
    """Restore each part, in order. Raises KeyError, before any part is changed, if `state` lacks one of them."""
    states = {name: state[name] for name in parts}
    for name, part in parts.items():
        part.restore(states[name])


def frozen(state: State) -> Callable[[], bytes]:
    """Copy the state now; return a function that encodes the copy as the content of a checkpoint file.

    The file is a safetensors file. A tensor's name in it is its path in the state, written as a JSON Pointer (RFC 6901)
    without the first slash. Everything else is JSON text in the file's metadata, which has a checksum of all as well.
    """
    record, tensors = _split(state)
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors}
    text = json.dumps(record, allow_nan=False)

    def content() -> bytes:
        from safetensors.torch import save

        return save(copies, {"record": text, "sha256": _sum(text, copies)})

    return content


def write(path: Path, state: State) -> None:
    """Write a state to a file, completely or not at all. Raises UserError if the file cannot be written."""
    files.write_bytes(path, frozen(state)())


def read(path: Path) -> State:
    """Return the state in a file, with its tensors on the CPU. Raises UserError if the file is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
        if metadata["sha256"] != _sum(metadata["record"], tensors):
            raise ValueError("it is not what was written")
        state = json.loads(metadata["record"])
        for name, tensor in tensors.items():
            _put(state, name, tensor)
    except FileNotFoundError:
        raise UserError(f"there is no checkpoint {path}") from None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"the checkpoint {path} is damaged ({error})") from None
    return state


def left(path: Path | None, made_by: Mapping[str, Any]) -> State | None:
    """Return the state that an interrupted run left at `path`, or None if there is none to continue from.

    A damaged checkpoint, or one made by other versions, is reported on standard error and not used.
    made_by: what the bits of a run depend on beside its settings; it must equal the entry of that name in the state.
    """
    if path is None:
        return None
    try:
        state = read(path)
    except UserError as error:
        console.warn(f"{error}; the run begins again")
        return None
    before = state["made_by"]
    for key in made_by:
        if before.get(key) != made_by[key]:
            reason = f"{key} {before.get(key)}, not {made_by[key]}"
            console.note(f"a checkpoint is left, but made with {reason}: the run begins again")
            return None
    return state


def _sum(record: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a state: of its JSON text, and of the name, type, shape and bytes of each tensor."""
    total = hashlib.sha256(record.encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()


def _split(state: State, prefix: str = "") -> tuple[State, list[tuple[str, Tensor]]]:
    """Separate a state into nested dictionaries without tensors and a list of (name, tensor) pairs."""
    record: State = {}
    tensors: list[tuple[str, Tensor]] = []
    for key, value in state.items():
        name = prefix + key.replace("~", "~0").replace("/", "~1")
        if isinstance(value, Tensor):
            tensors.append((name, value))
        elif isinstance(value, dict):
            record[key], below = _split(value, f"{name}/")
            tensors += below
        else:
            record[key] = value
    return record, tensors


def _put(state: State, name: str, tensor: Tensor) -> None:
    """Insert a tensor into `state` at the path that its name encodes."""
    *path, last = (key.replace("~1", "/").replace("~0", "~") for key in name.split("/"))
    for key in path:
        state = state[key]
    state[last] = tensor
