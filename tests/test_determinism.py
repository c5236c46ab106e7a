"""The same command gives the same bits; and each seed moves what it names and nothing else."""

import itertools
import json
import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from Utils.data.loader import Loader
from Utils.machine import seeds

AGNEWS = "--dataset agnews --pruner grasp --compression 1 --pre-epochs 1 --post-epochs 1"
MNIST = "--dataset mnist --pruner snip --compression 1 --prune-epochs 2 --post-epochs 1"
POINTS = ("init", "pre_prune", "post_prune", "final")
# What a run is made of apart from seconds and the name of its settings.
RECORD = (*POINTS, "parameters", "flops", "per_tensor", "dead", "data", "vocab", "signal", "kept_by_tie")


def run_in_processes(root, data, results, command: str) -> list:
    """Two at once, each with its own result directory and its own order of Python's sets."""
    processes = []
    for k in (1, 2):
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": str(k)}
        places = ["--source", "sample", "--data-dir", str(data), "--result-dir", str(results / str(k))]
        line = [sys.executable, "main.py", *places, *command.split()]
        kept: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(line, cwd=root, env=env, **kept))
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    return [next((results / str(k) / "singleshot").iterdir()) for k in (1, 2)]


@pytest.mark.parametrize("command", [AGNEWS, MNIST])
def test_the_same_command_gives_the_same_bits(root, sample_data, tmp_path, cli, ran, command):
    """In two processes, in this one, and with batches that threads put together."""
    runs = run_in_processes(root, sample_data, tmp_path, command)
    runs += [ran(command).path, cli(f"{command} --workers 2").path]
    records = [json.loads((run / "result.json").read_text()) for run in runs]
    for run, record in zip(runs[1:], records[1:], strict=True):
        assert {key: record[key] for key in RECORD} == {key: records[0][key] for key in RECORD}
        assert run.name == runs[0].name and run != runs[0]
        for name in ("model.safetensors", "epochs.jsonl", "config.json"):
            assert (run / name).read_bytes() == (runs[0] / name).read_bytes(), name


def in_bytes(outcome) -> bytes:
    return (outcome.path / "model.safetensors").read_bytes()


def same_model(one, other) -> bool:
    """Weights and masks bit for bit."""
    a, b = one.tensors, other.tensors
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name], equal_nan=True) for name in a)


@pytest.mark.parametrize("command", [AGNEWS, MNIST])
def test_a_run_depends_on_nothing_that_went_before(cli, ran, command, monkeypatch):
    """Neither on the state of torch's, numpy's or Python's generators, nor on another run in this process."""
    import random

    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)
    cli("--dataset agnews --pruner rand --compression 1 --seed 5")
    assert in_bytes(cli(command)) == in_bytes(ran(command))


@pytest.fixture
def seen(cli, monkeypatch):
    """seen(command): (outcome, targets of every training batch, targets of every pruning batch), in order.

    Both come from the training split, which holds more examples than the test split.
    """
    iterate = Loader.__iter__

    def run(command: str):
        batches: list[tuple[bool, list[int]]] = []

        def record(self):
            for data, target in iterate(self):
                if len(self.examples) > 2_000 and (self.shuffle or len(self.indices) < len(self.examples)):
                    batches.append((self.shuffle, target.tolist()))
                yield data, target

        monkeypatch.setattr(Loader, "__iter__", record)
        outcome = cli(command)
        training, pruning = ([target for shuffled, target in batches if shuffled is kind] for kind in (True, False))
        return outcome, training, pruning

    return run


@pytest.mark.parametrize("dataset", ["agnews", "mnist"])
def test_two_pruners_at_one_seed_start_alike_and_see_the_same_batches(seen, dataset):
    """So that what differs between their results is what they prune."""
    flags = f"--dataset {dataset} --compression 0.5 --post-epochs 1"
    runs = [seen(f"{flags} --pruner {pruner}") for pruner in ("rand", "snip", "grasp", "synflow")]
    (first, training, _), *others = runs
    assert len(training) == math.ceil((8_000 if dataset == "agnews" else 6_000) / 256)
    for outcome, batches, _ in others:
        assert outcome.result["init"] == first.result["init"] and batches == training
        assert outcome.result["post_prune"] != first.result["post_prune"]
    pruning = {json.dumps(batches) for outcome, _, batches in runs if outcome.result["pruner"] in ("snip", "grasp")}
    assert len(pruning) == 1 and pruning != {"[]"}


@pytest.mark.parametrize("dataset", ["agnews", "mnist"])
def test_at_density_one_all_pruners_give_the_same_model(ran, dataset):
    runs = [ran(f"--dataset {dataset} --pruner {pruner} --post-epochs 1") for pruner in ("rand", "mag", "grasp")]
    for other in runs[1:]:
        assert other.result["final"] == runs[0].result["final"] and same_model(other, runs[0])
    assert all(mask.all() for mask in runs[0].masks.values())
    assert runs[0].result["final"] != runs[0].result["init"]


@pytest.fixture(scope="module")
def base(ran):
    """A run of a pruner on the agnews sample with further flags, from the session's memory."""
    return lambda pruner, flags="": ran(
        f"--dataset agnews --pruner {pruner} --compression 0.5 --post-epochs 1 {flags}".strip()
    )


def test_the_init_seed_moves_the_weights_alone(base, seen):
    for pruner in ("rand", "mag"):
        plain, other = base(pruner), base(pruner, "--init-seed 2")
        assert plain.result["init"] != other.result["init"]
        moved = not np.array_equal(plain.masks["fc.weight_mask"], other.masks["fc.weight_mask"])
        assert moved is (pruner == "mag")  # rand's draw is not of the weights; mag's choice is
    command = "--dataset agnews --pruner snip --compression 0.5 --post-epochs 1"
    assert seen(command)[1:] == seen(f"{command} --init-seed 2")[1:]  # the batches of training and of pruning


def test_the_data_seed_moves_the_order_of_the_data_and_the_pruning_examples_alone(base, seen):
    for pruner in ("rand", "mag"):
        plain, other = base(pruner), base(pruner, "--data-seed 2")
        for point in ("init", "post_prune"):
            assert plain.result[point] == other.result[point]
        assert np.array_equal(plain.masks["fc.weight_mask"], other.masks["fc.weight_mask"])
        assert plain.result["final"] != other.result["final"]
    command = "--dataset agnews --pruner snip --compression 0.5 --post-epochs 1"
    (plain, training, pruning), (other, trained, pruned) = seen(command), seen(f"{command} --data-seed 2")
    assert training != trained and pruning != pruned
    assert sorted(itertools.chain(*training)) == sorted(itertools.chain(*trained))
    assert plain.result["init"] == other.result["init"] and plain.result["post_prune"] != other.result["post_prune"]


def test_the_prune_seed_moves_the_pruners_own_draws_alone(base, seen):
    plain, other = base("rand"), base("rand", "--prune-seed 2")
    assert plain.result["init"] == other.result["init"]
    assert not np.array_equal(plain.masks["fc.weight_mask"], other.masks["fc.weight_mask"])
    assert same_model(base("mag"), base("mag", "--prune-seed 2"))  # mag draws nothing
    shuffled, again = base("mag", "--shuffle"), base("mag", "--shuffle --prune-seed 2")
    assert not np.array_equal(shuffled.masks["fc.weight_mask"], again.masks["fc.weight_mask"])
    command = "--dataset agnews --pruner snip --compression 0.5 --post-epochs 1"
    assert seen(command)[1:] == seen(f"{command} --prune-seed 2")[1:]


def test_the_seed_is_the_three_of_them(base):
    whole, parts = base("rand", "--seed 2"), base("rand", "--init-seed 2 --data-seed 2 --prune-seed 2")
    assert same_model(whole, parts)
    assert all(whole.result[point] == parts.result[point] for point in POINTS)
    assert not same_model(whole, base("rand"))


def test_new_weights_after_pruning_come_from_the_init_seed(base):
    """And are not those the run began with."""
    plain = base("rand", "--reinitialize --post-epochs 0")
    assert same_model(plain, base("rand", "--reinitialize --post-epochs 0 --data-seed 2"))
    assert not same_model(plain, base("rand", "--reinitialize --post-epochs 0 --init-seed 2"))
    began = base("rand", "--post-epochs 0").tensors["embedding.weight"]
    assert np.isclose(plain.tensors["embedding.weight"], began).mean() < 0.01


def test_derived_seeds_differ_by_every_part_of_their_purpose(root):
    """And are the same in another process, where Python's own hash differs."""
    purposes = [(1, "init"), (2, "init"), (1, "train"), (1, "order", 0), (1, "order", 1), (1, "order", 10)]
    purposes += [(11, "order", 0), (1,), (1, "order"), (1, ""), (1, "or", "der")]
    found = [seeds.derive(*purpose) for purpose in purposes]
    assert len(set(found)) == len(purposes) and all(0 <= seed < 2**63 for seed in found)
    code = f"from Utils.machine import seeds; print([seeds.derive(*purpose) for purpose in {purposes!r}])"
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    shown = subprocess.run([sys.executable, "-c", code], cwd=root, env=env, capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout) == found
