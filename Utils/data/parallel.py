"""Parallel texts: line k of one file is the translation of line k of the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Utils.data import reading
from Utils.data.dataset import Prepared
from Utils.errors import UserError

if TYPE_CHECKING:
    import numpy as np

SPECIALS = ("<unk>", "<pad>", "<bos>", "<eos>")  # numbered as in Layers.pairs; no text has them as tokens
MIN_FREQ = 1
SIDES = ("source", "target")
# Settings of a translation, as in the paper (Vaswani et al. 2017) where it names them.
DEFAULTS = {
    "lr": 1e-4,
    "adam_betas": [0.9, 0.98],
    "adam_eps": 1e-9,
    "prune_dataset_size": 1280,
    "beam": 1,
    "bleu_every": 0,
    "bleu_weights": [0.25] * 4,
}

Pair = tuple[str, str]  # a line of the source and its translation


def lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, plain or gzipped, without surrounding white space.

    Raises UserError with the file, and the line if there is one, for a damaged or empty file, an empty line, or bytes
    that are not UTF-8.
    """
    number = 0
    rows = reading.decoded(path)
    for number, line in rows:
        if text := line.strip():
            yield text
        elif number == 1 and not any(rest.strip() for _, rest in rows):
            number = 0
        else:
            for _ in rows:  # damage of the file that shows further down is the better reason
                pass
            raise UserError(f"{path}:{number}: an empty line; each line needs a text, as its translation has one")
    if number == 0:
        raise UserError(f"{path}: holds no lines; put a whole one there, or remove it if it was fetched")


def pairs(source: Path, target: Path) -> Iterator[Pair]:
    """Pair line k of one file with line k of the other.

    Raises UserError if the files differ in length or are damaged.
    """
    sides, count = [lines(source), lines(target)], 0
    for ours, theirs in itertools.zip_longest(*sides):
        if ours is None or theirs is None:
            rest = 1 + sum(1 for _ in sides[ours is None])
            longer, shorter = (source, target) if theirs is None else (target, source)
            raise UserError(
                f"{longer}:{count + 1}: has no counterpart: {shorter.name} ends at line {count:,}, "
                f"{longer.name} at line {count + rest:,}; complete the shorter file"
            )
        yield ours, theirs
        count += 1


def prepare(rows: Iterable[Pair], splits: Mapping[str, np.ndarray], languages: Pair, notes: list[str]) -> Prepared:
    """Tokenize all lines, build each language's vocabulary from its training lines, and encode every split.

    splits: the numbers of its pairs by split. languages: the codes of source and target.
    Tensors of a split: `<split>_source_ids` int32 [N] and `<split>_source_offsets` int64 [pairs + 1], target likewise.
    They hold words only, without `<bos>` and `<eos>`. The raw lines of the test split are kept for the scores.
    """
    import torch

    from Utils.data import text
    from Utils.data.encoding import Encoding

    encodings = [Encoding(text.tokenizer(f"spacy:{language}")) for language in languages]
    place = {number: k for k, number in enumerate(splits["test"].tolist())}
    kept: list[list[str]] = [[""] * len(place) for _ in SIDES]
    for number, pair in enumerate(rows):
        for side, line in enumerate(pair):
            encodings[side].add(line)
            if number in place:
                kept[side][place[number]] = line
    tensors: dict[str, Any] = {}
    words = {}
    for name, language, encoding in zip(SIDES, languages, encodings, strict=True):
        words[language], encoded = encoding.finish(splits, SPECIALS, MIN_FREQ)
        for split, (ids, offsets) in encoded.items():
            tensors[f"{split}_{name}_ids"] = torch.from_numpy(ids)
            tensors[f"{split}_{name}_offsets"] = torch.from_numpy(offsets)
    raw = {f"test_{name}": of for name, of in zip(SIDES, kept, strict=True)}
    return Prepared(tensors, {split: len(numbers) for split, numbers in splits.items()}, words, notes, raw)


def splits(prepared: Prepared) -> dict:
    """Return the examples of each split."""
    from Utils.data.examples import Sentences

    return {split: Sentences.of(prepared.tensors, split) for split in prepared.rows}


def preparation(languages: Pair) -> dict[str, Any]:
    """Return the settings that prepared data depends on."""
    return {
        "tokenizers": [f"spacy:{language}" for language in languages],
        "lines": "stripped",
        "specials": list(SPECIALS),
        "min_freq": MIN_FREQ,
    }
