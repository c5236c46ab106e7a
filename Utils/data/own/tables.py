"""Texts with labels in a table of the user's: a .csv, .tsv or .jsonl file, or a folder with one per split."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from Utils.data import columns, reading
from Utils.data.columns import Columns
from Utils.data.dataset import PER_CLASS, Dataset, Prepared, RawFile
from Utils.data.own import parts, places
from Utils.errors import UserError
from Utils.wording import counted, listed

TOKENIZER = "basic_english"
MANY = 20  # rows from which a column that differs nearly everywhere is no label
OWN = ("label_column", "text_columns", "split_seed")

DECODER = json.JSONDecoder(parse_constant=lambda name: name.replace("NaN", ""))  # NaN is pandas' null

Fields = tuple[int, Sequence[str] | str]  # line, fields; or what is wrong with them


class Words(str):
    """The words of a list, which make a text and no label."""


class Wrong(str):
    """A fault, in the place of the value that has it."""


def _unquoted(field: str) -> str:
    """Return a field of a .tsv file. Quotes are text there, unless the whole field is quoted as in a .csv file."""
    inner = field[1:-1].replace('""', "")
    quoted = len(field) > 1 and field[0] == field[-1] == '"' and '"' not in inner
    return field[1:-1].replace('""', '"') if quoted else field


def tsv_rows(path: Path) -> Iterator[Fields]:
    """Yield (line, fields) of each row of a .tsv file: one line, with a tab between two fields."""
    for line, text in reading.decoded(path):
        if bare := text.rstrip("\r\n"):
            yield line, [_unquoted(field) for field in bare.split("\t")]


def jsonl_rows(path: Path) -> Iterator[Fields]:
    """Yield the names in the first object of a .jsonl file, and then (line, values) of each object, in that order.

    In place of the values is what is wrong with anything but an object; further names are ignored.
    """
    header: list[str] = []
    for line, text in reading.decoded(path):
        if not text.strip():
            continue
        try:
            found = DECODER.decode(text.strip())
            if "\\u" in text:  # half of a character, as cutting leaves it, becomes U+FFFD
                whole = json.dumps(found, ensure_ascii=False).encode("utf-16", "surrogatepass")
                found = json.loads(whole.decode("utf-16", "replace"))
            wrong = "" if isinstance(found, dict) else 'not a JSON object, such as {"text": "...", "label": "..."}'
        except (ValueError, RecursionError) as error:
            wrong = f"not JSON ({getattr(error, 'msg', None) or type(error).__name__}); mend or remove it"
        if wrong:
            yield line, wrong
            continue
        if not header:
            header = list(found)
            yield line, header
        lost = "no {!r}, which the first line has; mend or remove it" if found else ""
        yield line, [_as_text(found[name], name) if name in found else Wrong(lost.format(name)) for name in header]


def _as_text(value: Any, name: str) -> str:
    """Return a JSON value as text: null is none, and a number or truth value is written as JSON writes it."""
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return Words(" ".join(value))
    if isinstance(value, (list, dict)):
        kind = "an object" if isinstance(value, dict) else "a list of other things than texts"
        return Wrong(f"column {name!r} holds {kind}, which is neither a text nor a label")
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


READERS = {"csv": reading.csv_rows, "tsv": tsv_rows, "jsonl": jsonl_rows}


class Table:
    """The rows of one file: its columns, and (line, label, text, split) of each row; a split of "" if it has none.

    Empty rows are left out and counted. Raises UserError after the last row if some are bad: how many, and the first.
    """

    def __init__(self, path: Path, label: str | None, texts: Sequence[str] | None, like: str = "") -> None:
        self.path = path
        form = places.table_form(path)
        self.rows = READERS[form](path)
        line, header = next((row for row in self.rows if any(map(str.strip, row[1]))), (0, ()))
        if isinstance(header, str):
            raise UserError(f"{path}:{line}: {header}")
        if not header:
            raise UserError(f"{path}: holds no rows")
        self.empty = 0
        self.header = [reading.composed(name).strip() for name in header]
        self.columns = columns.find(str(path), self.header, label, texts, like, form == "jsonl")

    def __iter__(self) -> Iterator[tuple[int, str, str, str]]:
        chosen: Columns = self.columns
        label, texts = self.header.index(chosen.label), [self.header.index(name) for name in chosen.texts]
        split = self.header.index(chosen.split) if chosen.split is not None else None
        used = [place for place in (label, *texts, split) if place is not None]
        bad, first = 0, ""
        for line, row in self.rows:
            if not any(field.strip() for field in row):
                self.empty += 1
                continue
            if isinstance(row, str):
                wrong = row
            elif len(row) != len(self.header):
                wrong = f"{counted(len(row), 'column')}, but the first row names {len(self.header)}; "
                wrong += "does a text with a separator lack its quotes?"
            elif unfit := next((row[place] for place in used if isinstance(row[place], Wrong)), ""):
                wrong = unfit
            elif isinstance(row[label], Words):
                wrong = f"column {chosen.label!r} holds a list, which is no label"
            elif not (name := reading.composed(" ".join(row[label].split()))):
                wrong = f"no label in column {chosen.label!r}; mend or remove the row"
            elif (part := "" if split is None else places.split_of(row[split])) is None:
                wrong = f"{row[split or 0][:20]!r} in column {chosen.split!r} is no split"
            else:
                yield line, name, reading.composed(" ".join(row[place] for place in texts)), part
                continue
            bad, first = bad + 1, first or f"{self.path}:{line}: {wrong}"
        if bad:
            raise UserError(first + (f" ({bad:,} rows are bad, this is the first)" if bad > 1 else ""))


def read(paths: Mapping[str, Path], tables: Mapping[str, str], settings: Mapping[str, Any]) -> Prepared:
    """Read and prepare the files; tables: the raw file of each split, or of "".

    Raises UserError with file and line for what cannot be read, and for a label that no training row has.
    """
    import numpy as np
    import torch

    from Utils.data import text
    from Utils.data.encoding import Encoding

    encoding = Encoding(text.tokenizer(TOKENIZER))
    numbers: dict[str, int] = {}  # of the labels, in the order in which they are met
    met: dict[str, tuple[Path, int]] = {}  # where each is met first
    labels, rows, empty, textless, cut = array("i"), dict[str, array](), 0, 0, 0
    trained = Table(paths[tables.get("train") or tables[""]], settings["label_column"], settings["text_columns"])
    chosen = trained.columns
    for name, raw in tables.items():
        table = Table(paths[raw], chosen.label, chosen.texts, trained.path.name)
        before = len(labels)
        for line, label, content, part in table:
            number = numbers.setdefault(label, len(numbers))
            met.setdefault(label, (table.path, line))
            rows.setdefault(name or part, array("q")).append(len(labels))
            labels.append(number)
            textless += not content.strip()
            cut += "\ufffd" in label + content
            encoding.add(content)
        empty += table.empty
        if len(labels) == before:
            raise UserError(f"{table.path}: has a first row with names, and no row after it")
    classes = parts.in_order(numbers)
    _check_classes(trained, classes, len(labels))
    targets = np.argsort([numbers[label] for label in classes])[np.asarray(labels)]
    found = {name: np.asarray(of) for name, of in rows.items()}
    if not found.keys() & {"", "train"}:
        raise UserError(f"{trained.path}: no row of column {chosen.split!r} is for training")
    splits, held = parts.completed(trained.path, found, targets, settings["split_seed"])
    for number in sorted(set(range(len(classes))).difference(targets[splits["train"]].tolist())):
        path, line = met[classes[number]]
        raise UserError(f"{path}:{line}: label {classes[number][:40]!r} is in no training row")
    words, encoded = encoding.finish(splits, [text.UNKNOWN])
    of = " + ".join(map(repr, chosen.texts))
    if not len(encoded["train"][0]):
        raise UserError(f"{trained.path}: no training row has a word in {of}; name other columns with --text-columns")
    tensors: dict[str, Any] = {}
    for name, (ids, offsets) in encoded.items():
        tensors |= {f"{name}_ids": torch.from_numpy(ids), f"{name}_offsets": torch.from_numpy(offsets)}
        tensors[f"{name}_targets"] = torch.from_numpy(targets[splits[name]])
    note = f"{len(labels):,} rows, {len(classes)} classes ({listed(classes)}) from column {chosen.label!r}, "
    note += f"text from {of}{f', splits from {chosen.split!r}' if chosen.split else ''}; {held}"
    more = {f"{counted(textless, 'row')} without text": textless, f"{counted(empty, 'empty row')} left out": empty}
    more[f"{counted(cut, 'row')} with U+FFFD, which stands for a lost character"] = cut
    notes = [note, *(words for words, number in more.items() if number)]
    count = {name: len(of) for name, of in splits.items()}
    return Prepared(tensors, count, {"text": words}, notes, {"classes": classes})


def _check_classes(table: Table, classes: Sequence[str], count: int) -> None:
    """Raise UserError unless these can be the classes of `count` rows."""
    column = table.columns.label
    if len(classes) == 1:
        raise UserError(f"{table.path}: all labels in column {column!r} are {classes[0]!r}; two classes are needed")
    if count >= MANY and 2 * len(classes) > count:
        raise UserError(
            f"{table.path}: column {column!r} has {len(classes):,} different labels in {count:,} rows; name the column "
            f"of the labels with --label-column"
        )


def splits(prepared: Prepared) -> dict:
    """Return the examples of each split."""
    from Utils.data.examples import Texts

    return {split: Texts.of(prepared.tensors, split) for split in prepared.rows}


def dataset(name: str, settings: Mapping[str, Any]) -> Dataset:
    """Return the description of the table at settings["data_path"]; without a path, of one that has been prepared."""
    path = settings.get("data_path")
    root = places.root(path)
    found = places.tables(Path(path)) if path else {}
    tables = {split: place.relative_to(root or "").as_posix() for split, place in found.items()}
    chosen = {key: settings.get(key) for key in OWN}
    return Dataset(
        name=name, title=name, kind="text", model_class="nlp", model="text-classification",
        raw=tuple(RawFile(raw, called=split or "table") for split, raw in tables.items()),
        root=root, digest=reading.sha256, configure=partial(dataset, name),
        preparation={"tokenizer": TOKENIZER, "specials": ["<unk>"], "min_freq": 1, "normalised": "NFC", **chosen},
        read=partial(read, tables=tables, settings=chosen), splits=splits,
        shape=lambda prepared: (len(prepared.words["text"]),),
        classes=lambda prepared: prepared.lines["classes"],
        defaults=PER_CLASS | {"threads": 1} | dict.fromkeys(OWN),
    )  # fmt: skip
