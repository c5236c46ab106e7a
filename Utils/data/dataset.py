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
    """One data set: a file below Utils/data/sets that makes one of these, and a line in Utils.load.DATASETS.

    kind: what a model for it must take ("image", "text", "translation"); model_class, model: what is trained where
    nothing else is asked for. preparation: all settings that the prepared data depends on, part of the cache's name.
    read: raw paths, by the `path` of `raw` -> Prepared, or UserError naming file and line. splits: Prepared ->
    examples by split, "train" and "test" at least. shape: Prepared -> the shape of one input, without the batch; classes: Prepared -> the names of
    the outputs, in order. evaluation: the place of the class that measures a model on it, such as
    Utils.training.evaluate.Accuracy.
    sample: the generated stand-in of `--source sample`, Prepared likewise, or None where there is none; sample_version
    grows when it changes.
    defaults: settings in which it differs from the general ones of Utils/settings.py; a flag that only some data sets
    take is named here by each that takes it. configure: such settings -> the data set with them, or UserError in one
    line. fetch: where the raw files are not to be had one by one at their urls: brings all of them below the data
    directory, or raises download.Unreachable where no server answers or what comes is not what was published, UserError
    where it cannot be written; no file has its final name before it is whole.
    """

    name: str
    title: str
    kind: str
    model_class: str
    model: str
    raw: tuple[RawFile, ...]
    preparation: Mapping[str, Any]
    read: Callable[[Mapping[str, Path]], Prepared]
    splits: Callable[[Prepared], dict[str, Examples]]
    shape: Callable[[Prepared], tuple[int, ...]]
    classes: Callable[[Prepared], Sequence[str]]
    defaults: Mapping[str, Any]
    sample: Callable[[], Prepared] | None = None
    sample_version: int = 1
    evaluation: str = "Utils.training.evaluate:Accuracy"
    configure: Callable[[Mapping[str, Any]], Dataset] | None = None
    fetch: Callable[[Path], None] | None = None


PER_CLASS = {"prune_dataset_ratio": 10}  # how many examples score a classifier, as in assignment one
