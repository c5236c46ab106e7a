"""Loading of the weights of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from Utils.errors import UserError
from Utils.store import files

if TYPE_CHECKING:
    from torch import nn


def find(flag: str, place: str) -> Path:
    """Return the safetensors file that `place` means, a run's directory or a file; UserError if there is none.

    flag: the flag that names the place, for the error.
    """
    path = Path(place)
    path = path / "model.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"{flag} {place}: no model.safetensors there; name a finished run's directory")
    return path


def fingerprint(place: str) -> str:
    """Return the sha256 of the weights' file, which identifies them wherever they are stored."""
    return files.sha256(find("--pretrained", place))


def load(model: nn.Module, path: Path, masks: bool = False) -> None:
    """Copy the weights of a safetensors file into `model`; UserError if they do not fit it.

    masks: copy the masks too. A weight under a zero mask has no effect, whatever its value.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        stored = {name: value for name, value in load_file(path).items() if masks or not name.endswith("_mask")}
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}); name another run") from error
    wanted = {name: value for name, value in model.state_dict().items() if masks or not name.endswith("_mask")}
    for name in sorted(wanted.keys() | stored.keys()):
        here, there = (tuple(side[name].shape) if name in side else None for side in (wanted, stored))
        if here != there:
            raise UserError(f"{path}: {name} has the shape {there}, the model's has {here}; name a run of this model")
    model.load_state_dict(stored, strict=False)
