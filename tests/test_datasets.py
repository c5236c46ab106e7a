"""Reading raw files: right rows from good files, and from bad ones a line that says which file and where."""

import csv
import gzip
import hashlib
import io
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from Utils.data import corpus
from Utils.data.dataset import published
from Utils.data.sets import agnews, fashionmnist, idx, mnist
from Utils.errors import UserError

LABELS = ("train", "test")
any_file = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)


@pytest.fixture
def file(tmp_path):
    """file(content): a CSV file of these bytes or this text."""
    path = tmp_path / "train.csv"

    def make(content: bytes | str) -> Path:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def refusal(path: Path) -> str:
    """The one line with which `rows` refuses the file."""
    with pytest.raises(UserError) as caught:
        agnews.rows(path)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(str(path))
    return message.removeprefix(str(path))


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('"3","Title","Body."\n', [(3, "Title Body.")]),
        ('"3","Title Body."\n', [(3, "Title Body.")]),  # the form of the subset
        ("1,plain\n4,last line without an end", [(1, "plain"), (4, "last line without an end")]),
        ('"2","a ""quoted"" word, with a comma"\n', [(2, 'a "quoted" word, with a comma')]),
        ('"1","a","b","c, d",""\n', [(1, "a b c, d ")]),
        ('"4","two\nlines","and\n\nmore"\n"1","next"\n', [(4, "two\nlines and\n\nmore"), (1, "next")]),
        ('"1","a"\r\n"2","b"\r\n', [(1, "a"), (2, "b")]),
        ("Class Index,Title,Description\n3,a,b\n1,c,d\n", [(3, "a b"), (1, "c d")]),  # Kaggle's form
        ("text,label\na b,0\nc,3\n", [(1, "a b"), (4, "c")]),  # labels counted from 0
        ("0,a\n3,b\n1,c\n", [(1, "a"), (4, "b"), (2, "c")]),
        pytest.param(f'1,"{"x" * 131_073}"\n', [(1, "x" * 131_073)], id="longer than the csv module's limit"),
        ('\n\n"1","a"\n\n\n"2","b"\n\n', [(1, "a"), (2, "b")]),  # blank lines are no rows
        (' 1 ,"label with blanks"\n', [(1, "label with blanks")]),
        ('"1","Zürich 猫 \u00a0\\"\n', [(1, "Zürich 猫 \u00a0\\")]),  # a backslash escapes nothing
    ],
)
def test_good_rows(file, content, rows):
    assert agnews.rows(file(content)) == rows


@given(
    rows=st.lists(st.tuples(st.integers(1, 4), st.lists(st.text(), min_size=1, max_size=3)), min_size=1, max_size=6),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n"]),
)
@any_file
def test_what_pythons_csv_writes_is_read_back(file, rows, quoting, end):
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=quoting, lineterminator=end).writerows([label, *columns] for label, columns in rows)
    assert agnews.rows(file(buffer.getvalue())) == [(label, " ".join(columns)) for label, columns in rows]


@pytest.mark.parametrize("label", ["5", "-1", "x", "", "1.0", "1e0", "²", "٣", "World", "nan"])
def test_a_label_that_is_no_class_is_named_with_its_line(file, label):
    assert refusal(file(f'"1","good"\n"{label}","bad"\n')).startswith(f":2: label {label!r} is not in 1 to 4")


def test_labels_count_from_0_or_from_1_in_the_whole_corpus(file, tmp_path):
    assert refusal(file('"0","a"\n"4","b"\n')).startswith(":2: label '4' is not in 0 to 3")
    paths = {raw.path: tmp_path / Path(raw.path).name for raw in agnews.RAW}
    for path, content in zip(paths.values(), ("0,a\n3,b\n", "1,a\n"), strict=True):
        path.write_text(content)
    prepared = agnews.read(paths)
    assert prepared.tensors["test_targets"].tolist() == [1]
    assert "labels counted from 0" in prepared.notes[1]


@pytest.mark.parametrize("train", ["12", "13", "23", "32", "123"])
@pytest.mark.parametrize("test", ["0123", "1234", "12", "2"])
@pytest.mark.parametrize("swapped", [False, True])
def test_where_labels_begin_is_told_by_both_splits(tmp_path, train, test, swapped):
    """A 0 or a 4 of either; without any, they are as published, and a note says so."""
    labels = (test, train) if swapped else (train, test)
    paths = {raw.path: tmp_path / Path(raw.path).name for raw in agnews.RAW}
    for path, of in zip(paths.values(), labels, strict=True):
        path.write_text("".join(f"{label},a\n" for label in of))
    prepared = agnews.read(paths)
    first = 0 if "0" in train + test else 1
    for split, of in zip(("train", "test"), labels, strict=True):
        assert prepared.tensors[f"{split}_targets"].tolist() == [int(label) - first for label in of]
    told = "labels counted from 0" in prepared.notes[0], "no 0 and no 4 is among them" in prepared.notes[0]
    assert told == ("0" in test, not set("04") & set(test))


@pytest.mark.parametrize(
    ("train", "test", "wrong"), [("14", "230", "test.csv:3: label '0'"), ("01", "24", "test.csv:2: label '4'")]
)
def test_labels_from_0_and_from_1_are_refused(tmp_path, train, test, wrong):
    paths = {raw.path: tmp_path / Path(raw.path).name for raw in agnews.RAW}
    for path, of in zip(paths.values(), (train, test), strict=True):
        path.write_text("".join(f"{label},a\n" for label in of))
    with pytest.raises(UserError, match=wrong):
        agnews.read(paths)


def test_a_quote_that_is_not_doubled_is_said_with_its_row(file):
    message = refusal(file('"1","fine"\n"2","she said \\"no\\" twice"\n'))
    assert message.startswith(":2: not a whole CSV row") and 'is to be doubled ("")' in message


def test_a_label_of_thousands_of_digits_is_refused_like_any_other(file):
    """Python reads no such number: damage of this kind must not end in a traceback."""
    assert refusal(file('"1","good"\n"' + "9" * 5_000 + '","bad"\n')).startswith(":2: label ")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('"1","a"\n"2","b"\n"3"\n', 3),
        ('"1"', 1),
        ('"1","a"\n   \n', 2),  # blanks are a column: a row without text
        ('"1","a"\n\n\n"2"\n', 4),  # blank lines count as lines
        ('"1","a\nb\nc"\n"2"\n', 4),  # a row over three lines too
        ('"1","a"\r\n"2","b"\r\n"3"\r\n', 3),
    ],
)
def test_a_row_with_only_a_label_is_named_with_its_line(file, content, line):
    assert refusal(file(content)).startswith(f":{line}: a row needs a label and a text column")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('"1","a"\n"2","cut off he', 2),
        ('"1","cut off\nin the second line of its row', 1),  # where the row begins
        ('"1","a"\n\n"2","b"\n"3', 4),
        ('"1","a"\n"2","closed" then more"\n', 2),
    ],
)
def test_a_cut_off_row_is_named_with_the_line_it_begins_in(file, content, line):
    message = refusal(file(content))
    assert message.startswith(f":{line}: not a whole CSV row") and "cut off" in message


@pytest.mark.parametrize(
    ("content", "line", "byte"),
    [
        (b'"1","ok"\n"2","caf\xe9"\n', 2, "0xe9"),
        (b'\xff\xfe"\x001\x00', 1, "0xff"),  # UTF-16
        ('"1","ok"\n\n"2","Zürich"\n"3","Bü'.encode()[:-1], 4, "0xc3"),  # cut in the middle of a letter
    ],
)
def test_bytes_that_are_not_utf8_are_named_with_their_line(file, content, line, byte):
    message = refusal(file(content))
    assert message.startswith(f":{line}: byte {byte}") and "UTF-8" in message


@pytest.mark.parametrize("content", ["", "\n", "\n\r\n\n"])
def test_a_file_without_rows_is_named(file, content):
    assert refusal(file(content)).startswith(": holds no rows")


def test_a_file_cut_off_anywhere_is_refused_or_gives_only_its_own_rows(file):
    """No cut yields a wrong label or another error; where the cut cannot be seen, only the last row can be short."""
    content = '"1","First, ""quoted""","Body é"\n\n"2","two\nlines"\n3,plain\n"4","Last","one"\n'.encode()
    whole = agnews.rows(file(content))
    refused = 0
    for cut in range(len(content)):
        path = file(content[:cut])
        try:
            found = agnews.rows(path)
        except UserError as error:
            assert re.match(rf"{re.escape(str(path))}:(\d+: | holds no rows)", str(error))
            refused += 1
        else:
            assert found[:-1] == whole[: len(found) - 1]
            label, text = whole[len(found) - 1]
            assert found[-1][0] == label and text.startswith(found[-1][1])
    assert refused > len(content) / 2


@given(content=st.binary(max_size=60) | st.text('"1234,\n\rx ', max_size=40).map(str.encode))
@any_file
def test_no_content_whatever_raises_anything_but_a_user_error(file, content):
    path = file(content)
    try:
        found = agnews.rows(path)
    except UserError as error:
        assert str(error).startswith(str(path))
    else:
        assert found and all(label in (1, 2, 3, 4) and isinstance(text, str) for label, text in found)


def test_prepare_by_hand():
    """Labels count from 0, the vocabulary comes from the training rows alone, word numbers are read back as words."""
    splits = {"train": [(4, "Dogs bark. Dogs!"), (1, "A cat")], "test": [(2, "dogs purr"), (3, "")]}
    prepared = agnews.prepare(splits, ["a note"])
    words = prepared.words["text"]
    assert words == ["<unk>", "dogs", "!", ".", "a", "bark", "cat"]
    assert prepared.rows == {"train": 2, "test": 2} and prepared.notes == ["a note"]
    assert [words[k] for k in prepared.tensors["train_ids"]] == ["dogs", "bark", ".", "dogs", "!", "a", "cat"]
    assert prepared.tensors["train_offsets"].tolist() == [0, 5, 7]
    assert prepared.tensors["train_targets"].tolist() == [3, 0]
    assert [words[k] for k in prepared.tensors["test_ids"]] == ["dogs", "<unk>"]
    assert prepared.tensors["test_offsets"].tolist() == [0, 2, 2]
    assert prepared.tensors["test_targets"].tolist() == [1, 2]


def test_real_agnews_rows_are_what_pythons_csv_reads(real_agnews):
    for split, at_least in (("train", 81_865), ("test", 7_600)):
        path = real_agnews / "AG_NEWS" / f"{split}.csv"
        with path.open(encoding="utf-8", newline="") as lines:
            expected = [(int(label), " ".join(columns)) for label, *columns in csv.reader(lines)]
        assert len(expected) >= at_least
        assert agnews.rows(path) == expected


def idx_file(array: np.ndarray) -> bytes:
    """A gzipped IDX file, written from its description: zeros, type 8, the number of dimensions, sizes, bytes."""
    return gzip.compress(struct.pack(f">HBB{array.ndim}i", 0, 8, array.ndim, *array.shape) + array.tobytes())


@pytest.mark.parametrize("shape", [(5,), (3, 4, 2), (2, 28, 28)])
def test_idx_reads_what_its_description_says(tmp_path, shape):
    array = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "some-idx.gz"
    path.write_bytes(idx_file(array))
    found = idx.array(path)
    assert found.dtype == np.uint8 and np.array_equal(found, array)


@pytest.mark.parametrize("damage", ["cut off", "one bit", "empty", "no gzip"])
def test_idx_refuses_a_file_that_is_not_whole(tmp_path, damage):
    good = idx_file(np.arange(20, dtype=np.uint8))
    middle = len(good) // 2
    bad = {
        "cut off": good[:middle],
        "one bit": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
        "empty": b"",
        "no gzip": gzip.decompress(good),
    }[damage]
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(bad)
    if damage == "no gzip":  # the content unzipped, under such a name and under the zipped one
        (unzipped := path.with_suffix("")).write_bytes(bad)
        assert idx.array(unzipped).tolist() == list(range(20))
    with pytest.raises(UserError, match="not a whole IDX file") as caught:
        idx.array(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_corrupted_real_file_is_refused(real_mnist, tmp_path):
    name = "t10k-labels-idx1-ubyte.gz"
    content = (real_mnist / "MNIST/raw" / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-100])
    with pytest.raises(UserError, match=name):
        idx.array(tmp_path / name)


def test_the_real_files_unzipped_are_the_published_ones(real_mnist):
    for file in mnist.DATASET.raw:
        content = gzip.decompress((real_mnist / file.path).read_bytes())
        assert hashlib.md5(content).hexdigest() == file.plain


@pytest.fixture(scope="module")
def digits(real_mnist):
    """The real MNIST as the code under test reads it."""
    return mnist.DATASET.read({raw.path: real_mnist / raw.path for raw in mnist.DATASET.raw})


def test_real_mnist_counts_labels_and_pixels(digits):
    """The facts that everyone knows of MNIST."""
    assert digits.rows == {"train": 60_000, "test": 10_000}
    pixels, targets = digits.tensors["train_pixels"], digits.tensors["train_targets"]
    assert pixels.shape == (60_000, 1, 28, 28) and pixels.dtype == torch.uint8
    assert digits.tensors["test_pixels"].shape == (10_000, 1, 28, 28)
    assert targets[:5].tolist() == [5, 0, 4, 1, 9] and targets.dtype == torch.int64
    answers = digits.tensors["test_targets"]
    assert answers[:5].tolist() == [7, 2, 1, 0, 4]
    assert mnist.DATASET.commonest == 100 * answers.bincount().max().item() / len(answers)
    assert targets.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    counts = sum(np.bincount(part.ravel(), minlength=256) for part in np.array_split(pixels.numpy(), 60))
    values = np.arange(256) / 255
    mean = np.average(values, weights=counts)
    of = published("mnist")
    std = np.average((values - mean) ** 2, weights=counts) ** 0.5
    assert (round(mean, 4), round(std, 4)) == (0.1307, 0.3081) == (of["mean"], of["std"])


def test_real_mnist_is_torchvisions(digits, real_mnist, tmp_path):
    from torchvision.datasets import MNIST

    (tmp_path / "MNIST/raw").mkdir(parents=True)
    for raw in mnist.DATASET.raw:
        with gzip.open(real_mnist / raw.path) as packed, (tmp_path / raw.path).with_suffix("").open("wb") as plain:
            shutil.copyfileobj(packed, plain)
    for split in LABELS:
        theirs = MNIST(tmp_path, train=split == "train")
        assert digits.tensors[f"{split}_pixels"].squeeze(1).equal(theirs.data)
        assert digits.tensors[f"{split}_targets"].equal(theirs.targets)


def small_idx(directory: Path, zipped: bool) -> dict[str, np.ndarray]:
    """Files of Fashion-MNIST's form with few entries, under other names of the same; the arrays by name."""
    draw = np.random.default_rng(2)
    directory.mkdir(parents=True)
    arrays = {}
    for split, count in (("train", 5), ("t10k", 3)):
        arrays[f"{split}-images.idx3-ubyte"] = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{split}-labels.idx1-ubyte"] = np.arange(count, dtype=np.uint8)
    for name, array in arrays.items():
        path = directory / (f"{name.replace('.', '-')}.gz" if zipped else name)
        path.write_bytes(idx_file(array) if zipped else gzip.decompress(idx_file(array)))
    return arrays


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("data", [fashionmnist.DATASET, mnist.DATASET], ids=["fashion", "digits"])
@pytest.mark.parametrize("place", ["", "/raw"])
def test_files_of_this_form_that_are_not_the_published_ones_are_used_with_a_note(tmp_path, place, data, zipped):
    """Unzipped or zipped anew, whether or not the sums of the unzipped ones are published."""
    arrays = list(small_idx(tmp_path / f"{Path(data.raw[0].path).parts[0]}{place}", zipped).values())
    located = corpus.locate(data, tmp_path, "real")
    loaded = corpus.load(located)
    assert loaded.rows == {"train": 5, "test": 3} and len(loaded.classes) == 10 and loaded.shape == (1, 28, 28)
    assert np.array_equal(loaded.train.pixels.squeeze(1).numpy(), arrays[0]) and loaded.test.targets.tolist() == [
        0,
        1,
        2,
    ]
    assert len(loaded.notes) == 4 and "train-images" in loaded.notes[0] and "5 entries" in loaded.notes[0]


def test_fashion_mnist_with_labels_of_other_images_is_refused(tmp_path):
    small_idx(tmp_path / "FashionMNIST", False)
    path = tmp_path / "FashionMNIST/t10k-labels.idx1-ubyte"
    for labels in ([1, 2], [1, 2, 10], [], 1):
        path.write_bytes(gzip.decompress(idx_file(np.array(labels, dtype=np.uint8))))
        with pytest.raises(UserError, match="not the labels of its images"):
            corpus.load(corpus.locate(fashionmnist.DATASET, tmp_path, "real"))
    path.write_bytes(b"hello")
    with pytest.raises(UserError, match="not a whole IDX file"):
        corpus.load(corpus.locate(fashionmnist.DATASET, tmp_path, "real"))


def test_fashion_mnist_is_what_torchvision_publishes():
    from torchvision.datasets import FashionMNIST

    assert {Path(raw.url).name: raw.md5 for raw in fashionmnist.DATASET.raw} == dict(FashionMNIST.resources)
    assert list(fashionmnist.CLASSES) == FashionMNIST.classes
