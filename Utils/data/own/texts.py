"""Parallel texts of the user's in two languages: train.de and train.en, or a pair such as news.de and news.en."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from Utils.data import parallel, reading
from Utils.data.dataset import Dataset, Prepared, RawFile
from Utils.data.own import parts, places
from Utils.data.parallel import Pair
from Utils.errors import UserError

PIVOT = "en"  # the language to translate into, if the user names none and it is there


def read(
    paths: Mapping[str, Path], texts: Mapping[str, tuple[str, str]], languages: Pair, seed: int | None
) -> Prepared:
    """Read and prepare the files; texts: the (source, target) files of each split, or of "".

    Raises UserError with file and line for what cannot be read.
    """
    import numpy as np

    from Utils.data import text

    def rows(split: str) -> Iterator[Pair]:
        for ours, theirs in parallel.pairs(*(paths[raw] for raw in texts[split])):
            yield reading.composed(ours), reading.composed(theirs)

    counts = [sum(1 for _ in rows(split)) for split in texts]
    ends = np.cumsum([0, *counts])
    given = {split: np.arange(a, b) for split, a, b in zip(texts, ends, ends[1:], strict=False)}
    splits, held = parts.completed(next(iter(paths.values())), given, np.zeros(ends[-1], np.int64), seed)
    notes = [f"{sum(counts):,} pairs, from {languages[0]} into {languages[1]}; {held}"]
    for language in languages:
        if not text.has_rules(language):
            notes.append(f"spaCy has no rules of its own for {language!r}; words are split by general ones")
    return parallel.prepare(chain.from_iterable(map(rows, texts)), splits, languages, notes)


def directed(found: Mapping[str, Mapping[str, Path]], source: str | None, target: str | None) -> Pair:
    """Return the languages to translate from and into; None: chosen here, English as target if it is there.

    Raises UserError unless all splits have both, and if there is a choice of more than two.
    """
    there = sorted(set.intersection(*(set(files) for files in found.values())))
    for flag, language in (("--src", source), ("--tgt", target)):
        if language is not None and language not in there:
            raise UserError(f"{flag} {language}: not all texts are in that language; they are in {', '.join(there)}")
    open_ = [language for language in there if language not in (source, target)]
    if len(open_) < (source is None) + (target is None) or (source == target is not None):
        raise UserError(f"texts in two languages are needed, --src and --tgt; there are {', '.join(there) or 'none'}")
    if len(open_) > (source is None) + (target is None) > 0:
        raise UserError(f"there are texts in {', '.join(there)}; choose two of them with --src and --tgt")
    if target is None:
        target = PIVOT if PIVOT in open_ else open_[-1]
        open_.remove(target)
    return source or open_[0], target


def dataset(name: str, settings: Mapping[str, Any]) -> Dataset:
    """Return the description of the texts at settings["data_path"]; without, of prepared ones."""
    path = settings.get("data_path")
    found = places.languages(Path(path)) if path else {}
    source, target = settings.get("src") or "", settings.get("tgt") or ""
    if found:
        source, target = directed(found, source or None, target or None)
    texts = {split: (files[source].name, files[target].name) for split, files in found.items()}
    seed = settings.get("split_seed")
    return Dataset(
        name=name, title=name, kind="translation", model_class="nlp", model="seq2seq",
        raw=tuple(
            RawFile(raw, called=f"{split}.{language}".lstrip("."))
            for split, pair in texts.items()
            for raw, language in zip(pair, (source, target), strict=True)
        ),
        root=places.root(path), digest=reading.sha256,
        evaluation="Utils.training.translation:Translation", configure=partial(dataset, name),
        preparation=parallel.preparation((source, target)) | {"split_seed": seed, "normalised": "NFC"},
        read=partial(read, texts=texts, languages=(source, target), seed=seed), splits=parallel.splits,
        shape=lambda prepared: (len(prepared.words[source]),),
        classes=lambda prepared: prepared.words[target],
        defaults=parallel.DEFAULTS | {"src": source or None, "tgt": target or None, "split_seed": None},
    )  # fmt: skip
