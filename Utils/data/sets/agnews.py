"""AG News (Zhang, Zhao & LeCun 2015): news of four topics, basic_english tokens."""

from collections.abc import Mapping
from pathlib import Path

from Utils.data import columns, reading
from Utils.data.dataset import PER_CLASS, Dataset, Prepared, RawFile, published
from Utils.errors import UserError

CLASSES = ("World", "Sports", "Business", "Sci/Tech")
TOKENIZER = "basic_english"
HOME, MD5 = (published("agnews")[key] for key in ("home", "md5"))
FOLDERS = ("ag_news_csv", "ag_news", "agnews")  # of other copies
RAW = tuple(
    RawFile(path, f"{HOME}/{Path(path).name}", md5, others=tuple(f"{folder}/{Path(path).name}" for folder in FOLDERS))
    for path, md5 in MD5.items()
)

Row = tuple[int, str]  # label from 1, text


def rows(path: Path) -> list[Row]:
    """Return the (label, text) rows of a CSV file. Columns: a label, then text columns, joined by a space.

    If the first row is a header instead, it says which columns these are. Labels are returned from 1, as published.
    Raises UserError with file and line for an empty or truncated file, a row without text, an unknown label, or bytes
    that are not UTF-8.
    """
    return _from_one({path: _rows(path)})[0][path]


def _rows(path: Path) -> list[tuple[int, str, str]]:
    """Return (line, label, text) of each row."""
    result: list[tuple[int, str, str]] = []
    order: list[int] = []  # of the columns that a header names
    width = 0
    for line, row in reading.csv_rows(path):
        if not result and not order and not row[0].strip().isdecimal() and _is_header(row):
            found = columns.find(str(path), row)
            order, width = [row.index(found.label), *(row.index(name) for name in found.texts)], len(row)
            continue
        if order and len(row) != width:
            raise UserError(f"{path}:{line}: {len(row)} columns, but the first row names {width}; mend or remove it")
        label, *texts = [row[place] for place in order] if order else row
        if not texts:
            raise UserError(f"{path}:{line}: a row needs a label and a text column or more; mend or remove it")
        result.append((line, label.strip(), " ".join(texts)))
    if not result:
        raise UserError(f"{path}: holds no rows; remove it to have it fetched again")
    return result


def _is_header(row: list[str]) -> bool:
    try:
        columns.find("", row)
    except UserError:
        return False
    return True


def _from_one(files: Mapping[Path, list[tuple[int, str, str]]]) -> tuple[dict[Path, list[Row]], str]:
    """Return the rows of each file with labels from 1, and a remark if the files' own are not sure to begin there.

    They begin with 0 if a 0 is met before a 4.
    """
    met = next((label for found in files.values() for _, label, _ in found if label in ("0", "4")), "")
    first = 0 if met == "0" else 1
    last = first + len(CLASSES) - 1
    known = {str(k): k - first + 1 for k in range(first, last + 1)}
    for path, found in files.items():
        for line, label, _ in found:
            if label not in known:
                raise UserError(f"{path}:{line}: label {label[:20]!r} is not in {first} to {last}; mend or remove it")
    remark = {"0": ", labels counted from 0", "4": "", "": ", labels counted from 1, as no 0 and no 4 is among them"}
    return {path: [(known[label], text) for _, label, text in found] for path, found in files.items()}, remark[met]


def prepare(splits: Mapping[str, list[tuple[int, str]]], notes: list[str]) -> Prepared:
    """Tokenize all rows, build the vocabulary from the training rows, and encode every split as flat token numbers."""
    import torch

    from Utils.data import text
    from Utils.data.encoding import Encoding, consecutive

    encoding = Encoding(text.tokenizer(TOKENIZER))
    for pairs in splits.values():
        for _, line in pairs:
            encoding.add(line)
    counts = {split: len(pairs) for split, pairs in splits.items()}
    words, encoded = encoding.finish(consecutive(counts), [text.UNKNOWN])
    tensors = {}
    for split, (ids, offsets) in encoded.items():
        tensors[f"{split}_ids"] = torch.from_numpy(ids)
        tensors[f"{split}_offsets"] = torch.from_numpy(offsets)
        tensors[f"{split}_targets"] = torch.tensor([label - 1 for label, _ in splits[split]])
    return Prepared(tensors, counts, {"text": words}, notes)


def read(paths: Mapping[str, Path]) -> Prepared:
    """Read and prepare the raw files. Files that are not the published ones are used, with a remark in `notes`."""
    notes = []
    found, counting = _from_one({paths[raw.path]: _rows(paths[raw.path]) for raw in RAW})
    for raw in RAW:
        path = paths[raw.path]
        if not reading.published(raw, path):
            count = len(found[path])
            notes.append(f"{path.name} is not the published file; its {count:,} rows are used as they are{counting}")
    return prepare({path.stem: of for path, of in found.items()}, notes)


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
