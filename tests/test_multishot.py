"""Iterative pruning with rewinding, against the same written out by hand."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from Models.resnet import ResNet
from Utils import load
from Utils.commandline import arguments as commandline
from Utils.machine import seeds

RUN = "--experiment multishot --dataset mnist --model fc"


def saved(outcome) -> list:
    """(config, result, tensors) of each run that the call made, in order."""
    paths = [line.removeprefix("Saved to ") for line in outcome.out.splitlines() if line.startswith("Saved to ")]
    found = []
    for path in map(type(outcome.results), paths):
        config, result = (json.loads((path / f"{name}.json").read_text()) for name in ("config", "result"))
        found.append((config, result, load_file(path / "model.safetensors")))
    return found


def weights(tensors: dict) -> dict:
    return {name: value for name, value in tensors.items() if not name.endswith("_mask")}


class Hand:
    """The procedure in plain torch: a dictionary of masks, torch.optim.Adam, numpy's sort."""

    def __init__(self, sample_data):
        corpus = load.corpus("mnist", str(sample_data), "sample")
        torch.manual_seed(seeds.derive(1, "init"))
        self.model = load.model("fc")(corpus.shape, corpus.num_classes)
        self.loader = load.dataloader(corpus, 256, True, seed=seeds.derive(1, "train"))
        self.masked = {n: m for n, m in self.model.named_buffers() if n.endswith("weight_mask")}

    def state(self) -> dict:
        return {name: value.detach().clone() for name, value in self.model.named_parameters()}

    def train(self, epochs, lr=1e-3) -> None:
        optimizer = torch.optim.Adam(self.model.parameters(), lr=lr)
        for epoch in epochs:
            self.loader.epoch = epoch
            for data, target in self.loader:
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(self.model(data), target).backward()
                optimizer.step()

    @torch.no_grad()
    def prune(self, density: float) -> None:
        """The smallest of all magnitudes go, those that are gone first."""
        magnitude = np.concatenate(
            [
                np.where(mask.numpy() != 0, np.abs(self.model.get_parameter(name[:-5]).numpy()), -1).ravel()
                for name, mask in self.masked.items()
            ]
        )
        gone = int(np.floor((1 - density) * magnitude.size))
        keep = np.ones(magnitude.size)
        keep[np.argsort(magnitude, kind="stable")[:gone]] = 0
        begin = 0
        for mask in self.masked.values():
            mask.copy_(torch.from_numpy(keep[begin : begin + mask.numel()]).view_as(mask))
            begin += mask.numel()

    @torch.no_grad()
    def rewind(self, state: dict) -> None:
        for name, value in self.model.named_parameters():
            value.copy_(state[name])
            if f"{name}_mask" in self.masked:
                value.mul_(self.masked[f"{name}_mask"])

    def check(self, tensors: dict, exact: bool) -> None:
        for name, mask in self.masked.items():
            assert (tensors[name] == mask.numpy()).all(), name
        for name, value in self.model.named_parameters():
            mask = self.masked.get(f"{name}_mask", torch.ones(()))
            ours = torch.from_numpy(tensors[name])
            torch.testing.assert_close(ours, value.detach() * mask, rtol=0, atol=0 if exact else 1e-6)


@pytest.mark.parametrize("rewind", [0, 1])
def test_two_levels_are_those_done_by_hand(cli, sample_data, rewind):
    """Train, prune to the root of the density, rewind; train, prune to it, rewind; and nothing after that."""
    outcome = cli(
        f"{RUN} --no-cuda --compression 1 --level-list 2 --rewind-epochs {rewind} --pre-epochs 2 --post-epochs {rewind}"
    )
    ((config, result, tensors),) = saved(outcome)
    assert (config["pruner"], config["levels"], config["pre_epochs"]) == ("mag", 2, 2)
    hand = Hand(sample_data)
    hand.train(range(rewind))
    start = hand.state()
    hand = Hand(sample_data)
    hand.train(range(2))  # with one optimizer
    hand.prune(10**-0.5)
    hand.rewind(start)
    hand.train(range(rewind, 2))
    hand.prune(0.1)
    hand.rewind(start)
    hand.check(tensors, exact=True)
    assert result["parameters"]["prunable_kept"] == sum(int(m.sum()) for m in hand.masked.values()) == 11_940
    phases = [(line["phase"], line["epoch"]) for line in result["epochs"]]
    assert phases == [("level 1", 1), ("level 1", 2), *(("level 2", k) for k in range(rewind + 1, 3))]


def test_the_training_after_the_levels_begins_where_the_rewinding_ended(cli, sample_data):
    """With the learning rate and the order of the data of that epoch, and an optimizer that knows nothing yet."""
    outcome = cli(
        f"{RUN} --no-cuda --compression 0.5 --rewind-epochs 1 --pre-epochs 1 --post-epochs 2 "
        "--lr-drops 1 --lr-drop-rate 0.25"
    )
    ((_, result, tensors),) = saved(outcome)
    hand = Hand(sample_data)
    hand.train([0])
    start = hand.state()
    hand.prune(10**-0.5)
    hand.rewind(start)
    hand.train([1], lr=2.5e-4)
    hand.check(tensors, exact=False)
    assert [(line["phase"], line["epoch"]) for line in result["epochs"]] == [("level 1", 1), ("post", 2)]


def test_kept_weights_go_back_to_the_very_bits(cli):
    """To the initial ones, or to those after an epoch of the dense network."""
    for rewind in (0, 1):
        ((_, _, dense),) = saved(cli(f"--dataset mnist --model fc --post-epochs {rewind}"))
        ((_, _, sparse),) = saved(
            cli(f"{RUN} --compression 1 --level-list 3 --rewind-epochs {rewind} --pre-epochs 1 --post-epochs {rewind}")
        )
        for name, value in weights(dense).items():
            assert (sparse[name] == value * sparse.get(f"{name}_mask", 1)).all(), name


def thin(input_shape, num_classes, dense_classifier=False, init="assignment"):
    return ResNet(input_shape, num_classes, dense_classifier, depth=8, width=4, init=init)


def test_running_statistics_are_rewound_too(cli, monkeypatch):
    monkeypatch.setitem(load.MODELS["lottery"], "resnet20", ("image", f"{__name__}:thin"))
    run = "--dataset mnist --model-class lottery --model resnet20"
    ((_, _, dense),) = saved(cli(run))
    ((_, _, sparse),) = saved(cli(f"--experiment multishot {run} --compression 0.5 --pre-epochs 1"))
    statistics = [name for name in dense if "running" in name or "num_batches" in name]
    assert len(statistics) == 3 * 9 and all((dense[name] == sparse[name]).all() for name in statistics)


def test_each_compression_and_number_of_levels_is_a_run(cli):
    arguments = f"{RUN} --compression-list 0.5 1 --level-list 1 2 --pre-epochs 0 --pruner rand"
    outcome = cli(arguments)
    runs = saved(outcome)
    assert [(config["compression"], config["levels"]) for config, _, _ in runs] == [(0.5, 1), (0.5, 2), (1, 1), (1, 2)]
    assert all("compression_list" not in config and "level_list" not in config for config, _, _ in runs)
    names = sorted(path.name for path in (outcome.results / "multishot").iterdir())
    assert len(names) == 4 and [name.split("-")[5] for name in names] == ["l1", "l2", "l1", "l2"]
    again = cli(arguments)
    assert again.out.count("Prune results") == 4 == again.err.count("stored result of") and not saved(again)


def test_levels_train_as_long_as_the_end_unless_told_otherwise():
    args = commandline.parse(["--experiment", "multishot", "--dataset", "agnews"])
    assert (args.pre_epochs, args.post_epochs, args.level_list, args.compression_list) == (10, 10, [1], [0.0])
    args = commandline.parse("--experiment multishot --pre-epochs 0 --compression 2 --pruner snip".split())
    assert (args.pre_epochs, args.compression_list, args.pruner) == (0, [2.0], "snip")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("--level-list 0", "--level-list"),
        ("--level-list", "--level-list"),
        ("--compression-list 1 40", "40"),
        ("--compression-list -1", "-1"),
        ("--rewind-epochs 2 --pre-epochs 1 --post-epochs 3", "--rewind-epochs 2"),
        ("--rewind-epochs 1 --pre-epochs 1 --post-epochs 0", "--rewind-epochs 1"),
        ("--expid mine --level-list 1 2", "--expid"),
    ],
)
def test_what_cannot_be_is_refused(cli, arguments, word):
    outcome = cli(f"{RUN} {arguments}")
    assert outcome.code == 2 and word in outcome.err and outcome.err.count("\n") == 1
    assert not outcome.results.exists()
