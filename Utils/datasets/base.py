"""What a data set tells the rest of the project about itself. Imports neither torch nor numpy: the help needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from Utils.examples import Examples


@dataclass(frozen=True)
class RawFile:
    """A file of the corpus as published. `path` is below the data directory, `md5` the published checksum."""

    path: str
    url: str
    md5: str


@dataclass(frozen=True)
class Prepared:
    """A corpus as it is cached: tensors, vocabularies as text, the number of rows by split, and remarks to the user."""

    tensors: dict[str, Tensor]
    rows: dict[str, int]
    words: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Dataset:
    """One data set: a file below Utils/datasets that makes one of these, and a line in Utils.load.DATASETS.

    kind: what a model for it must take ("image", "text"); model_class, model: what is trained where nothing else is
    asked for; classes: their names, in order. preparation: all settings that the prepared data depends on, part of
    the cache's name. read: raw paths, by the `path` of `raw` -> Prepared, or UserError naming file and line. sample:
    the generated stand-in, Prepared likewise; sample_version grows when it changes. splits: Prepared -> train and test
    examples. shape: Prepared -> the shape of one input, without the batch. defaults: settings of the command line.
    """

    name: str
    title: str
    kind: str
    model_class: str
    model: str
    classes: tuple[str, ...]
    raw: tuple[RawFile, ...]
    preparation: Mapping[str, Any]
    read: Callable[[Mapping[str, Path]], Prepared]
    sample: Callable[[], Prepared]
    sample_version: int
    splits: Callable[[Prepared], dict[str, Examples]]
    shape: Callable[[Prepared], tuple[int, ...]]
    defaults: Mapping[str, Any]
