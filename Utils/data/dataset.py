"""The description of a data set for the rest of the project.

It imports neither torch nor numpy, because --help uses it.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from Utils.data.examples import Examples


@dataclass(frozen=True)
class RawFile:
    """A file of the corpus as published."""

    path: str  # below the data directory
    # Where it is published, and its checksum there; both empty for a file that the user puts in place.
    url: str = ""
    md5: str = ""
    plain: str = ""  # md5 of the unzipped content, for a file that is published zipped
    others: tuple[str, ...] = ()  # other paths below the data directory where it is found, the likeliest first
    called: str = ""  # what the identity of the data calls it, whatever its path is; "": its path


@dataclass(frozen=True)
class Prepared:
    """A corpus in the form in which it is cached."""

    tensors: dict[str, Tensor]
    rows: dict[str, int]  # number of examples by split
    words: dict[str, list[str]] = field(default_factory=dict)  # vocabularies by name
    notes: list[str] = field(default_factory=list)  # remarks to the user
    lines: dict[str, list[str]] = field(default_factory=dict)  # raw text by name
    paths: Mapping[str, Path] = field(default_factory=dict)  # raw files, for examples read when needed; not cached


@dataclass(frozen=True)
class Dataset:
    """The description of one data set.

    A file in Utils/data/sets makes it, and Utils.load.DATASETS has a line for it.
    """

    name: str
    title: str  # its name in sentences and tables
    kind: str  # input of its models: "image", "text" or "translation"
    model_class: str  # default of --model-class
    model: str  # default of --model
    raw: tuple[RawFile, ...]
    preparation: Mapping[str, Any]  # all settings that the prepared data depends on; part of the cache entry's name
    # Raw files by `path` of `raw` -> the corpus; raises UserError with file and line.
    read: Callable[[Mapping[str, Path]], Prepared]
    splits: Callable[[Prepared], dict[str, Examples]]  # "train" and "test" at least
    shape: Callable[[Prepared], tuple[int, ...]]  # shape of one input, without the batch
    classes: Callable[[Prepared], Sequence[str]]  # names of the outputs, in order
    # Settings whose defaults differ from those of Utils/settings.py. A flag that only some data sets accept has an
    # entry in each of them.
    defaults: Mapping[str, Any]
    # Percent of the published test examples in the commonest class: what a constant answer gets right. 0 if all classes
    # have one size.
    commonest: float = 0.0
    sample: Callable[[], Prepared] | None = None  # generates the sample of `--source sample`; None if there is none
    sample_version: int = 1  # to be increased when the sample changes
    evaluation: str = "Utils.training.evaluate:Accuracy"  # module:class that evaluates a model
    # Settings -> the data set with them; raises UserError of one line.
    configure: Callable[[Mapping[str, Any]], Dataset] | None = None
    # The folder that `path` of `raw` starts from, if it is not the data directory: the user's own data lies there.
    root: Path | None = None
    digest: Callable[[Path], str] | None = None  # hash of a raw file's content, if not its SHA-256
    folders: bool = False  # whether its raw files are folders
    # Unpacks all raw files from their archive, if it lies below the data directory.
    unpack: Callable[[Path], None] | None = None
    # Downloads all raw files below the data directory, if they have no url each. A file gets its final name only when
    # it is complete. Raises download.Unreachable if no server answers or the content is not the published one, and
    # UserError if a file cannot be written.
    fetch: Callable[[Path], None] | None = None

    @property
    def identity(self) -> str:
        """Return its name, or of the user's own data its form alone: under another name it is the same data."""
        return form(self.name)


def form(name: str) -> str:
    """Return what the name of the user's own data ends in; the whole name of any other data set."""
    return name.rpartition(".")[2]


@functools.cache
def published(name: str) -> dict[str, Any]:
    """Return the entry of a data set in Utils/data/sets/published.toml."""
    path = Path(__file__).parent / "sets" / "published.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))[name]


# Examples for scoring: so many a class, as in assignment one, and not as many of each.
PER_CLASS = {"prune_dataset_ratio": 10, "prune_dataset_balanced": False}
