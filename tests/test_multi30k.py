"""Multi30k: line goes with line, files that are damaged are named with the line, and tokens are numbered as agreed."""

import dataclasses
import gzip
import hashlib
import itertools
import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from Layers import pairs as numbers
from Utils import settings as rows
from Utils.data import corpus, parallel, reading
from Utils.data.samples import pictures
from Utils.data.sets import multi30k
from Utils.errors import UserError

DEFAULT = {"src": "de", "tgt": "en", "test_set": "2016_flickr"}
any_file = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)

DE = ["Ein Mann, der lacht.", "Zwei Männer", "Ein  Hund"]
EN = ["A man who isn't sad.", "Two men", "A T-shirt"]


@pytest.fixture
def write(tmp_path):
    """write(name, content): a gzipped file of these lines or bytes."""

    def make(name: str, content: list[str] | bytes) -> Path:
        path = tmp_path / name
        plain = content if isinstance(content, bytes) else "".join(f"{line}\n" for line in content).encode()
        path.write_bytes(gzip.compress(plain, mtime=0))
        return path

    return make


@pytest.fixture
def small(write):
    """Paths of a small corpus, German and English, by the path that the data set gives them."""
    content = {"train": (DE, EN), "val": (DE[:2], EN[:2]), "test_2016_flickr": (["Ein Kind lacht."], ["A child."])}
    return {
        f"multi30k/{part}.{language}.gz": write(f"{part}.{language}.gz", lines)
        for part, sides in content.items()
        for language, lines in zip(("de", "en"), sides, strict=True)
    }


def lines_of(path: Path) -> list[str]:
    return list(parallel.lines(path))


def pairs_of(source: Path, target: Path) -> list[parallel.Pair]:
    return list(parallel.pairs(source, target))


def refusal(call, *arguments, **more) -> str:
    """The one line with which a call is refused."""
    with pytest.raises(UserError) as caught:
        call(*arguments, **more)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\ntwo", ["one", "two"]),  # the last line needs no end
        (b"one\r\ntwo\r\n", ["one", "two"]),
        (b"\xef\xbb\xbfone\n", ["one"]),
        ("  one \t\n\u00a0two\u2003\n".encode(), ["one", "two"]),
        ("a\u00a0b  c\td\n".encode(), ["a\u00a0b  c\td"]),  # white space inside stays
        # What other tools take for the end of a line: one line each, or the two languages would drift apart.
        (
            "a\u2028b\na\x85b\na\x0bb\na\x0cb\na\x1cb\na\rb\n".encode(),
            [f"a{mark}b" for mark in "\u2028\x85\x0b\x0c\x1c\r"],
        ),
    ],
)
def test_good_lines(write, content, lines):
    assert lines_of(write("train.de.gz", content)) == lines


@pytest.mark.parametrize(
    ("content", "place", "reason"),
    [
        (b"one\n\nthree\n", ":2", "an empty line"),
        (b"\none\n", ":1", "an empty line"),
        (b"one\ntwo\n\n", ":3", "an empty line"),
        (b"one\n \t\r\nthree\n", ":2", "an empty line"),
        ("one\n\u00a0\n".encode(), ":2", "an empty line"),
        (b"one\ncaf\xe9\n", ":2", "byte 0xe9 is not UTF-8"),
        (b"\xff\xfeo\x00", ":1", "byte 0xff is not UTF-8"),
        ("one\ntwo\nBü".encode()[:-1], ":3", "byte 0xc3 is not UTF-8"),  # cut in the middle of a letter
        (b"", "", "holds no lines"),
        (b"\n", "", "holds no lines"),
        (b"\xef\xbb\xbf\n\n", "", "holds no lines"),
    ],
)
def test_bad_lines_are_named(write, content, place, reason):
    path = write("val.en.gz", content)
    assert refusal(lines_of, path).startswith(f"{path}{place}: {reason}")


def test_a_file_cut_off_anywhere_is_refused(write):
    path = write("train.de.gz", ["Ein Mann", "Zwei Frauen", "Drei Hunde"])
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert refusal(lines_of, path).startswith(f"{path}: {'not a whole gzip file' if cut else 'holds no lines'}")


def test_a_file_with_a_wrong_byte_is_refused_or_read_rightly(write):
    path = write("train.de.gz", ["Ein Mann", "Zwei Frauen", "Drei Hunde"])
    whole, lines, refused = path.read_bytes(), lines_of(path), 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            assert lines_of(path) == lines  # a byte of the header that means nothing
        except UserError as error:
            assert str(error).startswith(f"{path}: ")
            refused += 1
    assert refused > len(whole) - 10


@given(content=st.binary(max_size=60))
@any_file
def test_a_file_that_is_no_gzip_is_refused(tmp_path, content):
    path = tmp_path / "train.de.gz"
    path.write_bytes(content)
    assert refusal(lines_of, path).startswith(f"{path}: ")


@given(
    content=st.text(st.sampled_from("aB \n\r\t\u00a0ü.\u2028"), max_size=40).map(str.encode) | st.binary(max_size=40)
)
@any_file
def test_lines_are_what_was_between_the_line_feeds(tmp_path, content):
    """Or else a UserError that names the file."""
    path = tmp_path / "train.de.gz"
    path.write_bytes(gzip.compress(content))
    try:
        found = lines_of(path)
    except UserError as error:
        assert str(error).startswith(str(path))
    else:
        rows = content.decode("utf-8-sig").split("\n")
        assert found == [row.strip() for row in (rows if rows[-1] else rows[:-1])] and all(found)


@pytest.mark.parametrize(("longer", "shorter"), [("de", "en"), ("en", "de")])
def test_a_line_without_a_counterpart_is_named(write, longer, shorter):
    paths = {longer: write(f"val.{longer}.gz", ["a", "b", "c", "d"]), shorter: write(f"val.{shorter}.gz", ["x", "y"])}
    message = refusal(pairs_of, paths["de"], paths["en"])
    assert message.startswith(f"{paths[longer]}:3: ") and f"val.{shorter}.gz ends at line 2" in message


def test_pairs_keep_source_and_target(write):
    assert pairs_of(write("de", ["a", " b"]), write("en", ["x ", "y"])) == [("a", "x"), ("b", "y")]


def rows_of(prepared, name: str, language: str) -> list[list[str]]:
    """The words of each sentence, from the numbers."""
    ids, offsets = prepared.tensors[f"{name}_ids"], prepared.tensors[f"{name}_offsets"]
    assert ids.dtype == torch.int32 and offsets.dtype == torch.int64 and offsets[0] == 0 and offsets[-1] == len(ids)
    return [[prepared.words[language][k] for k in ids[a:b].tolist()] for a, b in itertools.pairwise(offsets.tolist())]


def test_prepare_by_hand(small):
    """Vocabularies by frequency, then code point, from the training lines alone; words only; test lines kept."""
    prepared = multi30k.configured(DEFAULT).read(small)
    assert prepared.rows == {"train": 3, "val": 2, "test": 1}
    specials = ["<unk>", "<pad>", "<bos>", "<eos>"]
    assert prepared.words == {
        "de": [*specials, "Ein", " ", ",", ".", "Hund", "Mann", "Männer", "Zwei", "der", "lacht"],
        "en": [*specials, "A", "-", ".", "T", "Two", "is", "man", "men", "n't", "sad", "shirt", "who"],
    }
    assert prepared.tensors["train_source_ids"].tolist() == [4, 9, 6, 12, 13, 7, 11, 10, 4, 5, 8]
    assert prepared.tensors["train_source_offsets"].tolist() == [0, 6, 8, 11]
    assert rows_of(prepared, "train_target", "en")[0] == ["A", "man", "who", "is", "n't", "sad", "."]
    assert rows_of(prepared, "train_target", "en")[2] == ["A", "T", "-", "shirt"]
    assert rows_of(prepared, "val_source", "de") == rows_of(prepared, "train_source", "de")[:2]
    assert rows_of(prepared, "val_target", "en") == rows_of(prepared, "train_target", "en")[:2]
    assert rows_of(prepared, "test_source", "de") == [["Ein", "<unk>", "lacht", "."]]
    assert rows_of(prepared, "test_target", "en") == [["A", "<unk>", "."]]
    assert prepared.lines == {"test_source": ["Ein Kind lacht."], "test_target": ["A child."]}
    assert {name.rpartition("_")[0] for name in prepared.tensors} == {
        f"{split}_{side}" for split in ("train", "val", "test") for side in ("source", "target")
    }


def test_the_special_tokens_have_the_numbers_of_the_layers(small):
    words = multi30k.configured(DEFAULT).read(small).words
    for language in ("de", "en"):
        assert words[language][numbers.UNKNOWN] == "<unk>" and words[language][numbers.PAD] == "<pad>"
        assert words[language][numbers.BOS] == "<bos>" and words[language][numbers.EOS] == "<eos>"


def test_the_other_way_round_everything_is_swapped(small):
    one, other = (multi30k.configured(DEFAULT | way).read(small) for way in ({}, {"src": "en", "tgt": "de"}))
    assert other.words == one.words and list(one.words) == ["de", "en"] and list(other.words) == ["en", "de"]
    assert other.lines == {"test_source": one.lines["test_target"], "test_target": one.lines["test_source"]}
    swap = {"source": "target", "target": "source"}
    for name, tensor in one.tensors.items():
        split, side, what = name.split("_")
        assert tensor.equal(other.tensors[f"{split}_{swap[side]}_{what}"])


def test_a_file_that_is_not_the_published_one_is_used_with_a_note(small, monkeypatch):
    notes = multi30k.configured(DEFAULT).read(small).notes
    assert len(notes) == 6 and notes[1] == "train.en.gz is not the published file; its 3 lines are used as they are"
    digest = {path: hashlib.md5(file.read_bytes()).hexdigest() for path, file in small.items()}
    table = {
        part: {language: digest.get(f"multi30k/{part}.{language}.gz", md5) for language, md5 in known.items()}
        for part, known in multi30k.MD5.items()
    }
    monkeypatch.setattr(multi30k, "MD5", table)
    assert multi30k.configured(DEFAULT).read(small).notes == []


def test_read_refuses_what_does_not_fit(small, write):
    small["multi30k/val.en.gz"] = write("val.en.gz", ["A man"])
    message = refusal(multi30k.configured(DEFAULT).read, small)
    assert message.startswith(f"{small['multi30k/val.de.gz']}:2: ")


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"src": "es"}, ["--src es", "de, en, fr, cs"]),
        ({"tgt": "EN"}, ["--tgt EN", "de, en, fr, cs"]),
        ({"src": "en"}, ["--src and --tgt are both en", "de, en, fr, cs"]),
        ({"test_set": "2019"}, ["--test-set 2019", "2016_flickr, 2017_flickr, 2017_mscoco, 2018_flickr"]),
        ({"test_set": "2017_flickr", "tgt": "cs"}, ["--tgt cs", "2017_flickr", "de, en, fr"]),
        ({"test_set": "2017_mscoco", "src": "cs"}, ["--src cs", "2017_mscoco", "de, en, fr"]),
    ],
)
def test_what_the_corpus_does_not_hold_is_refused(chosen, words):
    message = refusal(multi30k.configured, DEFAULT | chosen)
    assert all(word in message for word in words), message


def test_every_pair_of_every_test_set_can_be_had():
    made = {}
    for test_set, languages in {
        "2016_flickr": "de en fr cs",
        "2017_flickr": "de en fr",
        "2017_mscoco": "de en fr",
        "2018_flickr": "de en fr cs",
    }.items():
        for source, target in itertools.permutations(languages.split(), 2):
            data = multi30k.configured({"src": source, "tgt": target, "test_set": test_set})
            parts = ("train", "val", f"test_{test_set}")
            assert [raw.path for raw in data.raw] == [
                f"multi30k/{part}.{language}.gz" for part in parts for language in (source, target)
            ]
            home = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/"
            assert all(raw.url == home + raw.path.removeprefix("multi30k/") for raw in data.raw)
            made[json.dumps(data.preparation, sort_keys=True)] = (source, target, test_set)
    assert len(made) == 12 + 6 + 6 + 12  # each is prepared, and so cached, for itself


def test_the_data_set_is_german_to_english_unless_asked_otherwise():
    data = multi30k.DATASET
    assert (data.name, data.title, data.kind) == ("multi30k", "Multi30k", "translation")
    assert (data.model_class, data.model, data.evaluation) == (
        "nlp",
        "seq2seq",
        "Utils.training.translation:Translation",
    )
    assert data.raw == multi30k.configured(DEFAULT).raw and data.raw[0].path == "multi30k/train.de.gz"
    again = data.configure({"src": "fr", "tgt": "cs", "test_set": "2018_flickr", "lr": 1})
    assert [raw.path for raw in again.raw][-2:] == [
        "multi30k/test_2018_flickr.fr.gz",
        "multi30k/test_2018_flickr.cs.gz",
    ]
    paper = {"lr": 1e-4, "adam_betas": [0.9, 0.98], "adam_eps": 1e-9, "post_epochs": 10, "train_batch_size": 256}
    paper |= {"test_batch_size": 256, "prune_batch_size": 256, "prune_dataset_size": 1280, "optimizer": "adam"}
    defaults = rows.defaults(data.defaults)  # the general ones, less those that it has of its own
    for known in (paper, DEFAULT):
        assert {key: defaults[key] for key in known} == known
    assert "prune_dataset_ratio" not in data.defaults and "prune_augment" not in data.defaults


@pytest.mark.parametrize(("source", "target"), [("de", "en"), ("en", "de")])
def test_the_sample_is_prepared_like_the_corpus(source, target):
    data = multi30k.configured({"src": source, "tgt": target, "test_set": "2018_flickr"})
    prepared = data.sample()
    assert prepared.rows == {"train": 3_000, "val": 200, "test": 300} and prepared.notes == []
    side = {"de": 0, "en": 1}
    test = pictures.generate()["test"]
    assert prepared.lines["test_source"] == [pair[side[source]] for pair in test]
    assert prepared.lines["test_target"] == [pair[side[target]] for pair in test]
    assert data.shape(prepared) == (len(prepared.words[source]),) and data.classes(prepared) == prepared.words[target]
    for name, language in (("source", source), ("target", target)):
        rows = rows_of(prepared, f"test_{name}", language)
        assert all("<unk>" not in row for row in rows)  # each word of the test is in the training part
        assert ["".join(row) for row in rows] == [line.replace(" ", "") for line in prepared.lines[f"test_{name}"]]
    examples = data.splits(prepared)
    assert {split: len(found) for split, found in examples.items()} == prepared.rows


@pytest.mark.parametrize(("source", "target"), [("fr", "en"), ("de", "cs")])
def test_the_sample_has_two_languages_and_says_so(source, target):
    message = refusal(multi30k.configured({"src": source, "tgt": target, "test_set": "2016_flickr"}).sample)
    assert "de and en" in message and (source if source != "de" else target) in message


@pytest.fixture(scope="module")
def real(real_multi30k):
    """The real corpus as the code under test reads it."""
    data = multi30k.configured(DEFAULT)
    return data, data.read({raw.path: real_multi30k / raw.path for raw in data.raw})


def test_real_counts_and_vocabularies(real):
    """The paper's vocabularies; 29,000 / 1,014 / 1,000 pairs; every file the published one."""
    data, prepared = real
    assert prepared.rows == {"train": 29_000, "val": 1_014, "test": 1_000} and prepared.notes == []
    assert {language: len(words) for language, words in prepared.words.items()} == {"de": 19_214, "en": 10_837}
    assert data.shape(prepared) == (19_214,) and len(data.classes(prepared)) == 10_837
    assert all(len(set(words)) == len(words) for words in prepared.words.values())
    assert int((prepared.tensors["train_source_ids"] == 0).sum()) == 0
    assert prepared.words["de"][4:7] == [".", "Ein", "einem"] and prepared.words["en"][4:7] == ["a", ".", "A"]


def test_real_sentences_by_hand(real):
    _, prepared = real
    assert rows_of(prepared, "train_source", "de")[0] == (
        "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche .".split()
    )
    assert rows_of(prepared, "train_target", "en")[0] == (
        "Two young , White males are outside near many bushes .".split()
    )
    assert prepared.lines["test_source"][0] == "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt."
    assert prepared.lines["test_target"][0] == "A man in an orange hat starring at something."
    assert rows_of(prepared, "test_target", "en")[0] == "A man in an orange hat starring at something .".split()


def test_real_lines_are_stripped_and_whole(real, real_multi30k):
    """Read by another way, every line's tokens are in place, and no letter is lost: joined they are the line."""
    _, prepared = real
    for split, part in (("train", "train"), ("val", "val"), ("test", "test_2016_flickr")):
        for side, language in (("source", "de"), ("target", "en")):
            with gzip.open(
                real_multi30k / f"multi30k/{part}.{language}.gz", "rt", encoding="utf-8", newline="\n"
            ) as file:
                lines = [" ".join(line.split()) for line in file]
            rows = rows_of(prepared, f"{split}_{side}", language)
            assert len(rows) == len(lines)
            for row, line in zip(rows, lines, strict=True):
                assert row[0].strip() and row[-1].strip()  # no token of white space from the ends of a line
                if "<unk>" not in row:
                    assert "".join("".join(row).split()) == line.replace(" ", "")
            if split == "test":
                assert [" ".join(line.split()) for line in prepared.lines[f"test_{side}"]] == lines


def test_every_published_checksum(real_multi30k):
    assert sum(len(known) for known in multi30k.MD5.values()) == 22
    for part, known in multi30k.MD5.items():
        for language, md5 in known.items():
            content = (real_multi30k / f"multi30k/{part}.{language}.gz").read_bytes()
            assert hashlib.md5(content).hexdigest() == md5, (part, language)


def test_a_data_set_of_one_pair_knows_nothing_of_another():
    one = multi30k.configured(DEFAULT)
    multi30k.configured(DEFAULT | {"src": "fr"})
    assert dataclasses.replace(one).preparation["tokenizers"] == ["spacy:de", "spacy:en"]
    assert multi30k.DATASET.preparation == one.preparation


def test_real_files_are_known_zipped_unzipped_and_zipped_anew(real_multi30k, tmp_path):
    raw = multi30k.configured(DEFAULT | {"test_set": "2018_flickr"}).raw
    for file in raw:
        content = gzip.decompress((real_multi30k / file.path).read_bytes())
        assert hashlib.md5(content).hexdigest() == file.plain and reading.published(file, real_multi30k / file.path)
    (plain := tmp_path / "val.de").write_bytes(content)
    (anew := tmp_path / "val.de.gz").write_bytes(gzip.compress(content, 1))
    assert reading.published(file, plain) and reading.published(file, anew)
    plain.write_bytes(content + b"x")
    anew.write_bytes(anew.read_bytes()[:-9])
    assert not reading.published(file, plain) and not reading.published(file, anew)


def test_plain_files_are_found_and_are_the_published_ones(real_multi30k, tmp_path):
    dataset = multi30k.configured(DEFAULT | {"test_set": "2018_flickr"})
    (tmp_path / "multi30k").mkdir()
    for file in dataset.raw:
        plain = (tmp_path / file.path).with_suffix("")
        plain.write_bytes(gzip.decompress((real_multi30k / file.path).read_bytes()))
    located = corpus.locate(dataset, tmp_path, "real")
    assert [path.suffix for path in located.paths.values()] == [".de", ".en"] * 3
    assert all(reading.published(file, located.paths[file.path]) for file in dataset.raw)
