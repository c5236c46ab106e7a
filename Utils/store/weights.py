"""Loading of the weights, and of the masks, of a finished run or of a file from elsewhere."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Utils import console, settings
from Utils.errors import UserError
from Utils.store import files, seal
from Utils.wording import counted

if TYPE_CHECKING:
    from torch import Tensor, nn

TORCH = (".pt", ".pth")  # files of torch.save
BEGINS = (b"PK\3\4", b"\x80")  # and what such a file begins with, whatever it is called
POINTER = b"version https://git-lfs"  # what the place of a file that Git LFS has not fetched begins with


def find(flag: str, location: str) -> Path:
    """Return the file of weights that `location` (a run's directory or a file) means.

    Raises UserError if there is none, or if it has changed since its run ended.
    flag: the flag that was given, for the error.
    """
    path = Path(location)
    path = path / "model.safetensors" if path.is_dir() else path
    if not path.is_file():
        there = "no model.safetensors there" if Path(location).is_dir() else "no such file or directory"
        raise UserError(f"{flag} {location}: {there}; name a finished run's directory")
    seal.check(path.parent, path.name)
    return path


def fingerprint(flag: str, location: str) -> str:
    """Return the sha256 of the weights' file, which identifies them wherever they are stored."""
    return files.sha256(find(flag, location))


def configuration(flag: str, location: str) -> dict[str, Any]:
    """Return the settings of the run in a directory. Raises UserError if it holds no run, or if they have changed."""
    if Path(location).is_file():
        raise UserError(f"{flag} {location} is a file; name a finished run's directory")
    seal.check(Path(location), "config.json")
    try:
        found = settings.complete(files.read_json(Path(location) / "config.json"))
        if not isinstance(found.get("dataset"), str):
            raise ValueError("it names no data set")
        return found
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{flag} {location}: no config.json of a run there; name a finished run's directory") from error


def load(model: nn.Module, path: Path, masks: bool = False, name: str = "this model", head: str = "") -> None:
    """Copy the weights of a .safetensors, .pt or .pth file into `model`; UserError if they do not fit it.

    What a wrapper puts before all names is left out, and what torch.nn.utils.prune has pruned is the product of its
    `<name>_orig` and `<name>_mask`.
    masks: copy the masks too; otherwise each is multiplied into its weight.
    name: of the model, for the error.
    head: the layer that stays as it is, with a note, if the file has none or one of another number of outputs.
    """
    stored = _fitting(model, path, name, lambda key: masks or not key.endswith("_mask"), head)
    model.load_state_dict(stored, strict=False)


def load_masks(model: nn.Module, path: Path, name: str) -> None:
    """Copy the masks alone of a file into `model`; UserError if they do not fit it, or are not of zeros and ones."""
    stored = _fitting(model, path, name, lambda key: key.endswith("_mask"))
    for key, mask in stored.items():
        if not ((mask == 0) | (mask == 1)).all():
            raise UserError(f"{path}: {key} has other values than 0 and 1")
    model.load_state_dict(stored, strict=False)


def _fitting(model: nn.Module, path: Path, name: str, among: Callable[[str], bool], head: str = "") -> dict:
    """Return the tensors of a file of those names that are `among` the ones to load; UserError if they do not fit."""
    wanted = {key: value for key, value in model.state_dict().items() if among(key)}
    stored = {key: value for key, value in _read(path, wanted.keys()).items() if among(key)}
    old = [key for key in wanted if key.endswith("num_batches_tracked") and key not in stored]  # of torch before 0.4.1
    wanted = {key: value for key, value in wanted.items() if key not in old}
    own = [key for key in wanted if head and key.startswith(f"{head}.")]
    outputs = {stored[key].shape[:1] for key in own if key in stored}
    fresh = 0 < len(own) < len(wanted) and len(outputs) < 2 and outputs != {wanted[own[0]].shape[:1]}
    if fresh:
        stored, wanted = ({key: side[key] for key in side if key not in own} for side in (stored, wanted))
    _check(path, stored, wanted, name)
    if fresh:
        has = f"{head} with {outputs.pop().numel():,} outputs" if outputs else f"no {head}"
        console.note(f"{path} has {has}: that of {name} is drawn, all else is from the file")
    return stored


def _read(path: Path, wanted: Collection[str]) -> dict[str, Tensor]:
    """Return the tensors of a file by the names that they have in a plain model; wanted: the names in ours."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    masked = 0
    with path.open("rb") as file:
        begin = file.read(len(POINTER))
    if begin == POINTER:
        raise UserError(f"{path} is a pointer of Git LFS, not the file itself; fetch that with `git lfs pull`")
    plain = begin[8:9] == b"{"  # after the length of a safetensors file's header
    if path.suffix in TORCH or (begin.startswith(BEGINS) and not plain):
        from Utils.store import torchfile  # not needed for our own files

        stored = torchfile.read(path)
    else:
        try:
            stored = load_file(path)
        except SafetensorError as error:
            what = f"whole safetensors file ({error})" if plain else ".safetensors, .pt or .pth file"
            raise UserError(f"{path} is not a {what}; name a run, or a .safetensors, .pt or .pth file") from error
    prefix = _wrapping(stored, wanted)
    stored = {key.removeprefix(prefix): value for key, value in stored.items()}
    for key in [key for key in stored if key.endswith("_orig") and key not in wanted]:
        if (mask := stored.get(f"{key[:-5]}_mask")) is None:
            raise UserError(f"{path}: {key} has no {key[:-5]}_mask beside it")
        if mask.shape != stored[key].shape:
            raise UserError(f"{path}: {key} has shape {list(stored[key].shape)}, its mask {list(mask.shape)}")
        stored[key[:-5]] = stored[key] * mask.to(stored.pop(key).dtype)
        masked += int(not mask.all())
    for key in [key for key in stored if key.endswith("_mask") and key not in wanted]:
        weight, mask = stored.get(key[:-5]), stored[key]
        if weight is not None and weight.shape == mask.shape and ((mask == 0) | (mask == 1)).all():
            stored[key[:-5]] = weight * mask.to(weight.dtype)
            masked += int(not stored[key[:-5]].equal(weight))
    if masked:
        console.note(f"{path}: {counted(masked, 'mask')} multiplied in; the weights are trained on")
    return stored


def _wrapping(stored: Collection[str], wanted: Collection[str]) -> str:
    """Return what stands before all names, as DataParallel, torch.compile or Lightning put it; "" if some are ours."""
    prefix, names = "", list(stored)
    while not any(name.removesuffix("_orig") in wanted for name in names):
        first = {name.partition(".")[0] for name in names}
        if len(first) != 1 or not all("." in name for name in names):
            return ""
        prefix += f"{first.pop()}."
        names = [name.partition(".")[2] for name in names]
    return prefix


def _check(path: Path, stored: Mapping[str, Tensor], wanted: Mapping[str, Tensor], name: str) -> None:
    """Raise UserError, which names the tensor, unless `stored` has the names, shapes and kinds of `wanted`."""
    for key in sorted(wanted.keys() | stored.keys()):
        here, there = _shown(key, wanted, stored), _shown(key, stored, wanted)
        if here != there:
            words = f"{_model(path)} has {there}, {name} has {here}"
            raise UserError(f"{path} is of another model: {words}; name a run or file of this model")
        if stored[key].is_floating_point() != wanted[key].is_floating_point():
            raise UserError(
                f"{path}: {key} is {stored[key].dtype}, {name} has {wanted[key].dtype}".replace("torch.", "")
            )
        if not stored[key].to(wanted[key].dtype).isfinite().all():
            raise UserError(f"{path}: {key} has values that are no finite numbers (NaN, infinity)")


def _shown(key: str, side: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str:
    """Return the name and shape of a tensor; if `side` has none, the nearest name that it has and `other` has not."""
    if key in side:
        return f"{key} {list(side[key].shape)}"
    names = [name for name in side if name not in other]
    longer = [name for name in names if name.endswith(f".{key}") or key.endswith(f".{name}")]
    near = longer or difflib.get_close_matches(key, names, n=1)
    return f"no {key}" + (f" (but {near[0]})" if near else "")


def _model(path: Path) -> str:
    """Return the name of the model in a run's file, as the config.json beside it states it."""
    config = files.read_table(path.parent / "config.json", "model")
    return "it" if config is None else str(config["model"])
