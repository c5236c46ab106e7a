"""Tiny ImageNet and ImageNet: folders of photographs by class, against PIL; the archive; the drawn samples."""

import hashlib
import io
import random
import zipfile
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from Utils import load
from Utils.data import archives, corpus, photographs
from Utils.data.loader import Loader
from Utils.data.sets import imagenet, tiny_imagenet
from Utils.errors import UserError

DRAW = np.random.default_rng(1)
WNIDS = ("n02", "n01")


def jpeg(path, size=(64, 64), mode="RGB"):
    """Write a smooth picture, which JPEG keeps nearly; return what PIL reads of it."""
    grid = np.add.outer(np.linspace(0, 100, size[1]), np.linspace(0, 100, size[0])) + DRAW.uniform(0, 50)
    pixels = np.stack([grid, 255 - grid, grid / 2], axis=2).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path, "JPEG")
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture
def tiny(tmp_path):
    """The published form: (data directory, pixels by path below it)."""
    root, found = tmp_path / "tiny-imagenet-200", {}
    for wnid in WNIDS:
        for k in range(3):
            path = root / "train" / wnid / "images" / f"{wnid}_{k}.JPEG"
            found[path.relative_to(root).as_posix()] = jpeg(path, mode="L" if k == 2 else "RGB")
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("0 0 1 1\n", encoding="utf-8")
    lines = []
    for k, wnid in enumerate(("n01", "n02", "n01")):
        path = root / "val" / "images" / f"val_{k}.JPEG"
        found[path.relative_to(root).as_posix()] = jpeg(path)
        lines.append(f"val_{k}.JPEG\t{wnid}\t0\t32\t44\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines), encoding="utf-8")
    return tmp_path, found


def test_tiny_imagenet_is_read_as_published(tiny):
    folder, pixels = tiny
    loaded = corpus.load(corpus.locate(tiny_imagenet.DATASET, folder, "real"))
    assert loaded.shape == (3, 64, 64) and list(loaded.classes) == ["n01", "n02"]
    assert loaded.rows == {"train": 6, "test": 3}
    assert loaded.train.targets.tolist() == [0, 0, 0, 1, 1, 1] and sorted(loaded.test.targets.tolist()) == [0, 0, 1]
    expected = [value for name, value in sorted(pixels.items()) if name.startswith("train")]
    assert (loaded.train.pixels.permute(0, 2, 3, 1).numpy() == np.stack(expected)).all()
    of_test = {value.tobytes(): k for k, value in enumerate(pixels[f"val/images/val_{k}.JPEG"] for k in range(3))}
    order = [of_test[np.ascontiguousarray(one.permute(1, 2, 0).numpy()).tobytes()] for one in loaded.test.pixels]
    assert [(0, 1, 0)[k] for k in order] == loaded.test.targets.tolist()
    assert loaded.train.crop == 4 and loaded.train.flip and not loaded.test.flip


def test_class_folders_in_val_do_as_well(tiny):
    folder, _ = tiny
    val = folder / "tiny-imagenet-200" / "val"
    for k, wnid in enumerate(("n01", "n02", "n01")):
        (val / wnid).mkdir(exist_ok=True)
        (val / "images" / f"val_{k}.JPEG").rename(val / wnid / f"val_{k}.JPEG")
    (val / "val_annotations.txt").unlink()
    (val / "images").rmdir()
    assert corpus.load(corpus.locate(tiny_imagenet.DATASET, folder, "real")).test.targets.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("content", "words"),
    [("val_0.JPEG n01\n", ["line 1", "tab"]), ("val_0.JPEG\tn03\n", ["n03", "no images for training"]),
     ("nothing.JPEG\tn01\n", ["nothing.JPEG"]), ("", ["no images"])],
)  # fmt: skip
def test_wrong_annotations_are_one_line(tiny, content, words):
    folder, _ = tiny
    (folder / "tiny-imagenet-200/val/val_annotations.txt").write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        corpus.load(corpus.locate(tiny_imagenet.DATASET, folder, "real"))
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)


def test_the_key_follows_the_files(tiny):
    folder, _ = tiny
    first = corpus.locate(tiny_imagenet.DATASET, folder, "real").key
    assert first == corpus.locate(tiny_imagenet.DATASET, folder, "real").key
    jpeg(folder / "tiny-imagenet-200/train/n01/images/more.JPEG")
    assert first != corpus.locate(tiny_imagenet.DATASET, folder, "real").key


def test_the_archive_is_unpacked_where_it_lies(tiny, tmp_path_factory, capsys):
    folder, pixels = tiny
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted((folder / "tiny-imagenet-200").rglob("*")):
            archive.write(path, path.relative_to(folder))
        archive.writestr("tiny-imagenet-200/test/images/test_0.JPEG", b"")
    place, content = tmp_path_factory.mktemp("data"), buffer.getvalue()
    (place / "tiny-imagenet-200.zip").write_bytes(content)
    with pytest.raises(UserError, match="could not be fetched"):  # another archive is left alone
        corpus.locate(tiny_imagenet.DATASET, place, "real")
    unpack = partial(
        archives.unpack, title="Tiny ImageNet", name="tiny-imagenet-200.zip", folder="tiny-imagenet-200",
        md5=hashlib.md5(content).hexdigest(), extract=tiny_imagenet.extract,
    )  # fmt: skip
    loaded = corpus.load(corpus.locate(replace(tiny_imagenet.DATASET, unpack=unpack), place, "real"))
    assert loaded.rows == {"train": 6, "test": 3} and "unpacking" in capsys.readouterr().err
    assert sorted(path.name for path in (place / "tiny-imagenet-200").iterdir()) == ["train", "val"]
    assert not any(path.name.startswith(".tiny") for path in place.iterdir()) and len(pixels) == 9


def test_what_is_published_is_named():
    raw = tiny_imagenet.DATASET.raw
    assert {file.md5 for file in raw} == {"90528d7ca1a48142e341f4ef8d21d0de"}
    assert all(file.url.endswith("/tiny-imagenet-200.zip") for file in raw)


@pytest.fixture
def large(tmp_path):
    """ImageNet's form, with photographs of all sizes: the data directory."""
    for split, count in (("train", 4), ("val", 2)):
        for wnid in WNIDS:
            for k in range(count):
                jpeg(tmp_path / "imagenet" / split / wnid / f"{k}.JPEG", (300 + 40 * k, 260), "L" if k == 1 else "RGB")
    return tmp_path


def test_imagenet_is_decoded_as_batches_come(large):
    """The middle of 256 pixels for testing, as PIL scales it; nothing but names and labels is kept."""
    loaded = corpus.load(corpus.locate(imagenet.DATASET, large, "real"))
    assert loaded.shape == (3, 224, 224) and list(loaded.classes) == ["n01", "n02"]
    assert loaded.rows == {"train": 8, "test": 4}
    files = list((large / "prepared").rglob("data.safetensors"))
    assert len(files) == 1 and files[0].stat().st_size < 1_000
    (data, target), *_ = Loader(loaded.test, 4)
    assert data.shape == (4, 3, 224, 224) and target.tolist() == [0, 0, 1, 1]
    for k, path in enumerate(sorted((large / "imagenet" / "val").rglob("*.JPEG"))):
        image = Image.open(path).convert("RGB")
        side = 0.875 * min(image.size)
        left, top = ((length - side) / 2 for length in image.size)
        box = (left, top, left + side, top + side)
        pixels = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR, box=box)) / 255
        shown = data[k].permute(1, 2, 0).numpy() * (0.229, 0.224, 0.225) + (0.485, 0.456, 0.406)
        assert np.abs(shown - pixels).max() < 0.02


def test_imagenet_varies_by_seed_and_epoch_and_not_by_workers(large):
    loaded = corpus.load(corpus.locate(imagenet.DATASET, large, "real"))
    one, other = Loader(loaded.train, 3, shuffle=True, seed=1), Loader(loaded.train, 3, shuffle=True, seed=1, workers=2)
    first, second = ([data for data, _ in one] for _ in range(2))
    assert all(torch.equal(a, b) for a, (b, _) in zip(first, other, strict=True))
    assert not torch.equal(torch.cat(first).sum((1, 2, 3)).sort()[0], torch.cat(second).sum((1, 2, 3)).sort()[0])
    still = [torch.cat([data for data, _ in Loader(loaded.train, 3)]) for _ in range(2)]
    assert torch.equal(*still)


def test_windows_lie_inside_and_have_the_asked_area(tmp_path, monkeypatch):
    jpeg(tmp_path / "a.JPEG", (400, 300))
    boxes = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, size, way, box: boxes.append(box) or resize(self, size, way, box)
    )
    split = photographs.Photographs(["a.JPEG"], tmp_path, torch.zeros(1, dtype=torch.int64), 0.0, 1.0, 8, varied=True)
    for seed in range(200):
        split._pixels(0, seed)
    areas = [(right - left) * (below - top) / 120_000 for left, top, right, below in boxes]
    assert all(0 <= left < right <= 400 and 0 <= top < below <= 300 for left, top, right, below in boxes)
    assert max(areas) <= 1 and 0.19 < min(areas) < 0.3 and max(areas) > 0.85
    assert random.Random(1).random() == random.Random(1).random()


def test_a_broken_photograph_is_one_line(large):
    loaded = corpus.load(corpus.locate(imagenet.DATASET, large, "real"))
    (large / "imagenet/val/n01/0.JPEG").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"0\.JPEG") as caught:
        next(iter(Loader(loaded.test, 4)))
    assert "\n" not in str(caught.value)


def test_imagenet_without_files_is_one_line(tmp_path):
    with pytest.raises(UserError, match="imagenet/train") as caught:
        corpus.locate(imagenet.DATASET, tmp_path, "real")
    assert "\n" not in str(caught.value)


def test_the_samples(sample_data):
    tiny_, large_ = (load.corpus(name, str(sample_data), "sample") for name in ("tiny-imagenet", "imagenet"))
    assert tiny_.train.pixels.shape == (4_000, 3, 64, 64) and tiny_.num_classes == 200
    assert tiny_.train.targets.bincount(minlength=200).min() >= 5 and tiny_.classes[100].startswith("framed ")
    framed = (tiny_.train.pixels[:, :, 0] == 255).all(2).all(1)
    assert torch.equal(framed, tiny_.train.targets >= 100)
    assert large_.train.pixels.shape == (200, 3, 224, 224) and large_.num_classes == 10
    square = large_.train.pixels.unfold(2, 7, 7).unfold(3, 7, 7).flatten(4)
    assert torch.equal(square.amin(4), square.amax(4))


@pytest.mark.parametrize(("dataset", "model"), [("imagenet", "resnet18"), ("tiny-imagenet", "vgg11")])
def test_a_network_is_pruned_and_measured_on_the_sample(cli, monkeypatch, dataset, model):
    """A thin one, with the flags of the original command line."""
    from Models import resnet, vgg

    monkeypatch.setitem(resnet.DEPTHS, 18, ((1, 1), False))
    monkeypatch.setitem(vgg.PLANS, 11, ([4], [4], [4], [4], [vgg.CHANNELS]))
    family = dataset.replace("-", "")
    command = f"--dataset {dataset} --model-class {family} --model {model} --pruner snip --compression 1"
    outcome = cli(f"{command} --prune-dataset-size 8 --train-size 50")
    assert outcome.code == 0, outcome.err
    parameters = outcome.result["parameters"]
    assert abs(parameters["prunable_kept"] - parameters["prunable"] / 10) < 1
    assert outcome.result["final"].keys() >= {"test_top1", "test_top5"}
