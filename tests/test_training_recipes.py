"""AdamW, warm-up, cosine, clipping, label smoothing and early stopping, against torch's own and by hand."""

import re
from argparse import Namespace

import nets
import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from Experiments import checkpoint
from Utils.errors import UserError
from Utils.store import run as store
from Utils.training import train as training
from Utils.training.adam import Adam, AdamW
from Utils.training.descent import Descent
from Utils.training.early import EarlyStopping
from Utils.training.loss import CrossEntropy

FC = "--dataset mnist --model fc --pruner snip --compression 1"
ALL = "--lr-scheduler cosine --warmup-steps 5 --clip-grad-norm 0.5 --label-smoothing 0.1 --optimizer adamw"


def args(**more) -> Namespace:
    usual = {
        "optimizer": "adam", "lr": 0.01, "lr_drops": [], "lr_drop_rate": 0.1, "weight_decay": 0.0,
        "adam_betas": [0.9, 0.999], "adam_eps": 1e-8, "lr_scheduler": "multistep", "warmup_steps": 0,
        "clip_grad_norm": 0.0,
    }  # fmt: skip
    return Namespace(**{**usual, **more})


def run(model, batches, settings: Namespace, epochs: int, rates: list | None = None):
    """Train as a run does; the learning rate of each step goes to `rates`."""
    descent = Descent(model, settings)
    prepared = descent.preparation(epochs, len(batches))

    def prepare(epoch, batch):
        if prepared:
            prepared(epoch, batch)
        if rates is not None:
            rates.append(descent.optimizer.param_groups[0]["lr"])

    end = lambda epoch, value: None  # noqa: E731
    training.train(
        model, nets.CROSS_ENTROPY, descent.optimizer, descent, batches, nets.CPU, epochs, end, prepare=prepare
    )


def by_torch(model, batches, optimizer, schedulers, epochs: int, clip: float = 0.0) -> list[float]:
    """The same with torch's classes alone; schedulers: (one by the step, one by the epoch)."""
    by_step, by_epoch = schedulers
    rates = []
    model.train()
    for _ in range(epochs):
        for data, target in batches:
            optimizer.zero_grad()
            nets.CROSS_ENTROPY(model(data), target).backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if by_step:
                by_step.step()
        if by_epoch:
            by_epoch.step()
    return rates


def close(ours, theirs, atol=1e-6):
    for (name, one), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=atol, msg=name)


IMAGES = nets.image_batches((2, 5, 5), 3, (4, 4, 3))


def test_the_cosine_is_torchs():
    ours, theirs, rates = nets.conv_net(), nets.conv_net(), []
    run(ours, IMAGES, args(optimizer="sgd", lr_scheduler="cosine"), 5, rates)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.01)
    wanted = by_torch(theirs, IMAGES, optimizer, (None, lr_scheduler.CosineAnnealingLR(optimizer, 5)), 5)
    assert rates == pytest.approx(wanted, rel=1e-9) and rates[0] == 0.01 and rates[-1] < 0.001
    close(ours, theirs)


@pytest.mark.parametrize("steps", [2, 4, 30])
def test_the_warm_up_is_torchs(steps):
    """LinearLR from 1/n by the step; 30 is longer than the whole training."""
    ours, theirs, rates = nets.conv_net(), nets.conv_net(), []
    run(ours, IMAGES, args(optimizer="momentum", warmup_steps=steps), 4, rates)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    linear = lr_scheduler.LinearLR(optimizer, 1 / steps, total_iters=steps - 1)
    assert rates == pytest.approx(by_torch(theirs, IMAGES, optimizer, (linear, None), 4), rel=1e-9)
    close(ours, theirs)


def test_warm_up_drops_and_cosine_multiply():
    """As torch's chained schedulers do."""
    rates, weight = [], torch.nn.Parameter(torch.zeros(1))
    run(nets.conv_net(), IMAGES, args(optimizer="sgd", lr_drops=[1, 3], warmup_steps=5), 5, rates)
    optimizer = torch.optim.SGD([weight], lr=0.01)
    linear = lr_scheduler.LinearLR(optimizer, 1 / 5, total_iters=4)
    drops = lr_scheduler.MultiStepLR(optimizer, [1, 3], 0.1)
    wanted = []
    for _ in range(5):
        for _ in IMAGES:
            wanted.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            linear.step()
        drops.step()
    assert rates == pytest.approx(wanted, rel=1e-9)
    both: list = []
    run(nets.conv_net(), IMAGES, args(optimizer="sgd", lr_scheduler="cosine", warmup_steps=4), 2, both)
    assert both == pytest.approx([0.0025, 0.005, 0.0075, 0.005, 0.005, 0.005])


def test_without_them_nothing_is_prepared():
    assert Descent(nets.conv_net(), args()).preparation(3, 3) is None


@pytest.mark.parametrize("decay", [0.0, 0.01, 0.3])
def test_adamw_is_torchs(decay):
    ours, theirs = nets.conv_net(), nets.conv_net()
    run(ours, IMAGES, args(optimizer="adamw", weight_decay=decay, lr_drops=[2]), 6)
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=decay)
    by_torch(theirs, IMAGES, optimizer, (None, lr_scheduler.MultiStepLR(optimizer, [2], 0.1)), 6)
    close(ours, theirs)
    plain = nets.conv_net()
    run(plain, IMAGES, args(optimizer="adam", weight_decay=decay, lr_drops=[2]), 6)
    same = all(torch.equal(a, b) for a, b in zip(ours.parameters(), plain.parameters(), strict=True))
    assert same is (decay == 0.0)


TEXT = nets.text_batches(30, 3, (6, 5, 4))


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("clip", [0.0, 0.05, 1e6])
def test_an_embedding_is_clipped_and_decays_with_the_rest(decay, clip):
    """Its gradient, kept by rows, counts in the norm; every row decays, also without a gradient."""
    ours, theirs = nets.text_model(), nets.text_model()
    run(ours, TEXT, args(optimizer="adamw", weight_decay=decay, clip_grad_norm=clip), 5)
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=decay)
    by_torch(theirs, TEXT, optimizer, (None, None), 5, clip)
    close(ours, theirs, atol=5e-6)


def test_rows_that_are_looked_up_twice_in_a_step_count_once():
    """As by a model that reads one embedding for two texts: the norm is that of the sums."""
    ours, theirs = nets.text_model(), nets.text_model()
    optimizer, dense = Adam(ours.parameters(), lr=0.01), torch.optim.Adam(theirs.parameters(), lr=0.01)
    optimizer.attach(ours)
    norms = []
    for (first, target), (second, other) in zip(TEXT, reversed(TEXT), strict=True):
        for model, one in ((ours, optimizer), (theirs, dense)):
            model.train()
            one.zero_grad()
            for data, wanted in ((first, target), (second, other)):
                nets.CROSS_ENTROPY(model(data), wanted).backward()
            with torch.no_grad():
                more = one.gradients() if model is ours else []
            norms.append(torch.nn.utils.clip_grad_norm_([*model.parameters(), *more], 0.05).item())
            one.step()
    optimizer.catch_up()
    assert norms[::2] == pytest.approx(norms[1::2], rel=1e-5) and min(norms) > 0.05
    close(ours, theirs, atol=5e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rms"])
def test_clipping_is_torchs(optimizer):
    ours, theirs = nets.conv_net(), nets.conv_net()
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "rms": torch.optim.RMSprop}
    run(ours, IMAGES, args(optimizer=optimizer, clip_grad_norm=0.1), 4)
    by_torch(theirs, IMAGES, kinds[optimizer](theirs.parameters(), lr=0.01), (None, None), 4, clip=0.1)
    close(ours, theirs)


@pytest.mark.parametrize("begun", [0, 2])
@pytest.mark.parametrize("batches", ["text", "images"])
def test_a_training_goes_on_from_its_state_to_the_same_bits(tmp_path, begun, batches):
    """With everything on, from the end of an epoch within the warm-up and after it."""
    make, data = (nets.text_model, TEXT) if batches == "text" else (nets.conv_net, IMAGES)
    chosen = args(optimizer="adamw", weight_decay=0.1, lr_scheduler="cosine", warmup_steps=5, clip_grad_norm=0.2)
    loss, one, other = CrossEntropy(0.2), make(), make()
    descents = [Descent(model, chosen) for model in (one, other)]

    def trained(model, descent, done, epochs):
        prepare = descent.preparation(4, len(data))
        end = lambda epoch, value: None  # noqa: E731
        training.train(model, loss, descent.optimizer, descent, data, nets.CPU, epochs, end, done=done, prepare=prepare)

    trained(one, descents[0], 0, begun + 1)
    checkpoint.write(tmp_path / "state", checkpoint.take({"descent": descents[0]}))
    other.load_state_dict(one.state_dict())
    descents[1].restore(checkpoint.read(tmp_path / "state")["descent"])
    for model, descent in zip((one, other), descents, strict=True):
        trained(model, descent, begun + 1, 4)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def early(model, losses, patience, epochs=None, phase="post") -> int:
    """The epoch with which a training of these losses ends; the weights are the number of the epoch."""
    stopping = EarlyStopping(model, patience, {"test", "val"})
    for epoch, loss in enumerate(losses, start=1):
        torch.nn.init.constant_(model[0].weight, epoch)
        state, stopping = stopping.state(), EarlyStopping(model, patience, {"test", "val"})
        stopping.restore(state)  # as after an interruption
        if stopping.ends(phase, epoch, epochs or len(losses), {"val_loss": loss, "test_loss": -epoch}):
            return epoch
    return 0


@pytest.mark.parametrize(
    ("losses", "patience", "last", "best"),
    [
        ([3, 2, 1, 1, 0], 1, 4, 3),  # no lower one is no better one
        ([3, 2, 1, 1.5, 0.5, 1], 2, 6, 5),
        ([3, 2, 1], 2, 3, 3),
        ([1, 2, 3], 5, 3, 1),  # the end of the training, with its best weights
        ([1, 2, 3], 0, 0, 3),
    ],
)
def test_a_training_ends_after_so_many_epochs_and_goes_back(losses, patience, last, best):
    model = nets.mlp(2, 2)
    model[0].weight_mask[0, 0] = 0
    assert early(model, losses, patience) == last
    assert (model[0].weight == best).all() and model[0].weight_mask.sum() == 3


def test_the_drawn_validation_examples_go_before_the_published_and_one_is_needed():
    assert EarlyStopping(nets.mlp(2, 2), 1, {"val", "validation", "test"}).figure == "validation_loss"
    with pytest.raises(UserError, match="--validation-size"):
        EarlyStopping(nets.mlp(2, 2), 1, {"train", "test"})


def figures(outcome, key="validation_loss"):
    return [line[key] for line in outcome.epochs if line["phase"] == "post"]


STOPPED = f"{FC} --post-epochs 30 --lr 0.02 --validation-size 100 --patience 2"


def test_a_run_stops_early_and_reports_its_best_epoch(cli):
    run = cli(STOPPED)
    losses = figures(run)
    best = int(np.argmin(losses))
    assert len(losses) == best + 3 < 30 and "back to epoch" in run.out
    assert run.result["final"]["validation_loss"] == pytest.approx(losses[best], rel=1e-5)
    shown = re.findall(r"  epoch \d+/30: running loss [\d.]+, validation loss ([\d.]+), test loss ", run.out)
    assert shown == [f"{loss:.4f}" for loss in losses]  # what decides is on the screen
    plain = cli(f"{STOPPED} --patience 0 --post-epochs {best + 1}")
    assert "running loss" in plain.out and "validation loss" not in plain.out
    assert all(np.array_equal(value, plain.tensors[name]) for name, value in run.tensors.items())
    assert "patience" not in plain.config and run.config["patience"] == 2
    refused = cli(f"{FC} --post-epochs 2 --patience 2")
    assert refused.code == 2 and "--patience needs validation examples" in refused.err.splitlines()[-1]


@pytest.mark.parametrize(
    "line", [f"{FC} {ALL} --pre-epochs 2 --post-epochs 3 --validation-size 50 --patience 5", STOPPED]
)
def test_a_run_goes_on_after_an_interruption_to_the_same_bits(cli, tmp_path, monkeypatch, line):
    """From after each of its epochs."""
    whole = cli(line, tmp_path / "whole")
    epoch = store.Stage.epoch
    for at in range(2, len(whole.epochs) + 1):
        seen = []

        def stop(self, record, at=at, seen=seen):
            epoch(self, record)
            seen.append(record)
            if len(seen) == at:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(store.Stage, "epoch", stop)
            assert cli(line, tmp_path / str(at)).code == 130
        resumed = cli(line, tmp_path / str(at))
        assert "Going on from a checkpoint" in resumed.out
        assert all(np.array_equal(value, whole.tensors[name]) for name, value in resumed.tensors.items())
        assert resumed.epochs == whole.epochs and resumed.result["final"] == whole.result["final"]


def test_the_cosine_of_levels_begins_again_where_the_rewinding_goes(cli, monkeypatch):
    """The first level is trained in two parts, to the mark and on."""
    rates, plain = [], training.train_epoch

    def record(model, loss, optimizer, *rest):
        value = plain(model, loss, optimizer, *rest)
        rates.append(optimizer.param_groups[0]["lr"])
        return value

    monkeypatch.setattr(training, "train_epoch", record)
    line = "--experiment multishot --dataset mnist --model fc --compression 1 --pre-epochs 3 --post-epochs 4"
    cli(f"{line} --level-list 2 --lr-scheduler cosine --rewind-epochs 1 --lr 0.01")
    of_three, of_four = ([0.005 * (1 + np.cos(np.pi * k / n)) for k in range(n)] for n in (3, 4))
    assert rates == pytest.approx([*of_three, *of_three[1:], *of_four[1:]], rel=1e-9)


IDLE = [
    (f"{FC}", ALL.replace("--optimizer adamw", "--patience 3"), True),
    (f"{FC} --post-epochs 1", "--lr-scheduler cosine --warmup-steps 1", True),
    (f"{FC} --post-epochs 2 --lr-scheduler cosine", "--lr-drops 1 --lr-drop-rate 0.5", True),
    (f"{FC} --post-epochs 2", "--lr-scheduler cosine", False),
    (f"{FC} --post-epochs 1", "--warmup-steps 2", False),
    (f"{FC} --post-epochs 1", "--clip-grad-norm 0.1", False),
    (f"{FC} --post-epochs 1", "--label-smoothing 0.1", False),
    (f"{FC} --post-epochs 1", "--optimizer adamw", False),
]


@pytest.mark.parametrize(("line", "more", "idle"), IDLE)
def test_a_flag_has_an_effect_or_makes_no_other_run(cli, line, more, idle):
    plain, other = cli(line), cli(f"{line} {more}")
    if idle:
        assert f"stored result of {plain.path}" in other.err and "without effect" in other.err
    else:
        assert plain.path != other.path and "without effect" not in other.err
        assert any(not np.array_equal(value, other.tensors[name]) for name, value in plain.tensors.items())


def test_smoothing_is_of_the_training_alone(cli):
    """The scores, and the losses that are measured, are those without it."""
    plain, other = cli(FC), cli(f"{FC} --post-epochs 1 --label-smoothing 0.3")
    assert all(np.array_equal(mask, other.masks[name]) for name, mask in plain.masks.items())
    assert plain.result["init"] == other.result["init"]
    again = cli(f"{FC} --pretrained {other.path}")  # which knows nothing of it
    assert again.result["init"]["test_loss"] == pytest.approx(other.result["final"]["test_loss"], rel=1e-5)


def test_adamw_decays_by_torchs_default(cli):
    assert cli(f"{FC} --optimizer adamw --post-epochs 1").config["weight_decay"] == 0.01
    assert cli(f"{FC} --optimizer adamw --post-epochs 1 --weight-decay 0").config["weight_decay"] == 0
    assert (
        AdamW([torch.zeros(1)]).param_groups[0]["decay"] == torch.optim.AdamW([torch.zeros(1)]).defaults["weight_decay"]
    )
