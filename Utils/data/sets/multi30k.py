"""Multi30k, task 1 (Elliott and others 2016): captions in four languages, split into tokens by spaCy's rules."""

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from Utils.data import parallel, reading
from Utils.data.dataset import Dataset, Prepared, RawFile, published
from Utils.data.parallel import Pair
from Utils.errors import UserError

TITLE = "Multi30k"
LANGUAGES = ("de", "en", "fr", "cs")
HOME, MD5, PLAIN = (published("multi30k")[key] for key in ("home", "md5", "plain"))  # sums by part and language
TEST_SETS = tuple(part.removeprefix("test_") for part in MD5 if part.startswith("test_"))
DEFAULTS = parallel.DEFAULTS | {"src": "de", "tgt": "en", "test_set": "2016_flickr"}


def prepare(splits: Mapping[str, Sequence[Pair]], source: str, target: str, notes: list[str]) -> Prepared:
    """Prepare the pairs of each split."""
    from Utils.data.encoding import consecutive

    numbers = consecutive({split: len(rows) for split, rows in splits.items()})
    return parallel.prepare(itertools.chain(*splits.values()), numbers, (source, target), notes)


def raw_files(source: str, target: str, test_set: str) -> dict[str, tuple[RawFile, ...]]:
    """Return the (source, target) files by split."""
    return {
        split: tuple(
            RawFile(
                f"multi30k/{part}.{language}.gz",
                f"{HOME}/{part}.{language}.gz",
                MD5[part][language],
                PLAIN[part][language],
                (f"multi30k/{part}.{language}", f"{part}.{language}", f"{part}.{language}.gz"),
            )
            for language in (source, target)
        )
        for split, part in (("train", "train"), ("val", "val"), ("test", f"test_{test_set}"))
    }


def read(paths: Mapping[str, Path], source: str, target: str, test_set: str) -> Prepared:
    """Read and prepare the raw files. Files that are not the published ones are used, with a remark in `notes`."""
    notes, splits = [], {}
    for split, raw in raw_files(source, target, test_set).items():
        splits[split] = list(parallel.pairs(*(paths[file.path] for file in raw)))
        notes += [
            f"{paths[file.path].name} is not the published file; its {len(splits[split]):,} lines are used as they are"
            for file in raw
            if not reading.published(file, paths[file.path])
        ]
    return prepare(splits, source, target, notes)


def sample(source: str, target: str) -> Prepared:
    """Generate and prepare the sample. Raises UserError for a language that it does not have."""
    from Utils.data.samples import pictures

    for language in (source, target):
        if language not in pictures.LANGUAGES:
            raise UserError(
                f"the generated sample of {TITLE} has no {language!r}, only {' and '.join(pictures.LANGUAGES)}; "
                f"choose among these, or put the real files there"
            )
    a, b = (pictures.LANGUAGES.index(language) for language in (source, target))
    splits = {split: [(pair[a], pair[b]) for pair in found] for split, found in pictures.generate().items()}
    return prepare(splits, source, target, [])


def check(source: str, target: str, test_set: str) -> None:
    """Raise UserError, saying what is available, unless the corpus has this language pair in this test set."""
    if test_set not in TEST_SETS:
        raise UserError(f"--test-set {test_set}: {TITLE} has no such test set; it has {', '.join(TEST_SETS)}")
    for flag, language in (("src", source), ("tgt", target)):
        if language not in LANGUAGES:
            raise UserError(f"--{flag} {language}: {TITLE} is not in that language; it is in {', '.join(LANGUAGES)}")
        if language not in MD5[f"test_{test_set}"]:
            there = ", ".join(MD5[f"test_{test_set}"])
            raise UserError(f"--{flag} {language}: test set {test_set} is not in that language; it is in {there}")
    if source == target:
        raise UserError(f"--src and --tgt are both {source}; choose two different ones of {', '.join(LANGUAGES)}")


def configured(settings: Mapping[str, Any]) -> Dataset:
    """Return the data set for the settings "src", "tgt" (languages) and "test_set".

    Raises UserError if there is none.
    """
    source, target, test_set = settings["src"], settings["tgt"], settings["test_set"]
    check(source, target, test_set)
    return Dataset(
        name="multi30k",
        title=TITLE,
        kind="translation",
        model_class="nlp",
        model="seq2seq",
        raw=tuple(file for raw in raw_files(source, target, test_set).values() for file in raw),
        preparation=parallel.preparation((source, target)) | {"test_set": test_set},
        read=partial(read, source=source, target=target, test_set=test_set),
        sample=partial(sample, source, target),
        sample_version=1,
        splits=parallel.splits,
        shape=lambda prepared: (len(prepared.words[source]),),
        classes=lambda prepared: prepared.words[target],
        defaults=DEFAULTS,
        evaluation="Utils.training.translation:Translation",
        configure=configured,
    )


DATASET = configured(DEFAULTS)
