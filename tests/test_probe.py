"""Probes of finished runs: the figures against the model written out, and what a bag of words cannot notice."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import main
from Experiments import probe
from Layers import layers
from Utils import load
from Utils.commandline import arguments
from Utils.data import changes, corpus
from Utils.data.examples import Sentences, framed
from Utils.training.correlation import kept_correlation


@pytest.fixture(scope="module")
def news(ran):
    return ran("--dataset agnews --pruner rand --compression 1 --post-epochs 2")


def _probe(sample_data, *runs):
    code = main.main(["--experiment", "probe", "--run", *map(str, runs), "--data-dir", str(sample_data)])
    return code, [json.loads((run / "probes.json").read_text()) for run in runs] if code == 0 else []


def _test_split(sample_data, name):
    return corpus.load(corpus.locate(load.dataset(name), sample_data, "sample")).splits["test"]


def _by_hand(tensors, examples):
    """The likeliest class of the mean embedding of each text, one text at a time."""
    embedding, weight, mask, bias = (torch.from_numpy(tensors[k]) for k in NAMES)
    answers = []
    for a, b in zip(examples.offsets, examples.offsets[1:], strict=False):
        answers.append(F.linear(embedding[examples.ids[a:b].long()].mean(0), weight * mask, bias).argmax())
    return torch.stack(answers)


NAMES = ("embedding.weight", "fc.weight", "fc.weight_mask", "fc.bias")


def test_figures_are_those_of_the_model_written_out(news, sample_data):
    code, (found,) = _probe(sample_data, news.path)
    assert code == 0 and [*found["changes"]] == ["unchanged", *changes.CHANGES]
    test = _test_split(sample_data, "agnews")
    before = _by_hand(news.tensors, test)
    for name, figures in found["changes"].items():
        change = changes.CHANGES.get(name)
        other = test if change is None else change(test, torch.Generator().manual_seed(0))
        answers = _by_hand(news.tensors, other)
        assert figures["test_top1"] == pytest.approx(100 * (answers == test.targets).double().mean().item())
        assert figures["changed"] == pytest.approx(100 * (answers != before).double().mean().item())
    assert found["changes"]["unchanged"]["test_top1"] == news.result["final"]["test_top1"]


def test_a_bag_of_words_does_not_notice_their_order(news, sample_data):
    _, (found,) = _probe(sample_data, news.path)
    changed = {name: figures["changed"] for name, figures in found["changes"].items()}
    assert changed["shuffled"] == changed["swapped"] == changed["unchanged"] == 0
    assert changed["exchanged"] > changed["dropped"] > 0


def test_quarters_of_rarity_make_up_the_whole(news, sample_data):
    _, (found,) = _probe(sample_data, news.path)
    assert len(found["by_rarity"]) == 4
    whole = found["changes"]["unchanged"]["test_top1"]
    assert math.fsum(found["by_rarity"]) / 4 == pytest.approx(whole, abs=1.0)  # quarters are equal but for one text


def test_targets_of_equal_rarity_are_in_one_quarter():
    rarity = torch.tensor([0.0, 1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)
    right = torch.tensor([1, 1, 0, 0, 0, 1, 1, 1], dtype=torch.bool)
    # Quartiles by linear interpolation: 1, 1.5, 3.25.
    assert probe.by_quarter(right, rarity) == [50.0, None, 50.0, 100.0]


def test_an_image_is_probed_tile_by_tile(ran, sample_data, capsys):
    image = ran("--dataset mnist --model fc --post-epochs 2 --train-batch-size 32")
    code, (found,) = _probe(sample_data, image.path)
    assert code == 0 and found["by_rarity"] is None
    figures = found["changes"]
    assert figures["unchanged"]["test_top1"] == image.result["final"]["test_top1"]
    assert figures["shuffled"]["changed"] > figures["swapped"]["changed"] > 0
    assert "by quarter of the targets" not in capsys.readouterr().out


def test_a_translation_is_probed_by_its_sources(sample_data):
    args = arguments.parse(["--dataset", "multi30k", "--source", "sample", "--data-dir", str(sample_data)])
    data = corpus.load(corpus.locate(load.configured(args), sample_data, "sample"))
    short = framed(torch.arange(10, 40, dtype=torch.int32), torch.arange(0, 31, 5))
    lines = {name: rows[:6] for name, rows in data.lines.items()}
    data = replace(data, splits={"test": Sentences(*short, *short)}, lines=lines)
    torch.manual_seed(0)
    found = probe.probe(load.model("seq2seq", "nlp")(data.shape, data.num_classes).eval(), data, args)
    assert len(found["by_rarity"]) == 4 and all(figures["bleu"] == 0.0 for figures in found["changes"].values())
    assert found["changes"]["unchanged"]["changed"] == 0.0 and "test_top1 by quarter" in probe.words(found)


def test_all_runs_are_found_before_the_first_is_probed(news, sample_data, tmp_path, capsys):
    (news.path / "probes.json").unlink(missing_ok=True)
    code, _ = _probe(sample_data, news.path, tmp_path)
    assert code == 2 and str(tmp_path) in capsys.readouterr().err
    assert not (news.path / "probes.json").exists()


def _by_pairs(rows, mask):
    """The mean absolute correlation over pairs, pair by pair."""
    table = np.corrcoef(rows.numpy().T)
    every = [(a, b) for a in range(len(table)) for b in range(len(table)) if a != b]
    kept = [(a, b) for unit in mask for a, b in every if unit[a] and unit[b]]
    return np.mean([abs(table[pair]) for pair in kept]) / np.mean([abs(table[pair]) for pair in every])


def test_correlation_of_kept_inputs_pair_by_pair():
    torch.manual_seed(0)
    model = torch.nn.Sequential(layers.Linear(6, 5), torch.nn.Tanh(), layers.Linear(5, 3)).double()
    inputs = torch.randn(40, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    for layer in (model[0], model[2]):
        layer.weight_mask.copy_(torch.rand_like(layer.weight_mask) < 0.6)
    found = kept_correlation(model, inputs.split(16), torch.device("cpu"))
    hidden = torch.tanh(F.linear(inputs, model[0].weight * model[0].weight_mask, model[0].bias)).detach()
    assert found["0"] == pytest.approx(_by_pairs(inputs, model[0].weight_mask))
    assert found["2"] == pytest.approx(_by_pairs(hidden, model[2].weight_mask))


def test_correlation_of_dense_and_of_empty_layers():
    model = torch.nn.Sequential(layers.Linear(4, 3), layers.Linear(3, 2))
    inputs = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    found = kept_correlation(model, [inputs], torch.device("cpu"))
    assert found == pytest.approx({"0": 1.0, "1": 1.0})
    model[0].weight_mask.fill_(0)
    model[0].weight_mask[:, 0] = 1  # one input a unit
    inputs[:, 1:] = 0.0
    assert kept_correlation(model, [inputs], torch.device("cpu"))["0"] is None


def test_runs_on_data_of_ones_own_are_probed_from_their_place(cli, tmp_path):
    """Where the data is no longer prepared, --dataset says where it lies; the error without it says so."""
    table = tmp_path / "meals.csv"
    rows = [f"{label},{text} {k}" for k in range(20) for label, text in (("good", "warm soup"), ("bad", "old bread"))]
    table.write_text("\n".join(["label,text", *rows]) + "\n", encoding="utf-8")
    runs = [cli(f"--dataset {table} --source real --pruner {name} --compression 0.5").path for name in ("mag", "rand")]
    line = f"--experiment probe --run {runs[0]} {runs[1]} --data-dir {tmp_path}/elsewhere"

    def call(words):
        return main.main(words.split())

    assert call(line) == 2
    assert call(f"{line} --dataset {table}") == 0
    first = [(run / "probes.json").read_bytes() for run in runs]
    table.write_text(table.read_text(encoding="utf-8") + "good,fresh fruit\n", encoding="utf-8")
    assert call(f"{line} --dataset {table}") == 2  # other content
    assert [(run / "probes.json").read_bytes() for run in runs] == first
