"""On a GPU as on the CPU: the same scores, masks and figures; the same bits run after run. Skipped without one."""

import nets
import numpy as np
import pytest
import torch

from Pruners import dead
from Utils import generator, load
from Utils.training import decode
from Utils.training.train import train_epoch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
GPU = torch.device("cuda", 0)

IMAGE, CLASSES = (3, 32, 32), 10
NETWORKS = {
    "fc": lambda: nets.drawn(1, load.model("fc"), IMAGE, CLASSES),
    "conv": lambda: nets.drawn(1, load.model("conv"), IMAGE, CLASSES),
    "resnet20": lambda: nets.drawn(1, load.model("resnet20", "lottery"), IMAGE, CLASSES),
    "text": lambda: nets.text_model(),
    "seq2seq": lambda: nets.seq2seq(dropout=0.0),
}
EVERY_NETWORK = pytest.mark.parametrize("network", NETWORKS)


@pytest.fixture
def double():
    """Float64 networks and batches: what differs between two machines then is 1e-7 of what a wrong formula would."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def batches_of(network: str):
    sizes = 6, 5
    if network == "text":
        return nets.text_batches(30, 3, sizes)
    if network == "seq2seq":
        return nets.pair_batches(30, 29, sizes)
    return nets.image_batches(IMAGE, CLASSES, sizes)


def scored(device, network: str, pruner: str):
    """The pruner, which has scored the network there."""
    model = NETWORKS[network]().to(device).eval()
    found = load.pruner(pruner)(generator.masked_parameters(model), seed=3)
    found.score(model, nets.CROSS_ENTROPY, batches_of(network), device)
    return found


@pytest.mark.parametrize("pruner", nets.PRUNERS)
@EVERY_NETWORK
def test_scores_and_masks_are_those_of_the_cpu(double, network, pruner):
    here, there = (scored(device, network, pruner) for device in (nets.CPU, GPU))
    for name, score in here.scores.items():
        assert there.scores[name].device == GPU
        scale = score.abs().max().item()
        torch.testing.assert_close(there.scores[name].cpu(), score, rtol=0, atol=1e-8 * scale, msg=name)
    for found in (here, there):
        found.mask(0.1, "global")
    for (ours, _), (theirs, _) in zip(here.masked_parameters, there.masked_parameters, strict=True):
        assert theirs.device == GPU and theirs.cpu().equal(ours)


@EVERY_NETWORK
def test_dead_units_are_those_of_the_cpu(network):
    shape = {"text": (30,), "seq2seq": (30,)}.get(network, IMAGE)
    reports = []
    for device in (nets.CPU, GPU):
        model = NETWORKS[network]()
        nets.mask_at_random(model, 0.02, seed=2)
        reports.append(dead.find(model.to(device), shape, device).report())
    assert reports[0] == reports[1]


@EVERY_NETWORK
def test_an_epoch_of_training_is_that_of_the_cpu(double, network):
    """Weights after two steps under masks, and their loss."""
    found = []
    for device in (nets.CPU, GPU):
        model = NETWORKS[network]()
        nets.mask_at_random(model, 0.3, seed=2)
        model.to(device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        loss = train_epoch(model, nets.CROSS_ENTROPY, optimizer, batches_of(network), device)
        found.append((loss, {name: value.cpu() for name, value in model.state_dict().items()}))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-9)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("beam", [1, 3])
def test_translations_are_those_of_the_cpu(double, beam):
    draw = torch.Generator().manual_seed(5)
    sources = [nets.pairs([row], [row])[0].source[0] for row in nets.sentences(30, 12, draw)]
    here, there = (
        decode.translate(NETWORKS["seq2seq"]().to(device), sources, device, beam) for device in (nets.CPU, GPU)
    )
    assert there == here and any(here)


COMMANDS = {
    "agnews": "--dataset agnews --pruner grasp --compression 1 --post-epochs 2",
    "mnist": "--dataset mnist --model conv --pruner snip --compression 1 --post-epochs 2",
    "cifar10": "--dataset cifar10 --model resnet20 --pruner synflow --compression 1 --post-epochs 1",
    "multi30k": "--dataset multi30k --pruner grasp --compression 1 --post-epochs 2",
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_run_has_the_same_bits_twice_and_the_masks_of_the_cpu(cli, tmp_path, command):
    """Single precision decides near ties otherwise on another machine: one weight in a thousand may."""
    first, second, cpu = (
        cli(f"{command} {more}", results=tmp_path / name)
        for name, more in (("first", ""), ("second", ""), ("cpu", "--no-cuda --post-epochs 0"))
    )
    assert first.result["machine"]["device"] == "cuda:0" and cpu.result["machine"]["device"] == "cpu"
    assert first.epochs == second.epochs
    for name, value in first.tensors.items():
        assert np.array_equal(value, second.tensors[name]), name
    total = sum(mask.size for mask in cpu.masks.values())
    differing = sum(int((mask != first.masks[name]).sum()) for name, mask in cpu.masks.items())
    assert differing <= total / 1000
    assert sum(m.sum() for m in first.masks.values()) == sum(m.sum() for m in cpu.masks.values())
    assert first.result["init"]["test_loss"] == pytest.approx(cpu.result["init"]["test_loss"], rel=1e-3)
