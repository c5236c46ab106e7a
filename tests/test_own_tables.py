"""Texts with labels in a file of the user's: columns, rows, classes, splits and refusals, against csv and json."""

import csv
import gzip
import hashlib
import io
import itertools
import json
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from Utils import load
from Utils.data import columns, corpus, reading, text
from Utils.data.encoding import Encoding
from Utils.data.own import parts, places, tables
from Utils.errors import UserError
from Utils.study import runs, tasks

any_file = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
ASKED = {"label_column": None, "text_columns": None, "split_seed": None}
HEADER = ["label", "text"]
ROWS = [("pos", "good soup"), ("neg", "cold soup"), ("pos", "warm bread"), ("neg", "dry bread")]


def made(path: Path, header: list[str], rows: list, dialect: str = "excel") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, dialect).writerows([header, *rows])
    return path


def read(path: Path, **asked):
    """What is prepared from the table at `path`."""
    name, place = load.own_data(str(path))
    data = load._find(load.FORMS[name.rpartition(".")[2]])(name, {**ASKED, **asked, "data_path": place})
    return data.read({raw.path: data.root / raw.path for raw in data.raw})


def texts(prepared, split: str) -> list[tuple[str, str]]:
    """The (class, words) of each example, read back from the numbers."""
    words, of = prepared.words["text"], prepared.tensors
    bounds = of[f"{split}_offsets"].tolist()
    ids = of[f"{split}_ids"].tolist()
    joined = [" ".join(words[k] for k in ids[a:b]) for a, b in itertools.pairwise(bounds)]
    return [(prepared.lines["classes"][k], line) for k, line in zip(of[f"{split}_targets"], joined, strict=True)]


def refusal(call, *arguments, **more) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Columns.


@pytest.mark.parametrize(
    ("header", "label", "wanted"),
    [
        ("text,label", "label", "text"),
        ("label,text,label_text", "label", "text"),
        ("id,Review,Sentiment", "Sentiment", "Review"),
        ("Class Index,Title,Description", "Class Index", "Title Description"),
        ("title,content,label", "label", "title content"),
        ("sentence,label,idx", "label", "sentence"),
        ("category,headline,authors,short_description", "category", "headline short_description"),
        ("target,ids,date,text", "target", "text"),
        ("v1,text", "v1", "text"),  # of two columns, one tells the other
        ("class,v2", "class", "v2"),
        ("v1,v2,,,", "v1", "v2"),  # columns without a name do not count
        ("Unnamed: 0,v1,v2,Unnamed: 3", "v1", "v2"),
        ("qid,question_text,target", "target", "question_text"),
        ("id,airline_sentiment,text", "airline_sentiment", "text"),
    ],
)
def test_columns_are_found_by_their_names(header, label, wanted):
    found = columns.find("file", header.split(","))
    assert (found.label, " ".join(found.texts)) == (label, wanted)


def test_columns_that_are_named_are_taken():
    header = ["a", "b", "label", "text", "split"]
    found = columns.find("file", header, "a", ["text", "b"])
    assert (found.label, found.texts, found.split) == ("a", ("text", "b"), "split")
    for named in ("Text", "text"):
        assert columns.find("file", ["Text", "text", "label"], None, [named]).texts == (named,)
    assert columns.find("file", ["Class", "class", "text"], "class").label == "class"


@pytest.mark.parametrize(
    ("header", "asked", "words"),
    [
        ("a,b", {}, ["known as label or text", "(a, b)", "--label-column NAME and --text-columns NAME"]),
        ("a,b,label", {}, ["known as text", "--text-columns"]),
        ("3,Shares rise,Shares rose", {}, ["label or text", "first row was taken for the header", "a header above it"]),
        ("3,Shares rise,label", {}, ["known as text;", "--text-columns NAME"]),
        ("label,text", {"label": "labl"}, ["'labl'", "did you mean label?"]),
        ("label,text,other", {"texts": ["nothing"]}, ["'nothing'", "label, text, other"]),
        ("label,text,label", {}, ["two columns", "'label'"]),
        ("label,Text,text", {}, ["'Text' and 'text'", "two spellings"]),
        ("Label,label,text", {"texts": ["text"]}, ["'Label' and 'label'", "two spellings"]),
        ("label,text", {"texts": ["label"]}, ["'label'", "both"]),
    ],
)
def test_columns_that_cannot_be_found_are_refused(header, asked, words):
    line = refusal(columns.find, "file.csv", header.split(","), **asked)
    assert line.startswith("file.csv: ") and all(word in line for word in words), line


def test_keys_of_json_that_cannot_be_found_are_no_header(tmp_path):
    line = refusal(tables.Table, jsonl(tmp_path / "x.jsonl", [{"a": "x", "b": "y"}]), None, None)
    assert line.endswith(
        "x.jsonl: no key is known as label or text; the first object has a, b; name keys with --label-column NAME and "
        "--text-columns NAME ..."
    )


@pytest.mark.parametrize("text", ["", '"'])
def test_training_rows_without_any_word_are_refused(tmp_path, text):
    """Blank, or of characters that the tokenizer drops; the test rows have words."""
    for split, words in (("train", text), ("test", "a b")):
        jsonl(tmp_path / f"{split}.jsonl", [{"text": words, "label": label} for label in "xy"])
    assert refusal(read, tmp_path) == (
        f"{tmp_path / 'train.jsonl'}: no training row has a word in 'text'; name other columns with --text-columns"
    )


# Rows.


@given(
    rows=st.lists(st.tuples(st.sampled_from("ab"), st.text(max_size=12)), min_size=1, max_size=5),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n"]),
)
@any_file
def test_csv_rows_are_what_pythons_csv_writes(tmp_path, rows, quoting, end):
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=quoting, lineterminator=end).writerows(rows)
    (path := tmp_path / "x.csv").write_bytes(buffer.getvalue().encode())
    assert [tuple(row) for _, row in reading.csv_rows(path)] == rows


@given(rows=st.lists(st.dictionaries(st.sampled_from("ab"), st.text(max_size=9), min_size=2), min_size=1, max_size=5))
@any_file
def test_jsonl_rows_are_what_pythons_json_writes(tmp_path, rows):
    lines = "".join(json.dumps(row, ensure_ascii=bool(k % 2)) + "\n" for k, row in enumerate(rows))
    (path := tmp_path / "x.jsonl").write_bytes(lines.encode())
    (_, header), *found = tables.jsonl_rows(path)
    assert [dict(zip(header, row, strict=True)) for _, row in found] == rows


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("a\tb", ["a", "b"]),
        ('"Hello" she said\t"oh', ['"Hello" she said', '"oh']),  # quotes are text
        ('"say ""hi"""\tb', ['say "hi"', "b"]),  # as pandas writes it
        ("\t", ["", ""]),
        ('"\tb', ['"', "b"]),
    ],
)
def test_fields_of_a_tsv_file(tmp_path, line, fields):
    (path := tmp_path / "x.tsv").write_text(f"{line}\r\n\n{line}", encoding="utf-8")
    assert list(tables.tsv_rows(path)) == [(1, fields), (3, fields)]


@given(
    rows=st.lists(st.text(st.sampled_from("ab .<unk>"), max_size=12), min_size=2, max_size=8),
    min_freq=st.integers(1, 2),
)
@any_file
def test_one_pass_gives_the_vocabulary_and_the_numbers_that_counting_gives(rows, min_freq):
    tokenize = text.tokenizer("basic_english")
    encoding = Encoding(tokenize)
    for row in rows:
        encoding.add(row)
    numbers = {"train": np.arange(0, len(rows), 2), "test": np.arange(1, len(rows), 2)}
    words, found = encoding.finish(numbers, [text.UNKNOWN], min_freq)
    parted = {split: [tokenize(rows[k]) for k in of] for split, of in numbers.items()}
    counts = Counter(token for row in parted["train"] for token in row if token != text.UNKNOWN)
    often = [word for word in counts if counts[word] >= min_freq]
    assert words == [text.UNKNOWN, *sorted(often, key=lambda word: (-counts[word], word))]
    for split, tokens in parted.items():
        for mine, theirs in zip(found[split], text.encode(tokens, words), strict=True):
            assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_a_table_is_read_by_hand(tmp_path, form):
    path = tmp_path / f"reviews.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps({"label": a, "text": b}) + "\n" for a, b in ROWS), encoding="utf-8")
    else:
        made(path, ["label", "text"], ROWS, "excel" if form == "csv" else "excel-tab")
    prepared = read(path)
    assert prepared.lines["classes"] == ["neg", "pos"] and prepared.rows == {"train": 2, "test": 2}
    known = {word for split in ("train",) for _, line in texts(prepared, split) for word in line.split()}
    wanted = {(a, " ".join(w if w in known else "<unk>" for w in b.split())) for a, b in ROWS}
    assert {*texts(prepared, "train"), *texts(prepared, "test")} == wanted
    assert prepared.notes == [
        "4 rows, 2 classes (neg, pos) from column 'label', text from 'text'; 10 % held out as test by --split-seed 1"
    ]


def test_title_and_text_are_joined_and_blanks_of_labels_do_not_count(tmp_path):
    path = made(tmp_path / "x.csv", ["label", "title", "text"], [(" a ", "T", "one"), ("b", "U", "two")] * 4)
    prepared = read(path)
    assert prepared.lines["classes"] == ["a", "b"]
    assert {line for _, line in texts(prepared, "train")} == {"t one", "u two"}


def test_labels_that_are_numbers_are_in_their_order():
    assert parts.in_order(["10", "9", "-1", "9"]) == ["-1", "9", "10"]
    assert parts.in_order(["10", "9", "a"]) == ["10", "9", "a"]


def test_values_of_jsonl_that_are_no_text_become_it(tmp_path):
    rows = [{"label": k % 2 == 1, "text": "a b", "n": None} for k in range(4)]
    (path := tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert read(path).lines["classes"] == ["false", "true"]


def jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_list_of_texts_is_its_words_and_nan_is_as_null(tmp_path):
    rows = [{"label": a, "text": b} for a, b in [*ROWS, ("pos", None)]]
    plain = read(jsonl(tmp_path / "a.jsonl", rows))
    split = [{**row, "text": row["text"].split() if row["text"] else float("nan")} for row in rows]
    other = read(jsonl(tmp_path / "b.jsonl", split))
    assert other.words == plain.words and other.notes == plain.notes
    assert all(other.tensors[name].equal(value) for name, value in plain.tensors.items())


@given(
    further=st.lists(st.dictionaries(st.sampled_from(["n", "id"]), st.none() | st.just([1])), min_size=4, max_size=4)
)
@any_file
def test_fields_that_are_not_read_may_be_missing_in_any_line(tmp_path, further):
    rows = [{"label": a, "text": b} for a, b in ROWS]
    plain = read(jsonl(tmp_path / "a.jsonl", rows))
    other = read(jsonl(tmp_path / "b.jsonl", [{**row, **more} for row, more in zip(rows, further, strict=True)]))
    assert other.words == plain.words and other.notes == plain.notes
    assert all(other.tensors[name].equal(value) for name, value in plain.tensors.items())


@given(units=st.lists(st.sampled_from([0x61, 0x20AC, 0xD83D, 0xDE00, 0xDC00]), min_size=1, max_size=4))
@any_file
def test_half_characters_of_jsonl_become_the_sign_for_lost_ones(tmp_path, units):
    """As UTF-16 is decoded, unit by unit; in texts and labels alike, and they are counted."""
    escaped, kept = "".join(f"\\u{unit:04x}" for unit in units), ""
    for k, unit in enumerate(units):
        if unit < 0xD800:
            kept += chr(unit)
        elif unit == 0xD83D:
            follows = units[k + 1] if k + 1 < len(units) else 0
            kept += chr(0x10000 + ((unit - 0xD800) << 10) + follows - 0xDC00) if follows >= 0xDC00 else "\ufffd"
        elif not k or units[k - 1] != 0xD83D:
            kept += "\ufffd"
    rows = [f'{{"label": "{escaped}", "text": "one {escaped}"}}', '{"label": "z", "text": "two"}'] * 2
    (path := tmp_path / "x.jsonl").write_text("\n".join(rows), encoding="utf-8")
    prepared = read(path)
    assert set(prepared.lines["classes"]) == {kept, "z"} and f"one {kept}".split()[-1] in prepared.words["text"]
    lost = ["2 rows with U+FFFD, which stands for a lost character"]
    assert prepared.notes[1:] == (lost if "\ufffd" in kept else [])


@pytest.mark.parametrize("form", places.TABLES)
def test_letters_are_composed_in_texts_labels_and_names_of_columns(tmp_path, form):
    """A table whose letters are decomposed in every other row, and in its names, is the one with composed letters."""
    rows, found = [("großköpfig", "müde Möwe"), ("café", "Ärger 각 e")] * 3, []
    for k in range(2):
        shape = [
            unicodedata.normalize("NFD" if k and n % 2 else "NFC", "\t".join(row)) for n, row in enumerate(rows * 2)
        ]
        header = [unicodedata.normalize("NFD" if k else "NFC", name) for name in ("Gefühl", "text")]
        table = [row.split("\t") for row in shape]
        path = tmp_path / f"{k}.{form}"
        if form == "jsonl":
            path.write_text("\n".join(json.dumps(dict(zip(header, row, strict=True))) for row in table))
        else:
            made(path, header, table, "excel" if form == "csv" else "excel-tab")
        found.append(read(path))
        assert read(path, label_column=unicodedata.normalize("NFD", "Gefühl")).words == found[k].words
    one, other = found
    assert one.lines == other.lines == {"classes": ["café", "großköpfig"]} and one.words == other.words
    assert one.notes == other.notes and all(one.tensors[name].equal(value) for name, value in other.tensors.items())


def test_a_field_longer_than_the_csv_module_takes_is_read(tmp_path):
    path = made(tmp_path / "x.csv", ["label", "text"], [("a", "word " * 40_000), ("b", "x")] * 2)
    prepared = read(path)
    assert prepared.tensors["train_ids"].numel() == 40_001


@pytest.mark.parametrize("form", places.TABLES)
def test_empty_rows_are_left_out_and_counted(tmp_path, form):
    """The same as without them, but for a note; a row with a text and no label is not empty."""
    empty = {
        "csv": [",", " , ", "", "   "],
        "tsv": ["\t", " \t ", ""],
        "jsonl": ["{}", '{"label": null, "text": " "}', ""],
    }
    make = {"csv": ",".join, "tsv": "\t".join, "jsonl": lambda row: json.dumps(dict(zip(HEADER, row, strict=True)))}[
        form
    ]
    lines = [*([] if form == "jsonl" else [make(HEADER)]), *map(make, ROWS)]
    (whole := tmp_path / f"x.{form}").write_text("\n".join(lines), encoding="utf-8")
    (holes := tmp_path / f"y.{form}").write_text(
        "\n".join(line for pair in zip(lines, empty[form] * 3, strict=False) for line in pair), encoding="utf-8"
    )
    one, other = read(whole), read(holes)
    assert one.words == other.words and all((one.tensors[name] == other.tensors[name]).all() for name in one.tensors)
    count = sum(line != "" for line in (empty[form] * 3)[: len(lines)])
    assert other.notes == [*one.notes, f"{count} empty rows left out"]


@pytest.mark.parametrize("form", places.TABLES)
def test_bad_rows_are_counted_and_the_first_is_named(tmp_path, form):
    bad = {"csv": ["x", ",y", "a,b,c"], "tsv": ["x", "\ty"], "jsonl": ["[1]", "{", '{"text": "x"}', '{"label": ""}']}
    make = {"csv": ",".join, "tsv": "\t".join, "jsonl": lambda row: json.dumps(dict(zip(HEADER, row, strict=True)))}[
        form
    ]
    lines = [*([] if form == "jsonl" else [make(HEADER)]), *map(make, ROWS)]
    for k in range(1, len(bad[form]) + 1):
        (path := tmp_path / f"x.{form}").write_text("\n".join([*lines, *bad[form][:k], lines[-1]]), encoding="utf-8")
        line = refusal(read, path)
        assert line.startswith(f"{path}:{len(lines) + 1}: ")
        assert line.endswith(f" ({k} rows are bad, this is the first)") == (k > 1)


def test_an_empty_row_is_no_header(tmp_path):
    path = made(tmp_path / "x.csv", ["", ""], [HEADER, *ROWS])
    assert texts(read(path), "train") == texts(read(made(tmp_path / "y.csv", HEADER, ROWS)), "train")


def test_classes_with_commas_are_told_apart(tmp_path):
    prepared = read(made(tmp_path / "x.csv", HEADER, [(f"{label}, too", line) for label, line in ROWS]))
    assert "2 classes ('neg, too', 'pos, too') from" in prepared.notes[0]


# Splits.


def test_a_tenth_of_each_class_is_held_out_whatever_the_order(tmp_path):
    targets = np.array([0] * 50 + [1] * 30 + [2] * 4 + [3])
    splits = parts.divide(targets, 1)
    assert np.bincount(targets[splits["test"]], minlength=4).tolist() == [5, 3, 1, 0]
    assert sorted([*splits["train"], *splits["test"]]) == list(range(85))
    again, other = parts.divide(targets, 1), parts.divide(targets, 2)
    assert all(np.array_equal(splits[name], again[name]) for name in splits)
    assert not np.array_equal(splits["test"], other["test"])


def test_classes_of_which_a_split_has_no_example_are_told():
    targets = np.array([0] * 20 + [1] + [2] * 20)
    assert parts.completed("x", {"": np.arange(41)}, targets, None)[1].endswith("; of 1 class there is no test example")
    given = {"train": np.arange(10, 21), "test": np.arange(20)}
    words = "splits as given; of 1 class there is no train example; of 2 classes there is no test example"
    assert parts.completed("x", given, targets, None)[1] == words


def test_files_of_a_folder_are_its_splits(tmp_path):
    for name, rows in (("train", ROWS), ("valid", ROWS[:1]), ("test", ROWS[1:3])):
        made(tmp_path / f"{name}.csv", ["label", "text"], rows)
    prepared = read(tmp_path)
    assert prepared.rows == {"train": 4, "val": 1, "test": 2}
    assert [texts(prepared, split) for split in ("train", "test")] == [ROWS, ROWS[1:3]]
    assert prepared.notes[0].endswith("splits as given")
    assert "--split-seed" in refusal(read, tmp_path, split_seed=2)


@given(
    trained=st.sampled_from([["title", "text", "label"], ["label", "text"], ["title", "label"]]),
    tested=st.permutations(["title", "Text", "text", "LABEL", "label", "id"]).map(lambda names: names[:3]),
)
@any_file
def test_all_splits_are_read_by_the_names_of_the_training_files_columns(tmp_path, trained, tested):
    """Another writing of a name will do where the name itself is missing; what is missing altogether is refused."""
    cells = {"title": "soup", "text": "bread", "Text": "toast", "label": "pos", "LABEL": "neg", "id": "tea"}
    every = [["soup bread toast tea" if name != "label" else label for name in trained] for label in ("pos", "neg")]
    made(tmp_path / "train.csv", trained, every)
    test = made(tmp_path / "test.csv", tested, [[cells[name] for name in tested]])
    wanted = [name for name in ("label", "title", "text") if name in trained]
    taken = [name if name in tested else next((n for n in tested if n.lower() == name), None) for name in wanted]
    if None in taken:
        words = (
            f"no column is called {wanted[taken.index(None)]!r}, which train.csv has; there are: {', '.join(tested)}"
        )
        assert refusal(read, tmp_path) == f"{test}: {words}"
        return
    label, *texts_ = [cells[name] for name in taken]
    assert texts(read(tmp_path), "test") == [(label, " ".join(texts_))]


def test_folders_with_a_table_each_and_files_in_one_part_are_splits(tmp_path):
    """As `datasets` lays them out; the data is that of train.csv and test.csv."""
    names = {"plain": "{}.csv", "folders": "{}/data.csv", "parts": "{}-00000-of-00001.csv"}
    keys, found = set(), []
    for folder, name in names.items():
        for split, rows in (("train", ROWS), ("test", ROWS[1:3])):
            (path := tmp_path / folder / name.format(split)).parent.mkdir(parents=True, exist_ok=True)
            made(path, HEADER, rows)
        where = load.own_data(str(tmp_path / folder))[1]
        data = load._find(load.FORMS["csv"])("x.csv", {**ASKED, "data_path": where})
        keys.add(corpus.locate(data, tmp_path).key)
        found.append(read(tmp_path / folder))
    assert len(keys) == 1 and [texts(prepared, "test") for prepared in found] == [ROWS[1:3]] * 3
    (tmp_path / "folders/test/more.csv").write_text("x")
    assert "has folders test, train; each needs" in refusal(load.own_data, str(tmp_path / "folders"))


def test_without_a_test_file_the_validation_file_is_it(tmp_path):
    for name, rows in (("training", ROWS), ("dev", ROWS[:1])):
        made(tmp_path / f"{name}.csv", ["label", "text"], rows)
    prepared = read(tmp_path)
    assert texts(prepared, "test") == ROWS[:1] and "validation split is the test split" in prepared.notes[0]


def test_a_column_may_say_the_split(tmp_path):
    rows = [(*row, split) for row, split in zip(ROWS, ("train", "Train", "test", "val"), strict=True)]
    prepared = read(made(tmp_path / "x.csv", ["label", "text", "split"], rows))
    assert texts(prepared, "train") == ROWS[:2] and prepared.rows == {"train": 2, "test": 1, "val": 1}
    bad = made(tmp_path / "y.csv", ["label", "text", "split"], [*rows, ("pos", "x", "other")])
    assert refusal(read, bad).startswith(f"{bad}:6: 'other' in column 'split'")
    lost = made(tmp_path / "z.csv", ["label", "text", "split"], [(*row, "test") for row in ROWS])
    assert "is for training" in refusal(read, lost)


# Refusals.


@pytest.mark.parametrize(
    ("content", "place", "words"),
    [
        ("label,text\na,b\nc\n", ":3", "1 column, but the first row names 2"),
        ("label,text\na,b, c\n", ":2", "3 columns"),
        ("label,text\na,b\n,c\n", ":3", "no label in column 'label'"),
        ('label,text\na,"b\n', ":2", "not a whole CSV row"),
        ('label,text\na,"say \\"hi\\" now"\n', ":2", 'doubled ("")'),
        (b"label,text\na,caf\xe9\n", ":2", "byte 0xe9 is not UTF-8"),
        ("label,text\n", "", "no row after it"),
        ("", "", "holds no rows"),
        ("label,text\na,b\na,c\n", "", "two classes are needed"),
        ("label,text\n" + "".join(f"{k},b\n" for k in range(20)), "", "20 different labels in 20 rows"),
        ("label,text\na,b\nb,c\n", "", "too few"),
    ],
)
def test_a_bad_table_is_refused_with_file_and_line(tmp_path, content, place, words):
    path = tmp_path / "x.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refusal(read, path)
    assert words in line and (words == "too few" or line.startswith(f"{path}{place}: ")), line


@pytest.mark.parametrize(
    ("content", "place", "words"),
    [
        ('{"label": 1, "text": "a"}\n{"label": 1, "text": "a"\n', ":2", "not JSON"),
        ('{"label": 1, "text": "a"}\n\n[1]\n', ":3", "not a JSON object"),
        ('{"label": 1, "text": "a"}\n{"text": "a"}\n', ":2", "no 'label'"),
        ('{"label": 1, "text": "a"}\n{"label": null, "text": "a"}\n', ":2", "no label"),
        ('{"label": 1, "text": "a"}\n{"label": NaN, "text": "a"}\n', ":2", "no label in column 'label'"),
        ('{"label": 1, "text": "a"}\n{"label": 1}\n', ":2", "no 'text', which the first line has"),
        ('{"label": 1, "data": {"text": "a"}}\n', ":1", "column 'data' holds an object"),
        ('{"label": 1, "text": ["a", ["b"]]}\n', ":1", "column 'text' holds a list of other things"),
        ('{"label": [1], "text": "a"}\n', ":1", "column 'label' holds a list of other things"),
        ('{"label": ["b"], "text": "a"}\n', ":1", "column 'label' holds a list, which is no label"),
        ("[" * 100_000, ":1", "not JSON"),
    ],
)
def test_a_bad_jsonl_file_is_refused_with_file_and_line(tmp_path, content, place, words):
    (path := tmp_path / "x.jsonl").write_text(content, encoding="utf-8")
    line = refusal(read, path)
    assert line.startswith(f"{path}{place}: ") and words in line, line


def test_a_label_that_no_training_row_has_is_named_with_its_line(tmp_path):
    made(tmp_path / "train.csv", ["label", "text"], ROWS)
    test = made(tmp_path / "test.csv", ["label", "text"], [*ROWS, ("mixed", "x")])
    assert refusal(read, tmp_path) == f"{test}:6: label 'mixed' is in no training row"


@given(content=st.binary(max_size=50) | st.text('label,tx"\n\r\\ab', max_size=40).map(str.encode))
@any_file
def test_no_content_whatever_raises_anything_but_a_user_error(tmp_path, content):
    for form in places.TABLES:
        (path := tmp_path / f"x.{form}").write_bytes(content)
        try:
            assert read(path).rows["train"] > 0
        except UserError as error:
            assert "\n" not in str(error)


# As a data set of the command line.


@pytest.fixture
def reviews(tmp_path) -> Path:
    rows = [(k, f"the {('good', 'bad')[k % 2]} soup {k % 7}", ("pos", "neg")[k % 2]) for k in range(60)]
    return made(tmp_path / "reviews.csv", ["id", "review", "sentiment"], rows)


REAL = "--source real --post-epochs 1 --pruner rand --compression 0.5"


def test_the_simplest_command_works_and_the_path_is_no_part_of_the_run(cli, reviews, tmp_path):
    first = cli(f"--dataset {reviews} {REAL}", data=tmp_path / "data")
    assert first.path.name.startswith("reviews.csv-text-classification-rand-c0.5-s1-")
    assert "note: reviews.csv: 60 rows, 2 classes (neg, pos) from column 'sentiment', text from 'review'" in first.err
    assert str(tmp_path) not in json.dumps(first.config) and first.result["data"]["commonest"] == 50.0
    assert first.result["data"]["rows"] == {"train": 54, "test": 6}
    (tmp_path / "moved").mkdir()
    moved = reviews.rename(tmp_path / "moved/reviews.csv")
    assert "stored result" in cli(f"--dataset {moved} {REAL}", data=tmp_path / "data").err
    moved.write_text(moved.read_text() + "60,a new soup,pos\n")
    assert cli(f"--dataset {moved} {REAL}", data=tmp_path / "data").path != first.path


def test_a_renamed_file_is_the_same_data(cli, reviews, tmp_path):
    data = tmp_path / "data"
    first = cli(f"--dataset {reviews} {REAL}", data=data)
    renamed = reviews.rename(tmp_path / "opinions.csv")
    again = cli(f"--dataset {renamed} {REAL}", data=data)
    assert "stored result" in again.err and list(first.path.parent.iterdir()) == [first.path]
    second = cli(f"--dataset {renamed} {REAL} --seed 2", data=data)
    assert second.path.name.startswith("opinions.csv-") and "preparing the raw files" not in second.err
    assert {run.settings["dataset"] for run in runs.read([str(tmp_path / "results")])} == {"opinions.csv"}
    forced = cli(f"--dataset {renamed} {REAL} --force", data=data)
    assert forced.path == first.path and forced.config["dataset"] == "opinions.csv"
    import main

    export = ["--experiment", "export", "--run", str(first.path), "--format", "dense", "--dataset", str(renamed)]
    assert main.main([*export, "--data-dir", str(tmp_path / "other")]) == 0
    renamed.write_text(renamed.read_text() + "60,a new soup,pos\n")
    assert main.main([*export, "--data-dir", str(tmp_path / "other")]) == 2


def test_data_that_differ_are_two_tasks_of_a_report_whatever_they_are_called(cli, reviews, tmp_path):
    data, store = tmp_path / "data", [str(tmp_path / "results")]
    for more in ("", "--split-seed 2"):
        cli(f"--dataset {reviews} {REAL} {more}", data=data)
    assert {run.settings["dataset"] for run in runs.read(store)} == {"reviews.csv"}
    reviews.write_text(reviews.read_text() + "60,a new soup,pos\n")
    cli(f"--dataset {reviews} {REAL}", data=data)
    cli(f"--dataset {reviews.rename(tmp_path / 'x.csv')} {REAL} --seed 2", data=data)
    found = runs.read(store)
    names = [(run.result["data"]["files"]["table"], run.settings["dataset"]) for run in found]
    assert len(names) == 4 and Counter(Counter(names).values()) == {2: 2}  # two contents, each with a name of its own
    assert len({name for _, name in names}) == 2
    assert all(name.startswith("reviews-") and load.dataset(name).kind == "text" for _, name in names)
    assert len(tasks.group(found)) == 2


def test_seeds_share_the_test_split_and_columns_can_be_named(cli, reviews, tmp_path):
    made_with = [
        cli(f"--dataset {reviews} {REAL} --post-epochs 0 {more}", data=tmp_path / "data")
        for more in ("", "--seed 2", "--split-seed 2", "--label-column sentiment --text-columns review id")
    ]
    keys = [run.config["data_key"] for run in made_with]
    assert keys[0] == keys[1] and len(set(keys)) == 3
    assert "from 'review' + 'id'" in made_with[3].err


def test_a_sweep_a_report_and_an_export_work(cli, reviews, tmp_path):
    data = tmp_path / "data"
    grid = "--pruner-list rand snip --compression-list 0 0.5 --post-epochs 1"
    swept = cli(f"--experiment sweep --dataset {reviews} --source real {grid} --workers 1", data=data)
    assert swept.code == 0, swept.err
    stored = sorted((tmp_path / "results/singleshot").iterdir())
    assert len(stored) == 3
    (run,) = (path for path in stored if "-snip-c0.5" in path.name)
    out = tmp_path / "report"
    import main

    assert main.main(["--experiment", "report", "--store", str(tmp_path / "results"), "--report-dir", str(out)]) == 0
    assert "reviews.csv, text-classification" in (out / "compare.md").read_text(encoding="utf-8")
    export = ["--experiment", "export", "--run", str(run), "--format", "dense"]
    assert main.main([*export, "--data-dir", str(data)]) == 0  # from what is prepared
    elsewhere = ["--data-dir", str(tmp_path / "other")]
    assert main.main([*export, *elsewhere]) == 2
    assert main.main([*export, *elsewhere, "--dataset", str(reviews)]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("nothing.csv", "no such file or folder"),
        ("./nothing", "no such file or folder"),
        ("{tmp}", "holds no data of a known form"),
        ("{tmp}/notes.txt", "holds no data of a known form"),
        ("{tmp}/reviews.csv --image-size 8", "--image-size means nothing to reviews.csv"),
        ("{tmp}/reviews.csv --src de", "--src means nothing to reviews.csv"),
        ("{tmp}/reviews.csv --source sample", "no generated sample"),
        ("{tmp}/reviews.csv --model vgg16", "does not take reviews.csv"),
        ("{tmp}/reviews.csv --label-column mood", "no column is called 'mood'"),
        ("mnist --label-column label", "--label-column means nothing to MNIST"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(cli, reviews, tmp_path, arguments, words):
    (tmp_path / "notes.txt").write_text("x")
    if arguments == "{tmp}":
        reviews.rename(tmp_path / "reviews.data")
    outcome = cli(f"--source real --dataset {arguments.format(tmp=tmp_path)}", data=tmp_path / "data")
    errors = [line for line in outcome.err.splitlines() if not line.startswith("note: ")]
    assert outcome.code == 2 and len(errors) == 1 and words in errors[0], errors


@pytest.mark.parametrize(
    ("files", "given", "words"),
    [
        ("a.png b.JPG", ".", "has images but no folder per class"),
        ("my_train.tsv my_test.tsv", ".", "has my_test.tsv, my_train.tsv; call them train.tsv and test.tsv"),
        ("train.de train.en", "train.de", "one half of a translation; give both as --dataset {tmp}"),
        ("test.csv dev.csv", ".", "has dev.csv, test.csv and no train.csv to train on"),
        ("hub/train.csv", ".", "its data lies deeper; give --dataset {tmp}/hub"),
        ("news.de.gz news.en.gz", "news.en.gz", "one half of a translation; give both as --dataset {tmp}/news"),
        ("x.json", "x.json", "save it as .jsonl, one object a line"),
        ("x.XLSX", "x.XLSX", "save it as a .csv file"),
        ("x.zip", "x.zip", "unpack it"),
    ],
)
def test_what_is_nearly_data_is_told_what_it_lacks(tmp_path, files, given, words):
    for name in files.split():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    path = tmp_path / given
    line = refusal(load.own_data, str(path))
    assert line.startswith(f"--dataset {path}: {words.format(tmp=tmp_path)}")
    if "--dataset" in words:
        assert load.own_data(line.rpartition(" ")[2])[0].endswith((".pairs", ".csv"))


def test_a_name_is_short_and_plain(tmp_path):
    (folder := tmp_path / "my data, (2026)").mkdir()
    (tmp_path / ("x" * 90 + ".CSV")).write_text("")
    (folder / "train.csv").write_text("")
    assert load.own_data(str(tmp_path / ("x" * 90 + ".CSV")))[0] == "x" * 40 + ".csv"
    assert load.own_data(str(folder / "train.csv"))[0] == load.own_data(str(folder))[0] == "my-data-2026.csv"
    assert load.own_data("mnist") == ("mnist", None)


def test_what_is_prepared_is_found_again_by_its_content(reviews, tmp_path):
    name, place = load.own_data(str(reviews))
    data = load._find(load.FORMS["csv"])(name, {**ASKED, "data_path": place})
    first = corpus.load(corpus.locate(data, tmp_path / "data"))
    reviews.write_text(reviews.read_text().replace("soup", "cake"))
    second = corpus.load(corpus.locate(data, tmp_path / "data"))
    bare = load.dataset(name)
    for wanted in (first, second):
        assert corpus.load(corpus.locate(bare, tmp_path / "data", key=wanted.key)).words == wanted.words
    assert "not prepared" in refusal(corpus.locate, bare, tmp_path / "data", key="0" * 16)


# Zipped.


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_a_zipped_table_is_read_as_the_plain_one(tmp_path, form):
    plain = tmp_path / f"meals.{form}"
    if form == "jsonl":
        plain.write_text("".join(f'{{"label": "{a}", "text": "{b}"}}\n' for a, b in ROWS * 3), encoding="utf-8")
    else:
        made(plain, ["label", "text"], ROWS * 3, "excel" if form == "csv" else "excel-tab")
    for name in (f"meals.{form}.gz", f"MEALS.{form.upper()}.GZ"):
        zipped = tmp_path / "zipped" / name
        zipped.parent.mkdir(exist_ok=True)
        zipped.write_bytes(gzip.compress(plain.read_bytes()))
        one, other = read(plain), read(zipped)
        assert one.words == other.words and one.tensors.keys() == other.tensors.keys()
        assert all((value == other.tensors[key]).all() for key, value in one.tensors.items())
        assert load.own_data(str(zipped))[0].lower() == load.own_data(str(plain))[0]


@given(level=st.integers(0, 9), moment=st.integers(0, 9**9))
@any_file
def test_how_a_table_is_packed_is_no_part_of_the_data(tmp_path, level, moment):
    plain = made(tmp_path / "meals.csv", HEADER, ROWS)
    (zipped := tmp_path / "meals.csv.gz").write_bytes(gzip.compress(plain.read_bytes(), level, mtime=moment))
    one, other = (
        corpus.locate(load._find(load.FORMS["csv"])("meals.csv", {**ASKED, "data_path": str(path)}), tmp_path)
        for path in (plain, zipped)
    )
    assert one.key == other.key and one.files == {"table": hashlib.sha256(plain.read_bytes()).hexdigest()}


def test_a_folder_of_zipped_splits_is_one_of_splits(tmp_path):
    for split, rows in (("train", ROWS), ("test", ROWS[:2])):
        made(tmp_path / f"{split}.csv", ["label", "text"], rows)
        (tmp_path / "zipped").mkdir(exist_ok=True)
        (tmp_path / "zipped" / f"{split}.csv.gz").write_bytes(gzip.compress((tmp_path / f"{split}.csv").read_bytes()))
    assert places.tables(tmp_path / "zipped").keys() == {"train", "test"}
    assert texts(read(tmp_path / "zipped"), "test") == texts(read(tmp_path), "test")


def test_a_zipped_table_that_is_cut_off_is_named(tmp_path):
    content = gzip.compress(made(tmp_path / "meals.csv", ["label", "text"], ROWS).read_bytes())
    (tmp_path / "meals.csv.gz").write_bytes(content[:-9])
    message = refusal(read, tmp_path / "meals.csv.gz")
    assert "meals.csv.gz" in message and "not a whole gzip file" in message
    described = load._find(load.FORMS["csv"])("meals.csv", {**ASKED, "data_path": str(tmp_path / "meals.csv.gz")})
    assert refusal(corpus.locate, described, tmp_path) == message
