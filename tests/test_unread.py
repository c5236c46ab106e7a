"""Units that reach no output, and layers left without a weight: not computed, and nothing comes out differently."""

import contextlib
import copy

import nets
import pytest
import torch

from Layers import layers
from Layers.fast import channels, fixed, fixed_masks, unread
from Layers.fast.constant import ConstantPart
from Layers.reading import Raw
from Models import mlp
from Pruners import dead
from Utils import generator
from Utils.training import train
from Utils.training.adam import Adam
from Utils.training.evaluate import evaluate

SHAPE = (1, 6, 6)


def _noted(model, shape=SHAPE):
    unread.note(model, dead.find(model, shape).no_way_out)
    return model


def _parts(model):
    with fixed_masks(model):
        return {name: type(nets.part(m)).__name__ for name, m in model.named_modules() if nets.part(m) is not None}


# --- a layer without weights ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", [(4,), (2, 3), ()])
def test_an_emptied_matrix_gives_its_bias_and_gradients_of_zero(bias, sizes):
    module = nets.drawn(0, layers.Linear, 5, 6, bias).double()
    module.weight_mask.zero_()
    if bias:
        module.bias_mask[2] = 0.0
    data = torch.randn(*sizes, 5, dtype=torch.float64, requires_grad=True)
    coefficients = torch.randn(*sizes, 6, dtype=torch.float64)
    inputs = [data, *module.parameters()]
    expected = [module(data), *torch.autograd.grad((module(data) * coefficients).sum(), inputs)]
    with fixed_masks(module):
        assert isinstance(nets.part(module), ConstantPart)
        found = [module(data), *torch.autograd.grad((module(data) * coefficients).sum(), inputs)]
        with torch.no_grad():
            assert torch.equal(module(data), expected[0])
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "keywords", [{"groups": 2}, {"padding": 1, "padding_mode": "circular"}, {"padding": "valid", "stride": (2, 1)}]
)
def test_an_emptied_convolution_of_any_kind_gives_its_bias(keywords):
    module = nets.drawn(0, layers.Conv2d, 4, 6, (3, 2), **keywords)
    module.weight_mask.zero_()
    data = torch.randn(2, 4, 7, 8)
    expected = module(data)
    with fixed_masks(module):
        assert isinstance(nets.part(module), ConstantPart) and torch.equal(module(data), expected)


def test_under_autocast_constants_are_of_its_type():
    module = nets.drawn(0, layers.Linear, 5, 6)
    module.weight_mask.zero_()
    data = torch.ones(2, 5, requires_grad=True)
    gradients = []
    for context in (contextlib.nullcontext(), fixed_masks(module)):
        with context, torch.autocast("cpu", torch.bfloat16):
            output = module(data)
            assert output.dtype == torch.bfloat16
        gradients.append([output.detach(), *torch.autograd.grad(output.sum(), [data, *module.parameters()])])
    for a, b in zip(*gradients, strict=True):
        assert torch.equal(a, b) and a.dtype == b.dtype


def test_a_convolution_whose_mask_is_ignored_is_not_empty():
    module = layers.Conv2d(32, 40, 3)
    module.weight_mask.zero_()
    module.reading = Raw()
    assert _parts(module) == {}


# --- units that nothing reads ---------------------------------------------------------------------------------------


def test_channels_that_nothing_reads_are_not_computed(monkeypatch):
    model = nets.drawn(0, mlp.conv, SHAPE, 3)
    model[5].weight_mask.view(3, 32, 6, 6)[:, 7:] = 0.0
    data = torch.randn(4, *SHAPE)
    target = torch.tensor([0, 1, 2, 0])
    nets.CROSS_ENTROPY(model(data), target).backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    logits = model(data)
    _noted(model).zero_grad()

    shapes = []
    plain = torch.nn.functional.conv2d
    monkeypatch.setattr(channels.F, "conv2d", lambda *args: shapes.append(args[1].shape) or plain(*args))
    with fixed_masks(model):
        found = model(data)
        nets.CROSS_ENTROPY(found, target).backward()
    assert shapes == [(8, 32, 3, 3)]
    torch.testing.assert_close(found, logits)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, expected[name], rtol=1e-4, atol=1e-7)


def _trained(model, context, monkeypatch):
    """The state and the optimizer's, after an epoch before the cut and one behind it; figures of both evaluations."""
    batches = nets.image_batches(SHAPE, 3, (8, 8, 8))
    optimizer = Adam(generator.parameters(model), lr=0.01, weight_decay=0.1)
    train.train_epoch(model, nets.CROSS_ENTROPY, optimizer, batches, nets.CPU)
    model[5].weight_mask.zero_()
    _noted(model)
    with monkeypatch.context() as patch:
        patch.setattr(train, "fixed_masks", context)
        loss = train.train_epoch(model, nets.CROSS_ENTROPY, optimizer, batches, nets.CPU)
    figures = [loss, *evaluate(model, nets.CROSS_ENTROPY, batches, nets.CPU).values()]
    return copy.deepcopy(model.state_dict()), optimizer.state_dict()["state"], figures


def test_upstream_of_an_empty_layer_nothing_is_computed_and_momentum_and_decay_go_on(monkeypatch):
    """Bit for bit what all the products give: every gradient there is zero either way."""
    found = _trained(nets.drawn(0, mlp.conv, SHAPE, 3), fixed_masks, monkeypatch)
    whole = _trained(nets.drawn(0, mlp.conv, SHAPE, 3), contextlib.nullcontext, monkeypatch)
    assert found[2] == whole[2]
    for name, value in whole[0].items():
        assert torch.equal(found[0][name], value), name
    assert found[1].keys() == whole[1].keys()
    for key, state in whole[1].items():
        for name, value in state.items():
            assert torch.equal(torch.as_tensor(found[1][key][name]), torch.as_tensor(value)), (key, name)

    model = nets.drawn(0, mlp.conv, SHAPE, 3)
    model[5].weight_mask.zero_()
    assert _parts(_noted(model)) == dict.fromkeys("025", "ConstantPart")


@pytest.mark.parametrize("seed", range(20))
def test_logits_and_gradients_of_any_masked_network_stay(seed, monkeypatch):
    """Residual connections, BatchNorm and matrices under random masks, so thin that units reach no output."""
    monkeypatch.setattr(fixed, "SIDES", 0)
    monkeypatch.setattr(channels, "FULL", 1)
    model = nets.mixed().double().eval()
    nets.mask_at_random(model, 0.3, seed=seed)
    data = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    inputs = list(generator.parameters(model))
    expected = [model(data), *torch.autograd.grad(model(data).square().sum(), inputs, allow_unused=True)]
    flags = dead.find(model, SHAPE).no_way_out
    unread.note(model, flags)
    assert bool(unread.of(model)) == any(flag.any() for flag in flags.values())
    with fixed_masks(model):
        found = [model(data), *torch.autograd.grad(model(data).square().sum(), inputs, allow_unused=True)]
    for a, b in zip(found, expected, strict=True):
        if b is not None:
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_a_run_that_is_dead_after_pruning_ends_as_if_all_of_it_were_computed(cli, tmp_path, monkeypatch):
    """The classifier has no weight left: of all the training only that of its bias remains."""
    arguments = "--dataset mnist --model fc --pruner rand --compression 4 --post-epochs 2"
    part, layers_seen = ConstantPart.__call__, set()
    monkeypatch.setattr(ConstantPart, "__call__", lambda *given: layers_seen.add(given[1]) or part(*given))
    found = cli(arguments)
    assert "11.weight" in found.result["dead"]["tensors"] and len(layers_seen) == 6
    monkeypatch.setattr(fixed, "_part", lambda *given: None)
    whole = cli(arguments, results=tmp_path / "whole")
    assert len(layers_seen) == 6
    assert found.result["final"] == whole.result["final"] and found.epochs == whole.epochs
    assert found.tensors.keys() == whole.tensors.keys()
    for name, value in whole.tensors.items():
        assert (found.tensors[name] == value).all(), name
    assert (found.tensors["11.bias"] != cli(arguments + " --post-epochs 0").tensors["11.bias"]).all()


# --- for as long as the masks are the same --------------------------------------------------------------------------


def _cut():
    model = nets.mlp(5, 6, 3)
    model[2].weight_mask[:, 2:] = 0.0
    return _noted(model, (5,))


def test_flags_are_known_by_layer():
    model = _cut()
    assert {k: v.tolist() for k, v in unread.of(model).items()} == {model[0]: [False, False, True, True, True, True]}
    assert unread.of(copy.deepcopy(model)).keys() != unread.of(model).keys()  # of its own layers


def test_a_network_without_such_units_is_left_alone():
    model = nets.mlp(5, 6, 3)
    assert unread.of(model) == {} == unread.of(_noted(model, (5,)))


@pytest.mark.parametrize("layer", [0, 2])
def test_a_changed_mask_makes_them_unknown(layer):
    model = _cut()
    mask = model[layer].weight_mask
    mask[0, 0] = 0.0
    assert unread.of(model) == {}
    mask[0, 0] = 1.0
    assert unread.of(model)
    model[layer].weight_mask = torch.zeros_like(mask)  # another tensor, in the place of that one
    assert unread.of(model) == {}
    assert unread.of(_noted(model, (5,)))


def test_a_mask_that_is_ignored_since_makes_them_unknown():
    model = _cut()
    model[2].reading = Raw()
    assert unread.of(model) == {}
    assert _parts(model) == {}


def test_of_a_layer_that_is_called_twice_a_unit_counts_if_either_call_is_read():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.shared, self.first, self.second = (layers.Linear(4, n) for n in (4, 3, 3))

        def forward(self, data):
            once = self.shared(data)
            return self.first(once) + self.second(self.shared(once))

    model = Twice()
    model.first.weight_mask[:, 1:] = 0.0  # reads unit 0 of the first call
    model.second.weight_mask[:] = 0.0
    model.second.weight_mask[:, 2] = 1.0  # and unit 2 of the second
    model.shared.weight_mask[2] = 0.0
    model.shared.weight_mask[2, 3] = 1.0  # which reads unit 3 of the first
    assert dead.find(model, (4,)).no_way_out["shared"].tolist() == [False, True, False, False]


def test_units_that_only_a_layer_norm_reads_are_computed():
    """The decoder's last sums lead to the logits by their mean and variance, though most are read by no word."""
    model = nets.seq2seq(width=256, depth=1, hidden=256).eval()
    nets.mask_at_random(model, 0.04)
    model.generator.weight_mask[:, 3:] = 0.0
    batch = nets.pair_batches(30, 29, [4])[0][0]
    assert "SparsePart" in _parts(_noted(model, (30,))).values()
    with torch.no_grad():
        wanted = model(batch)
        with fixed_masks(model):
            torch.testing.assert_close(model(batch), wanted, atol=1e-5, rtol=1e-4)
