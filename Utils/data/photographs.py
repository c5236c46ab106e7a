"""Folders of photographs by class: their list, and examples that are read from their files as batches need them."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Utils.data.own import folders, parts, places
from Utils.errors import UserError
from Utils.machine import seeds

if TYPE_CHECKING:
    from torch import Tensor

ANNOTATIONS = "val_annotations.txt"  # in a folder of images without class folders: a line an image, name and class
EDGE = 1 / 16  # cut off each side for testing: the middle 224 of 256 pixels
AREA, RATIO = (0.2, 1.0), (3 / 4, 4 / 3)  # of the window for training: share of the image's, width : height


def digest(folder: Path) -> str:
    """Return a hash of the names and sizes of all files below `folder`: reading them would take longer than a run."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            total.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\n".encode())
    return total.hexdigest()


def listed(given: Mapping[str, Path]) -> tuple[list[str], dict[str, tuple[list[Path], list[int]]]]:
    """Return (classes, {split: (images, labels)}) of the folders of some splits, "train" among them.

    Raises UserError for an image that has no class, or one without training.
    """
    found = {split: _by_class(folder) for split, folder in given.items()}
    classes = parts.in_order(found["train"])
    for split, images in found.items():
        strange = sorted(set(images) - set(classes))
        why = f"class {strange[0]} has no images for training" if strange else ""
        why = why or ("no images" if not images else "two classes are needed" if len(classes) < 2 else "")
        if why:
            raise UserError(f"{given[split]}: {why}")
    numbers = {label: k for k, label in enumerate(classes)}
    return classes, {
        split: (
            [path for paths in of.values() for path in paths],
            [numbers[k] for k, paths in of.items() for _ in paths],
        )
        for split, of in found.items()
    }


def _by_class(folder: Path) -> dict[str, list[Path]]:
    if not (folder / ANNOTATIONS).is_file():
        return places.class_folders(folder)
    found: dict[str, list[Path]] = {}
    for number, line in enumerate((folder / ANNOTATIONS).read_text(encoding="utf-8").splitlines(), start=1):
        name, tab, rest = line.partition("\t")
        if not tab:
            raise UserError(f"{folder / ANNOTATIONS}, line {number}: no name and class, with a tab between")
        found.setdefault(rest.partition("\t")[0], []).append(folder / "images" / name)
    return found


@dataclass
class Photographs:
    """Images in files, with labels. Batches are float [B, 3, size, size]: (pixel / 255 - mean) / std by channel.

    An image is decoded when its batch is made, so memory holds a batch, not the data set. It is cut square in the
    middle and scaled. For augmentation, a window of random area and shape is scaled instead, and mirrored in half of
    the cases (Szegedy et al. 2015, section 6; a window that sticks out is cut off).
    """

    names: Sequence[str]  # paths below `root`
    root: Path
    targets: Tensor  # int64 [n]
    mean: Tensor  # mean of pixels in 0..255, by channel
    std: Tensor
    size: int = 224
    varied: bool = False
    lengths = None

    def __len__(self) -> int:
        return self.targets.numel()

    def arrange(self, order: Tensor, seed: int | None = None) -> Callable[[int, int], tuple[Tensor, Tensor]]:
        import torch

        numbers, own = order.tolist(), seed if self.varied else None

        def batch(a: int, b: int) -> tuple[Tensor, Tensor]:
            drawn = [None if own is None else seeds.derive(own, k) for k in range(a, b)]
            pixels = torch.stack([self._pixels(*one) for one in zip(numbers[a:b], drawn, strict=True)])
            targets = self.targets[order[a:b].to(self.targets.device)]
            return (pixels.to(self.mean.device).float() - self.mean) / self.std, targets

        return batch

    def _pixels(self, number: int, seed: int | None) -> Tensor:
        """Return the pixels of one image, uint8 [3, size, size]; seed: of its window, None for the middle."""
        import numpy as np
        import torch
        from PIL import Image, ImageOps

        image, size = folders.whole(self.root / self.names[number], "RGB"), (self.size, self.size)
        if seed is None:
            image = ImageOps.fit(image, size, Image.Resampling.BILINEAR, bleed=EDGE)
        else:
            draw = random.Random(seed)
            area = image.width * image.height * draw.uniform(*AREA)
            ratio = math.exp(draw.uniform(*map(math.log, RATIO)))
            width, height = min(image.width, math.sqrt(area * ratio)), min(image.height, math.sqrt(area / ratio))
            left, top = draw.uniform(0, image.width - width), draw.uniform(0, image.height - height)
            image = image.resize(size, Image.Resampling.BILINEAR, (left, top, left + width, top + height))
            image = ImageOps.mirror(image) if draw.random() < 0.5 else image
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def enlarged(images: Any, times: int) -> Any:
    """Return images [n, C, H, W] in which each pixel is a square of times * times pixels."""
    return images.repeat(times, axis=2).repeat(times, axis=3)
