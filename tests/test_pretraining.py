"""Runs that begin from the training of another before pruning: the same bits as alone, and nothing is left over."""

import json
import re

import pytest

from Experiments import pretraining
from Utils import settings
from Utils.store import files

MAG = "--dataset cifar10 --model fc --pruner mag --pre-epochs 2 --post-epochs 1 --optimizer momentum --lr-drops 1"
TEXT = "--dataset agnews --pruner snip --pre-epochs 1 --post-epochs 1"
TOLD = "Going on from the training of another run"
BITS = ("model.safetensors", "epochs.jsonl", "config.json")


def kept(results):
    return sorted((results / pretraining.FOLDER).glob("*.safetensors"))


@pytest.mark.parametrize("line", [MAG, TEXT])
def test_a_run_that_begins_from_anothers_training_has_the_bits_it_has_alone(cli, tmp_path, line):
    """The other differs in all that acts later: pruner, compression, seed of the pruner, epochs after."""
    alone = cli(f"{line} --compression 1", tmp_path / "alone")
    other = f"{line} --share-pretraining --pruner rand --compression 0.5 --prune-seed 7 --post-epochs 0"
    assert TOLD not in cli(other).out and len(kept(tmp_path / "results")) == 1
    forked = cli(f"{line} --compression 1 --share-pretraining")
    assert TOLD in forked.out and len(kept(tmp_path / "results")) == 1
    for name in BITS:
        assert (forked.path / name).read_bytes() == (alone.path / name).read_bytes(), name
    timed = ("seconds", "peak_memory")
    assert {k: v for k, v in forked.result.items() if k not in timed} == {
        key: value for key, value in alone.result.items() if key not in timed
    }


def test_what_acts_before_pruning_makes_another_training():
    """Each setting of a run either acts before the pruning or is known not to."""
    config = {row.name: "a" for row in settings.ROWS}
    acting = settings.acting_before_pruning(config)
    for name in ("seed", "data_seed", "lr", "amp", "train_batch_size", "pre_epochs", "model", "dense_classifier"):
        assert name in acting
    for name in ("pruner", "compression", "prune_seed", "post_epochs", "mask_scope", "prune_bias", "ties"):
        assert name not in acting
    assert pretraining.state_file("r", config) == pretraining.state_file("r", config | {"compression": "b"})
    assert pretraining.state_file("r", config) != pretraining.state_file("r", config | {"lr": "b"})


SHORT = "--dataset mnist --model fc --pruner mag --pre-epochs 1 --share-pretraining"


def test_another_training_is_not_taken_nor_is_one_of_other_code_or_a_damaged_one(cli, tmp_path):
    from Experiments import checkpoint

    cli(f"{SHORT} --compression 1")
    (path,) = kept(tmp_path / "results")
    assert TOLD not in cli(f"{SHORT} --compression 2 --lr 0.5").out
    state = checkpoint.read(path)
    checkpoint.write(path, {**state, "made_by": {**state["made_by"], "torch": "0.1"}})
    foreign = cli(f"{SHORT} --compression 2")
    assert TOLD not in foreign.out and "torch 0.1, not" in foreign.err
    assert TOLD in cli(f"{SHORT} --compression 0.5").out  # the state has been replaced
    files.write_bytes(path, path.read_bytes()[:1000])
    damaged = cli(f"{SHORT} --compression 0.2")
    assert TOLD not in damaged.out and "is damaged" in damaged.err


def test_a_forced_run_trains_by_itself(cli):
    cli(f"{SHORT} --compression 1")
    assert TOLD not in cli(f"{SHORT} --compression 2 --force").out


def test_a_sweep_trains_once_for_all_that_train_alike_and_leaves_nothing(cli, tmp_path):
    line = "--dataset mnist --model fc --pruner mag --pre-epochs 1 --threads 1"
    alone = cli(f"{line} --compression 2", tmp_path / "alone")
    made = cli(f"--experiment sweep {line} --compression-list 0.5 1 2 --verbose")
    assert made.code == 0, made.err
    results = tmp_path / "results"
    assert made.out.count(TOLD) == 2 and not (results / pretraining.FOLDER).exists()
    for name in BITS:
        assert (results / "singleshot" / alone.path.name / name).read_bytes() == (alone.path / name).read_bytes()
    runs = [json.loads(path.read_text()) for path in results.glob("singleshot/*/epochs.jsonl") if path.stat().st_size]
    assert len(runs) == 3 and all(run["phase"] == "pre" for run in runs)


def test_a_single_run_of_a_sweep_keeps_nothing(cli, tmp_path):
    made = cli(
        "--experiment sweep --dataset mnist --model fc --pruner mag --pre-epochs 1 --compression-list 1 --verbose"
    )
    assert made.code == 0 and not re.search(TOLD, made.out) and not (tmp_path / "results" / pretraining.FOLDER).exists()
