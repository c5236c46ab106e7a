"""Convolutions without the channels that masks cut off, against the whole ones."""

import copy

import nets
import pytest
import torch

from Layers import channels, layers
from Layers.channels import linked_channels
from Models import vgg
from Utils.evaluate import evaluate
from Utils.train import train_epoch

SHAPE = (2, 32, 6, 7)
# (outputs, keywords) of a convolution of 32 channels.
CONVOLUTIONS = [
    (40, {"padding": 1}),
    (40, {"padding": 1, "bias": False}),
    (24, {"stride": 2, "padding": (0, 2)}),
    (40, {"dilation": 2, "padding": "same"}),
]
# (live channels of the input, of the output); None: all of them.
LIVE = [(5, 9), (None, 9), (13, None), (0, 0), (1, 1), (32, 8)]
layouts = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])


def _cut(module, live, density=0.5, seed=0):
    """Mask the weight at random, and whole channels of it but for `live`; values stay under the zeros."""
    draw = torch.Generator().manual_seed(seed)
    mask = (torch.rand(module.weight.shape, generator=draw) < density).float()
    for dim, count in ((1, live[0]), (0, live[1])):
        if count is not None:
            mask.index_fill_(dim, torch.randperm(mask.shape[dim], generator=draw)[count:], 0.0)
    module.weight_mask.copy_(mask)


def _pass(module, data):
    """(output, gradients of the input and of all parameters) of a fixed random linear function."""
    data = data.clone(memory_format=torch.preserve_format).requires_grad_()
    output = module(data)
    coefficients = torch.randn(output.shape, generator=torch.Generator().manual_seed(8), dtype=output.dtype)
    return [output.detach(), *torch.autograd.grad((output * coefficients).sum(), [data, *module.parameters()])]


@layouts
@pytest.mark.parametrize("live", LIVE)
@pytest.mark.parametrize(("outputs", "keywords"), CONVOLUTIONS)
def test_outputs_and_gradients_are_those_of_the_whole(outputs, keywords, live, layout):
    module = nets.drawn(0, layers.Conv2d, 32, outputs, 3, **keywords).double().to(memory_format=layout)
    _cut(module, live)
    if module.bias is not None:
        module.bias_mask[::3] = 0.0
    data = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(memory_format=layout)
    expected = _pass(module, data)
    with linked_channels(module):
        assert module.part is not None
        found = _pass(module, data)
        assert module(data).is_contiguous(memory_format=layout)
    assert module.part is None
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert (found[2][module.weight_mask == 0] == 0).all()


def test_it_computes_no_more_than_the_live_channels_filled_up(monkeypatch):
    shapes = []
    plain = torch.nn.functional.conv2d
    monkeypatch.setattr(channels.F, "conv2d", lambda *args: shapes.append(args[1].shape) or plain(*args))
    module = layers.Conv2d(32, 40, 3)
    _cut(module, (5, 9), density=1.0)
    with linked_channels(module):
        module(torch.zeros(SHAPE))
    assert shapes == [(16, 8, 3, 3)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Conv2d(32, 40, 3),  # no zeros
        lambda: layers.Conv2d(32, 32, 3, groups=4),
        lambda: layers.Conv2d(32, 40, 3, padding=1, padding_mode="circular"),
        lambda: layers.Conv2d(6, 5, 3),  # too few channels to leave any out
    ],
)
def test_where_there_is_nothing_to_leave_out_the_whole_is_computed(make):
    module = make()
    if module.in_channels != 32 or module.groups != 1 or module.padding_mode != "zeros":
        _cut(module, (1, 1))
    with linked_channels(module):
        assert module.part is None


def test_a_layer_that_ignores_its_mask_is_computed_whole():
    module = layers.Conv2d(32, 40, 3)
    _cut(module, (5, 9))
    module.ignores_masks = True
    with linked_channels(module):
        assert module.part is None


def test_an_exception_leaves_no_part_behind():
    module = layers.Conv2d(32, 40, 3)
    _cut(module, (5, 9))
    with pytest.raises(KeyError), linked_channels(module):
        raise KeyError
    assert module.part is None


def _trained(whole, monkeypatch):
    """(model, figures) of a small VGG cut to few channels, trained for three batches and evaluated."""
    with monkeypatch.context() as patch:
        if whole:
            patch.setattr(channels, "WORTH", 0.0)
        model = nets.drawn(0, vgg.vgg11_bn, (3, 16, 16), 10)
        for k, module in enumerate(m for m in model.modules() if isinstance(m, layers.Conv2d)):
            module.weight_mask[40:] = 0.0
            module.weight_mask[:, : 8 if k else 0] = 0.0
        start = copy.deepcopy(model.state_dict())
        batches = nets.image_batches((3, 16, 16), 10, (8, 8, 8))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        loss = train_epoch(model, nets.CROSS_ENTROPY, optimizer, batches, nets.CPU)
        return model, start, [loss, *evaluate(model, nets.CROSS_ENTROPY, batches, nets.CPU).values()]


def test_a_network_is_trained_and_measured_as_the_whole_one_is(monkeypatch):
    (ours, start, figures), (whole, _, expected) = _trained(False, monkeypatch), _trained(True, monkeypatch)
    assert figures == pytest.approx(expected, rel=1e-4)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-3, atol=1e-4)
        if name.endswith("conv.weight"):
            assert not torch.equal(value, start[name])
