"""Loading of the weights of a finished run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from Utils.errors import UserError
from Utils.store import files, seal

if TYPE_CHECKING:
    from torch import nn


def find(flag: str, location: str) -> Path:
    """Return the safetensors file that `location` (a run's directory or a file) means.

    Raises UserError if there is none, or if it has changed since its run ended.
    flag: the flag that was given, for the error.
    """
    path = Path(location)
    path = path / "model.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"{flag} {location}: no model.safetensors there; name a finished run's directory")
    seal.check(path.parent, path.name)
    return path


def fingerprint(location: str) -> str:
    """Return the sha256 of the weights' file, which identifies them wherever they are stored."""
    return files.sha256(find("--pretrained", location))


def load(model: nn.Module, path: Path, masks: bool = False, name: str = "this model") -> None:
    """Copy the weights of a safetensors file into `model`; UserError if they do not fit it.

    masks: copy the masks too. A weight under a zero mask has no effect, whatever its value.
    name: of the model, for the error.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        stored = {key: value for key, value in load_file(path).items() if masks or not key.endswith("_mask")}
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}); name another run") from error
    wanted = {key: value for key, value in model.state_dict().items() if masks or not key.endswith("_mask")}
    for key in sorted(wanted.keys() | stored.keys()):
        here, there = (f"{key} {list(side[key].shape)}" if key in side else f"no {key}" for side in (wanted, stored))
        if here != there:
            words = f"{_model(path)} has {there}, {name} has {here}"
            raise UserError(f"{path} is of another model: {words}; name a run of this model")
    model.load_state_dict(stored, strict=False)


def _model(path: Path) -> str:
    """Return the name of the model in a run's file, as the config.json beside it states it."""
    try:
        return str(json.loads((path.parent / "config.json").read_text(encoding="utf-8"))["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return "it"
