"""The state of a run in one file, from which the run goes on to the same bits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from Utils import console
from Utils.errors import UserError
from Utils.store import files

# A dictionary whose values are tensors, JSON values or further such dictionaries. All keys are strings.
State = dict[str, Any]


class Part(Protocol):
    """A thing whose later behaviour depends on what has been done to it."""

    def state(self) -> State:
        """Return all that the later behaviour depends on. The tensors may be the part's own."""

    def restore(self, state: State) -> None:
        """Make this part, newly built from the same settings, behave as the one that gave `state`."""


def take(parts: Mapping[str, Part]) -> State:
    """Return the state of each part by the part's name."""
    return {name: part.state() for name, part in parts.items()}


def restore(parts: Mapping[str, Part], state: State) -> None:
    """Restore each part, in order. Raises KeyError, before any is changed, if `state` lacks one of them."""
    found = {name: state[name] for name in parts}
    for name, part in parts.items():
        part.restore(found[name])


def frozen(state: State) -> Callable[[], bytes]:
    """Copy a state as it is now; a call of the result returns the content of its file.

    The file is a safetensors file. A tensor's name there is its path in the state, written as a JSON Pointer (RFC 6901)
    without the first slash. All else is JSON text in the file's metadata.
    """
    record, tensors = _split(state)
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors}
    text = json.dumps(record, allow_nan=False)

    def content() -> bytes:
        from safetensors.torch import save

        return save(copies, {"record": text})

    return content


def write(path: Path, state: State) -> None:
    """Write a state to a file that is whole or not there. Raises UserError where the file cannot be written."""
    files.write_bytes(path, frozen(state)())


def read(path: Path) -> State:
    """Return the state that a file holds, its tensors on the CPU. Raises UserError if it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            state = json.loads(file.metadata()["record"])
            for name in file.keys():
                _put(state, name, file.get_tensor(name))
    except FileNotFoundError:
        raise UserError(f"there is no checkpoint {path}") from None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"the checkpoint {path} is damaged ({error})") from None
    return state


def left(path: Path | None, made_by: Mapping[str, Any]) -> State | None:
    """Return the state that an interrupted run left at `path`, None if there is none to go on from, with the reason.

    made_by: on what the bits of a run depend beside its settings, to be equal to the state's entry of that name.
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


def _split(state: State, prefix: str = "") -> tuple[State, list[tuple[str, Tensor]]]:
    """Separate a state into the dictionaries without their tensors, and the (name, tensor) pairs."""
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
    """Put a tensor where its name says."""
    *path, last = (key.replace("~1", "/").replace("~0", "~") for key in name.split("/"))
    for key in path:
        state = state[key]
    state[last] = tensor
