"""Folders of images: pixels, sizes, colours, classes and splits, against PIL and numpy."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from Utils import load
from Utils.data import corpus
from Utils.data.own import folders
from Utils.errors import UserError
from Utils.machine import memory

DRAW = np.random.default_rng(1)


def picture(path: Path, size: tuple[int, int] = (6, 5), mode: str = "RGB") -> np.ndarray:
    """Write an image of random pixels, losslessly; return them, [height, width(, channels)]."""
    shape = size[::-1] if mode == "L" else (*size[::-1], len(mode))
    pixels = DRAW.integers(0, 256, shape, dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels, mode).save(path)
    return pixels


def described(path: Path, **asked):
    name, place = load.own_data(str(path))
    assert name.endswith(".images")
    return load._find(load.FORMS["images"])(name, {"data_path": place, **asked})


def read(path: Path, **asked):
    data = described(path, **asked)
    return data.read({raw.path: data.root / raw.path for raw in data.raw})


def refusal(path: Path, **asked) -> str:
    with pytest.raises(UserError) as caught:
        read(path, **asked)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def pets(tmp_path):
    """pets(size=..., mode=...): two classes of ten images each, the pixels by name."""

    def make(folder: str = "pets", count: int = 10, **how) -> tuple[Path, dict[str, np.ndarray]]:
        names = [f"{kind}/{k}.png" for kind in ("dog", "cat") for k in range(count)]
        return tmp_path / folder, {name: picture(tmp_path / folder / name, **how) for name in names}

    return make


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_images_of_one_size_are_taken_as_they_are(pets, mode):
    folder, pixels = pets(mode=mode)
    prepared = read(folder)
    channels = 3 if mode == "RGB" else 1
    assert prepared.rows == {"train": 18, "test": 2} and prepared.lines["classes"] == ["cat", "dog"]
    wanted = {(name[:3], value.reshape(5, 6, channels).transpose(2, 0, 1).tobytes()) for name, value in pixels.items()}
    found = set()
    for split in ("train", "test"):
        of, targets = (prepared.tensors[f"{split}_{part}"] for part in ("pixels", "targets"))
        assert of.shape[1:] == (channels, 5, 6)
        found |= {(("cat", "dog")[k], one.numpy().tobytes()) for k, one in zip(targets, of, strict=True)}
    assert found == wanted
    assert sorted(prepared.tensors["test_targets"].tolist()) == [0, 1]
    assert "6 x 5 pixels as they are" in prepared.notes[0]


def test_mean_and_deviation_are_those_of_the_training_pixels(pets):
    prepared = read(pets()[0])
    train = prepared.tensors["train_pixels"].numpy() / 255
    for name, wanted in (("mean", train.mean((0, 2, 3))), ("std", train.std((0, 2, 3)))):
        assert np.allclose(prepared.tensors[name].numpy(), wanted, atol=1e-6)
    examples = folders.splits(prepared)["train"]
    batch, _ = examples.arrange(torch.arange(18))(0, 18)
    assert np.allclose(batch.numpy().std((0, 2, 3)), 1, atol=1e-4)


def test_one_colour_has_no_deviation_to_divide_by(tmp_path):
    for kind in "ab":
        for k in range(3):
            (path := tmp_path / f"x/{kind}/{k}.png").parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), 7).save(path)
    prepared = read(tmp_path / "x")
    assert prepared.tensors["std"].tolist() == [1.0]
    assert prepared.tensors["mean"].tolist() == pytest.approx([7 / 255])


def test_sizes_that_differ_and_a_size_that_is_asked_for(pets):
    folder, _ = pets()
    first = picture(folder / "cat/wide.png", (9, 4))
    assert read(folder).tensors["train_pixels"].shape[1:] == (3, 32, 32)
    prepared = read(folder, image_size=4)
    every = {one.tobytes() for split in ("train", "test") for one in prepared.tensors[f"{split}_pixels"].numpy()}
    wanted = np.array(ImageOps.fit(Image.fromarray(first), (4, 4), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert wanted.tobytes() in every and len(every) == 21
    assert "cut square and scaled to 4 x 4 pixels" in prepared.notes[0] and "sizes differ" in read(folder).notes[0]


def test_grey_and_colour_together_are_colour(pets):
    folder, _ = pets(mode="L")
    picture(folder / "cat/colour.png")
    assert read(folder).tensors["train_pixels"].shape[1] == 3


@pytest.mark.parametrize("third", [None, "val", "validation"])
def test_folders_named_after_splits_are_splits(pets, third):
    folder, counts = None, {"train": 4, "test": 2, **({third: 3} if third else {})}
    for split, count in counts.items():
        pets(f"pets/{split}", count)
    folder = pets("pets/train", 4)[0].parent
    prepared = read(folder)
    assert prepared.rows == {"train": 8, "test": 4, **({"val": 6} if third else {})}
    assert prepared.notes[0].endswith("splits as given")


def test_a_validation_folder_is_the_test_split_where_there_is_none(pets):
    pets("pets/train", 3)
    folder = pets("pets/val", 2)[0].parent
    assert read(folder).rows == {"train": 6, "test": 4}


def test_other_files_and_hidden_ones_are_no_images(pets):
    folder, _ = pets(count=3)
    before = described(folder).digest(folder)
    (folder / "cat/notes.txt").write_text("x")
    (folder / "empty").mkdir()
    for hidden in ("cat/._0.png", ".cache/0.png", "__MACOSX/0.png"):
        (folder / hidden).parent.mkdir(exist_ok=True)
        (folder / hidden).write_bytes(b"x")
    assert sum(read(folder).rows.values()) == 6 and described(folder).digest(folder) == before
    picture(folder / "cat/0.png")
    assert described(folder).digest(folder) != before


def test_folders_of_no_images_are_told(pets, capsys):
    folder, _ = pets(count=3)
    for name in ("cow", "a, b", ".hidden"):
        (folder / name).mkdir()
    (folder / "cow/notes.txt").write_text("x")
    assert read(folder).lines["classes"] == ["cat", "dog"]
    assert capsys.readouterr().err == f"note: {folder}: no images in 'a, b', cow, so no class\n"


def test_files_that_may_be_images_and_are_not_read_are_named(pets, capsys):
    folder, _ = pets(count=3)
    for name in ("cat/p.heic", "dog/old/IMG_0001", "cat/Thumbs.db", "LICENSE", "dog/README", "cat/.x.heic"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((folder / "cat/0.png").read_bytes())
    picture(folder / "alone.png")
    assert sum(read(folder).rows.values()) == 6
    assert capsys.readouterr().err.splitlines() == [
        f"note: {folder}: 1 file is not read: alone.png (in no folder of a class)",
        f"note: {folder}: 2 files are not read: cat/p.heic, dog/old/IMG_0001 (no image of a known form)",
    ]


def test_images_beside_the_folders_of_splits_are_named(pets, capsys):
    pets("pets/training", 3)
    folder = pets("pets/test", 2)[0].parent
    picture(folder / "other/1.png")
    for name in ("x.heic", "labels.csv.md", "notes/a.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    assert read(folder).rows == {"train": 6, "test": 4}
    assert (
        capsys.readouterr().err
        == f"note: {folder}: 2 files are not read: other/1.png, x.heic (beside test, training)\n"
    )


@pytest.mark.parametrize("where", ["", "a", "train/a", "test/a"])
def test_folders_without_any_image_that_is_read_name_one_that_is_not(pets, tmp_path, where):
    if where.startswith("test"):
        pets("x/train", 3)
    (tmp_path / "x" / where).mkdir(parents=True)
    (tmp_path / "x" / where / "p.heic").write_text("x")
    with pytest.raises(UserError) as caught:
        load.own_data(str(tmp_path / "x"))
    named = f"{where.removeprefix('test/')}/p.heic".lstrip("/")
    assert f"({named} is no image of a known form)" in str(caught.value)


@pytest.mark.parametrize("place", ["", "cat", "0.png"])
def test_a_split_without_class_folders_is_refused(pets, place):
    """Its neighbours would be taken for the classes otherwise."""
    folder, _ = pets("pets/train", 3)
    (test := folder.parent / "test").mkdir()
    picture(test / place) if place.endswith("png") else (test / place).mkdir(exist_ok=True)
    with pytest.raises(UserError, match="no folder of a class with images is in it, as in train") as caught:
        load.own_data(str(folder.parent))
    assert str(caught.value).startswith(f"{test}: ")


def test_classes_may_be_called_train_and_test(pets, tmp_path):
    for name in ("train", "test"):
        for k in range(3):
            picture(tmp_path / f"x/{name}/{k}.png")
    assert read(tmp_path / "x").lines["classes"] == ["test", "train"]


@pytest.mark.parametrize("names", ["seg_train/seg_train seg_test/seg_test", "train_images test_images", "my-train dev"])
def test_folders_that_are_nearly_called_like_splits_are_no_classes(pets, tmp_path, names):
    for name in names.split():
        pets(f"x/{name}", 3)
    first = ", ".join(sorted(name.partition("/")[0] for name in names.split()))
    with pytest.raises(UserError) as caught:
        load.own_data(str(tmp_path / "x"))
    assert str(caught.value).startswith(f"--dataset {tmp_path / 'x'}: {first} look like splits")


def test_classes_with_such_names_and_folders_in_classes_stay(pets, tmp_path):
    for name in ("train_station/0.png", "train_station/old/1.png", "test_tube/new/0.png", "test_tube/old/0.png"):
        picture(tmp_path / "x" / name)
    assert read(tmp_path / "x").lines["classes"] == ["test_tube", "train_station"]
    for name in ("cat", "dog"):
        picture(tmp_path / f"y/{name}/2019/0.png")
        picture(tmp_path / f"y/{name}/2020/0.png")
    assert read(tmp_path / "y").lines["classes"] == ["cat", "dog"]


@pytest.mark.parametrize("damage", ["no image", "cut off", "empty", "16 bits"])
def test_an_image_that_cannot_be_read_is_named(pets, damage):
    folder, _ = pets(size=(40, 40))
    path = folder / "dog/3.png"
    whole = path.read_bytes()
    if damage == "16 bits":
        Image.fromarray(np.zeros((40, 40), np.uint16)).save(path)
    else:
        path.write_bytes({"no image": b"hello", "cut off": whole[: len(whole) // 2], "empty": b""}[damage])
    assert refusal(folder).startswith(f"{path}: ")


def test_classes_that_cannot_be_trained_are_named(pets):
    pets("pets/train", 2)
    folder = pets("pets/test", 2)[0].parent
    picture(folder / "test/cow/0.png")
    assert "class cow has no images for training" in refusal(folder)
    picture(folder.parent / "one/cat/0.png")
    picture(folder.parent / "one/cat/1.png")
    assert "class cat is the only class" in refusal(folder.parent / "one")


def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(pets, monkeypatch):
    folder, _ = pets()
    monkeypatch.setattr(memory, "physical", lambda: 2.0 * 20 * 30 * 3 - 1)
    assert "--image-size" in refusal(folder)


def test_the_command_line_trains_on_a_folder(cli, pets, tmp_path):
    folder, _ = pets(size=(8, 8))
    flags = "--source real --post-epochs 1 --pruner snip --compression 0.5 --model fc"
    outcome = cli(f"--dataset {folder} {flags}", data=tmp_path / "data")
    assert outcome.path.name.startswith("pets.images-fc-snip-c0.5-s1-")
    assert outcome.result["data"]["rows"] == {"train": 18, "test": 2}
    (tmp_path / "moved").mkdir()
    moved = folder.rename(tmp_path / "moved/pets")
    assert "stored result" in cli(f"--dataset {moved} {flags}", data=tmp_path / "data").err


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("vgg11", "takes images from 16 x 16 pixels on; those of pets.images have 8 x 8"),
        ("mlp --image-size 40", "40 x 40"),
    ],
)
def test_a_model_that_does_not_take_images_of_this_size_says_so(cli, pets, tmp_path, model, words):
    folder, _ = pets(size=(8, 8))
    outcome = cli(f"--dataset {folder} --source real --model {model}", data=tmp_path / "data")
    errors = [line for line in outcome.err.splitlines() if not line.startswith("note: ")]
    assert outcome.code == 2 and len(errors) == 1 and words in errors[0], errors


HELD = {  # EXIF's orientation -> what has to be done to see the picture upright
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
    0: lambda a: a,  # no such orientation
}


@pytest.mark.parametrize("held", HELD)
def test_images_are_turned_as_the_camera_was_held(tmp_path, held):
    """All of one size once they are upright, so that they are taken as they are."""
    size, wanted = (5, 6) if held in (5, 6, 7, 8) else (6, 5), {}
    for name in [f"{kind}/{k}.png" for kind in ("cat", "dog") for k in range(10)]:
        pixels = picture(tmp_path / name, size)
        tags = Image.Exif()
        tags[0x0112] = held
        with Image.open(tmp_path / name) as image:
            image.save(tmp_path / name, exif=tags)
        wanted[HELD[held](pixels).tobytes()] = name
    prepared = read(tmp_path)
    assert "6 x 5 pixels as they are" in prepared.notes[0]
    found = torch.cat([prepared.tensors["train_pixels"], prepared.tensors["test_pixels"]]).permute(0, 2, 3, 1)
    assert {image.contiguous().numpy().tobytes() for image in found} == wanted.keys()


def test_damaged_exif_is_as_none(pets):
    folder, _ = pets()
    plain = read(folder)
    with Image.open(folder / "cat" / "0.png") as image:
        image.save(folder / "cat" / "0.png", exif=b"Exif\0\0MM\0*garbage")
    assert torch.equal(read(folder).tensors["train_pixels"], plain.tensors["train_pixels"])


def test_what_folders_are_called_is_no_part_of_the_data_and_their_classes_are(tmp_path):
    keys = []
    for folder, classes in (("pets", ("cat", "dog")), ("animals", ("cat", "dog")), ("others", ("cat", "hound"))):
        for name in classes:
            pixels = np.full((5, 6), len(name[:3]) * (1 + (name == "cat")), np.uint8)
            (tmp_path / folder / name).mkdir(parents=True)
            Image.fromarray(pixels, "L").save(tmp_path / folder / name / "1.png")
        keys.append(corpus.locate(described(tmp_path / folder), tmp_path).key)
    assert keys[0] == keys[1] != keys[2]
    (tmp_path / "whole").mkdir()
    (tmp_path / "pets").rename(tmp_path / "whole/training")
    (tmp_path / "animals").rename(tmp_path / "whole/test")
    before = corpus.locate(described(tmp_path / "whole"), tmp_path)
    (tmp_path / "whole/training").rename(tmp_path / "whole/train")
    assert corpus.locate(described(tmp_path / "whole"), tmp_path).key == before.key
