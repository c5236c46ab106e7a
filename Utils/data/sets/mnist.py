"""MNIST (LeCun et al. 1998): handwritten digits, 28 x 28 grey pixels."""

from __future__ import annotations

import gzip
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from Utils.data.dataset import PER_CLASS, Dataset, Prepared, RawFile, published
from Utils.errors import UserError
from Utils.store import files

if TYPE_CHECKING:
    import numpy as np

HOME, MD5 = (published("mnist")[key] for key in ("home", "md5"))
RAW = tuple(RawFile(f"MNIST/raw/{name}", f"{HOME}/{name}", md5) for name, md5 in MD5.items())
CLASSES = tuple("0123456789")
MEAN, STD = (0.1307,), (0.3081,)  # for the training pixels in [0, 1]


def idx(path: Path, md5: str) -> np.ndarray:
    """Return the uint8 array of a gzipped IDX file. Raises UserError unless it is the published file."""
    import numpy as np

    if files.md5(path) != md5:
        raise UserError(f"{path} is not the published file (md5 {md5}); remove it to have it fetched again")
    content = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(content, ">i4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, count=math.prod(shape), offset=4 + 4 * content[3]).reshape(shape)


def prepare(splits: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Prepared:
    """Make the tensors from arrays; splits: (images uint8 [n, 28, 28], labels uint8 [n]) by name."""
    import torch

    tensors = {}
    for split, (images, labels) in splits.items():
        tensors[f"{split}_pixels"] = torch.from_numpy(images.copy()).unsqueeze(1)
        tensors[f"{split}_targets"] = torch.from_numpy(labels.astype("int64"))
    return Prepared(tensors, {split: len(labels) for split, (_, labels) in splits.items()})


def read(paths: Mapping[str, Path]) -> Prepared:
    """Read and prepare the raw files. Raises UserError if a file is not the published one."""
    arrays = {name: idx(paths[f"MNIST/raw/{name}"], md5) for name, md5 in MD5.items()}
    return prepare(
        {
            split: (arrays[f"{prefix}-images-idx3-ubyte.gz"], arrays[f"{prefix}-labels-idx1-ubyte.gz"])
            for split, prefix in (("train", "train"), ("test", "t10k"))
        }
    )


def sample() -> Prepared:
    """Generate and prepare the sample."""
    from Utils.data.samples import digits

    return prepare(digits.generate())


def splits(prepared: Prepared) -> dict:
    """Return the examples of each split."""
    from Utils.data.examples import Images

    return {split: Images.of(prepared.tensors, split, MEAN, STD) for split in prepared.rows}


DATASET = Dataset(
    name="mnist",
    title="MNIST",
    kind="image",
    model_class="default",
    model="fc",
    raw=RAW,
    preparation={"pixels": "uint8"},
    read=read,
    sample=sample,
    sample_version=1,
    splits=splits,
    shape=lambda prepared: (1, 28, 28),
    classes=lambda prepared: CLASSES,
    defaults=PER_CLASS,
    commonest=11.35,  # the digit 1
)
