"""Code shared by MNIST and data sets in its format: four IDX files, of 28 x 28 grey pixels and of labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Utils.data import reading
from Utils.data.dataset import PER_CLASS, Dataset, Prepared, RawFile, published
from Utils.errors import UserError

if TYPE_CHECKING:
    import numpy as np

SIDE = 28  # pixels


def raw_files(name: str, folder: str) -> tuple[RawFile, ...]:
    """Return the files of the entry `name` in published.toml, images before labels, training before test.

    They are also found unzipped, with a dot in their name, and directly in the folder or the one above `raw`.
    """
    of = published(name)
    result = []
    for file, md5 in of["md5"].items():
        plain = file.removesuffix(".gz")
        names = (file, plain, plain.replace("-idx", ".idx"))
        others = [f"{place}/{one}" for place in (f"{folder}/raw", folder) for one in names]
        content = of.get("plain", {}).get(file, "")
        result.append(RawFile(others[0], f"{of['home']}/{file}", md5, content, tuple(others[1:])))
    return tuple(result)


def array(path: Path) -> np.ndarray:
    """Return the uint8 array of an IDX file, zipped or not. Raises UserError for a file that is not whole."""
    import numpy as np

    try:
        with reading.opened(path) as opened:
            content = opened.read()
        if content[:3] != b"\0\0\x08":
            raise ValueError("its first bytes are not those of an IDX file")
        shape = np.frombuffer(content, ">i4", count=content[3], offset=4)
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * content[3])
        return values.reshape(shape)
    except (*reading.DAMAGE, ValueError, IndexError) as error:
        raise UserError(f"{path}: not a whole IDX file ({error}); remove it to have it fetched again") from error


def prepare(splits: Mapping[str, tuple[np.ndarray, np.ndarray]], notes: Sequence[str] = ()) -> Prepared:
    """Make the tensors from arrays; splits: (images uint8 [n, 28, 28], labels uint8 [n]) by name."""
    import torch

    tensors = {}
    for split, (images, labels) in splits.items():
        tensors[f"{split}_pixels"] = torch.from_numpy(images.copy()).unsqueeze(1)
        tensors[f"{split}_targets"] = torch.from_numpy(labels.astype("int64"))
    return Prepared(tensors, {split: len(labels) for split, (_, labels) in splits.items()}, notes=[*notes])


def read(paths: Mapping[str, Path], raw: Sequence[RawFile], classes: int) -> Prepared:
    """Read and prepare the raw files. Files that are not the published ones are used, with a remark in `notes`.

    Raises UserError for a file that is not whole or does not fit its neighbour.
    """
    arrays = [array(paths[file.path]) for file in raw]
    for images, labels, file in zip(arrays[::2], arrays[1::2], raw[1::2], strict=True):
        fits = labels.ndim == 1 and labels.size and images.shape == (len(labels), SIDE, SIDE)
        if not fits or labels.max() >= classes:
            raise UserError(f"{paths[file.path]}: not the labels of its images, or not 0 to {classes - 1}")
    notes = [
        f"{paths[file.path].name} is not the published file; its {len(found):,} entries are used as they are"
        for file, found in zip(raw, arrays, strict=True)
        if not reading.published(file, paths[file.path])
    ]
    return prepare({"train": (arrays[0], arrays[1]), "test": (arrays[2], arrays[3])}, notes)


def splits(prepared: Prepared, mean: float, std: float) -> dict:
    """Return the examples of each split; mean, std: of the training pixels in [0, 1]."""
    from Utils.data.examples import Images

    return {split: Images.of(prepared.tensors, split, (mean,), (std,)) for split in prepared.rows}


def dataset(
    name: str, folder: str, classes: Sequence[str], sample: Callable[[], Prepared] | None = None, **more: Any
) -> Dataset:
    """Return the description of the data set with that entry in published.toml; more: further fields of it."""
    of, raw = published(name), raw_files(name, folder)
    return Dataset(
        name=name,
        title=of["title"],
        kind="image",
        model_class="default",
        model="fc",
        raw=raw,
        preparation={"pixels": "uint8"},
        read=partial(read, raw=raw, classes=len(classes)),
        sample=sample,
        sample_version=1,
        splits=partial(splits, mean=of["mean"], std=of["std"]),
        shape=lambda prepared: (1, SIDE, SIDE),
        classes=lambda prepared: classes,
        defaults=PER_CLASS,
        **more,
    )
