"""Where a corpus comes from, and that a cache entry is whole, portable, made again when damaged, or not there."""

import dataclasses
import errno
import hashlib
import json
import multiprocessing
import os
import re
import shutil
from pathlib import Path

import pytest

from Utils import load as registry
from Utils.data import corpus, download, nearby
from Utils.data.dataset import RawFile
from Utils.data.sets import agnews, mnist
from Utils.errors import UserError
from Utils.store import files

NEWS = agnews.DATASET
TRAIN = '"3","Shares rise","Shares rose again."\n"1","Vote, in the ""north"""\n'
TRAIN += '"2","Cup won"\n"4","New chip, new phone"\n'
TEST = '"2","A cup, again"\n"1","vote"\n'
PARTS = ("train_ids", "train_offsets", "train_targets", "test_ids", "test_offsets", "test_targets")


def write_raw(directory: Path, train: str = TRAIN, test: str = TEST) -> Path:
    """A data directory with a small hand-written AG News."""
    (directory / "AG_NEWS").mkdir(parents=True, exist_ok=True)
    (directory / "AG_NEWS/train.csv").write_text(train)
    (directory / "AG_NEWS/test.csv").write_text(test)
    return directory


@pytest.fixture
def data(tmp_path) -> Path:
    return write_raw(tmp_path / "data")


@pytest.fixture
def asked(monkeypatch):
    """Lists what is asked of `download.fetch`, which finds no server."""
    urls = []

    def fetch(url, path, md5):
        urls.append((url, path, md5))
        raise download.Unreachable(f"{url}: no such host")

    monkeypatch.setattr(download, "fetch", fetch)
    return urls


def load(directory: Path, source: str = "real") -> corpus.Corpus:
    return corpus.load(corpus.locate(NEWS, directory, source))


def content(loaded: corpus.Corpus) -> dict:
    """All that a corpus holds, as plain values to compare."""
    examples = [getattr(split, name) for split in (loaded.train, loaded.test) for name in ("ids", "offsets", "targets")]
    tensors = {name: tensor.tolist() for name, tensor in zip(PARTS, examples, strict=True)}
    kinds = [tensor.dtype for tensor in examples]
    about = (loaded.source, loaded.key, loaded.files, loaded.rows, loaded.vocab, loaded.notes, loaded.shape)
    return {**tensors, "dtypes": kinds, "about": about}


def entry(directory: Path) -> Path:
    """The only thing below prepared/: what else lay there would be a leftover."""
    (found,) = (directory / "prepared").iterdir()
    return found


def in_bytes(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


# Where it comes from.


def test_the_sample_is_taken_when_asked_for_whatever_else_is_there(data, asked):
    located = corpus.locate(NEWS, data, "sample")
    assert located.source == "sample" and located.files == {} and not asked


@pytest.mark.parametrize("source", ["auto", "real"])
def test_raw_files_that_are_there_are_taken(data, asked, source):
    located = corpus.locate(NEWS, data, source)
    assert located.source == "real" and not asked
    hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in (("train", TRAIN), ("test", TEST))}
    assert located.files == {f"AG_NEWS/{name}.csv": value for name, value in hashes.items()}


def test_the_loaded_corpus_is_what_the_files_say(data):
    """Worked out by hand: words by frequency, then code point; a test word of no training row is unknown."""
    loaded = load(data)
    words = (entry(data) / "words-text.txt").read_text().split("\n")
    assert words == "<unk> , new shares . again chip cup in north phone rise rose the vote won".split()
    assert [words[k] for k in loaded.test.ids] == ["<unk>", "cup", ",", "again", "vote"]
    assert loaded.train.targets.tolist() == [2, 0, 1, 3] and loaded.test.targets.tolist() == [1, 0]
    assert loaded.rows == {"train": 4, "test": 2} and loaded.vocab == {"text": len(words)}
    assert loaded.shape == (len(words),) and loaded.num_classes == 4


def test_a_prepared_entry_serves_where_the_raw_files_are_not(data, tmp_path, asked, capsys):
    """It is portable: only prepared/ is carried to another directory."""
    made = content(load(data))
    shutil.copytree(data / "prepared", tmp_path / "elsewhere" / "prepared")
    capsys.readouterr()
    for source in ("auto", "real"):
        assert content(load(tmp_path / "elsewhere", source)) == made
    assert not asked and "warning" not in capsys.readouterr().err


def test_the_newest_entry_serves_where_one_raw_file_is_gone(data, asked):
    old = load(data)
    write_raw(data, test='"4","another"\n')
    new = load(data)
    for path, when in ((corpus.locate(NEWS, data).entry, 2e9), (data / "prepared" / f"agnews-real-{old.key}", 1e9)):
        os.utime(path / "meta.json", (when, when))
    (data / "AG_NEWS/test.csv").unlink()
    assert content(load(data)) == content(new) and not asked


def test_an_entry_of_another_preparation_does_not_serve(data, asked):
    """Such as one that an older version of the code has left, or one that was renamed."""
    load(data)
    shutil.rmtree(data / "AG_NEWS")
    other = dataclasses.replace(NEWS, preparation={**NEWS.preparation, "min_freq": 2})
    assert corpus.locate(other, data, "auto").source == "sample" and len(asked) == 1
    place = next((data / "prepared").glob("agnews-real-*"))
    place.rename(place.with_name("agnews-real-0123456789abcdef"))
    with pytest.raises(UserError, match="is not in"):
        corpus.locate(NEWS, data, "real")


def test_missing_files_are_fetched_from_their_published_place(tmp_path, monkeypatch):
    fetched = []

    def fetch(url, path, md5):
        fetched.append((url.rpartition("/")[2], path.relative_to(tmp_path).as_posix(), md5))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TRAIN if path.stem == "train" else TEST)

    monkeypatch.setattr(download, "fetch", fetch)
    located = corpus.locate(NEWS, tmp_path, "auto")
    train = ("train.csv", "AG_NEWS/train.csv", "b1a00f826fdfbd249f79597b59e1dc12")
    test = ("test.csv", "AG_NEWS/test.csv", "d52ea96a97a2d943681189a97654912d")
    assert located.source == "real" and fetched == [train, test]
    (tmp_path / "AG_NEWS/test.csv").unlink()
    assert corpus.locate(NEWS, tmp_path, "real") == located and fetched == [train, test, test]


def test_real_without_a_corpus_fails_in_one_line(tmp_path, asked):
    with pytest.raises(UserError) as caught:
        corpus.locate(NEWS, tmp_path, "real")
    message = str(caught.value)
    assert "\n" not in message and len(asked) == 1
    for part in ("AG News", str(tmp_path), "AG_NEWS/train.csv", "no such host", "--source sample"):
        assert part in message


def test_without_a_sample_the_files_alone_count(data, tmp_path, asked, capsys):
    """`real` and `auto` find them, or say in one line that there are none; `sample` says that there is no such."""
    bare = dataclasses.replace(NEWS, sample=None)
    for source in ("real", "auto"):
        assert corpus.load(corpus.locate(bare, data, source)).rows == {"train": 4, "test": 2} and not asked
        with pytest.raises(UserError) as caught:
            corpus.locate(bare, tmp_path / f"no {source}", source)
        message = str(caught.value)
        for part in (
            "AG News",
            str(tmp_path / f"no {source}"),
            "AG_NEWS/train.csv",
            "no such host",
            "put its files there",
        ):
            assert part in message
        assert "\n" not in message and "--source" not in message and asked
        asked.clear()
    capsys.readouterr()
    with pytest.raises(UserError, match=r"^AG News has no generated sample; leave --source out$"):
        corpus.locate(bare, data, "sample")
    assert capsys.readouterr().err == ""


def test_a_file_that_is_published_nowhere_is_asked_of_no_server(tmp_path, asked):
    own = dataclasses.replace(NEWS, sample=None, raw=tuple(RawFile(raw.path) for raw in NEWS.raw))
    with pytest.raises(UserError, match=r"no AG_NEWS/train.csv.*published nowhere.*put its files there$"):
        corpus.locate(own, tmp_path, "auto")
    assert not asked
    write_raw(tmp_path)
    assert corpus.locate(own, tmp_path, "auto").source == "real"


def test_auto_without_a_corpus_takes_the_sample_and_says_so_loudly(tmp_path, asked, capsys):
    located = corpus.locate(NEWS, tmp_path, "auto")
    shown = capsys.readouterr()
    assert located == corpus.locate(NEWS, tmp_path, "sample") and shown.out == ""
    for part in ("AG News", str(tmp_path), "no such host", "GENERATED SAMPLE", "!!!!"):
        assert part in shown.err


def test_auto_asks_an_unreachable_server_again_only_after_a_while_and_real_at_once(tmp_path, asked, capsys):
    corpus.locate(NEWS, tmp_path, "auto")
    first = capsys.readouterr().err
    corpus.locate(NEWS, tmp_path, "auto")
    assert len(asked) == 1 and capsys.readouterr().err == first  # the alarm comes each time
    with pytest.raises(UserError):
        corpus.locate(NEWS, tmp_path, "real")
    assert len(asked) == 2
    (mark,) = (tmp_path / "prepared").iterdir()
    then = mark.stat().st_mtime - download.RETRY_AFTER - 1
    os.utime(mark, (then, then))
    corpus.locate(NEWS, tmp_path, "auto")
    assert len(asked) == 3


def test_each_data_set_has_its_own_unreachable_mark(tmp_path, asked):
    corpus.locate(NEWS, tmp_path, "auto")
    corpus.locate(mnist.DATASET, tmp_path, "auto")
    assert [Path(url).name for url, _, _ in asked] == ["train.csv", "train-images-idx3-ubyte.gz"]


def test_a_file_with_the_wrong_checksum_stops_the_run(tmp_path, monkeypatch):
    """Not a case for the sample: a server answered, and with something else."""

    def fetch(url, path, md5):
        raise UserError("wrong md5")

    monkeypatch.setattr(download, "fetch", fetch)
    with pytest.raises(UserError, match="wrong md5"):
        corpus.locate(NEWS, tmp_path, "auto")


def test_a_bad_row_is_named_through_load_and_leaves_nothing(data):
    write_raw(data, train=TRAIN + '"7","bad label"\n')
    with pytest.raises(UserError, match=re.escape(f"{data}/AG_NEWS/train.csv:5: label '7'")):
        load(data)
    assert not (data / "prepared").exists()


# Other usual forms, and what is near but of no use.


def test_files_in_a_folder_of_another_usual_name_are_found(data, tmp_path, asked):
    (data / "AG_NEWS").rename(data / "ag_news_csv")
    located = corpus.locate(NEWS, data, "real")
    assert located.files.keys() == {"AG_NEWS/train.csv", "AG_NEWS/test.csv"} and not asked
    assert located.key == corpus.locate(NEWS, write_raw(tmp_path / "usual"), "real").key
    assert corpus.load(located).rows == {"train": 4, "test": 2}


@pytest.mark.parametrize("near", ["AG_NEWS/test.csv.zip", "AG_NEWS/Test.parquet", "ag-news.zip", "agnews.tar"])
def test_what_is_near_and_of_no_use_is_named(data, asked, near, capsys):
    (data / "AG_NEWS/test.csv").unlink()
    (data / near).write_text("x")
    (data / "mnist.zip").write_text("x")
    with pytest.raises(UserError) as caught:
        corpus.locate(NEWS, data, "real")
    message = str(caught.value)
    assert f"; {data / near} is near, but" in message and "mnist" not in message and "\n" not in message
    corpus.locate(NEWS, data, "auto")
    assert f"{data / near} is near" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "other", "own"),
    [
        ("mnist", "FashionMNIST", "mnist.zip"),
        ("cifar10", "cifar-100-python", "CIFAR10.zip"),
        ("imagenet", "tiny-imagenet-200", "ImageNet.tar"),
        ("fashionmnist", "MNIST", "fashion_mnist-master"),
    ],
)
def test_the_folder_of_another_data_set_is_not_near(tmp_path, name, other, own):
    data = registry.dataset(name)
    (tmp_path / other).mkdir()
    assert nearby.words(data, tmp_path, data.raw[0]) == ""
    (tmp_path / own).mkdir()
    assert nearby.words(data, tmp_path, data.raw[0]).startswith(f"; {tmp_path / own} is near, but")


def test_nothing_is_near_where_nothing_is(data, asked):
    (data / "AG_NEWS/test.csv").unlink()
    with pytest.raises(UserError, match=r"no such host\); put its files there"):
        corpus.locate(NEWS, data, "real")


# What a key depends on.


def test_a_changed_raw_file_has_another_key_and_both_entries_stay(data):
    before = load(data)
    write_raw(data, train=TRAIN.replace("Cup won", "Cup lost"))
    after = load(data)
    assert before.key != after.key and before.files != after.files
    names = sorted(path.name for path in (data / "prepared").iterdir())
    assert names == sorted(f"agnews-real-{loaded.key}" for loaded in (before, after))
    write_raw(data)
    assert content(load(data)) == content(before)


def test_the_key_depends_on_content_and_preparation_and_on_nothing_else(data, tmp_path):
    key = corpus.locate(NEWS, data).key
    moved = write_raw(tmp_path / "moved")
    os.utime(moved / "AG_NEWS/train.csv", (1e9, 1e9))
    assert corpus.locate(NEWS, moved).key == key
    others = [
        corpus.locate(NEWS, data, "sample").key,
        corpus.locate(dataclasses.replace(NEWS, sample_version=2), data, "sample").key,
        corpus.locate(dataclasses.replace(NEWS, preparation={**NEWS.preparation, "min_freq": 2}), data).key,
        corpus.locate(dataclasses.replace(NEWS, name="other"), data).key,
        corpus.locate(NEWS, write_raw(tmp_path / "swapped", train=TEST, test=TRAIN)).key,
    ]
    assert len({key, *others}) == 6


def test_an_unpublished_file_is_noted_with_its_rows_each_time(data, capsys):
    counts = (("train", 4), ("test", 2))
    notes = [f"{name}.csv is not the published file; its {n} rows are used as they are" for name, n in counts]
    for _ in range(2):  # when prepared, and when read from the cache
        assert load(data).notes == notes
        shown = capsys.readouterr().err
        assert all(f"note: AG News: {note}\n" in shown for note in notes)


def test_a_published_file_is_not_noted(data, monkeypatch):
    raw = tuple(dataclasses.replace(file, md5=files.md5(data / file.path)) for file in agnews.RAW)
    monkeypatch.setattr(agnews, "RAW", raw)
    assert load(data).notes == []


# Damage.


def flipped(three: bytes) -> bytes:
    return bytes([three[0] ^ 1]) + three[1:]


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "one bit": lambda path: path.write_bytes(path.read_bytes()[:-3] + flipped(path.read_bytes()[-3:])),
    "garbage": lambda path: path.write_bytes(bytes(range(256))),
    "removed": lambda path: path.unlink(),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
}


def made_again(data: Path, damage, capsys) -> None:
    """Damage the entry, load: the corpus is the same, one warning names the entry, which is whole again."""
    before, place = content(load(data)), entry(data)
    kept = in_bytes(place)
    damage(place)
    capsys.readouterr()
    assert content(load(data)) == before
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 1 and str(place) in warnings[0] and "damaged" in warnings[0]
    assert entry(data) == place and in_bytes(place) == kept
    assert content(load(data)) == before
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["data.safetensors", "words-text.txt", "meta.json"])
def test_a_damaged_file_of_an_entry_is_noticed_and_the_entry_made_again(data, name, damage, capsys):
    made_again(data, lambda place: DAMAGE[damage](place / name), capsys)


@pytest.mark.parametrize("text", ["null", "[]", "{}", '"x"', '{"sha256": {}}', '{"sha256": null}', "[[[["])
def test_a_meta_file_that_is_other_json_is_noticed(data, text, capsys):
    made_again(data, lambda place: (place / "meta.json").write_text(text), capsys)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rows", {"train": 3, "test": 2}),
        ("rows", {"train": 4}),
        ("rows", {}),
        ("rows", None),
        ("notes", []),
        ("made_from", {"AG_NEWS/train.csv": "0" * 64}),
    ],
)
def test_a_changed_value_in_a_meta_file_is_noticed(data, key, value, capsys):
    """A flipped bit of meta.json reaches the record of a run (rows, files) unless the file is checked as well."""

    def change(place: Path) -> None:
        meta = json.loads((place / "meta.json").read_text())
        files.write_json(place / "meta.json", {**meta, key: value})

    made_again(data, change, capsys)


@pytest.mark.parametrize("kind", ["empty directory", "file"])
def test_an_entry_that_is_none_is_made_again(data, kind, capsys):
    def damage(place: Path) -> None:
        shutil.rmtree(place)
        place.mkdir() if kind == "empty directory" else place.write_bytes(b"?")

    made_again(data, damage, capsys)


def test_a_damaged_entry_without_raw_files_fails_in_one_line(data, capsys):
    load(data)
    place = entry(data)
    (place / "data.safetensors").write_bytes(b"?")
    shutil.rmtree(data / "AG_NEWS")
    with pytest.raises(UserError) as caught:
        load(data)
    assert str(place) in str(caught.value) and "\n" not in str(caught.value)
    assert place.exists()  # nothing is thrown away that cannot be made again


def test_a_damaged_sample_is_made_again(sample_data, tmp_path, capsys):
    (good,) = (sample_data / "prepared").glob("agnews-sample-*")
    bad = shutil.copytree(good, tmp_path / "prepared" / good.name)
    (bad / "words-text.txt").write_text("<unk>\nnothing")
    made, wanted = load(tmp_path, "sample"), load(sample_data, "sample")
    assert content(made) == content(wanted) and made.vocab["text"] > 8_000
    assert capsys.readouterr().err.count(" is damaged ") == 1 and in_bytes(bad) == in_bytes(good)


# Writing the entry.


def test_the_entry_says_what_it_is_made_from(data):
    load(data)
    meta = json.loads((entry(data) / "meta.json").read_text())
    assert meta["files"] == meta["made_from"] == dict(corpus.locate(NEWS, data).files)
    assert meta["preparation"] == {"tokenizer": "basic_english", "specials": ["<unk>"], "min_freq": 1}
    assert meta["rows"] == {"train": 4, "test": 2} and meta["dataset"] == "agnews" and meta["source"] == "real"
    held = in_bytes(entry(data))
    assert held.keys() == {"meta.json", *meta["sha256"]}
    assert all(hashlib.sha256(held[name]).hexdigest() == want for name, want in meta["sha256"].items())


def test_the_record_of_the_sample_holds_the_hash_of_what_was_generated(sample_data):
    loaded = load(sample_data, "sample")
    (place,) = (sample_data / "prepared").glob("agnews-sample-*")
    assert loaded.files == {"generated": hashlib.sha256((place / "data.safetensors").read_bytes()).hexdigest()}


@pytest.mark.parametrize("source", ["real", "sample"])
def test_a_data_directory_that_cannot_be_written_is_no_obstacle(data, tmp_path, monkeypatch, source, capsys):
    """The corpus is prepared in memory, with a warning."""
    wanted = content(load(data, source))
    write_raw(tmp_path / "readonly")
    make = Path.mkdir

    def mkdir(self, *rest, **more):
        if "readonly" in self.parts:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        make(self, *rest, **more)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    capsys.readouterr()
    assert content(load(tmp_path / "readonly", source)) == wanted
    assert re.search(r"^warning: cannot write .*readonly.*Permission denied", capsys.readouterr().err, re.MULTILINE)
    assert not (tmp_path / "readonly/prepared").exists()


def test_a_data_directory_below_a_file_is_no_obstacle(tmp_path, sample_data, asked, capsys):
    (tmp_path / "file").write_text("")
    assert content(load(tmp_path / "file" / "data", "auto")) == content(load(sample_data, "sample"))
    assert "GENERATED SAMPLE" in (shown := capsys.readouterr().err) and "warning: cannot write" in shown
    with pytest.raises(UserError, match="is not in"):
        load(tmp_path / "file" / "data", "real")


def test_a_raw_file_that_cannot_be_read_fails_in_one_line(data, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(files, "sha256", refuse)
    with pytest.raises(UserError, match=r"cannot read .*test\.csv: Permission denied"):
        corpus.locate(NEWS, data)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
@pytest.mark.parametrize("write", [1, 2, 3])
def test_a_preparation_that_breaks_off_leaves_nothing(data, monkeypatch, write, error, capsys):
    """At whichever of the three files; a full disk costs the cache, not the run."""
    calls = []
    sync = os.fsync

    def fsync(handle):
        calls.append(handle)
        if len(calls) == write:
            raise error
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    if isinstance(error, OSError):
        assert load(data).rows == {"train": 4, "test": 2}
        assert "warning: cannot write" in capsys.readouterr().err
    else:
        with pytest.raises(KeyboardInterrupt):
            load(data)
    assert len(calls) == write and list((data / "prepared").iterdir()) == []


def _prepare_with_others(directory, barrier, results):
    """In a process of its own: prepare, wait until all have, then write the entry."""
    read = NEWS.read

    def read_and_wait(paths):
        prepared = read(paths)
        barrier.wait()
        return prepared

    dataset = dataclasses.replace(NEWS, read=read_and_wait)
    try:
        loaded = corpus.load(corpus.locate(dataset, Path(directory), "real"))
        results.put((loaded.rows, loaded.train.ids.tolist(), loaded.files))
    except BaseException as error:
        results.put(repr(error))
        raise


@pytest.mark.parametrize("damaged", [False, True])
def test_two_processes_that_prepare_at_once_both_succeed(data, tmp_path, damaged):
    """Both find no (whole) entry, both write: one valid entry stays, and no leftovers."""
    wanted = load(write_raw(tmp_path / "alone"))
    if damaged:
        load(data)
        (entry(data) / "data.safetensors").write_bytes(b"?")
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2, timeout=120), context.Queue()
    arguments = (str(data), barrier, results)
    workers = [context.Process(target=_prepare_with_others, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    outcomes = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    assert outcomes == [(wanted.rows, wanted.train.ids.tolist(), wanted.files)] * 2
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert in_bytes(entry(data)) == in_bytes(entry(tmp_path / "alone"))
