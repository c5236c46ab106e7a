"""Images of the user's in a folder per class: photographs, drawings, scans, in colour or grey."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Utils.data.dataset import PER_CLASS, Dataset, Prepared, RawFile
from Utils.data.own import parts, places
from Utils.errors import UserError
from Utils.machine import memory
from Utils.store import files
from Utils.wording import counted, listed

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE = 32  # of images that differ in size, if the user names none: what the networks here are made for
GREY = ("1", "L", "LA")  # PIL's modes of images without colours
DEEP = ("I", "F")  # and the beginnings of those with more than 8 bits a channel
OWN = ("image_size", "split_seed")
ORIENTATION, UPRIGHT, TURNED = 0x0112, 1, range(5, 9)  # EXIF's tag, and its values that exchange width and height
ROOM = 0.5  # largest share of this machine's memory for pixels


def digest(folder: Path) -> str:
    """Return a hash of the images in the class folders: their content, and their place below `folder`."""
    total = hashlib.sha256()
    for paths in places.class_folders(folder).values():
        for path in paths:
            total.update(f"{path.relative_to(folder).as_posix()}\0{files.sha256(path)}\n".encode())
    return total.hexdigest()


def _opened(path: Path) -> Image:
    """Open an image; its pixels are read later. Raises UserError for what is none."""
    from PIL import Image

    try:
        image = Image.open(path)
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: {str(error).rstrip(chr(46))}; make it smaller or remove it") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path}: not an image that can be read ({type(error).__name__}); mend or remove it") from error
    if image.mode.startswith(DEEP):
        raise UserError(f"{path}: more than 8 bits a pixel and channel; save it with 8")
    return image


def _orientation(image: Image) -> int:
    """Return how the camera was held, as EXIF numbers it; upright if that is not stated, or damaged."""
    try:
        return image.getexif().get(ORIENTATION, UPRIGHT)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, struct.error):
        return UPRIGHT


def whole(path: Path, mode: str) -> Image:
    """Return the image in PIL's `mode`, upright. Raises UserError that names it if it cannot be read."""
    from PIL import ImageOps

    try:
        with _opened(path) as image:
            held = _orientation(image)
            return (image if held == UPRIGHT else ImageOps.exif_transpose(image)).convert(mode)
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise UserError(f"{path}: not a whole image ({error}); mend or remove it") from error


def pixels(path: Path, mode: str, size: tuple[int, int]) -> Image:
    """Return the image in PIL's `mode`, with `size` (width, height): cut to that shape at its edges, then scaled."""
    from PIL import Image, ImageOps

    image = whole(path, mode)
    return image if image.size == size else ImageOps.fit(image, size, Image.Resampling.BILINEAR)


def _survey(paths: Sequence[Path]) -> tuple[str, Counter[tuple[int, int]]]:
    """Return the mode that holds all images, "L" or "RGB", and how many there are of each size (width, height)."""
    grey, sizes = True, Counter[tuple[int, int]]()
    for path in paths:
        with _opened(path) as image:
            grey = grey and image.mode in GREY
            sizes[image.size[::-1] if _orientation(image) in TURNED else image.size] += 1
    return "L" if grey else "RGB", sizes


def read(paths: Mapping[str, Path], folders: Mapping[str, str], settings: Mapping[str, Any]) -> Prepared:
    """Read all images; folders: the raw folder of each split, or of "".

    Tensors: those of `Utils.data.examples.Images`, and `mean` and `std` of the training pixels in [0, 1], by channel.
    Raises UserError that names the image for one that cannot be read, and the folder for a class without training.
    """
    import numpy as np
    import torch

    by_split = {split: places.class_folders(paths[raw]) for split, raw in folders.items()}
    classes = parts.in_order(label for found in by_split.values() for label in found)
    images: list[Path] = []
    labels: list[int] = []
    given = {}
    for split, found in by_split.items():
        first = len(images)
        for label, inside in found.items():
            images += inside
            labels += [classes.index(label)] * len(inside)
        given[split] = np.arange(first, len(images))
    targets = np.array(labels)
    splits, held = parts.completed(next(iter(paths.values())), given, targets, settings["split_seed"])
    trained = set(targets[splits["train"]].tolist())
    if len(classes) == 1 or len(trained) < len(classes):
        without = next((label for k, label in enumerate(classes) if k not in trained), classes[0])
        why = "has no images for training" if len(classes) > 1 else "is the only class; two are needed"
        raise UserError(f"{next(iter(paths.values()))}: class {without} {why}")
    mode, sizes = _survey(images)
    size, fitted = _size(sizes, settings["image_size"])
    _check_room(len(images), size, len(mode))
    tensors: dict[str, Any] = {}
    for split, numbers in splits.items():
        array = torch.empty(len(numbers), len(mode), size[1], size[0], dtype=torch.uint8)
        for k, number in enumerate(numbers.tolist()):
            one = np.array(pixels(images[number], mode, size)).reshape(size[1], size[0], len(mode))
            array[k] = torch.from_numpy(one).permute(2, 0, 1)
        tensors |= {f"{split}_pixels": array, f"{split}_targets": torch.from_numpy(targets[numbers])}
    tensors["mean"], tensors["std"] = _statistics(tensors["train_pixels"])
    colours = "grey" if mode == "L" else "in colour"
    note = f"{len(images):,} images {colours}, {len(classes)} classes ({listed(classes)}); {fitted}; {held}"
    return Prepared(
        tensors, {split: len(numbers) for split, numbers in splits.items()}, notes=[note], lines={"classes": classes}
    )


def _size(sizes: Counter[tuple[int, int]], asked: int | None) -> tuple[tuple[int, int], str]:
    """Return (width, height) of all images, and how they come to it, in words."""
    (common, _), *others = sizes.most_common()
    if asked is None and not others:
        return common, f"{common[0]} x {common[1]} pixels as they are"
    size = asked or SIZE
    advice = "" if asked else ", because sizes differ (--image-size N chooses another)"
    return (size, size), f"cut square and scaled to {size} x {size} pixels{advice}"


def _check_room(count: int, size: tuple[int, int], channels: int) -> None:
    total, limit = count * size[0] * size[1] * channels, ROOM * memory.physical()
    if total > limit:
        raise UserError(
            f"{counted(count, 'image')} of {size[0]} x {size[1]} pixels need {total / 2**30:.1f} GiB, over half of "
            f"this machine's memory; choose a smaller --image-size"
        )


def _statistics(pixels: Any) -> tuple[Any, Any]:
    """Return mean and deviation by channel, for pixels in [0, 1], of uint8 [n, C, H, W]; a deviation of 0 becomes 1."""
    import torch

    values = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.zeros(pixels.shape[1], 256, dtype=torch.float64)
    for image in pixels:
        counts += torch.stack([channel.flatten().bincount(minlength=256) for channel in image])
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ values
    std = ((shares @ values.square()) - mean.square()).clamp_min(0).sqrt()
    return mean.float(), torch.where(std > 1e-6, std, 1.0).float()


def splits(prepared: Prepared) -> dict:
    """Return the examples of each split."""
    from Utils.data.examples import Images

    mean, std = (prepared.tensors[name].tolist() for name in ("mean", "std"))
    return {split: Images.of(prepared.tensors, split, mean, std) for split in prepared.rows}


def dataset(name: str, settings: Mapping[str, Any]) -> Dataset:
    """Return the description of the folder at settings["data_path"]; without, of one that has been prepared."""
    path = settings.get("data_path")
    found = places.image_folders(Path(path)) if path else {}
    folders = {split: "." if split == "" else folder.name for split, folder in found.items()}
    chosen = {key: settings.get(key) for key in OWN}
    return Dataset(
        name=name, title=name, kind="image", model_class="default", model="conv",
        raw=tuple(RawFile(folder, called=split or "images") for split, folder in folders.items()),
        root=places.root(path), digest=digest, folders=True,
        preparation={"pixels": "uint8", "orientation": "exif", **chosen}, configure=partial(dataset, name),
        read=partial(read, folders=folders, settings=chosen), splits=splits,
        shape=lambda prepared: tuple(prepared.tensors["train_pixels"].shape[1:]),
        classes=lambda prepared: prepared.lines["classes"],
        defaults=PER_CLASS | dict.fromkeys(OWN),
    )  # fmt: skip
