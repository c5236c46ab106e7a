"""The signal: how far a network's outputs differ from input to input, against numpy on all logits at once."""

import math

import nets
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from Layers.pairs import Pairs
from Models.seq2seq import Seq2SeqTransformer
from Utils import load
from Utils.commandline import arguments as commandline
from Utils.data import corpus
from Utils.store import run as store
from Utils.training import signal

IMAGES = "--dataset mnist --pruner rand --compression 1"
TEXT = "--dataset agnews --pruner rand --compression 0.5"
LEVELS = "--experiment multishot --dataset agnews --pruner rand --compression 1 --level-list 2 --pre-epochs 1"


def by_numpy(rows: list) -> float:
    """rows: the logits of one input each, flat."""
    return math.sqrt(np.var(np.stack(rows).astype(np.float64), axis=0).mean())


@torch.no_grad()
def alone(model, data) -> np.ndarray:
    return model(data).flatten().numpy()


def test_it_is_the_root_of_the_mean_variance():
    """One input at a time, of batches of several sizes; in eval mode, and the modes are put back."""
    model = nets.mixed(dropout=0.5)
    model.train()
    model.bn1.eval()
    modes = [m.training for m in model.modules()]
    batches = [data for data, _ in nets.image_batches((1, 6, 6), 3, (7, 1, 12))]
    found = signal.spread(model, batches, nets.CPU)
    assert [m.training for m in model.modules()] == modes
    model.eval()
    assert found == pytest.approx(by_numpy([alone(model, x[None]) for batch in batches for x in batch]), rel=1e-6)


def test_it_grows_with_the_outputs_and_not_with_what_all_inputs_share():
    model = nets.mlp(6, 10, 4).double()
    batches = [data.double() for data, _ in nets.image_batches((6,), 4, (20, 30))]
    before = signal.spread(model, batches, nets.CPU)
    with torch.no_grad():
        model[2].weight.mul_(3.0)
        model[2].bias.add_(1e3)
    assert signal.spread(model, batches, nets.CPU) == pytest.approx(3 * before, rel=1e-9)
    assert signal.share(3 * before, before) == 3.0 and signal.share(0.0, before) == 0.0
    assert signal.share(1.0, 0.0) is None


@pytest.mark.parametrize("layer", [0, 2, 4])
def test_a_dead_network_has_none_at_all(layer):
    """Exactly zero, wherever it is cut and whatever the biases are."""
    model = nets.mlp(6, 10, 8, 4)
    with torch.no_grad():
        model[4].bias.fill_(1 / 3)
        model[layer].weight_mask.zero_()
    batches = [data for data, _ in nets.image_batches((6,), 4, (20, 13))]
    assert signal.spread(model, batches, nets.CPU) == 0.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_no_signal_of_zero(value):
    model = nets.mlp(6, 4)
    with torch.no_grad():
        model[0].weight[0, 0] = value
    with pytest.raises(FloatingPointError, match="finite"):
        signal.spread(model, [torch.randn(5, 6)], nets.CPU)


def test_a_translation_varies_its_sources_alone():
    """Several rows a sentence, padding of different lengths, one target prefix."""
    model = nets.seq2seq()
    draw = torch.Generator().manual_seed(4)
    target = torch.tensor([[2, 7, 9, 5]])
    batches = []
    for count in (5, 3):
        data, _ = nets.pairs(nets.sentences(30, count, draw), nets.sentences(29, count, draw))
        batches.append(Pairs(data.source, target.expand(count, -1)))
    found = signal.spread(model, batches, nets.CPU)
    model.eval()
    rows = [
        alone(model, Pairs(b.source[k : k + 1][:, b.source[k] != 1], target)) for b in batches for k in range(len(b))
    ]
    assert {row.shape for row in rows} == {(4 * 29,)} and found == pytest.approx(by_numpy(rows), rel=1e-5)


def small(input_shape, num_classes, dense_classifier=False):
    return Seq2SeqTransformer(input_shape, num_classes, dense_classifier, 32, 2, 1, 32)


def stored(run, sample_data):
    """(model of the run with its stored weights, corpus)."""
    config = run.config
    args = commandline.parse(["--dataset", config["dataset"]])
    data = corpus.load(corpus.locate(load.configured(args), sample_data, "sample"))
    model = load.model(args.model, args.model_class)(data.shape, data.num_classes).eval()
    model.load_state_dict({k: torch.from_numpy(v) for k, v in load_file(run.path / "model.safetensors").items()})
    return model, data


@pytest.mark.parametrize("command", [IMAGES, TEXT])
def test_the_result_holds_it_before_and_after(ran, sample_data, command):
    """Without training the stored model is the pruned one, a dense run's the one before; 1,000 test inputs."""
    run, dense = (
        ran(command),
        ran(command.replace("rand --compression 1", "mag").replace("rand --compression 0.5", "mag")),
    )
    found = run.result["signal"]
    assert found.keys() == {"before", "after", "kept", "end"} and found["kept"] == found["after"] / found["before"]
    assert found["end"] == found["after"]  # nothing was trained
    for made, value in ((run, found["after"]), (dense, found["before"])):
        model, data = stored(made, sample_data)
        loader = load.dataloader(data, 50, False, length=1_000)
        with torch.no_grad():
            rows = [row for inputs, _ in loader for row in model(inputs).numpy()]
        assert len(rows) == 1_000 and value == pytest.approx(by_numpy(rows), rel=1e-4)
    assert dense.result["signal"]["kept"] == 1.0


def test_a_translation_runs_signal(cli, monkeypatch, sample_data):
    """All 300 test sources of the sample with the first sentence's reference, written out."""
    monkeypatch.setitem(load.MODELS["nlp"], "seq2seq", ("translation", f"{__name__}:small"))
    run = cli("--dataset multi30k --pruner rand --compression 0.5 --prune-dataset-size 16")
    model, data = stored(run, sample_data)
    prefix = data.test.target(0)[:-1].unsqueeze(0)
    rows = [alone(model, Pairs(data.test.source(k).unsqueeze(0), prefix)) for k in range(len(data.test))]
    assert len(rows) == 300 and run.result["signal"]["after"] == pytest.approx(by_numpy(rows), rel=1e-4)
    assert 0 < run.result["signal"]["kept"] == run.result["signal"]["after"] / run.result["signal"]["before"]


def stopped(cli, monkeypatch, arguments: str, lines: int):
    """The run, stopped by Ctrl-C at that line of its epochs and gone on with."""
    after, seen = store.Stage.epoch, []

    def stop(self, record):
        after(self, record)
        seen.append(record)
        if len(seen) == lines:
            raise KeyboardInterrupt

    monkeypatch.setattr(store.Stage, "epoch", stop)
    assert cli(arguments).code == 130
    monkeypatch.undo()
    outcome = cli(arguments)
    assert outcome.code == 0 and "Going on from a checkpoint" in outcome.out
    return outcome


@pytest.mark.parametrize(("command", "lines"), [(f"{TEXT} --post-epochs 2", 2), (f"{LEVELS} --post-epochs 2", 3)])
def test_a_resumed_run_holds_the_same(cli, ran, monkeypatch, command, lines):
    """Found before the stop, and kept in the checkpoint, with the share of ties."""
    whole, resumed = ran(command), stopped(cli, monkeypatch, command, lines)
    for key in ("signal", "kept_by_tie", "final", "parameters"):
        assert resumed.result[key] == whole.result[key], key
    assert resumed.result["peak_memory"].keys() == whole.result["peak_memory"].keys() == {"prune", "train"}


def test_of_several_levels_the_first_network_is_the_dense_one(ran):
    """What one level of a network trained as long and pruned by nothing has before."""
    levels, one = ran(LEVELS), ran(LEVELS.replace("--level-list 2", "--level-list 1"))
    assert levels.result["signal"]["before"] == one.result["signal"]["before"]
    assert levels.result["signal"]["after"] != one.result["signal"]["after"]


DYING = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.fc = nn.Linear(784, num_classes)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, data):
        self.steps += self.training
        return self.fc(data.flatten(1)) * (self.steps < LAST)
"""


def test_other_seeds_are_not_advised_where_no_class_has_a_weight(cli, tmp_path):
    run = cli("--dataset mnist --model fc --pruner rand --compression 7 --post-epochs 1")
    report = (run.path / "report.txt").read_text()
    assert run.result["signal"]["end"] == 0 and "only 0 of 10 classes" in report and "other seeds" not in report


def test_a_network_that_dies_and_is_not_searched_is_named(cli, tmp_path):
    draws = DYING.replace("LAST", "3").replace("data.flatten(1)", "data.flatten(1) * torch.rand(1)")
    (tmp_path / "net.py").write_text(draws)
    run = cli(f"--dataset mnist --model {tmp_path / 'net.py'}:Net --pruner rand --compression 0.5 --post-epochs 1")
    assert run.code == 0 and "not_searched" in run.result["dead"] and run.result["signal"]["end"] == 0
    assert "Dead: the output is the same for every input" in (run.path / "report.txt").read_text()


@pytest.mark.parametrize(("last", "gone"), [(3, True), (10**6, False)])
def test_a_network_that_dies_in_training_is_named(cli, tmp_path, last, gone):
    (tmp_path / "net.py").write_text(DYING.replace("LAST", str(last)))
    run = cli(f"--dataset mnist --model {tmp_path / 'net.py'}:Net --pruner rand --compression 0.5 --post-epochs 1")
    assert run.result["signal"]["after"] > 0 and (run.result["signal"]["end"] == 0) == gone
    assert ("Dead: the output is the same for every input" in (run.path / "report.txt").read_text()) == gone
