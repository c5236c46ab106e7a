"""Parallel texts of the user's: pairs, languages, splits and refusals, against files counted by hand."""

import gzip
import itertools
import unicodedata
from pathlib import Path

import pytest

from Utils import load
from Utils.data import corpus, text
from Utils.data.own import places, texts
from Utils.errors import UserError

DE = [f"ein roter Hund {k}" for k in range(20)]
EN = [f"a red dog {k}" for k in range(20)]


def write(folder: Path, **files: list[str]) -> Path:
    """write(folder, train_de=[...]): the file train.de of these lines."""
    folder.mkdir(exist_ok=True)
    for name, lines in files.items():
        content = "".join(f"{line}\n" for line in lines)
        (folder / name.replace("_", ".")).write_text(content, encoding="utf-8")
    return folder


def described(path: Path, **asked):
    name, place = load.own_data(str(path))
    assert name.endswith(".pairs")
    return load._find(load.FORMS["pairs"])(name, {"data_path": place, **asked})


def read(path: Path, **asked):
    data = described(path, **asked)
    return data.read({raw.path: data.root / raw.path for raw in data.raw})


def refusal(call, *arguments, **more) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def lines(prepared, split: str, side: str, language: str) -> list[str]:
    of, words = prepared.tensors, prepared.words[language]
    ids, bounds = of[f"{split}_{side}_ids"].tolist(), of[f"{split}_{side}_offsets"].tolist()
    return [" ".join(words[k] for k in ids[a:b]) for a, b in itertools.pairwise(bounds)]


def test_a_tenth_is_held_out_and_line_stays_with_line(tmp_path):
    prepared = read(write(tmp_path / "x", news_de=DE, news_en=EN))
    assert prepared.rows == {"train": 18, "test": 2} and list(prepared.words) == ["de", "en"]
    train = zip(lines(prepared, "train", "source", "de"), lines(prepared, "train", "target", "en"), strict=True)
    test = zip(prepared.lines["test_source"], prepared.lines["test_target"], strict=True)
    assert {*train, *test} == set(zip(DE, EN, strict=True))
    assert prepared.notes == ["20 pairs, from de into en; 10 % held out as test by --split-seed 1"]


def test_splits_are_taken_where_they_are_given(tmp_path):
    files = {
        "train_de": DE,
        "train_en": EN,
        "valid_de": DE[:3],
        "valid_en": EN[:3],
        "test_de": DE[:2],
        "test_en": EN[:2],
    }
    folder = write(tmp_path / "x", **files)
    prepared = read(folder)
    assert prepared.rows == {"train": 20, "val": 3, "test": 2} and prepared.lines["test_target"] == EN[:2]
    for name in files:  # and zipped they are the same
        plain = folder / name.replace("_", ".")
        plain.with_name(f"{plain.name}.gz").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    zipped = read(folder)
    assert all(zipped.tensors[name].equal(value) for name, value in prepared.tensors.items())


@pytest.mark.parametrize("half", ["test_de", "dev_en", "train_en"])
def test_half_of_a_split_is_refused(tmp_path, half):
    """Also of the training split, in whose place the other pair would be trained on."""
    whole = "test" if half.startswith("train") else "train"
    folder = write(tmp_path / "x", **{f"{whole}_de": DE, f"{whole}_en": EN, half: DE, "eval_sh": ["exit"]})
    half = folder / half.replace("_", ".")
    assert refusal(load.own_data, str(folder)).startswith(f"{half}: has no counterpart in another language")
    half.unlink()
    assert described(folder).kind == "translation"


@pytest.mark.parametrize("side", [0, 1])
def test_letters_are_composed_on_both_sides(tmp_path, side):
    sides = [[f"größer als Möwe {k}" for k in range(20)], [f"café {k}" for k in range(20)]]
    composed = read(write(tmp_path / "x", train_de=sides[0], train_en=sides[1]))
    sides[side] = [unicodedata.normalize("NFD", line) for line in sides[side]]
    other = read(write(tmp_path / "y", train_de=sides[0], train_en=sides[1]))
    assert other.words == composed.words and other.lines == composed.lines
    assert all(other.tensors[name].equal(value) for name, value in composed.tensors.items())
    assert {"größer", "Möwe"} < set(other.words["de"]) and "café" in other.words["en"]


def test_the_direction_is_the_users_or_into_english(tmp_path):
    folder = write(tmp_path / "x", train_de=DE, train_en=EN)
    for asked, wanted in (({}, ["de", "en"]), ({"src": "en"}, ["en", "de"]), ({"tgt": "de"}, ["en", "de"])):
        assert list(read(folder, **asked).words) == wanted
    assert texts.directed({"": {"da": folder, "sv": folder}}, None, None) == ("da", "sv")
    write(folder, train_fr=DE)
    assert list(read(folder, src="fr", tgt="de").words) == ["fr", "de"]
    assert "choose two" in refusal(described, folder)
    assert "choose two" in refusal(described, folder, src="fr")
    assert "--src cs" in refusal(described, folder, src="cs", tgt="de")
    assert "two languages" in refusal(described, folder, src="de", tgt="de")


def test_a_prefix_names_a_pair_among_others(tmp_path):
    folder = write(tmp_path / "x", news_de=DE, news_en=EN, talks_de=DE[:9], talks_en=EN[:9])
    assert sum(read(folder / "talks").rows.values()) == 9
    assert load.own_data(str(folder / "talks"))[0] == "talks.pairs"
    assert "news, talks" in refusal(load.own_data, str(folder))
    assert "no such file" in refusal(load.own_data, str(folder / "other"))
    assert places.find(str(folder / "other")) is None


def test_a_language_without_rules_has_general_ones(tmp_path):
    prepared = read(write(tmp_path / "x", train_de=DE, train_qq=[f"{line}!" for line in EN]))
    assert prepared.notes[1].startswith("spaCy has no rules of its own for 'qq'")
    assert lines(prepared, "train", "target", "qq")[0].startswith("a red dog ")
    assert text.detokenize(["a", "dog", ",", "(", "red", ")", "!"], "qq") == "a dog, (red)!"


@pytest.mark.parametrize(
    ("english", "words"),
    [
        (
            EN[:-1],
            "train.de:20: has no counterpart: train.en ends at line 19, train.de at line 20; complete the shorter file",
        ),
        ([*EN, "more", "still"], "train.en:21: has no counterpart: train.de ends at line 20, train.en at line 22"),
        ([*EN[:4], "", *EN[5:]], "train.en:5: an empty line"),
        ([], "train.en: holds no lines"),
    ],
)
def test_what_does_not_go_together_is_named_with_its_line(tmp_path, english, words):
    assert words in refusal(read, write(tmp_path / "x", train_de=DE, train_en=english))


def test_the_command_line_knows_them(cli, tmp_path):
    folder = write(tmp_path / "x", train_de=DE, train_en=EN)
    outcome = cli(f"--dataset {folder} --source real --test-set 2016_flickr", data=tmp_path / "data")
    assert outcome.code == 2 and "--test-set means nothing to x.pairs" in outcome.err


def test_what_files_are_called_is_no_part_of_the_data_and_their_languages_are(tmp_path):
    first = corpus.locate(described(write(tmp_path / "x", news_de=DE, news_en=EN)), tmp_path)
    renamed = corpus.locate(described(write(tmp_path / "y", talks_de=DE, talks_en=EN)), tmp_path)
    as_split = corpus.locate(described(write(tmp_path / "z", train_de=DE, train_en=EN)), tmp_path)
    backwards = corpus.locate(described(tmp_path / "y", src="en", tgt="de"), tmp_path)
    assert first.key == renamed.key and first.files.keys() == {"de", "en"}
    assert len({first.key, as_split.key, backwards.key}) == 3
    for path in (tmp_path / "y").iterdir():
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert corpus.locate(described(tmp_path / "y"), tmp_path).key == first.key
