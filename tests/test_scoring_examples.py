"""The examples that weights are scored on: as the training loader varies them, or as they are."""

import numpy as np
import pytest
import torch
from torchvision.transforms import functional as vision

from Experiments.workshop import Workshop
from Models.resnet import ResNet
from Utils import load
from Utils.commandline import arguments as commandline
from Utils.data.examples import Images
from Utils.data.loader import Loader

PAD = 2
CIFAR = "--dataset cifar10 --model-class lottery --model resnet20"


def images(count=30) -> Images:
    pixels = torch.randint(0, 256, (count, 3, 6, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Images.of({"x_pixels": pixels, "x_targets": torch.arange(count)}, "x", (0.0,) * 3, (1.0,) * 3, PAD, True)


def windows(pixels: torch.Tensor) -> set[bytes]:
    """Every crop of the padded image and of its mirror image."""
    found = set()
    for image in (pixels, vision.hflip(pixels)):
        padded = vision.pad(image, [PAD] * 4)
        corners = [(row, column) for row in range(2 * PAD + 1) for column in range(2 * PAD + 1)]
        found |= {vision.crop(padded, *corner, 6, 7).contiguous().numpy().tobytes() for corner in corners}
    return found


def passes(augment, seed=1, count=2, workers=0) -> list[tuple]:
    """(targets, images) of the first passes over twelve of the images."""
    loader = Loader(images(), 5, False, seed, 12, workers, augment=augment)
    return [tuple(torch.cat(parts) for parts in zip(*((t, d) for d, t in loader), strict=True)) for _ in range(count)]


def test_varied_examples_are_windows_of_their_images_anew_in_each_pass():
    known = [windows(pixels) for pixels in images().pixels]
    (targets, first), (again, second) = passes(True)
    assert len(targets) == 12 and torch.equal(targets, again)  # the examples are the same, in one order
    for batch in (first, second):
        shown = (batch * 255).round().to(torch.uint8)
        assert all(image.contiguous().numpy().tobytes() in known[k] for k, image in zip(targets, shown, strict=True))
    assert not torch.equal(first, second)
    assert sum(torch.equal(a, b) for a, b in zip(first, second, strict=True)) < 4  # one in fifty by chance


@pytest.mark.parametrize("workers", [0, 2])
def test_they_are_those_of_the_seed(workers):
    for one, other in zip(passes(True), passes(True, workers=workers), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(passes(True)[0][1], passes(True, seed=2)[0][1])


@pytest.mark.parametrize("augment", [None, False])
def test_without_it_they_are_the_plain_ones(augment):
    for targets, shown in passes(augment):
        assert torch.equal((shown * 255).round().to(torch.uint8), images().pixels[targets])
    assert torch.equal(passes(augment)[0][0], passes(True)[0][0])


def test_training_examples_can_be_left_as_they_are():
    loader = Loader(images(), 30, shuffle=True, seed=1, augment=False)
    ((shown, targets),) = loader
    assert torch.equal((shown * 255).round().to(torch.uint8), images().pixels[targets])


def labelled(*counts: int) -> Images:
    """So many images of each class, mixed."""
    labels = torch.cat([torch.full((count,), k) for k, count in enumerate(counts)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    pixels = torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8)
    return Images.of({"x_pixels": pixels, "x_targets": labels}, "x", (0.0,), (1.0,))


@pytest.mark.parametrize(
    ("counts", "length", "wanted"),
    [
        ((50, 50, 50), 30, [10, 10, 10]),
        ((500, 20, 3), 30, [14, 13, 3]),  # a class that has no more gives its share to the others
        ((500, 0, 9), 8, [4, 0, 4]),
        ((5, 5, 5), 15, [5, 5, 5]),
    ],
)
def test_balanced_examples_are_equally_many_of_each_class(counts, length, wanted):
    examples = labelled(*counts)
    found = []
    for seed in range(20):
        numbers = Loader(examples, 4, seed=seed, length=length, balanced=True).indices
        assert len(numbers.unique()) == length
        found.append(examples.targets[numbers].bincount(minlength=3))
        assert (found[-1].sort().values == torch.tensor(wanted).sort().values).all()
        assert all(taken <= there for taken, there in zip(found[-1].tolist(), counts, strict=True))
    plain = Loader(examples, 4, seed=0, length=length)
    assert torch.equal(plain.indices, Loader(examples, 4, seed=0, length=length, balanced=False).indices)


def test_each_example_of_a_class_is_as_likely_as_another():
    """And within a class they are those that stand first in the plain order."""
    examples, times = labelled(6, 30), torch.zeros(36)
    for seed in range(600):
        loader = Loader(examples, 4, seed=seed, length=6, balanced=True)
        times[loader.indices] += 1
        order = loader._permutation(36, "subset")
        for label in (0, 1):
            first = order[examples.targets[order] == label][:3]
            assert set(first.tolist()) == set(loader.indices[examples.targets[loader.indices] == label].tolist())
    for label, chance in ((0, 3 / 6), (1, 3 / 30)):
        share = times[examples.targets == label] / 600
        assert (share - chance).abs().max() < 4 * (chance * (1 - chance) / 600) ** 0.5


def test_a_balanced_run_scores_on_as_many_of_each_class(cli, monkeypatch):
    """Ten a class; the run has another name than without, and data with no classes of examples refuse the flag."""
    seen, init = [], Loader.__init__

    def record(self, *rest, **more):
        init(self, *rest, **more)
        if more.get("length") or (len(rest) > 4 and rest[4]):
            seen.append(self.examples.targets[self.indices].bincount().tolist())

    monkeypatch.setattr(Loader, "__init__", record)
    line = "--dataset agnews --pruner snip --compression 0.5"
    plain, other = cli(line), cli(f"{line} --prune-dataset-balanced")
    assert [10, 10, 10, 10] not in seen[: len(seen) // 2] and [10, 10, 10, 10] in seen
    assert plain.path != other.path and other.config["prune_dataset_balanced"] is True
    assert "prune_dataset_balanced" not in plain.config
    idle = cli("--dataset agnews --pruner mag --compression 0.5 --prune-dataset-balanced")
    assert "--prune-dataset-balanced: without effect" in idle.err
    refused = cli("--dataset multi30k --prune-dataset-balanced")
    assert refused.code == 2 and "--prune-dataset-balanced means nothing to Multi30k" in refused.err


def thin(input_shape, num_classes, dense_classifier=False, init="assignment"):
    return ResNet(input_shape, num_classes, dense_classifier, depth=8, width=4, init=init)


@pytest.fixture
def thin_resnet(monkeypatch):
    monkeypatch.setitem(load.MODELS["lottery"], "resnet20", ("image", f"{__name__}:thin"))


def test_the_flag_decides_what_a_run_scores_on(cli, thin_resnet, monkeypatch):
    """The images that SNIP is given: twice the same for one command, others without the flag; CIFAR's default is on."""
    iterate, seen = Loader.__iter__, []

    def record(self):
        for data, target in iterate(self):
            if not self.shuffle and len(self.indices) == 100:
                seen.append(data.clone())
            yield data, target

    monkeypatch.setattr(Loader, "__iter__", record)
    assert commandline.parse(CIFAR.split()).prune_augment is True
    shown, masks = [], []
    for more in ("", "--force", "--prune-augment", "--prune-augment no", "--data-seed 2"):
        seen.clear()
        run = cli(f"{CIFAR} --pruner snip --compression 1 {'--force' if more == '--prune-augment' else ''} {more}")
        (batch,) = seen
        shown.append(batch)
        masks.append(np.concatenate([mask.ravel() for _, mask in sorted(run.masks.items())]))
        assert run.config.get("prune_augment", False) is (more != "--prune-augment no")
    for k, same in ((1, True), (2, True), (3, False), (4, False)):
        assert torch.equal(shown[0], shown[k]) is same and np.array_equal(masks[0], masks[k]) is same


@pytest.mark.parametrize("dataset", ["mnist", "agnews", "multi30k"])
@pytest.mark.parametrize("value", ["", "True", "False"])
def test_data_without_variations_refuse_the_flag(cli, dataset, value):
    outcome = cli(f"--dataset {dataset} --prune-augment {value}")
    assert outcome.code == 2 and outcome.err.count("\n") == 1 and "--prune-augment means nothing to" in outcome.err


def test_levels_that_go_on_from_a_checkpoint_score_on_the_next_pass(cli, thin_resnet, monkeypatch, tmp_path):
    """Stopped after the first level's pruning: the second scores on other windows than the first, as in a whole run."""
    run = f"--experiment multishot {CIFAR} --pruner snip --compression 1 --level-list 2 --pre-epochs 0"
    whole = cli(run, results=tmp_path / "whole")
    rewind = Workshop.rewind

    def stop(self):
        rewind(self)
        raise KeyboardInterrupt  # after the first level

    with monkeypatch.context() as patch:
        patch.setattr(Workshop, "rewind", stop)
        assert cli(run).code == 130
    resumed = cli(run)
    assert "Going on from a checkpoint" in resumed.out and "prune 1" in resumed.out
    assert resumed.tensors.keys() == whole.tensors.keys()
    assert all(np.array_equal(value, whole.tensors[name]) for name, value in resumed.tensors.items())
    assert (
        resumed.result["signal"] == whole.result["signal"]
        and resumed.result["per_tensor"] == whole.result["per_tensor"]
    )
