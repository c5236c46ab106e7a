"""What a data set tells the rest of the project about itself. Imports neither torch nor numpy: the help needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from Utils.data.examples import Examples


@dataclass(frozen=True)
class RawFile:
    """A file of the corpus as published.

    path: below the data directory. url, md5: where it is published, and its checksum there; both empty for a file that
    is published nowhere, which the user puts in place.
    """

    path: str
    url: str = ""
    md5: str = ""


@dataclass(frozen=True)
class Prepared:
    """A corpus as it is cached: tensors, the number of rows by split, vocabularies, remarks to the user, raw lines."""

    tensors: dict[str, Tensor]
    rows: dict[str, int]
    words: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lines: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """One data set: a file below Utils/data/sets that makes one of these, and a line in Utils.load.DATASETS."""

    name: str
    title: str  # its name in sentences and tables
    kind: str  # what a model for it must take: "image", "text" or "translation"
    model_class: str  # of the model that is trained where nothing else is asked for
    model: str
    raw: tuple[RawFile, ...]
    # All settings that the prepared data depends on. They are part of the cache entry's name.
    preparation: Mapping[str, Any]
    # The raw files' paths, by the `path` of `raw` -> the corpus. Raises UserError that names file and line.
    read: Callable[[Mapping[str, Path]], Prepared]
    splits: Callable[[Prepared], dict[str, Examples]]  # -> examples by split, "train" and "test" at least
    shape: Callable[[Prepared], tuple[int, ...]]  # -> the shape of one input, without the batch
    classes: Callable[[Prepared], Sequence[str]]  # -> the names of the outputs, in order
    # Settings in which it differs from the general ones of Utils/settings.py. A flag that only some data sets take is
    # named here by each that takes it.
    defaults: Mapping[str, Any]
    # -> the generated stand-in of `--source sample`; None where there is none.
    sample: Callable[[], Prepared] | None = None
    sample_version: int = 1  # grows when the sample changes
    evaluation: str = "Utils.training.evaluate:Accuracy"  # the place of the class that measures a model on it
    # Settings of the command line -> the data set with those that are its own. Raises UserError.
    configure: Callable[[Mapping[str, Any]], Dataset] | None = None
    # Brings all raw files below the data directory, where they are not to be had one by one at their urls. Raises
    # download.Unreachable where no server answers or the answer is not the published file, UserError where it cannot be
    # written. No file has its final name before it is whole.
    fetch: Callable[[Path], None] | None = None


PER_CLASS = {"prune_dataset_ratio": 10}  # how many examples score a classifier, as in assignment one
