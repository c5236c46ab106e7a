"""Runs whose masks change in training, against the same in plain torch and numpy, and what becomes of such runs."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from calls import ask
from test_dynamic import rigl
from torch.nn import functional as F

from Experiments import mask_updates
from Experiments.sweeping import grid
from Models.seq2seq import Seq2SeqTransformer
from Utils import load, settings
from Utils.commandline import arguments as commandline
from Utils.errors import UserError
from Utils.machine import seeds
from Utils.study import runs as stored
from Utils.study import tasks
from Utils.training.descent import Descent

FC = "--dataset mnist --model fc --compression 1 --ties position --dynamic-interval 7"
RIGL = f"{FC} --pruner rand --mask-scope erk --dynamic rigl --post-epochs 2"
STATIC = f"{FC} --pruner rand --mask-scope erk --post-epochs 2"
GRADUAL = f"{FC} --dynamic gradual --post-epochs 2"
STEPS = 24  # batches of 256 in an epoch of the sample


def small(input_shape, num_classes, dense_classifier=False):
    return Seq2SeqTransformer(input_shape, num_classes, dense_classifier, 32, 2, 1, 32)


@pytest.fixture(autouse=True)
def small_translation(monkeypatch):
    monkeypatch.setitem(load.MODELS["nlp"], "seq2seq", ("translation", f"{__name__}:small"))


def bits(run) -> bytes:
    return (run.path / "model.safetensors").read_bytes()


class Hand:
    """The training in plain torch: masks in a dictionary, torch.optim.Adam, an update of the masks after some steps."""

    def __init__(self, sample_data, masks: dict) -> None:
        corpus = load.corpus("mnist", str(sample_data), "sample")
        torch.manual_seed(seeds.derive(1, "init"))
        self.model = load.model("fc")(corpus.shape, corpus.num_classes)
        self.loader = load.dataloader(corpus, 256, True, seed=seeds.derive(1, "train"))
        self.weights = {name: p for name, p in self.model.named_parameters() if f"{name}_mask" in masks}
        self.weights = {name: p for name, p in self.weights.items() if name.endswith("weight")}
        self.masks = {name: torch.tensor(masks[f"{name}_mask"]) for name in self.weights}
        self.optimizer = torch.optim.Adam(self.model.parameters())
        self.updates: list[tuple[int, int, int]] = []
        self.enter()

    @torch.no_grad()
    def enter(self) -> None:
        for name, mask in self.masks.items():
            self.model.get_submodule(name.removesuffix(".weight")).weight_mask.copy_(mask)
            self.weights[name].mul_(mask)

    def train(self, epochs: int, update) -> None:
        step = 0
        for _ in range(epochs):
            for data, target in self.loader:
                self.optimizer.zero_grad()
                F.cross_entropy(self.model(data), target).backward()
                self.optimizer.step()
                step += 1
                if (new := update(step, data, target)) is not None:
                    self.change(step, new)

    @torch.no_grad()
    def change(self, step: int, new: dict) -> None:
        changed = 0
        for name, weight in self.weights.items():
            stay = self.masks[name] * new[name]
            changed += int((self.masks[name] != new[name]).sum())
            for tensor in (weight, self.optimizer.state[weight]["exp_avg"], self.optimizer.state[weight]["exp_avg_sq"]):
                tensor.mul_(stay)
            self.masks[name] = new[name]
        self.updates.append((step, int(sum(mask.sum() for mask in new.values())), changed))
        self.enter()

    def slopes(self, data, target) -> dict:
        """dL/dw at w = mask * weight, of a network written out."""
        weights = {name: (self.masks[name] * w).detach().requires_grad_() for name, w in self.weights.items()}
        hidden = data.flatten(1)
        for name, weight in weights.items():
            bias = self.model.get_parameter(name.replace("weight", "bias"))
            hidden = F.linear(hidden, weight, bias)
            hidden = hidden if name == list(weights)[-1] else hidden.relu()
        return dict(
            zip(weights, torch.autograd.grad(F.cross_entropy(hidden, target), list(weights.values())), strict=True)
        )

    def check(self, run) -> None:
        for name, weight in self.weights.items():
            assert (run.tensors[f"{name}_mask"] == self.masks[name].numpy()).all(), name
            assert np.array_equal(run.tensors[name], (weight * self.masks[name]).detach().numpy()), name
        columns = run.result["mask_updates"]["post"]
        changes = [drop + grow for drop, grow in zip(columns["dropped"], columns["grown"], strict=True)]
        assert list(zip(columns["step"], columns["kept"], changes, strict=True)) == self.updates


def test_a_run_of_rigl_is_the_one_by_hand(ran, sample_data):
    start, run = ran(f"{RIGL} --post-epochs 0"), ran(f"{RIGL} --drop-fraction 0.4")
    hand, end = Hand(sample_data, start.masks), round(0.75 * 2 * STEPS)

    def update(step, data, target):
        if step % 7 or step >= end:
            return None
        fraction, slopes = 0.2 * (1 + math.cos(math.pi * step / end)), hand.slopes(data, target)
        return {
            name: torch.tensor(
                rigl(w.detach().numpy(), hand.masks[name].numpy(), slopes[name].numpy(), fraction)
            ).float()
            for name, w in hand.weights.items()
        }

    hand.train(2, update)
    hand.check(run)
    assert [step for step, _, _ in hand.updates] == [7, 14, 21, 28, 35]
    assert {kept for _, kept, _ in hand.updates} == {11_940} and all(changed for *_, changed in hand.updates)
    assert run.result["scoring_steps"] == 5
    for name, mask in start.masks.items():
        assert run.masks[name].sum() == mask.sum() and (
            not name.endswith("weight_mask") or (run.masks[name] != mask).any()
        )


@pytest.mark.parametrize("flags", ["", "--dynamic-start 0.4 --dynamic-end 1"])
def test_a_run_of_gradual_pruning_is_the_one_by_hand(ran, sample_data, flags):
    start, run = ran(f"{GRADUAL} --dynamic-interval 50 --post-epochs 1 --lr 1e-30 {flags}"), ran(f"{GRADUAL} {flags}")
    first, end = (0.4, 2 * STEPS) if flags else (1.0, round(0.75 * 2 * STEPS))
    masks = {name: np.ones_like(mask) for name, mask in start.masks.items()}
    hand = Hand(sample_data, masks)

    def largest(density: float) -> dict:
        sizes = [np.where(hand.masks[n].numpy() != 0, w.detach().abs().numpy(), -1) for n, w in hand.weights.items()]
        flat = np.concatenate([size.ravel() for size in sizes])
        keep = np.ones(flat.size, np.float32)
        # The first of equals stays.
        keep[np.argsort(-flat, kind="stable")[flat.size - math.floor((1 - density) * flat.size) :]] = 0
        parts = np.split(keep, np.cumsum([size.size for size in sizes])[:-1])
        return {n: torch.tensor(p.reshape(size.shape)) for n, p, size in zip(hand.weights, parts, sizes, strict=True)}

    if flags:
        hand.masks = largest(first)
        hand.enter()
    hand.train(
        2,
        lambda step, *_: (
            largest(1 - (0.9 + ((1 - first) - 0.9) * (1 - step / end) ** 3))
            if step <= end and (step % 7 == 0 or step == end)
            else None
        ),
    )
    hand.check(run)
    assert hand.updates[-1][:2] == (end, 11_940) and run.config["pruner"] == "mag"
    assert "signal" not in run.result and run.result["parameters"]["prunable_kept"] == 11_940


WORDS = "--dataset agnews --prune-embedding --train-size 640 --train-batch-size 64"
LINES = {
    "images": "rigl --pruner snip --dataset mnist --model conv --train-size 512 --train-batch-size 64",
    "plain": "rigl --dataset mnist --plain --optimizer rms --train-size 2000",
    "words": f"rigl --pruner snip {WORDS} --prune-bias",
    "half precision": f"rigl {WORDS} --amp bf16 --optimizer adamw",
    "translation": "rigl --pruner snip --dataset multi30k --train-size 640 --train-batch-size 64 --prune-attention all "
    "--prune-embedding",
    "norms": "rigl --dataset mnist --model-class lottery --model resnet20 --train-size 64 --train-batch-size 16 "
    "--prune-batchnorm --optimizer momentum",
    "gradual by layer": "gradual --mask-scope erk --dataset mnist --model conv --train-size 512 --train-batch-size 64",
    "gradual, by unit": f"gradual --never-empty {WORDS} --optimizer sgd",
    "gradual translation": "gradual --mask-scope local --dataset multi30k --train-size 640 --train-batch-size 64",
}


@pytest.mark.parametrize("task", LINES)
def test_counts_and_zeros_hold_after_every_update_and_again_with_the_same_bits(cli, task, monkeypatch):
    seen: list[tuple] = []

    def clear(descent, parameters, stay) -> None:
        before = [parameter.detach().clone() for parameter in parameters]
        usual(descent, parameters, stay)
        pairs = [(mask, weight) for mask, weight in shops[-1].pruner.masked_parameters]
        for (mask, weight), flags, then in zip(pairs, stay, before, strict=True):
            assert weight.equal(torch.where(flags, then, 0.0)) and not (flags & (mask == 0)).any()
            for value in descent.optimizer.state[weight].values():
                assert not (torch.is_tensor(value) and value.shape == weight.shape) or not value[~flags].any()
        seen.append(tuple(int(mask.count_nonzero()) for mask, _ in pairs))

    usual, shops, make = Descent.clear, [], mask_updates.MaskUpdates.__init__
    monkeypatch.setattr(Descent, "clear", clear)
    monkeypatch.setattr(mask_updates.MaskUpdates, "__init__", lambda self, *a: (shops.append(a[0]), make(self, *a))[1])
    line = f"--compression 0.7 --dynamic-interval 1 --post-epochs 1 --dynamic {LINES[task]}"
    run = cli(line)
    tables, columns = list(seen), run.result["mask_updates"]["post"]
    total = run.result["parameters"]["prunable"]
    steps, end = len(columns["step"]), columns["step"][-1]
    assert columns["kept"] == [sum(counts) for counts in tables] and steps == end > 1
    if run.config["dynamic"] == "rigl":
        assert len(set(tables)) == 1 and columns["grown"] == columns["dropped"] and sum(columns["grown"]) > steps
        wanted = [10**-0.7] * steps
    else:
        wanted = [10**-0.7 + (1 - 10**-0.7) * (1 - step / end) ** 3 for step in columns["step"]]
        assert not any(columns["grown"])
    groups = [mask.numel() for mask, _ in shops[0].pruner.masked_parameters] if "local" in line else [total]
    assert columns["kept"] == [sum(n - math.floor((1 - density) * n) for n in groups) for density in wanted]
    assert (
        run.result["parameters"]["prunable_kept"]
        == columns["kept"][-1]
        == sum(
            int(mask.sum())
            for name, mask in run.masks.items()
            if shops and name.removesuffix("_mask") in shops[0].pruner.names
        )
    )
    names = shops[0].pruner.names
    assert sum(int(run.masks[f"{name}_mask"].sum()) for name in names) == columns["kept"][-1]
    assert run.result["parameters"]["prunable_kept"] == columns["kept"][-1]
    assert all(not run.tensors[name][run.masks[f"{name}_mask"] == 0].any() for name in names)
    assert run.result["seconds"]["prune"] > 0
    first = bits(run)
    assert bits(cli(f"{line} --force")) == first


@pytest.mark.parametrize(
    "line",
    [
        "--dataset agnews --prune-embedding --compression 1 --pre-epochs 1 --post-epochs 3 --dynamic rigl "
        "--dynamic-interval 5 --dynamic-end 1",
        "--dataset mnist --model fc --compression 1 --post-epochs 4 --dynamic gradual --dynamic-interval 5",
        "--experiment multishot --dataset mnist --compression 1 --level-list 2 --rewind-epochs 1 --post-epochs 3 "
        "--dynamic rigl --dynamic-interval 5",
    ],
)
def test_a_run_that_is_stopped_in_an_update_ends_in_the_same_bits(cli, tmp_path, line, monkeypatch):
    whole, updates = cli(line, tmp_path / "whole"), 0

    def stopping(self, *arguments):
        nonlocal updates
        updates += 1
        if updates == 9:
            raise KeyboardInterrupt
        usual(self, *arguments)

    usual = mask_updates.MaskUpdates._update
    monkeypatch.setattr(mask_updates.MaskUpdates, "_update", stopping)
    assert cli(line).code == 130
    again = cli(line)
    assert "Going on from a checkpoint" in again.out and bits(whole) == bits(again)
    timed = ("seconds", "peak_memory")
    assert {k: v for k, v in again.result.items() if k not in timed} == {
        key: value for key, value in whole.result.items() if key not in timed
    }


def test_taking_dense_gradients_changes_no_step(ran):
    """With a drop fraction of 0 the masks stay, and every weight has the bits of a run with static masks."""
    idle = ran(f"{RIGL} --drop-fraction 0")
    static = ran(STATIC)
    assert all(np.array_equal(value, static.tensors[name]) for name, value in idle.tensors.items())
    assert idle.result["mask_updates"]["post"]["grown"] == [0] * 5


@pytest.mark.parametrize("way", ["rigl", "gradual"])
def test_a_dense_run_is_a_dense_run(cli, way):
    line = "--dataset agnews --prune-embedding --post-epochs 1 --pruner mag --compression 0"
    dynamic = cli(f"{line} --dynamic {way} --dynamic-interval 5")
    assert "mask_updates" not in dynamic.result and bits(dynamic) == bits(cli(line))
    plain, other = (
        settings.identity(vars(commandline.parse(words.split()))) for words in (line, f"{line} --dynamic {way}")
    )
    assert plain != other and settings.acting_when_dense(plain) == settings.acting_when_dense(other)
    assert settings.acting_before_pruning(plain) == settings.acting_before_pruning(other)


def test_levels_rewind_the_weights_and_keep_what_the_updates_found(ran):
    line = "--experiment multishot --dataset mnist --compression 1 --level-list 2 --post-epochs 3 --dynamic-interval 10"
    gradual = ran(f"{line} --dynamic gradual --rewind-epochs 1 --lr-drops 2")
    total = gradual.result["parameters"]["prunable"]
    counts = [total - math.floor((1 - 10 ** (-level / 2)) * total) for level in (1, 2)]
    updates = gradual.result["mask_updates"]
    assert [updates[f"level {level}"]["kept"][-1] for level in (1, 2)] == counts and "post" not in updates
    assert updates["level 1"]["step"] == [10, 20, 30, 40, 50, 54] and updates["level 2"]["step"] == [30, 40, 50, 54]
    moved = ran(f"{line} --dynamic rigl --rewind-epochs 0")
    updates = moved.result["mask_updates"]
    assert set(updates["level 2"]["kept"]) == {counts[0]} and set(updates["post"]["kept"]) == {counts[1]}
    assert "level 1" not in updates and all(updates["post"]["grown"])
    assert gradual.result["parameters"]["prunable_kept"] == moved.result["parameters"]["prunable_kept"] == counts[1]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--dynamic gradual --pruner rand", ["gradual", "--pruner mag", "not of rand"]),
        ("--dynamic gradual --post-epochs 0", ["--post-epochs 0"]),
        ("--dynamic gradual --dynamic-start 0.05", ["--dynamic-start 0.05", "keeps, 0.1"]),
        ("--dynamic gradual --prune-epochs 3", ["--prune-epochs"]),
        ("--dynamic gradual --shuffle", ["--shuffle"]),
        ("--dynamic gradual --invert", ["--invert"]),
        ("--dynamic rigl --never-empty", ["--never-empty"]),
        ("--dynamic rigl --ignore-masks all", ["--ignore-masks"]),
        ("--dynamic gradual --patience 2 --validation-size 9", ["--patience"]),
        ("--dynamic rigl --dynamic-end 1.5", ["--dynamic-end", "'1.5'", "at most 1"]),
        ("--dynamic rigl --dynamic-interval 0", ["--dynamic-interval", "'0'"]),
        ("--dynamic set", ["'set'", "none, gradual, rigl"]),
        ("--experiment multishot --dynamic gradual --dynamic-start 0.5", ["--dynamic-start", "levels"]),
    ],
)
def test_what_has_no_meaning_is_one_line(cli, flags, words):
    outcome = cli(f"--dataset mnist --compression 1 --post-epochs 1 {flags}")
    assert outcome.code == 2 and outcome.err.startswith("error: ") and outcome.err.count("\n") == 1
    assert all(word in outcome.err for word in words), outcome.err
    assert not outcome.results.exists()


def test_a_pattern_goes_with_gradual_pruning_and_not_with_rigl(cli):
    line = "--dataset mnist --pattern 2:4 --dynamic-interval 5 --post-epochs 1 --pruner mag --dynamic"
    assert "--pattern" in cli(f"{line} rigl").err
    run = cli(f"{line} gradual")
    for mask in run.masks.values():
        assert mask.ndim == 1 or (mask.reshape(-1, 4).sum(1) == 2).all()


def test_settings_name_the_run_where_they_act(cli):
    plain = settings.identity(vars(commandline.parse(["--compression=1"])))
    assert not {row.name for row in settings.of("dynamic masks")} & plain.keys()
    assert settings.complete(plain)["dynamic"] == "none"
    idle = cli("--dataset mnist --compression 1 --dynamic-end 0.5 --drop-fraction 0.1")
    assert "--dynamic-end, --drop-fraction: without effect" in idle.err and "dynamic_end" not in idle.config
    still = cli("--dataset mnist --compression 1 --dynamic rigl --post-epochs 0")
    assert "--dynamic: without effect" in still.err and f"stored result of {idle.path}" in still.err
    one = settings.identity(vars(commandline.parse("--compression 1 --dynamic rigl --drop-fraction 0.5".split())))
    assert (one["dynamic"], one["drop_fraction"]) == ("rigl", 0.5) and "dynamic_interval" not in one


def test_a_sweep_file_takes_them(tmp_path):
    file = tmp_path / "dynamic.toml"
    text = '[settings]\ncompression = 1\ndynamic-interval = 20\n[[grid]]\npruner = "rand"\nmask-scope = "erk"\n'
    file.write_text(f'{text}dynamic = ["none", "rigl"]\n[[grid]]\ndynamic = "gradual"\n', encoding="utf-8")
    cells = grid.cells([str(file)], {})
    found = [(cell.args.pruner, cell.args.dynamic, cell.args.dynamic_interval) for cell in cells]
    assert found == [("rand", "none", 100), ("rand", "rigl", 20), ("mag", "gradual", 20)]
    with pytest.raises(UserError, match="not of rand"):
        grid.cells([str(file)], {"pruner": ["rand"], "dynamic": ["gradual"]})


def test_what_reads_runs_takes_such_a_run_by_its_last_masks(cli, ran, tmp_path, sample_data):
    run = ran(f"{RIGL} --drop-fraction 0.4")
    place = tmp_path / "results" / "singleshot" / "moved"
    place.parent.mkdir(parents=True)
    shutil.copytree(run.path, place)
    taken = cli(f"--dataset mnist --masks {place} --post-epochs 0")
    assert all((taken.masks[name] == mask).all() for name, mask in run.masks.items()) and "dynamic" not in taken.config
    on = cli(f"--dataset mnist --masks {place} --dynamic rigl --dynamic-interval 5 --post-epochs 1")
    assert on.config["dynamic"] == "rigl" and on.result["parameters"] == run.result["parameters"]
    (task,) = tasks.group([stored.Run(each.path, each.config, each.result) for each in (run, ran(STATIC))])
    labels = {tasks.label(member.variant) for member in task.members}
    assert labels == {"main", "drop fraction 0.4, dynamic rigl, dynamic interval 7"}
    code, out, err = ask(f"--experiment export --run {place} --format sparse", sample_data)
    assert code == 0 and "Saved" in out, err
    result = json.loads((place / "result.json").read_text())
    wrong = stored.Run(place, run.config, result | {"parameters": result["parameters"] | {"prunable_kept": 11_941}})
    stored.Run(place, run.config, result).check()
    with pytest.raises(ValueError, match="last update"):
        wrong.check()


def test_a_training_that_ends_before_the_first_update_is_told(sample_data, tmp_path):
    run = "--dataset mnist --model fc --pruner rand --compression 1 --post-epochs 1 --dynamic rigl"
    code, _, told = ask(f"{run} --result-dir {tmp_path}", sample_data)
    assert code == 0 and "so that none takes place; choose a smaller --dynamic-interval" in told
    assert "note" not in ask(f"{run} --result-dir {tmp_path} --dynamic-interval 2", sample_data)[2]
