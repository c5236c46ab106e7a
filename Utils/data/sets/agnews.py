"""AG News (Zhang, Zhao & LeCun 2015): news of four topics, basic_english tokens."""

import codecs
import csv
import io
from collections.abc import Mapping
from pathlib import Path

from Utils.data.dataset import PER_CLASS, Dataset, Prepared, RawFile, published
from Utils.errors import UserError
from Utils.store import files

CLASSES = ("World", "Sports", "Business", "Sci/Tech")
LABELS = {str(k): k for k in range(1, len(CLASSES) + 1)}
TOKENIZER = "basic_english"
HOME, MD5 = (published("agnews")[key] for key in ("home", "md5"))
RAW = tuple(RawFile(path, f"{HOME}/{Path(path).name}", md5) for path, md5 in MD5.items())


def rows(path: Path) -> list[tuple[int, str]]:
    """Return the (label, text) rows of a CSV file. Columns: a label from 1, then text columns, joined by a space.

    Raises UserError with file and line for an empty or truncated file, a row without text, an unknown label, or bytes
    that are not UTF-8.
    """
    content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}:{line}: byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    result: list[tuple[int, str]] = []
    line = 1
    try:
        for row in reader:
            if row:
                if len(row) < 2:
                    raise UserError(f"{path}:{line}: a row needs a label and a text column or more; mend or remove it")
                label = row[0].strip()
                if label not in LABELS:
                    raise UserError(
                        f"{path}:{line}: label {row[0][:20]!r} is not in 1 to {len(CLASSES)}; mend or remove it"
                    )
                result.append((LABELS[label], " ".join(row[1:])))
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}:{line}: not a whole CSV row ({error}); is the file cut off? fetch it again") from error
    if not result:
        raise UserError(f"{path}: holds no rows; remove it to have it fetched again")
    return result


def prepare(splits: Mapping[str, list[tuple[int, str]]], notes: list[str]) -> Prepared:
    """Tokenize all rows, build the vocabulary from the training rows, and encode every split as flat token numbers."""
    import torch

    from Utils.data import text

    tokenize = text.tokenizer(TOKENIZER)
    tokens = {split: [tokenize(line) for _, line in pairs] for split, pairs in splits.items()}
    words = text.vocabulary(tokens["train"], [text.UNKNOWN])
    tensors = {}
    for split, pairs in splits.items():
        ids, offsets = text.encode(tokens[split], words)
        tensors[f"{split}_ids"] = torch.from_numpy(ids)
        tensors[f"{split}_offsets"] = torch.from_numpy(offsets)
        tensors[f"{split}_targets"] = torch.tensor([label - 1 for label, _ in pairs])
    return Prepared(tensors, {split: len(pairs) for split, pairs in splits.items()}, {"text": words}, notes)


def read(paths: Mapping[str, Path]) -> Prepared:
    """Read and prepare the raw files. Files that are not the published ones are used, with a remark in `notes`."""
    notes = []
    splits = {}
    for raw in RAW:
        path = paths[raw.path]
        splits[path.stem] = rows(path)
        if files.md5(path) != raw.md5:
            count = len(splits[path.stem])
            notes.append(f"{path.name} is not the published file; its {count:,} rows are used as they are")
    return prepare(splits, notes)


def sample() -> Prepared:
    """Generate and prepare the sample."""
    from Utils.data.samples import news

    return prepare(news.generate(), [])


def splits(prepared: Prepared) -> dict:
    """Return the examples of each split."""
    from Utils.data.examples import Texts

    return {split: Texts.of(prepared.tensors, split) for split in prepared.rows}


DATASET = Dataset(
    name="agnews",
    title="AG News",
    kind="text",
    model_class="nlp",
    model="text-classification",
    raw=RAW,
    preparation={"tokenizer": TOKENIZER, "specials": ["<unk>"], "min_freq": 1},
    read=read,
    sample=sample,
    sample_version=1,
    splits=splits,
    shape=lambda prepared: (len(prepared.words["text"]),),
    # One thread: a batch needs so little arithmetic that a second thread gains nothing.
    classes=lambda prepared: CLASSES,
    defaults=PER_CLASS | {"threads": 1},
)
