"""Multi30k, task 1 (Elliott et al.

2016): captions of pictures in four languages, split into tokens by spaCy's rules.
"""

import codecs
import gzip
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from Utils.data.dataset import Dataset, Prepared, RawFile, published
from Utils.errors import UserError
from Utils.store import files

TITLE = "Multi30k"
LANGUAGES = ("de", "en", "fr", "cs")
HOME, MD5 = (published("multi30k")[key] for key in ("home", "md5"))  # checksums by part and language
TEST_SETS = tuple(part.removeprefix("test_") for part in MD5 if part.startswith("test_"))
SPECIALS = ("<unk>", "<pad>", "<bos>", "<eos>")  # numbered as in Layers.pairs; no text has them as tokens
MIN_FREQ = 1
DEFAULTS = {
    "lr": 1e-4,
    "adam_betas": [0.9, 0.98],
    "adam_eps": 1e-9,
    "prune_dataset_size": 1280,
    "src": "de",
    "tgt": "en",
    "test_set": "2016_flickr",
    "beam": 1,
    "bleu_every": 0,
    "bleu_weights": [0.25] * 4,
}

Pair = tuple[str, str]  # a line of the source and its translation


def lines(path: Path) -> list[str]:
    """Return the lines of a gzipped text file, without surrounding white space.

    Raises UserError with the file, and the line if there is one, for a damaged or empty file, an empty line, or bytes
    that are not UTF-8.
    """
    try:
        content = gzip.decompress(path.read_bytes()).removeprefix(codecs.BOM_UTF8)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not a whole gzip file ({error}); remove it to have it fetched again") from error
    if not content.strip():
        raise UserError(f"{path}: holds no lines; remove it to have it fetched again")
    result = []
    # Split at line feeds only. str.splitlines splits at other characters too, which would misalign the languages.
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), start=1):
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}:{number}: byte 0x{line[error.start]:02x} is not UTF-8; save the file as UTF-8"
            ) from error
        if not text:
            raise UserError(f"{path}:{number}: an empty line; each line needs a text, as its translation has one")
        result.append(text)
    return result


def pairs(source: Path, target: Path) -> list[Pair]:
    """Pair line k of one file with line k of the other.

    Raises UserError if the files differ in length or are damaged.
    """
    sides = lines(source), lines(target)
    counts = [len(side) for side in sides]
    if counts[0] != counts[1]:
        longer, shorter = (source, target) if counts[0] > counts[1] else (target, source)
        raise UserError(
            f"{longer}:{min(counts) + 1}: has no counterpart: {shorter.name} ends at line {min(counts):,}, "
            f"{longer.name} at line {max(counts):,}; fetch both again"
        )
    return list(zip(*sides, strict=True))


def prepare(splits: Mapping[str, Sequence[Pair]], source: str, target: str, notes: list[str]) -> Prepared:
    """Tokenize all lines, build each language's vocabulary from its training lines, and encode every split.

    Tensors of a split: `<split>_source_ids` int32 [N] and `<split>_source_offsets` int64 [pairs + 1], target likewise.
    They hold words only, without `<bos>` and `<eos>`. The raw lines of the test split are kept for the scores.
    """
    import torch

    from Utils.data import text

    tensors, words, kept = {}, {}, {}
    for side, language in enumerate((source, target)):
        name = ("source", "target")[side]
        tokenize = text.tokenizer(f"spacy:{language}")
        tokens = {split: [tokenize(pair[side]) for pair in rows] for split, rows in splits.items()}
        words[language] = text.vocabulary(tokens["train"], SPECIALS, MIN_FREQ)
        for split, rows in tokens.items():
            ids, offsets = text.encode(rows, words[language])
            tensors[f"{split}_{name}_ids"] = torch.from_numpy(ids)
            tensors[f"{split}_{name}_offsets"] = torch.from_numpy(offsets)
        kept[f"test_{name}"] = [pair[side] for pair in splits["test"]]
    return Prepared(tensors, {split: len(rows) for split, rows in splits.items()}, words, notes, kept)


def raw_files(source: str, target: str, test_set: str) -> dict[str, tuple[RawFile, ...]]:
    """Return the (source, target) files by split."""
    return {
        split: tuple(
            RawFile(f"multi30k/{part}.{language}.gz", f"{HOME}/{part}.{language}.gz", MD5[part][language])
            for language in (source, target)
        )
        for split, part in (("train", "train"), ("val", "val"), ("test", f"test_{test_set}"))
    }


def read(paths: Mapping[str, Path], source: str, target: str, test_set: str) -> Prepared:
    """Read and prepare the raw files. Files that are not the published ones are used, with a remark in `notes`."""
    notes, splits = [], {}
    for split, raw in raw_files(source, target, test_set).items():
        splits[split] = pairs(*(paths[file.path] for file in raw))
        notes += [
            f"{paths[file.path].name} is not the published file; its {len(splits[split]):,} lines are used as they are"
            for file in raw
            if files.md5(paths[file.path]) != file.md5
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


def splits(prepared: Prepared) -> dict:
    """Return the examples of each split."""
    from Utils.data.examples import Sentences

    return {split: Sentences.of(prepared.tensors, split) for split in prepared.rows}


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
        preparation={
            "tokenizers": [f"spacy:{source}", f"spacy:{target}"],
            "lines": "stripped",
            "specials": list(SPECIALS),
            "min_freq": MIN_FREQ,
            "test_set": test_set,
        },
        read=partial(read, source=source, target=target, test_set=test_set),
        sample=partial(sample, source, target),
        sample_version=1,
        splits=splits,
        shape=lambda prepared: (len(prepared.words[source]),),
        classes=lambda prepared: prepared.words[target],
        defaults=DEFAULTS,
        evaluation="Utils.training.translation:Translation",
        configure=configured,
    )


DATASET = configured(DEFAULTS)
