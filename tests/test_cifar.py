"""CIFAR-10 and CIFAR-100: the published files, read pixel by pixel, named when damaged, fetched whole or not at all."""

import builtins
import dataclasses
import errno
import hashlib
import http.server
import io
import os
import pickle
import subprocess
import sys
import tarfile
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets as theirs

from Utils.data import corpus, download
from Utils.data.dataset import PER_CLASS, Dataset, Prepared
from Utils.data.samples import shapes
from Utils.data.sets import cifar10, cifar100
from Utils.errors import UserError
from Utils.store import files

ROOT = Path(__file__).resolve().parent.parent
BOTH = pytest.mark.parametrize(("data", "published"), [(cifar10, theirs.CIFAR10), (cifar100, theirs.CIFAR100)])
TEN = "airplane automobile bird cat deer dog frog horse ship truck".split()
FINE = """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm""".split()
COARSE = """aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
    household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes
    large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals trees
    vehicles_1 vehicles_2""".split()


def published_meta() -> bytes:
    """The file `meta` of CIFAR-100 as Python 2 pickled it: short strings (U), numbered (q), in two lists (])."""
    numbers = iter(range(1, 256))

    def numbered(content: bytes) -> bytes:
        return content + b"q" + bytes([next(numbers)])

    def text(value: str) -> bytes:
        return numbered(b"U" + bytes([len(value)]) + value.encode())

    content = b"\x80\x02" + numbered(b"}") + b"("
    for name, values in (("fine_label_names", FINE), ("coarse_label_names", COARSE)):
        content += text(name) + numbered(b"]") + b"(" + b"".join(map(text, values)) + b"e"
    return content + b"u."


def batch(count: int, seed: int, **labels: list[int]) -> dict:
    """What one of the published files holds, with so many random images."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)
    return {"data": pixels, "filenames": [f"{k}.png" for k in range(count)], **labels}


def contents(published: type) -> dict[str, object]:
    """A small corpus in the layout of the published one: what is pickled, by file name."""
    if published is theirs.CIFAR10:
        made = {}
        for seed, (name, _) in enumerate(published.train_list + published.test_list):
            made[name] = batch(3, seed, labels=[seed, 9 - seed, 5])
        return {**made, "batches.meta": {"label_names": TEN, "num_cases_per_batch": 3, "num_vis": 3072}}
    train, test = [99, 0, 42, 7, 42], [3, 99]
    return {
        "train": batch(5, 1, fine_labels=train, coarse_labels=[k // 5 for k in train]),
        "test": batch(2, 2, fine_labels=test, coarse_labels=[k // 5 for k in test]),
        "meta": {"fine_label_names": FINE, "coarse_label_names": COARSE},
    }


@dataclasses.dataclass
class Small:
    """A small corpus that passes for the published one: its files in bytes, its data set, its archive."""

    bytes: dict[str, builtins.bytes]
    contents: dict
    dataset: Dataset
    archive: builtins.bytes
    folder: str

    def write(self, directory: Path) -> Path:
        """Lay the files out below `directory`."""
        (directory / self.folder).mkdir(parents=True)
        for name, content in self.bytes.items():
            (directory / self.folder / name).write_bytes(content)
        return directory

    def paths(self, directory: Path) -> dict[str, Path]:
        return {file.path: directory / file.path for file in self.dataset.raw}


def make_small(data, published, monkeypatch) -> Small:
    """The checksums in torchvision and in our data set become those of the small corpus."""
    held = contents(published)
    in_bytes = {name: pickle.dumps(value, protocol=2) for name, value in held.items()}
    if published is theirs.CIFAR100:
        in_bytes["meta"] = published_meta()
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in in_bytes.items()}
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(published, part, [[name, md5[name]] for name, _ in getattr(published, part)])
    monkeypatch.setattr(published, "meta", {**published.meta, "md5": md5[published.meta["filename"]]})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in {**in_bytes, "readme.html": b"<html>"}.items():
            member = tarfile.TarInfo(f"{published.base_folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(published, "tgz_md5", hashlib.md5(buffer.getvalue()).hexdigest())
    raw = tuple(dataclasses.replace(file, md5=md5[Path(file.path).name]) for file in data.DATASET.raw)
    own = {name: partial(getattr(data.DATASET, name), raw=raw) for name in ("read", "unpack", "fetch")}
    small = dataclasses.replace(data.DATASET, raw=raw, **own)
    return Small(in_bytes, held, small, buffer.getvalue(), published.base_folder)


@pytest.fixture(params=[10, 100])
def small(request, monkeypatch) -> Small:
    """Either corpus, small."""
    which = {10: (cifar10, theirs.CIFAR10), 100: (cifar100, theirs.CIFAR100)}[request.param]
    return make_small(*which, monkeypatch)


# ---- what is published -----------------------------------------------------------------------------------------------


@BOTH
def test_files_checksums_and_address_are_those_that_torchvision_publishes(data, published):
    listed = [*published.train_list, *published.test_list, [published.meta["filename"], published.meta["md5"]]]
    assert {file.path: file.md5 for file in data.DATASET.raw} == {
        f"{published.base_folder}/{name}": md5 for name, md5 in listed
    }
    assert {file.url for file in data.DATASET.raw} == {published.url} and published.url.startswith("https://")


def test_the_hundred_names_are_those_of_the_published_file():
    """The names above, pickled as they were then, have the published checksum."""
    content = published_meta()
    assert hashlib.md5(content).hexdigest() == theirs.CIFAR100.meta["md5"] == cifar100.DATASET.raw[-1].md5
    assert len(set(FINE)) == 100 and sorted(FINE) == FINE


@BOTH
def test_what_is_trained_by_default(data, published):
    ours = data.DATASET
    assert (ours.kind, ours.model_class, ours.model) == ("image", "lottery", "vgg16")
    assert dict(ours.defaults) == {**PER_CLASS, "prune_augment": True}


def test_importing_them_brings_nothing_heavy():
    """The help lists the data sets at once."""
    program = "import sys, Utils.data.sets.cifar10, Utils.data.sets.cifar100; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Utils.data.sets.cifar" in loaded.stdout.split()
    assert not {"torch", "torchvision", "numpy"} & set(loaded.stdout.split())


# ---- reading ---------------------------------------------------------------------------------------------------------


def check_pixels(tensors: dict, split: str, rows: np.ndarray, labels: list[int]) -> None:
    """rows: uint8 [n, 3072] as published, a row red, green, blue, each line by line."""
    pixels = tensors[f"{split}_pixels"]
    assert pixels.dtype == torch.uint8 and pixels.shape == (len(rows), 3, 32, 32) and pixels.is_contiguous()
    assert tensors[f"{split}_targets"].dtype == torch.int64 and tensors[f"{split}_targets"].tolist() == labels
    for k, c, y, x in np.random.default_rng(0).integers(0, [len(rows), 3, 32, 32], (200, 4)).tolist():
        assert pixels[k, c, y, x] == rows[k, 1024 * c + 32 * y + x]
    assert np.array_equal(pixels.flatten(1).numpy(), rows)


def test_small_files_are_read_as_they_are(small, tmp_path):
    prepared = small.dataset.read(small.paths(small.write(tmp_path)))
    names = {"train": [name for name in small.contents if name.startswith(("data_batch", "train"))]}
    names["test"] = [name for name in small.contents if name.startswith("test")]
    assert prepared.rows == {
        split: sum(len(small.contents[name]["data"]) for name in names[split]) for split in ("train", "test")
    }
    for split, held in names.items():
        parts = [small.contents[name] for name in held]
        labels = [label for part in parts for label in part.get("labels", part.get("fine_labels"))]
        check_pixels(prepared.tensors, split, np.concatenate([part["data"] for part in parts]), labels)
    assert list(prepared.tensors) == ["train_pixels", "train_targets", "test_pixels", "test_targets"]
    assert small.dataset.classes(prepared) == (FINE if small.folder == "cifar-100-python" else TEN)
    assert small.dataset.shape(prepared) == (3, 32, 32)


class Trap:
    """Does harm as soon as it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a file that is not the published one was unpickled",)


DAMAGE = {
    "cut off": lambda content: content[: len(content) // 2],
    "one bit": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "empty": lambda content: b"",
    "harmful": lambda content: pickle.dumps(Trap()),
    "text": lambda content: b"<html>404</html>\n",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_is_not_the_published_one_is_named(small, tmp_path, damage):
    """Each of them, the one with the names too."""
    paths = small.paths(small.write(tmp_path))
    for path in paths.values():
        good = path.read_bytes()
        path.write_bytes(DAMAGE[damage](good))
        with pytest.raises(UserError) as caught:
            small.dataset.read(paths)
        assert str(caught.value).startswith(f"{path} is not the published file") and "\n" not in str(caught.value)
        path.write_bytes(good)
    small.dataset.read(paths)


@BOTH
def test_files_of_the_right_layout_but_not_the_published_ones_are_refused(data, published, tmp_path, monkeypatch):
    """With the checksums as they are."""
    with monkeypatch.context() as patched:
        small = make_small(data, published, patched)
    with pytest.raises(UserError, match=f"{published.train_list[0][0]} is not the published file"):
        data.DATASET.read(small.paths(small.write(tmp_path)))


@pytest.fixture(scope="module")
def real_cifar10() -> Path:
    """The folder with the published CIFAR-10; to be read only."""
    if all((ROOT / "Data" / file.path).is_file() for file in cifar10.DATASET.raw):
        return ROOT / "Data"
    pytest.skip("the real corpus (cifar-10-batches-py/data_batch_1, ...) is not in Data")


@pytest.fixture(scope="module")
def photographs(real_cifar10):
    """The real CIFAR-10 as the code under test reads it."""
    return cifar10.DATASET.read({file.path: real_cifar10 / file.path for file in cifar10.DATASET.raw})


def test_real_cifar10_is_what_the_published_batches_hold(photographs, real_cifar10):
    def unpickled(name: str) -> dict:
        return pickle.loads((real_cifar10 / "cifar-10-batches-py" / name).read_bytes(), encoding="bytes")  # noqa: S301

    for split, names in (("train", [f"data_batch_{k}" for k in range(1, 6)]), ("test", ["test_batch"])):
        batches = [unpickled(name) for name in names]
        rows = np.concatenate([held[b"data"] for held in batches])
        labels = [label for held in batches for label in held[b"labels"]]
        check_pixels(photographs.tensors, split, rows, labels)
    assert cifar10.DATASET.classes(photographs) == [name.decode() for name in unpickled("batches.meta")[b"label_names"]]


def test_real_cifar10_counts_labels_and_pixels(photographs):
    """The facts that everyone knows of CIFAR-10."""
    assert photographs.rows == {"train": 50_000, "test": 10_000} and photographs.lines == {"classes": TEN}
    targets = photographs.tensors["train_targets"]
    assert [TEN[k] for k in targets[:5]] == ["frog", "truck", "truck", "deer", "automobile"]
    assert [TEN[k] for k in photographs.tensors["test_targets"][:5]] == ["cat", "ship", "ship", "airplane", "frog"]
    assert targets.bincount().tolist() == [5_000] * 10
    assert photographs.tensors["test_targets"].bincount().tolist() == [1_000] * 10
    values = np.arange(256) / 255
    examples = cifar10.DATASET.splits(photographs)["train"]
    for c in range(3):
        counts = photographs.tensors["train_pixels"][:, c].flatten().bincount(minlength=256).numpy()
        mean = np.average(values, weights=counts)
        std = np.average((values - mean) ** 2, weights=counts) ** 0.5
        used = examples.mean[c].item() / 255, examples.std[c].item() / 255
        assert used == pytest.approx((mean, std), abs=1e-3)


# ---- what training gets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "mean", "std"),
    [
        (cifar10, (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)),
        (cifar100, (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)),
    ],
)
def test_pixels_are_normalised_by_colour_and_varied_in_training_alone(data, mean, std):
    pixels = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    targets = torch.arange(8)
    tensors = {f"{split}_{k}": v for split in ("train", "test") for k, v in (("pixels", pixels), ("targets", targets))}
    prepared = Prepared(tensors, {"train": 8, "test": 8}, lines={"classes": ["x"]})
    splits = data.DATASET.splits(prepared)
    assert list(splits) == ["train", "test"]
    wanted = (pixels.double() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    for split, examples in splits.items():
        for seed in (None, 3):
            data_of_all, target = examples.arrange(torch.arange(8), seed)(0, 8)
            assert data_of_all.dtype == torch.float32 and target.equal(targets)
            same = torch.allclose(data_of_all.double(), wanted, atol=1e-5)
            assert same == (split == "test" or seed is None)
    assert (splits["train"].crop, splits["train"].flip) == (4, True)


@pytest.mark.parametrize(("data", "classes"), [(cifar10, 10), (cifar100, 100)])
def test_the_sample_is_the_drawn_one_under_its_own_names(data, classes):
    prepared, drawn = data.DATASET.sample(), shapes.generate(classes)
    for split, (images, labels) in drawn.items():
        assert np.array_equal(prepared.tensors[f"{split}_pixels"].numpy(), images)
        assert prepared.tensors[f"{split}_targets"].tolist() == labels.tolist()
    assert prepared.rows == {split: len(labels) for split, (_, labels) in drawn.items()}
    assert data.DATASET.classes(prepared) == shapes.names(classes) and len(shapes.names(classes)) == classes
    assert data.DATASET.sample_version == shapes.VERSION


# ---- fetching --------------------------------------------------------------------------------------------------------


@pytest.fixture
def serve(monkeypatch):
    """serve(small, body, status, length): its archive's address answers so; the number of answers is in the list."""
    running = []

    def start(small: Small, body: bytes, status: int = 200, length: int | None = None) -> list:
        answered = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answered.append(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        address = f"http://127.0.0.1:{server.server_port}/{small.folder}.tar.gz"
        monkeypatch.setattr(getattr(theirs, small.dataset.title.replace("-", "")), "url", address)
        return answered

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


def everything(directory: Path) -> dict[str, bytes]:
    """All files below `directory`, hidden ones too."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def laid_out(small: Small) -> dict[str, bytes]:
    return {f"{small.folder}/{name}": content for name, content in small.bytes.items()}


def test_the_archive_is_fetched_and_unpacked_in_silence(small, tmp_path, serve, capfd):
    answered = serve(small, small.archive)
    small.dataset.fetch(tmp_path / "Data")
    assert everything(tmp_path / "Data") == laid_out(small)  # neither the archive nor its other content stays
    assert sorted(path.name for path in (tmp_path / "Data").iterdir()) == [small.folder] and len(answered) == 1
    out, err = capfd.readouterr()
    assert out == "" and err.startswith(f"note: {small.dataset.title}: fetching http") and err.count("\n") == 1


@pytest.mark.parametrize("below", [False, True])
def test_the_archive_itself_is_unpacked_where_it_lies(small, tmp_path, below, capsys):
    """In the data directory or in the files' folder; one that is not the published one is left alone and named."""
    name, folder = small.dataset.raw[0].url.rpartition("/")[2], Path(small.dataset.raw[0].path).parts[0]
    place = tmp_path / folder / name if below else tmp_path / name
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(small.archive[:-1])
    with pytest.raises(UserError) as caught:
        corpus.locate(small.dataset, tmp_path, "real")
    assert below or str(place) in str(caught.value)
    place.write_bytes(small.archive)
    located = corpus.locate(small.dataset, tmp_path, "real")
    assert {path: (tmp_path / path).read_bytes() for path in located.files} == laid_out(small)
    assert place.read_bytes() == small.archive and "unpacking" in capsys.readouterr().err
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".cifar")] == []


def test_what_was_there_is_replaced_and_what_is_not_ours_stays(small, tmp_path, serve):
    small.write(tmp_path)
    first = next(iter(small.bytes))
    (tmp_path / small.folder / first).write_bytes(b"damaged")
    (tmp_path / small.folder / "mine.txt").write_text("notes")
    serve(small, small.archive)
    small.dataset.fetch(tmp_path)
    assert everything(tmp_path) == {**laid_out(small), f"{small.folder}/mine.txt": b"notes"}


WRONG = {
    "another archive": lambda archive: (archive[:-1] + b"?", 200, None),
    "a page": lambda archive: (b"<html>Log in first</html>", 200, None),
    "nothing": lambda archive: (b"", 200, None),
    "missing": lambda archive: (b"", 404, None),
    "broken off": lambda archive: (archive[: len(archive) // 2], 200, len(archive)),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("before", ["nothing", "old files"])
def test_what_is_not_the_published_archive_leaves_all_as_it_was(small, tmp_path, serve, wrong, before):
    if before == "old files":
        small.write(tmp_path / "Data")
    held = everything(tmp_path)
    serve(small, *WRONG[wrong](small.archive))
    with pytest.raises(download.Unreachable) as caught:
        small.dataset.fetch(tmp_path / "Data")
    assert f"{small.folder}.tar.gz" in str(caught.value) and "\n" not in str(caught.value)
    assert everything(tmp_path) == held
    assert [path.name for path in (tmp_path / "Data").glob("*")] == ([small.folder] if held else [])


def test_a_server_that_cannot_be_found_leaves_nothing(small, tmp_path):
    """Nor does a directory that could not be written to matter then."""
    (tmp_path / "file").write_text("")
    for place in ("Data", "file/Data"):
        with pytest.raises(download.Unreachable, match=r"cs\.toronto\.edu"):
            small.dataset.fetch(tmp_path / place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
@pytest.mark.parametrize("member", [1, 2, 3])
def test_an_unpacking_that_breaks_off_leaves_nothing(small, tmp_path, serve, monkeypatch, error, member):
    """After some files are there and one is half there."""
    serve(small, small.archive)
    write, written = tarfile.TarFile.makefile, []

    def makefile(self, member_, target) -> None:
        written.append(target)
        if len(written) == member:
            Path(target).write_bytes(b"half")
            raise error
        write(self, member_, target)

    monkeypatch.setattr(tarfile.TarFile, "makefile", makefile)
    with pytest.raises(UserError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        small.dataset.fetch(tmp_path)
    if isinstance(error, OSError):
        assert "No space left" in str(caught.value) and small.folder in str(caught.value)
    assert len(written) == member and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_an_archive_that_cannot_be_kept_leaves_nothing(small, tmp_path, serve, monkeypatch, error):
    """A full disk is the user's to mend: no other server would help."""
    serve(small, small.archive)

    def fsync(handle) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UserError if isinstance(error, OSError) else KeyboardInterrupt, match=r"No space|^$"):
        small.dataset.fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_break_between_two_files_leaves_whole_files_only(small, tmp_path, serve, monkeypatch):
    """What has its name is right; the next run fetches again, since some are missing."""
    serve(small, small.archive)
    replace, moved = Path.replace, []

    def interrupted(self, target):
        if Path(target).parent.name == small.folder:
            moved.append(target)
            if len(moved) == 3:
                raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small.dataset.fetch(tmp_path)
    found = everything(tmp_path)
    assert len(found) == 2 and found.items() <= laid_out(small).items()
    small.dataset.fetch(tmp_path)
    assert everything(tmp_path) == laid_out(small)


def test_a_file_in_the_way_is_the_users_to_mend(small, tmp_path, serve):
    serve(small, small.archive)
    (tmp_path / small.folder).write_text("mine")
    with pytest.raises(UserError, match=f"cannot write .*{small.folder}: ") as caught:
        small.dataset.fetch(tmp_path)
    assert "\n" not in str(caught.value) and everything(tmp_path) == {small.folder: b"mine"}


@pytest.mark.parametrize("source", ["auto", "real"])
def test_a_missing_corpus_is_fetched_once_and_loaded(small, tmp_path, serve, source):
    """One file missing: the archive brings all."""
    small.write(tmp_path)
    gone = tmp_path / small.dataset.raw[1].path
    gone.unlink()
    answered = serve(small, small.archive)
    located = corpus.locate(small.dataset, tmp_path, source)
    assert located.source == "real" and gone.is_file() and len(answered) == 1
    loaded = corpus.load(located)
    assert loaded.classes == (FINE if small.folder == "cifar-100-python" else TEN)
    assert loaded.files == {file.path: files.sha256(tmp_path / file.path) for file in small.dataset.raw}
    assert corpus.load(corpus.locate(small.dataset, tmp_path, source)).train.pixels.equal(loaded.train.pixels)
    assert len(answered) == 1


def test_without_corpus_or_server_auto_takes_the_sample_and_real_ends_in_one_line(small, tmp_path, serve, capsys):
    answered = serve(small, b"", status=503)
    for _ in range(2):  # the second time without asking
        assert corpus.locate(small.dataset, tmp_path, "auto").source == "sample"
        assert "GENERATED SAMPLE" in capsys.readouterr().err and len(answered) == 1
    with pytest.raises(UserError) as caught:
        corpus.locate(small.dataset, tmp_path, "real")
    message = str(caught.value)
    assert "\n" not in message and len(answered) == 2
    for part in (
        small.dataset.title,
        str(tmp_path),
        small.dataset.raw[0].path,
        "Service Unavailable",
        "--source sample",
    ):
        assert part in message
