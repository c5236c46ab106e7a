"""Code shared by CIFAR-10 and CIFAR-100 (Krizhevsky 2009): colour photographs of 32 x 32 pixels.

Each is published as one archive. torchvision reads it and knows the checksums of the archive and its files.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Utils.data import archives
from Utils.data.dataset import PER_CLASS, Dataset, Prepared, RawFile, published
from Utils.errors import UserError
from Utils.store import files

if TYPE_CHECKING:
    import numpy as np

CROP = 4  # black pixels added to each side of a training image before a window of its old size is cut out


def archive(title: str) -> Any:
    """Return the class of torchvision.datasets that knows the published files."""
    from torchvision import datasets

    return getattr(datasets, title.replace("-", ""))


def prepare(splits: Mapping[str, tuple[np.ndarray, Sequence[int] | np.ndarray]], names: Sequence[str]) -> Prepared:
    """Make the tensors from arrays.

    splits: (images uint8 [n, 3, 32, 32], labels) by name.
    names: the names of the labels, stored as lines "classes".
    """
    import numpy as np
    import torch

    tensors = {}
    for split, (images, labels) in splits.items():
        tensors[f"{split}_pixels"] = torch.from_numpy(np.ascontiguousarray(images))
        tensors[f"{split}_targets"] = torch.tensor(labels, dtype=torch.int64)
    return Prepared(tensors, {split: len(labels) for split, (_, labels) in splits.items()}, lines={"classes": [*names]})


def read(paths: Mapping[str, Path], title: str, raw: Sequence[RawFile]) -> Prepared:
    """Read the files `raw`.

    Raises UserError, before any is unpickled, naming the first that is not the published one.
    """
    for file in raw:
        if files.md5(paths[file.path]) != file.md5:
            raise UserError(
                f"{paths[file.path]} is not the published file (md5 {file.md5}); remove it to have it fetched again"
            )
    root = paths[raw[0].path].parents[1]
    halves = {split: archive(title)(root, train=split == "train") for split in ("train", "test")}
    splits = {split: (half.data.transpose(0, 3, 1, 2), half.targets) for split, half in halves.items()}
    return prepare(splits, halves["train"].classes)


def fetch(data_dir: Path, title: str, raw: Sequence[RawFile]) -> None:
    """Download the files `raw` below `data_dir` (see archives.fetch)."""
    theirs = archive(title)
    extract = partial(_extract, theirs=theirs, raw=raw)
    archives.fetch(data_dir, title, theirs.url, theirs.filename, theirs.tgz_md5, "170 MB", extract)


def _extract(side: Path, data_dir: Path, theirs: Any, raw: Sequence[RawFile]) -> None:
    """Unpack the archive in `side`, then rename the files."""
    with files.writing(data_dir / theirs.base_folder):
        with contextlib.redirect_stdout(io.StringIO()):  # torchvision prints each step
            theirs(side, download=True)
        for file in raw:
            (data_dir / file.path).parent.mkdir(exist_ok=True)
            (side / file.path).replace(data_dir / file.path)


def unpack(data_dir: Path, title: str, raw: Sequence[RawFile]) -> None:
    """Unpack the archive if it lies in `data_dir` or in the files' folder there (see archives.unpack)."""
    name, folder, theirs = raw[0].url.rpartition("/")[2], Path(raw[0].path).parts[0], archive(title)
    archives.unpack(data_dir, title, name, folder, theirs.tgz_md5, partial(_extract, theirs=theirs, raw=raw))


def sample(classes: int) -> Prepared:
    """Generate and prepare the sample."""
    from Utils.data.samples import shapes

    return prepare(shapes.generate(classes), shapes.names(classes))


def splits(prepared: Prepared, mean: Sequence[float], std: Sequence[float]) -> dict:
    """Return the examples of each split; mean, std: by channel, for pixels in [0, 1]."""
    from Utils.data.examples import Images

    varied: dict[str, dict[str, Any]] = {"train": {"crop": CROP, "flip": True}}
    return {split: Images.of(prepared.tensors, split, mean, std, **varied.get(split, {})) for split in prepared.rows}


def dataset(name: str) -> Dataset:
    """Return the description of the data set with that entry in published.toml."""
    of = published(name)
    title, classes = of["title"], of["classes"]
    raw = tuple(RawFile(f"{of['folder']}/{file}", of["archive"], checksum) for file, checksum in of["md5"].items())
    return Dataset(
        name=name,
        title=title,
        kind="image",
        model_class="lottery",
        model="vgg16",
        raw=raw,
        preparation={"pixels": "uint8"},
        read=partial(read, title=title, raw=raw),
        sample=partial(sample, classes),
        sample_version=1,
        splits=partial(splits, mean=of["mean"], std=of["std"]),
        shape=lambda prepared: (3, 32, 32),
        classes=lambda prepared: prepared.lines["classes"],
        defaults=PER_CLASS | {"prune_augment": True},
        unpack=partial(unpack, title=title, raw=raw),
        fetch=partial(fetch, title=title, raw=raw),
    )
