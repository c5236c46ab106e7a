"""Tiny ImageNet (Stanford CS231n): photographs of two hundred kinds of things, 64 x 64 pixels in colour.

Its validation images are the test split: those of its test folder have no published labels. Beside the published form,
class folders in `val` are read too, as others leave them.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from Utils.data import archives, photographs
from Utils.data.dataset import PER_CLASS, Dataset, Prepared, RawFile, published
from Utils.data.own import folders
from Utils.data.sets import cifar
from Utils.store import files

OF = published("tiny-imagenet")
FOLDERS = {"train": f"{OF['folder']}/train", "test": f"{OF['folder']}/val"}
SIDE, TIMES = 64, 2  # of the images; of the sample's drawings, whose side is 32
SAMPLE = {"train": 4_000, "test": 1_000}  # images, of two hundred classes
FRAME = 3  # pixels


def read(paths: Mapping[str, Path]) -> Prepared:
    """Read all images. Raises UserError that names one that cannot be read."""
    import numpy as np

    classes, found = photographs.listed({split: paths[raw] for split, raw in FOLDERS.items()})
    pixels = {split: np.empty((len(images), 3, SIDE, SIDE), np.uint8) for split, (images, _) in found.items()}
    for split, (images, _) in found.items():
        for k, path in enumerate(images):
            pixels[split][k] = np.asarray(folders.pixels(path, "RGB", (SIDE, SIDE))).transpose(2, 0, 1)
    return cifar.prepare({split: (pixels[split], labels) for split, (_, labels) in found.items()}, classes)


def sample() -> Prepared:
    """Draw and prepare the sample: shapes of a hundred classes, and in a white frame of a hundred more."""
    from Utils.data.samples import shapes

    drawn = {}
    for split, (images, labels) in shapes.generate(100, SAMPLE).items():
        images, labels = photographs.enlarged(images, TIMES), labels.copy()
        framed = images[1::2]  # views: what is written there stands in `images`
        framed[:, :, :FRAME] = framed[:, :, -FRAME:] = framed[:, :, :, :FRAME] = framed[:, :, :, -FRAME:] = 255
        labels[1::2] += 100
        drawn[split] = images, labels
    return cifar.prepare(drawn, [*shapes.names(100), *(f"framed {name}" for name in shapes.names(100))])


def extract(side: Path, data_dir: Path) -> None:
    """Unpack the archive in `side`, then rename its folders."""
    with files.writing(data_dir / OF["folder"]):
        with zipfile.ZipFile(side / OF["archive"].rpartition("/")[2]) as archive:
            archive.extractall(side)
        (data_dir / OF["folder"]).mkdir(exist_ok=True)
        for folder in FOLDERS.values():
            if not (data_dir / folder).exists():
                (side / folder).rename(data_dir / folder)


DATASET = Dataset(
    name="tiny-imagenet",
    title=OF["title"],
    kind="image",
    model_class="tinyimagenet",
    model="resnet18",
    raw=tuple(RawFile(folder, OF["archive"], OF["md5"]) for folder in FOLDERS.values()),
    digest=photographs.digest,
    folders=True,
    preparation={"pixels": "uint8"},
    read=read,
    sample=sample,
    splits=partial(cifar.splits, mean=OF["mean"], std=OF["std"]),
    shape=lambda prepared: (3, SIDE, SIDE),
    classes=lambda prepared: prepared.lines["classes"],
    defaults=PER_CLASS | {"prune_augment": True},
    unpack=partial(
        archives.unpack, title=OF["title"], name=OF["archive"].rpartition("/")[2], folder=OF["folder"], md5=OF["md5"],
        extract=extract,
    ),
    fetch=partial(
        archives.fetch, title=OF["title"], url=OF["archive"], name=OF["archive"].rpartition("/")[2], md5=OF["md5"],
        size="250 MB", extract=extract,
    ),
)  # fmt: skip
