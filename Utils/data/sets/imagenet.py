"""ImageNet (Russakovsky et al. 2015): photographs of a thousand kinds of things, read as they are needed.

It is given to registered users alone, so its folders are put in place by hand: imagenet/train and imagenet/val below
the data directory, with a folder for each class.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from Utils.data import photographs
from Utils.data.dataset import PER_CLASS, Dataset, Prepared, RawFile, published

FOLDERS = {"train": "imagenet/train", "test": "imagenet/val"}
SIDE, TIMES = 224, 7  # of the images; of the sample's drawings, whose side is 32
SAMPLE = {"train": 200, "test": 100}  # images, of ten classes
OF = published("imagenet")


def read(paths: Mapping[str, Path]) -> Prepared:
    """List the images of both folders."""
    import torch

    classes, found = photographs.listed({split: paths[raw] for split, raw in FOLDERS.items()})
    names = {
        split: [path.relative_to(paths[FOLDERS[split]]).as_posix() for path in images]
        for split, (images, _) in found.items()
    }
    tensors = {f"{split}_targets": torch.tensor(labels) for split, (_, labels) in found.items()}
    return Prepared(tensors, {split: len(each) for split, each in names.items()}, lines={"classes": classes, **names})


def sample() -> Prepared:
    """Draw and prepare the sample, whose pixels are kept."""
    from Utils.data.samples import shapes
    from Utils.data.sets import cifar

    drawn = shapes.generate(10, SAMPLE)
    large = {split: (photographs.enlarged(images, TIMES), labels) for split, (images, labels) in drawn.items()}
    return cifar.prepare(large, shapes.names(10))


def splits(prepared: Prepared) -> dict:
    """Return the examples of each split: those of the sample in memory, others in their files."""
    import torch

    from Utils.data.examples import Images

    if "train_pixels" in prepared.tensors:
        of = (OF["mean"], OF["std"])
        return {split: Images.of(prepared.tensors, split, *of, flip=split == "train") for split in FOLDERS}
    mean, std = (torch.tensor(OF[name]).view(-1, 1, 1) * 255 for name in ("mean", "std"))
    return {
        split: photographs.Photographs(
            prepared.lines[split],
            prepared.paths[raw],
            prepared.tensors[f"{split}_targets"],
            mean,
            std,
            SIDE,
            split == "train",
        )
        for split, raw in FOLDERS.items()
    }


DATASET = Dataset(
    name="imagenet",
    title=OF["title"],
    kind="image",
    model_class="imagenet",
    model="resnet18",
    raw=tuple(map(RawFile, FOLDERS.values())),
    digest=photographs.digest,
    folders=True,
    preparation={"listed": 1},
    read=read,
    sample=sample,
    splits=splits,
    shape=lambda prepared: (3, SIDE, SIDE),
    classes=lambda prepared: prepared.lines["classes"],
    defaults=PER_CLASS | {"prune_augment": True},
)
