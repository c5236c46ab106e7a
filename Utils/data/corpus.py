"""Location and loading of a corpus: from the prepared cache, raw files, a download, or the generated sample.

`locate` decides which of them is used, without torch and in milliseconds. `load` reads the tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Utils import console
from Utils.data.dataset import Dataset, Prepared, RawFile
from Utils.errors import UserError
from Utils.store import files

if TYPE_CHECKING:
    from Utils.data.examples import Examples

SOURCES = ("auto", "real", "sample")
FORMAT = 1  # version of the cache entries' format; part of their names
TEXTS = ("words", "lines")  # parts of a cache entry that are text files

_kept: dict[Path, Corpus] | None = None  # see keep_loaded


@dataclass(frozen=True)
class Located:
    """The source of a corpus that is about to be loaded."""

    dataset: Dataset
    data_dir: Path
    source: str  # "real" or "sample"
    files: Mapping[str, str]  # sha256 of each raw file by what it is called; {} for the sample

    @property
    def key(self) -> str:
        """Return a hash that identifies the content."""
        identity: dict[str, Any] = {
            "format": FORMAT,
            "dataset": self.dataset.identity,
            "preparation": dict(self.dataset.preparation),
            "files": dict(self.files) or {"sample": self.dataset.sample_version},
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def entry(self) -> Path:
        """Return the directory of the cache entry."""
        return self.data_dir / "prepared" / f"{self.dataset.identity}-{self.source}-{self.key}"

    @property
    def paths(self) -> dict[str, Path]:
        """Return where the raw files are, or where they belong, by `path` of `dataset.raw`."""
        root = self.dataset.root or self.data_dir
        return {raw.path: _place(root, raw) for raw in self.dataset.raw}


def _place(root: Path, raw: RawFile) -> Path:
    """Return the first of the raw file's paths that is there, else its usual one."""
    return next((root / path for path in (raw.path, *raw.others) if (root / path).exists()), root / raw.path)


@dataclass(frozen=True)
class Corpus:
    """A loaded data set."""

    dataset: Dataset
    source: str  # "real" or "sample"
    key: str  # hash that identifies the content
    files: dict[str, str]  # sha256 of each source file by name
    rows: dict[str, int]  # number of examples by split
    words: dict[str, list[str]]  # vocabularies by name
    lines: dict[str, list[str]]  # raw text by name
    notes: list[str]  # remarks to the user
    shape: tuple[int, ...]  # shape of one input, without the batch
    classes: Sequence[str]  # names of the outputs
    splits: dict[str, Examples]

    @property
    def vocab(self) -> dict[str, int]:
        """Return the size of each vocabulary by name."""
        return {name: len(words) for name, words in self.words.items()}

    @property
    def train(self) -> Examples:
        """Return the training examples."""
        return self.splits["train"]

    @property
    def test(self) -> Examples:
        """Return the test examples."""
        return self.splits["test"]

    @property
    def commonest(self) -> float:
        """Return the percentage of test targets in the commonest class: what a constant answer gets right."""
        return 100.0 * self.test.targets.bincount().max().item() / self.test.targets.numel()

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return len(self.classes)


def locate(dataset: Dataset, data_dir: Path, source: str = "auto", key: str | None = None) -> Located:
    """Decide where `dataset` comes from; missing raw files are downloaded if they are needed.

    key: the content that is wanted of a data set of the user's own whose files are not named.
    Raises UserError if `source` is "sample" and the data set has none, and if the corpus is neither there nor can be
    downloaded and no sample may take its place.
    """
    sample = Located(dataset, data_dir, "sample", {})
    if source == "sample":
        if dataset.sample is None:
            raise UserError(f"{dataset.title} has no generated sample; leave --source out")
        return sample
    located = Located(dataset, data_dir, "real", {})
    if not located.paths:
        if entry := _newest_entry(dataset, data_dir, key):
            return entry
        raise UserError(f"{dataset.title} is not prepared in {data_dir}; name its place with --dataset PATH")
    missing = _missing(located)
    if missing and dataset.unpack:
        dataset.unpack(data_dir)
        missing = _missing(located)
    if missing and (prepared := _newest_entry(dataset, data_dir)):
        return prepared
    if missing:
        from Utils.data import download, nearby  # not needed where the files are

        near = nearby.words(dataset, data_dir, missing[0])
        reason = download.complete(dataset, data_dir, missing, insist=source == "real")
        if reason and (source == "real" or dataset.sample is None):
            raise UserError(
                f"{dataset.title} is not in {data_dir} (no {missing[0].path}) and could not be fetched ({reason})"
                f"{near}; put its files there{' or use --source sample' if dataset.sample else ''}"
            )
        if reason:
            console.alarm(
                f"{dataset.title} is not in {data_dir} and could not be fetched.",
                f"({reason}{near})",
                "This run uses a SMALL GENERATED SAMPLE instead: its figures say nothing about the real corpus.",
            )
            return sample
    try:
        hashed, places = dataset.digest or files.sha256, located.paths
        raws = sorted(dataset.raw, key=lambda raw: raw.path)
        return replace(located, files={raw.called or raw.path: hashed(places[raw.path]) for raw in raws})
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}; make it readable or remove it") from error


def _missing(located: Located) -> list[RawFile]:
    places = located.paths
    return [file for file in located.dataset.raw if not _there(located.dataset, places[file.path])]


def _there(dataset: Dataset, place: Path) -> bool:
    return place.is_dir() if dataset.folders else place.is_file()


def _newest_entry(dataset: Dataset, data_dir: Path, key: str | None = None) -> Located | None:
    """Return the latest cache entry of the real corpus, for a machine that has no raw files; key: with this one."""
    candidates = []
    for meta in (data_dir / "prepared").glob(f"{dataset.identity}-real-*/meta.json"):
        try:
            located = Located(dataset, data_dir, "real", files.read_json(meta)["files"])
            if located.entry == meta.parent and key in (None, located.key):
                candidates.append((meta.stat().st_mtime, located))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return max(candidates, key=lambda item: item[0])[1] if candidates else None


def keep_loaded() -> None:
    """Keep the latest loaded corpus in this process from now on, so that many runs on one data set read it once."""
    global _kept
    _kept = {} if _kept is None else _kept


def load(located: Located) -> Corpus:
    """Load the corpus from its cache entry, or prepare and cache it. A loaded corpus is never changed."""
    if _kept is None:
        return _load(located)
    if located.entry not in _kept:
        _kept.clear()  # first, so that memory never holds two
        _kept[located.entry] = _load(located)
    return _kept[located.entry]


def _load(located: Located) -> Corpus:
    damaged = located.entry.exists()
    cached = _read_entry(located) if damaged else None
    prepared, hashes = cached or _prepare(located, replace=damaged)
    for remark in prepared.notes:
        console.note(f"{located.dataset.title}: {remark}")
    return Corpus(
        dataset=located.dataset, source=located.source, key=located.key, files=hashes,
        rows=prepared.rows, words=prepared.words, lines=prepared.lines, notes=prepared.notes,
        shape=located.dataset.shape(prepared), classes=located.dataset.classes(prepared),
        splits=located.dataset.splits(replace(prepared, paths=located.paths)),
    )  # fmt: skip


def _read_entry(located: Located) -> tuple[Prepared, dict[str, str]] | None:
    """Return the prepared corpus and the hashes of its sources; None, with a warning, if the entry is damaged."""
    from safetensors.torch import load as load_tensors

    entry = located.entry
    try:
        meta = files.read_json(entry / "meta.json")
        if meta.pop("check") != _check(meta):
            raise ValueError("meta.json has changed")
        content = {}
        for name, want in meta["sha256"].items():
            content[name] = (entry / name).read_bytes()
            if hashlib.sha256(content[name]).hexdigest() != want:
                raise ValueError(f"{name} has changed")
        tensors = load_tensors(content["data.safetensors"])
        words, lines = (_texts(content, kind) for kind in TEXTS)
        return Prepared(tensors, meta["rows"], words, meta["notes"], lines), meta["made_from"]
    except Exception as error:  # whatever the error is, the entry can be made again
        console.warn(f"prepared data {entry} is damaged ({error}); it is made again")
        return None


def _texts(content: Mapping[str, bytes], kind: str) -> dict[str, list[str]]:
    named = {name: text for name, text in content.items() if name.startswith(f"{kind}-")}
    return {name[len(kind) + 1 : -len(".txt")]: text.decode().split("\n") for name, text in named.items()}


def _check(meta: Mapping) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _prepare(located: Located, replace: bool) -> tuple[Prepared, dict[str, str]]:
    from safetensors.torch import save

    dataset = located.dataset
    if located.source == "sample":
        assert dataset.sample is not None  # `locate` has seen to that
        prepared = dataset.sample()
    else:
        places = located.paths.values()
        if not places or not all(_there(dataset, path) for path in places):
            raise UserError(f"{located.entry} is unusable and {dataset.title}'s raw files are not there; remove it")
        console.note(f"{dataset.title}: preparing the raw files, once")
        prepared = dataset.read(located.paths)
    content = {"data.safetensors": save(prepared.tensors)}
    for kind in TEXTS:
        for name, text in getattr(prepared, kind).items():
            content[f"{kind}-{name}.txt"] = "\n".join(text).encode()
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    made_from = dict(located.files) or {"generated": hashes["data.safetensors"]}
    meta = {
        "dataset": dataset.name, "source": located.source, "files": dict(located.files), "made_from": made_from,
        "preparation": dict(dataset.preparation), "rows": prepared.rows, "notes": prepared.notes, "sha256": hashes,
    }  # fmt: skip
    try:
        with files.staged(located.entry, replace) as part:
            for name, data in content.items():
                files.write_bytes(part / name, data)
            files.write_json(part / "meta.json", {**meta, "check": _check(meta)})
    except UserError as error:
        console.warn(f"{error} (the prepared data is not kept; the run goes on)")
    return prepared, made_from
