"""--plain computes every layer whole: the same masks and, up to rounding, the same results."""

import nets
import pytest
import torch

from Layers import fast
from Layers.fast import fixed, products
from Layers.pairs import BOS, EOS
from Utils.training import decode

RUNS = {
    "fc": "--dataset mnist --pruner snip --compression 1 --post-epochs 1",
    "dead layers": "--dataset mnist --pruner synflow --compression 1.5 --post-epochs 1",
    "bags": "--dataset agnews --pruner grasp --compression 0.5 --post-epochs 1",
    "channels": "--dataset mnist --model conv --pruner mag --compression 2 --post-epochs 1",
}


@pytest.fixture(autouse=True)
def on_again():
    yield
    fast.use(True)


@pytest.mark.parametrize("run", RUNS)
def test_a_plain_run_is_the_run(ran, run, monkeypatch):
    quick = ran(RUNS[run])
    monkeypatch.setattr(fixed, "_part", None)  # nothing may ask which part of a layer is to be computed
    monkeypatch.setattr(products, "Products", None)
    plain = ran(f"{RUNS[run]} --plain")
    assert plain.result["machine"]["plain"] is True and "plain" not in quick.result["machine"]
    assert plain.config == quick.config and plain.path.name == quick.path.name
    assert plain.masks.keys() == quick.masks.keys()
    assert all((plain.masks[name] == mask).all() for name, mask in quick.masks.items())
    for point in ("init", "post_prune", "final"):
        assert plain.result[point]["test_loss"] == pytest.approx(quick.result[point]["test_loss"], rel=2e-3), point
    assert plain.result["signal"]["before"] == pytest.approx(quick.result["signal"]["before"], rel=1e-4)


@pytest.mark.parametrize("beam", [1, 3])
def test_translations_are_the_same(beam):
    model, sources = nets.seq2seq().eval(), [torch.tensor([BOS, 5, 7, EOS]), torch.tensor([BOS, 4, EOS])]
    model.generator.weight_mask[5:] = 0.0
    quick = decode.translate(model, sources, nets.CPU, beam)
    fast.use(False)
    assert decode.translate(model, sources, nets.CPU, beam) == quick


def test_it_is_off_for_its_run_alone(cli):
    cli("--dataset mnist --plain")
    assert not fast.used()
    cli("--dataset mnist --seed 2")
    assert fast.used()


def test_nothing_is_exchanged_when_off():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    fast.use(False)
    with fast.fixed_masks(model), fast.products_kept(model):
        assert "reading" not in model[0].__dict__
