"""States in files, and parts that go on from them."""

from argparse import Namespace

import nets
import pytest
import torch

from Experiments import checkpoint
from Utils import load
from Utils.errors import UserError
from Utils.machine.clock import Clock
from Utils.training.descent import Descent
from Utils.training.train import train_epoch

STATE = {
    "part": {
        "tensor": torch.arange(6.0).reshape(2, 3).t(),  # not contiguous
        "fc.weight": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "a/b": {"~": torch.tensor(7), "~1": torch.zeros(0, 3).bool(), "": torch.tensor([1]).byte()},
        "numbers": {"list": [1, 2.5, None], "flag": True, "text": "ä", "nothing": None},
    },
    "empty": {},
    "deep": {"er": {"est": {}}},
}  # fmt: skip


def same(one, other) -> bool:
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and one == other


def test_a_state_comes_back_as_it_was(tmp_path):
    path = tmp_path / "some" / "where.safetensors"
    checkpoint.write(path, STATE)
    assert same(checkpoint.read(path), STATE)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_missing_and_a_damaged_file_are_named(tmp_path):
    path = tmp_path / "state"
    with pytest.raises(UserError, match=f"no checkpoint {path}"):
        checkpoint.read(path)
    checkpoint.write(path, STATE)
    for content in (b"", b"x" * 100, path.read_bytes()[:-1]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"{path} is damaged"):
            checkpoint.read(path)


def test_what_is_no_tensor_and_no_json_is_refused():
    for value in (object(), [torch.ones(1)], float("nan")):
        with pytest.raises((TypeError, ValueError)):
            checkpoint.frozen({"part": {"value": value}})


def test_a_state_that_lacks_a_part_changes_nothing():
    clock, other = Clock("train"), Clock("train")
    state = {"clock": {"train": 5.0}}
    with pytest.raises(KeyError):
        checkpoint.restore({"clock": clock, "other": other}, state)
    assert clock.reading() == {"train": 0.0}
    checkpoint.restore({"clock": clock}, {**state, "more": {}})
    assert clock.reading() == {"train": 5.0}


def test_a_checkpoint_of_another_making_is_not_gone_on_from(tmp_path, capsys):
    path = tmp_path / "state"
    checkpoint.write(path, {"made_by": {"torch": "1", "threads": 2}, "part": {}})
    assert checkpoint.left(None, {}) is None and capsys.readouterr().err == ""
    assert checkpoint.left(path, {"torch": "1", "threads": 2})["part"] == {}
    assert checkpoint.left(path, {"torch": "1", "threads": 3}) is None
    assert "threads 2, not 3" in capsys.readouterr().err


def settings(optimizer: str, **more) -> Namespace:
    shared = {"lr": 0.01, "lr_drops": [2, 4], "lr_drop_rate": 0.1, "weight_decay": 0.0}
    return Namespace(**{**shared, "optimizer": optimizer, "adam_betas": [0.9, 0.999], "adam_eps": 1e-8, **more})


def epoch(model, descent: Descent, batches) -> None:
    train_epoch(model, nets.CROSS_ENTROPY, descent.optimizer, batches, nets.CPU)
    descent.scheduler.step()


@pytest.mark.parametrize("begun", [0, 1, 3])
@pytest.mark.parametrize("optimizer", load.OPTIMIZERS)
def test_training_goes_on_from_a_state_to_the_same_bits(tmp_path, optimizer, begun):
    """Also one that began anew at an epoch, as after a rewinding, with drops of the learning rate still to come.

    The rates are those of the definition: `lr` times the drop's rate for each drop that is past.
    """
    batches = nets.text_batches(30, 3, (6, 5, 4))
    one, other = nets.text_model(), nets.text_model()
    descents = [Descent(model, settings(optimizer)) for model in (one, other)]
    descents[0].begin(begun)
    for past in range(begun, begun + 4):
        rate = descents[0].optimizer.param_groups[0]["lr"]
        assert rate == pytest.approx(0.01 * 0.1 ** sum(drop <= past for drop in (2, 4)))
        epoch(one, descents[0], batches)
        if past == begun:
            checkpoint.write(tmp_path / "state", checkpoint.take({"descent": descents[0]}))
            other.load_state_dict(one.state_dict())
            descents[1].restore(checkpoint.read(tmp_path / "state")["descent"])
        else:
            epoch(other, descents[1], batches)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    rates = [descent.optimizer.param_groups[0]["lr"] for descent in descents]
    assert rates[0] == rates[1]
