"""Masked layers against the torch.nn layers that they stand for."""

import copy

import pytest
import torch
from torch import nn

from Layers import layers
from Layers.embedding import EmbeddingBag

# (kind, arguments, keywords, input shape)
AFFINE = [
    ("Linear", (5, 4), {}, (3, 5)),
    ("Linear", (5, 4), {"bias": False}, (2, 3, 5)),
    ("Conv2d", (4, 6, 3), {}, (2, 4, 7, 6)),
    ("Conv2d", (4, 6, 3), {"stride": 2, "padding": 1}, (2, 4, 7, 6)),
    ("Conv2d", (4, 6, (3, 2)), {"stride": (1, 2), "padding": (2, 0), "dilation": 2}, (2, 4, 7, 6)),
    ("Conv2d", (4, 6, 3), {"groups": 2, "padding": "same", "bias": False}, (2, 4, 7, 6)),
    ("Conv2d", (4, 4, 3), {"groups": 4, "padding": 1, "padding_mode": "circular"}, (2, 4, 7, 6)),
]
NORMS = [
    ("BatchNorm1d", (4,), {}, (6, 4)),
    ("BatchNorm1d", (4,), {}, (6, 4, 3)),
    ("BatchNorm1d", (4,), {"momentum": None}, (6, 4)),
    ("BatchNorm1d", (4,), {"affine": False}, (6, 4)),
    ("BatchNorm1d", (4,), {"track_running_stats": False}, (6, 4)),
    ("BatchNorm2d", (4,), {}, (3, 4, 2, 5)),
    ("BatchNorm2d", (4,), {"momentum": 0.3, "eps": 1e-2}, (3, 4, 2, 5)),
    ("BatchNorm2d", (4,), {"momentum": None}, (3, 4, 2, 5)),
    ("BatchNorm2d", (4,), {"affine": False}, (3, 4, 2, 5)),
    ("BatchNorm2d", (4,), {"track_running_stats": False, "momentum": None}, (3, 4, 2, 5)),
]
LAYERS = AFFINE + NORMS
cases = pytest.mark.parametrize(("kind", "args", "kwargs", "shape"), LAYERS)


def _pair(kind, args, kwargs):
    """A masked layer and the torch.nn layer of that name with the same random weights."""
    torch.manual_seed(3)
    ours, theirs = getattr(layers, kind)(*args, **kwargs), getattr(nn, kind)(*args, **kwargs)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_()
    theirs.load_state_dict({name: value for name, value in ours.state_dict().items() if "_mask" not in name})
    return ours, theirs


def _masks(module, density):
    return {name: (torch.rand(p.shape) < density).to(p.dtype) for name, p in module.named_parameters()}


def _pass(module, data):
    """(output, gradient of the input, gradients of the parameters by name) of a random linear function."""
    data = data.clone().requires_grad_()
    output = module(data)
    coefficients = torch.randn(output.shape, generator=torch.Generator().manual_seed(8))
    tensors = [data, *module.parameters()]
    found = torch.autograd.grad((output * coefficients).sum(), tensors)
    return output.detach(), found[0], dict(zip(dict(module.named_parameters()), found[1:], strict=True))


def _assert_same_statistics(ours, theirs):
    theirs_state = theirs.state_dict()
    for name, value in ours.state_dict().items():
        if "_mask" not in name and name not in dict(ours.named_parameters()):
            assert torch.equal(value, theirs_state[name]), name


@cases
def test_with_all_ones_masks_a_layer_is_its_torch_counterpart(kind, args, kwargs, shape):
    """Bit for bit, over train steps that also move the weights, and then in eval mode."""
    ours, theirs = _pair(kind, args, kwargs)
    for training in (True, True, True, False, True, False):
        ours.train(training)
        theirs.train(training)
        data = torch.randn(shape) * 2 + 1
        (output, gradient, gradients), expected = _pass(ours, data), _pass(theirs, data)
        assert torch.equal(output, expected[0])
        assert torch.equal(gradient, expected[1])
        assert gradients.keys() == expected[2].keys()
        for name in gradients:
            assert torch.equal(gradients[name], expected[2][name]), name
        _assert_same_statistics(ours, theirs)
        with torch.no_grad():
            for module in (ours, theirs):
                for name, parameter in module.named_parameters():
                    parameter -= 0.1 * gradients[name]


@cases
def test_a_masked_layer_is_its_torch_counterpart_with_masked_weights(kind, args, kwargs, shape):
    ours, theirs = _pair(kind, args, kwargs)
    masks = _masks(ours, 0.5)
    with torch.no_grad():
        for name, mask in masks.items():
            getattr(ours, f"{name}_mask").copy_(mask)
            getattr(theirs, name).mul_(mask)
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        data = torch.randn(shape) * 2 + 1
        (output, gradient, gradients), expected = _pass(ours, data), _pass(theirs, data)
        assert torch.equal(output, expected[0])
        assert torch.equal(gradient, expected[1])
        for name, mask in masks.items():
            assert torch.equal(gradients[name], mask * expected[2][name]), name
            assert (gradients[name][mask == 0] == 0).all(), name
        _assert_same_statistics(ours, theirs)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layer", [layers.BatchNorm1d, layers.BatchNorm2d])
def test_momentum_none_gives_the_mean_of_all_batches(layer, training):
    """The definition, beside the comparison with torch: running mean = average of the batch means."""
    norm = layer(3, momentum=None)
    draw = torch.Generator().manual_seed(0)
    shape = (5, 3) if layer is layers.BatchNorm1d else (5, 3, 2, 2)
    batches = [torch.randn(shape, generator=draw) for _ in range(4)]
    for batch in batches:
        norm(batch)
    norm.train(training)
    means = torch.stack([batch.transpose(0, 1).flatten(1).mean(1) for batch in batches])
    torch.testing.assert_close(norm.running_mean, means.mean(0))
    assert int(norm.num_batches_tracked) == 4


@pytest.mark.parametrize("masked", [False, True])
def test_identity1d_is_a_diagonal_linear(masked):
    layer = layers.Identity1d(4)
    assert torch.equal(layer.weight, torch.ones(4))
    if masked:
        layer.weight_mask.copy_(torch.tensor([1.0, 0.0, 1.0, 0.0]))
    diagonal = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        diagonal.weight.copy_(torch.diag(layer.weight_mask))
    data = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    output, gradient, gradients = _pass(layer, data)
    expected = _pass(diagonal, data)
    torch.testing.assert_close(output, expected[0], rtol=0, atol=0)
    torch.testing.assert_close(gradient, expected[1], rtol=0, atol=0)
    wanted = layer.weight_mask * expected[2]["weight"].diagonal()
    torch.testing.assert_close(gradients["weight"], wanted)
    assert (gradients["weight"][layer.weight_mask == 0] == 0).all()


@pytest.mark.parametrize("masked", [False, True])
def test_identity2d_is_a_depthwise_convolution(masked):
    layer = layers.Identity2d(4)
    assert torch.equal(layer.weight, torch.ones(4))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 2.0, -3.0, 0.5]))
    if masked:
        layer.weight_mask.copy_(torch.tensor([1.0, 0.0, 1.0, 0.0]))
    depthwise = nn.Conv2d(4, 4, 1, groups=4, bias=False)
    with torch.no_grad():
        depthwise.weight.copy_((layer.weight * layer.weight_mask).view(4, 1, 1, 1))
    data = torch.randn(5, 4, 3, 2, generator=torch.Generator().manual_seed(0))
    output, gradient, gradients = _pass(layer, data)
    expected = _pass(depthwise, data)
    torch.testing.assert_close(output, expected[0], rtol=0, atol=0)
    torch.testing.assert_close(gradient, expected[1], rtol=0, atol=0)
    torch.testing.assert_close(gradients["weight"], layer.weight_mask * expected[2]["weight"].flatten())
    assert (gradients["weight"][layer.weight_mask == 0] == 0).all()


@pytest.mark.parametrize(
    ("kind", "args", "kwargs"),
    [case[:3] for case in LAYERS] + [("Identity1d", (3,), {}), ("Identity2d", (3,), {})],
)
def test_every_parameter_has_a_mask_buffer_and_nothing_else_has(kind, args, kwargs):
    layer = getattr(layers, kind)(*args, **kwargs)
    assert type(layer) in layers.MASKED
    parameters, state = dict(layer.named_parameters()), layer.state_dict()
    masks = {name: buffer for name, buffer in layer.named_buffers() if "mask" in name}
    assert masks.keys() == {f"{name}_mask" for name in parameters}
    for name, parameter in parameters.items():
        mask = masks[f"{name}_mask"]
        assert mask.shape == parameter.shape and mask.dtype == parameter.dtype
        assert torch.equal(mask, torch.ones(parameter.shape))
        assert not mask.requires_grad
        assert torch.equal(state[f"{name}_mask"], mask)


@cases
def test_masks_survive_state_dict_and_copy(kind, args, kwargs, shape):
    ours, _ = _pair(kind, args, kwargs)
    for name, mask in _masks(ours, 0.4).items():
        getattr(ours, f"{name}_mask").copy_(mask)
    fresh = getattr(layers, kind)(*args, **kwargs)
    fresh.load_state_dict(ours.state_dict())
    data = torch.randn(shape)
    expected = copy.deepcopy(ours)(data)
    assert torch.equal(fresh(data), expected)
    double = copy.deepcopy(ours).double()
    assert all(value.dtype != torch.float32 for value in double.state_dict().values())


@pytest.mark.parametrize(("layer", "shape"), [(layers.BatchNorm1d, (2, 3, 4, 4)), (layers.BatchNorm2d, (2, 3))])
def test_batchnorm_refuses_a_wrong_number_of_dimensions_as_torch_does(layer, shape):
    with pytest.raises(ValueError, match="expected"):
        layer(3)(torch.zeros(shape))


@pytest.mark.parametrize("mode", ["mean", "sum", "max"])
@pytest.mark.parametrize("flat", [True, False])
def test_embedding_bag_is_its_torch_counterpart(mode, flat):
    """Of ids in a row with offsets, one bag empty, and of ids in a matrix."""
    torch.manual_seed(0)
    ours = EmbeddingBag(9, 4, mode=mode)
    theirs = nn.EmbeddingBag(9, 4, mode=mode)
    theirs.load_state_dict(ours.state_dict())
    inputs = (torch.tensor([1, 8, 1, 0, 3, 3]), torch.tensor([0, 2, 2])) if flat else (torch.tensor([[1, 8], [1, 1]]),)
    found, truth = ours(*inputs), theirs(*inputs)
    assert torch.equal(found, truth)
    coefficients = torch.randn(found.shape)
    for output in (found, truth):
        (output * coefficients).sum().backward()
    assert torch.equal(ours.weight.grad, theirs.weight.grad)
    assert list(ours.state_dict()) == ["weight"]


@pytest.mark.parametrize("kind", ["BatchNorm1d", "BatchNorm2d"])
def test_running_statistics_may_be_frozen_afterwards(kind):
    """torch's switch: in train mode the batch's own statistics are used, and the running ones stay as they are."""
    ours, theirs = _pair(kind, (4,), {})
    shape = (6, 4) if kind == "BatchNorm1d" else (3, 4, 2, 5)
    for frozen in (False, True):
        ours.track_running_stats = theirs.track_running_stats = not frozen
        before = ours.running_mean.clone()
        data = torch.randn(shape) * 2 + 1
        assert torch.equal(ours(data), theirs(data))
        _assert_same_statistics(ours, theirs)
        assert torch.equal(ours.running_mean, before) is frozen
