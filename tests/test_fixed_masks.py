"""What layers compute while masks stand, against the whole of it."""

import contextlib
import copy

import nets
import pytest
import torch

from Layers import layers
from Layers.attention import MultiheadAttention
from Layers.fast import channels, fixed, fixed_masks, sparse
from Layers.fast.patches import PatchPart
from Layers.reading import Raw
from Models import resnet, vgg
from Utils import generator
from Utils.training import train
from Utils.training.adam import Adam
from Utils.training.evaluate import evaluate

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
    with fixed_masks(module):
        assert nets.part(module) is not None
        found = _pass(module, data)
        assert module(data).is_contiguous(memory_format=layout)
    assert nets.part(module) is None
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert (found[2][module.weight_mask == 0] == 0).all()


def test_it_computes_no_more_than_the_live_channels_filled_up(monkeypatch):
    shapes = []
    plain = torch.nn.functional.conv2d
    monkeypatch.setattr(channels.F, "conv2d", lambda *args: shapes.append(args[1].shape) or plain(*args))
    module = layers.Conv2d(32, 40, 3)
    _cut(module, (5, 9), density=1.0)
    with fixed_masks(module):
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
    with fixed_masks(module):
        assert nets.part(module) is None


def test_a_layer_that_ignores_its_mask_is_computed_whole():
    module = layers.Conv2d(32, 40, 3)
    _cut(module, (5, 9))
    module.reading = Raw()
    with fixed_masks(module):
        assert nets.part(module) is None


@pytest.mark.parametrize(("module", "live"), [(layers.Conv2d(32, 40, 3), (5, 9)), (layers.Linear(20, 30), (1, 1))])
def test_away_from_the_cpu_layers_are_computed_whole(module, live, monkeypatch):
    monkeypatch.setattr(fixed, "SIDES", 0)
    _cut(module, live)
    assert fixed._part(module) is not None
    assert fixed._part(module.to("meta")) is None  # a device that every machine has


def test_a_compiled_model_stays_whole():
    module = layers.Conv2d(32, 40, 3)
    _cut(module, (5, 9))
    with fixed_masks(torch.compile(module)):
        assert nets.part(module) is None


def test_an_exception_leaves_nothing_behind():
    module = layers.Conv2d(32, 40, 3)
    _cut(module, (5, 9))
    before = dict(module.__dict__)
    with pytest.raises(KeyError), fixed_masks(module):
        assert module.__dict__.keys() != before.keys()
        raise KeyError
    assert module.__dict__ == before


@pytest.mark.parametrize("rows", [None, slice(5, 25)])
def test_a_mask_of_ones_is_not_multiplied(rows):
    module = layers.Linear(20, 30)
    _few(module, "weight", 0.5)
    with fixed_masks(module):
        expected = module.bias if rows is None else module.bias[rows]
        assert layers.masked(module, "bias", rows).data_ptr() == expected.data_ptr()
        product = (module.weight * module.weight_mask)[rows or slice(None)]
        assert torch.equal(layers.masked(module, "weight", rows), product)
    module.bias_mask[7] = 0.0
    with fixed_masks(module):
        assert layers.masked(module, "bias")[7] == 0.0 != module.bias[7]


@layouts
@pytest.mark.parametrize("cut", [0, 3, 8])
def test_a_residual_connection_costs_no_gradient_of_its_weight(cut, layout):
    module = layers.Identity2d(8)
    module.weight_mask[:cut] = 0.0
    data = torch.randn(2, 8, 3, 4, generator=torch.Generator().manual_seed(1)).to(memory_format=layout).requires_grad_()
    expected = module(data)
    (gradient,) = torch.autograd.grad(expected.square().sum(), data)
    with fixed_masks(module):
        output = module(data)
        found, of_weight = torch.autograd.grad(output.square().sum() + 0.0 * module.weight.sum(), [data, module.weight])
    assert torch.equal(output, expected) and torch.equal(found, gradient) and not of_weight.any()
    assert output.stride() == expected.stride()
    assert (output is data) == (cut == 0)  # nothing is computed where nothing is cut


# --- convolutions of one channel ------------------------------------------------------------------------------------

ONE_CHANNEL = [
    (3, {"padding": 1}),
    (3, {"padding": 1, "bias": False}),
    ((3, 2), {"stride": (1, 2), "padding": (0, 1)}),
    (2, {"stride": 3, "dilation": 2}),
    (1, {}),
]


@pytest.mark.parametrize(("kernel", "keywords"), ONE_CHANNEL)
@pytest.mark.parametrize("batch", [5, 1, 0])
def test_a_convolution_of_one_channel_as_products_with_patches(kernel, keywords, batch):
    module = nets.drawn(0, layers.Conv2d, 1, 6, kernel, **keywords).double()
    _cut(module, (None, 4))
    if module.bias is not None:
        module.bias_mask[::3] = 0.0
    data = torch.randn(batch, 1, 9, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = _pass(module, data)
    with fixed_masks(module):
        assert isinstance(nets.part(module), PatchPart) == (kernel != 1)
        found = _pass(module, data)
        with torch.no_grad():
            assert torch.equal(module(data), expected[0])
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert (found[2][module.weight_mask == 0] == 0).all()


def test_of_one_channel_too_masks_may_be_ignored():
    module = nets.drawn(0, layers.Conv2d, 1, 6, 3).double()
    _cut(module, (None, 0))
    module.reading = Raw()
    data = torch.ones(2, 1, 5, 5, dtype=torch.float64)
    with fixed_masks(module):
        assert isinstance(nets.part(module), PatchPart)
        torch.testing.assert_close(module(data), torch.nn.functional.conv2d(data, module.weight, module.bias))


def test_under_autocast_products_with_patches_are_of_its_type():
    module = nets.drawn(0, layers.Conv2d, 1, 6, 3)
    data = torch.randn(2, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        expected = module(data)
        with fixed_masks(module):
            found = module(data)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Conv2d(1, 6, 3, padding="same"),
        lambda: layers.Conv2d(1, 6, 3, padding=1, padding_mode="reflect"),
        lambda: layers.Conv2d(1, 6, 3).to(memory_format=torch.channels_last),  # type: ignore[call-overload]  # is there
        lambda: layers.Conv2d(1, 6, 3, device="meta"),
    ],
)
def test_other_convolutions_of_one_channel_are_computed_whole(make):
    assert fixed._part(make()) is None


# --- products with matrices of few weights --------------------------------------------------------------------------


def _few(module, name, density, seed=0):
    """Mask `name` at random; values stay under the zeros."""
    mask = getattr(module, f"{name}_mask")
    mask.copy_((torch.rand(mask.shape, generator=torch.Generator().manual_seed(seed)) < density).to(mask.dtype))


@pytest.fixture(params=["turned", "in place"])
def sizes(request, monkeypatch):
    """Small matrices are taken too, and their outputs are got in either way."""
    monkeypatch.setattr(fixed, "SIDES", 0)
    monkeypatch.setattr(sparse, "LARGE", 1 if request.param == "in place" else 1 << 40)


@pytest.mark.parametrize("shape", [(20,), (1, 20), (7, 20), (2, 3, 20), (0, 20)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("density", [0.04, 0.003])
def test_a_sparse_product_and_its_gradients_are_those_of_the_whole(shape, bias, density, sizes):
    module = nets.drawn(0, layers.Linear, 20, 30, bias).double()
    _few(module, "weight", density, seed=2)
    assert module.weight_mask.any()
    if bias:
        module.bias_mask[::3] = 0.0
    data = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = _pass(module, data)
    with fixed_masks(module):
        assert nets.part(module) is not None
        found = _pass(module, data)
        with torch.no_grad():
            assert torch.equal(module(data), found[0])
    assert nets.part(module) is None
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert (found[2][module.weight_mask == 0] == 0).all()


def test_a_data_gradient_that_nobody_asks_for_changes_nothing_else(sizes):
    module = nets.drawn(0, layers.Linear, 20, 30)
    _few(module, "weight", 0.04)
    data = torch.randn(5, 20)
    expected = torch.autograd.grad(module(data).sum(), list(module.parameters()))
    with fixed_masks(module):
        found = torch.autograd.grad(module(data).sum(), list(module.parameters()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_a_sparse_product_refuses_to_be_differentiated_twice(sizes):
    """Rather that than a wrong second derivative."""
    module = nets.drawn(0, layers.Linear, 20, 30)
    _few(module, "weight", 0.04)
    with fixed_masks(module):
        (gradient,) = torch.autograd.grad(module(torch.ones(1, 20)).square().sum(), module.weight, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            gradient.square().sum().backward()


@pytest.mark.parametrize("emptied", ["", "q", "kv", "qkv"])
def test_an_attentions_projections_may_be_sparse(emptied, sizes):
    module = nets.drawn(0, MultiheadAttention, 16, 4).double()
    _few(module, "in_proj_weight", 0.04)
    for which in emptied:
        first = 16 * "qkv".index(which)
        module.in_proj_weight_mask[first : first + 16] = 0.0
    draw = torch.Generator().manual_seed(1)
    data, memory = (torch.randn(2, n, 16, generator=draw, dtype=torch.float64) for n in (5, 3))
    ways = [lambda x: module(x, x), lambda x: module(x, memory), lambda x: module(memory, x)]
    inputs = [data.clone().requires_grad_(), *module.parameters()]
    for way in ways:
        expected = [way(inputs[0]), *torch.autograd.grad(way(inputs[0]).square().sum(), inputs)]
        with fixed_masks(module):
            assert nets.part(module) is not None
            found = [way(inputs[0]), *torch.autograd.grad(way(inputs[0]).square().sum(), inputs)]
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("density", [1.0, 0.1, 0.0])
def test_a_matrix_of_many_weights_or_of_none_is_computed_whole(density, sizes, monkeypatch):
    monkeypatch.setattr(sparse._Product, "apply", None)
    module = layers.Linear(20, 30)
    _few(module, "weight", density)
    expected = module(torch.ones(2, 20))
    with fixed_masks(module):
        assert torch.equal(module(torch.ones(2, 20)), expected)


@pytest.mark.parametrize("shape", [(20, 30), (30000, 10), (10, 30000)])
def test_a_small_or_narrow_matrix_or_one_whose_mask_is_ignored_is_computed_whole(shape, monkeypatch):
    module = layers.Linear(*shape)
    _few(module, "weight", 0.01)
    with fixed_masks(module):
        assert nets.part(module) is None
    monkeypatch.setattr(fixed, "SIDES", 0)
    module.reading = Raw()
    with fixed_masks(module):
        assert nets.part(module) is None


def test_under_autocast_products_are_of_its_type(sizes):
    module = nets.drawn(0, layers.Linear, 20, 30)
    _few(module, "weight", 0.04)
    with torch.autocast("cpu", torch.bfloat16):
        expected = module(torch.ones(2, 20))
        with fixed_masks(module):
            assert torch.equal(module(torch.ones(2, 20)), expected) and expected.dtype == torch.bfloat16


# --- networks -------------------------------------------------------------------------------------------------------


def test_a_resnet_is_trained_to_the_same_bits_with_all_its_masks_multiplied(monkeypatch):
    found = []
    for context in (fixed_masks, contextlib.nullcontext):
        monkeypatch.setattr(train, "fixed_masks", context)
        model = nets.drawn(0, resnet.resnet20, (3, 16, 16), 10)
        optimizer = Adam(generator.parameters(model), lr=0.01)
        train.train_epoch(model, nets.CROSS_ENTROPY, optimizer, nets.image_batches((3, 16, 16), 10, (8, 8)), nets.CPU)
        found.append(model.state_dict())
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name
    assert not torch.equal(found[0]["conv.weight"], nets.drawn(0, resnet.resnet20, (3, 16, 16), 10).conv.weight)


def _trained(whole, monkeypatch):
    """(model, figures) of a small VGG cut to few channels, trained for three batches and evaluated."""
    with monkeypatch.context() as patch:
        if whole:
            patch.setattr(fixed, "CHANNELS", 0.0)
        model = nets.drawn(0, vgg.vgg11_bn, (3, 16, 16), 10)
        for k, module in enumerate(m for m in model.modules() if isinstance(m, layers.Conv2d)):
            module.weight_mask[40:] = 0.0
            module.weight_mask[:, : 8 if k else 0] = 0.0
        start = copy.deepcopy(model.state_dict())
        batches = nets.image_batches((3, 16, 16), 10, (8, 8, 8))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        loss = train.train_epoch(model, nets.CROSS_ENTROPY, optimizer, batches, nets.CPU)
        return model, start, [loss, *evaluate(model, nets.CROSS_ENTROPY, batches, nets.CPU).values()]


def test_a_network_is_trained_and_measured_as_the_whole_one_is(monkeypatch):
    (ours, start, figures), (whole, _, expected) = _trained(False, monkeypatch), _trained(True, monkeypatch)
    assert figures == pytest.approx(expected, rel=1e-4)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-3, atol=1e-4)
        if name.endswith("conv.weight"):
            assert not torch.equal(value, start[name])
