"""Held-out training examples: which they are, that they are not trained on, and what is said of too many."""

import pytest
import torch
from torch import nn

from Utils.data.examples import Part
from Utils.data.loader import Loader


class Numbers:
    """Examples that are their own numbers."""

    lengths = None

    def __init__(self, count):
        self.targets = torch.arange(count) * 10

    def __len__(self):
        return len(self.targets)

    def arrange(self, order, seed=None):
        return lambda a, b: (order[a:b], self.targets[order[a:b]])


def test_a_part_holds_these_examples_in_this_order():
    part = Part(Numbers(10), torch.tensor([7, 2, 5]))
    assert len(part) == 3 and part.targets.tolist() == [70, 20, 50]
    (data, target), *rest = Loader(part, 8)
    assert data.tolist() == [7, 2, 5] and target.tolist() == [70, 20, 50] and not rest
    seen = torch.cat([data for data, _ in Loader(part, 2, shuffle=True)])
    assert sorted(seen.tolist()) == [2, 5, 7]


def test_a_part_of_examples_with_lengths_is_batched_by_length():
    whole = Numbers(4)
    whole.lengths = torch.tensor([[3], [1], [4], [2]])
    part = Part(whole, torch.tensor([2, 3, 0]))
    assert part.lengths.flatten().tolist() == [4, 2, 3]
    assert [data.tolist() for data, _ in Loader(part, 2)] == [[3, 0], [2]]


def test_the_split_is_disjoint_drawn_by_the_data_seed_and_measured_after_each_epoch(cli):
    base = "--dataset mnist --validation-size 300 --train-size 500 --train-batch-size 50 --post-epochs 2"
    one, other = cli(base), cli(f"{base} --data-seed 2")
    assert one.result["data"]["rows"]["validation"] == 300 and one.result["data"]["rows"]["train"] == 500
    for record in one.epochs:
        assert record["validation_top1"] % (100 / 300) == pytest.approx(0, abs=1e-6) or record["validation_top1"] >= 0
    assert one.result["final"]["validation_loss"] == one.epochs[-1]["validation_loss"]
    assert one.result["final"]["validation_loss"] != other.result["final"]["validation_loss"]
    again = cli(f"{base} --force")
    assert again.result["final"] == one.result["final"]


def test_what_is_held_out_is_not_trained_on(sample_data):
    from argparse import Namespace
    from pathlib import Path

    from Experiments import building
    from Utils import load
    from Utils.data import corpus

    located = corpus.locate(load.dataset("mnist"), Path(sample_data), "sample")
    device = torch.device("cpu")
    whole = len(corpus.load(located).train)

    def parts(held, used, seed=1):
        args = Namespace(validation_size=held, train_size=used, data_seed=seed)
        splits = building.data(located, args, device).splits
        return [set(splits[name].numbers.tolist()) for name in ("train", "validation") if name in splits]

    train, validation = parts(100, 0)
    assert not train & validation and len(train | validation) == whole
    assert parts(100, 50)[1] == validation and parts(100, 50)[0] < train
    assert parts(100, 0, seed=2)[1] != validation
    assert [len(part) for part in parts(0, 70)] == [70]


@pytest.mark.parametrize("flags", ["--validation-size 1000000", "--validation-size 10 --train-size 999999"])
def test_too_many_are_one_line(cli, flags):
    outcome = cli(f"--dataset mnist {flags}")
    assert outcome.code == 2 and outcome.err.count("\n") == 1 and "training examples" in outcome.err
    assert ("--train-size" in outcome.err) == ("--train-size" in flags)


def test_translation_measures_its_published_validation_split_after_each_epoch(cli, monkeypatch):
    from Models.seq2seq import Seq2SeqTransformer
    from Utils import load

    def small(shape, classes, dense=False) -> nn.Module:
        return Seq2SeqTransformer(shape, classes, dense, width=16, heads=2, depth=1, hidden=16)

    monkeypatch.setitem(globals(), "small", small)
    monkeypatch.setitem(load.MODELS["nlp"], "seq2seq", ("translation", f"{__name__}:small"))
    outcome = cli("--dataset multi30k --post-epochs 1 --bleu-every 0 --validation-size 20")
    assert {"val_loss", "validation_loss", "test_loss"} <= outcome.epochs[0].keys()
