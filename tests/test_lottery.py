"""The `lottery` models: parameters counted by hand, shapes, and what of a ResNet's way past is pruned."""

import nets
import pytest
import torch
from torch import nn

from Layers import layers
from Utils import generator, load

NAMES = sorted(load.MODELS["lottery"])
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def make(name, shape=(3, 32, 32), classes=10, dense=False, **options):
    return nets.drawn(0, load.model(name, "lottery"), shape, classes, dense, **options)


def count(model, *kinds):
    """Parameters of the layers of these kinds, of all without any."""
    holders = [m for m in model.modules() if not kinds or isinstance(m, kinds)]
    return sum(p.numel() for m in holders for p in m.parameters(recurse=False))


def vgg_parameters(name):
    """3x3 convolutions with biases, two numbers a channel where there is BatchNorm, one Linear."""
    total, before = 0, 3
    for width, number in zip((64, 128, 256, 512, 512), CONVOLUTIONS[int(name[3:5])], strict=True):
        for _ in range(number):
            total += before * width * 9 + width + (2 * width if name.endswith("-bn") else 0)
            before = width
    return total + 512 * 10 + 10


def resnet_parameters(name):
    """Convolutions without biases, BatchNorm behind each, a 1x1 convolution where a stage begins, one Linear."""
    width = 32 if name.startswith("wide-") else 16
    blocks = (int(name.rpartition("resnet")[2]) - 2) // 6
    total, before, identities = 3 * width * 9 + 2 * width, width, 0
    for stage in range(3):
        after = width * 2**stage
        for block in range(blocks):
            total += before * after * 9 + after * after * 9 + 4 * after
            if stage and not block:
                total += before * after + 2 * after
            else:
                identities += after
            before = after
    return total + 4 * width * 10 + 10, identities


def test_the_names_are_there():
    assert len(NAMES) == 20
    assert {"vgg11", "vgg16-bn", "vgg19-bn", "resnet20", "resnet110", "wide-resnet20", "wide-resnet1202"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_the_architecture(name):
    with torch.device("meta"):
        model = load.model(name, "lottery")((3, 32, 32), 10)
    holders = [m for m in model.modules() if any(True for _ in m.parameters(recurse=False))]
    assert all(isinstance(m, layers.MASKED) for m in holders)
    if name.startswith("vgg"):
        assert count(model) == vgg_parameters(name)
    else:
        total, identities = resnet_parameters(name)
        assert count(model, layers.Identity2d) == identities and count(model) == total + identities


def test_the_published_counts():
    resnet, vgg = make("resnet20"), make("vgg16-bn")
    assert count(resnet) == 272_714 and count(resnet) - count(resnet, layers.Identity2d) == 272_474
    assert count(vgg) == 14_728_266


@pytest.mark.parametrize("name", ["vgg11", "vgg11-bn", "resnet20", "wide-resnet20"])
@pytest.mark.parametrize(("shape", "classes"), [((3, 32, 32), 100), ((1, 28, 28), 10)])
def test_images_of_other_sizes_and_classes(name, shape, classes):
    model = make(name, shape, classes).eval()
    assert model(torch.zeros(2, *shape)).shape == (2, classes)
    assert isinstance(make(name, shape, classes, dense=True).fc, nn.Linear)
    assert not isinstance(make(name, shape, classes, dense=True).fc, layers.Linear)


def test_a_resnet_is_the_same_as_a_plain_one():
    """With torch's own functions on the same weights, block by block."""
    model = make("resnet20").eval()
    data = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def norm(bn, x):
        return (x - bn.running_mean.view(-1, 1, 1)) / (bn.running_var.view(-1, 1, 1) + bn.eps).sqrt() * bn.weight.view(
            -1, 1, 1
        ) + bn.bias.view(-1, 1, 1)

    x = norm(model.bn, nn.functional.conv2d(data, model.conv.weight, padding=1)).relu()
    sizes = []
    for block in model.blocks:
        stride = 2 if isinstance(block.shortcut, nn.Sequential) else 1
        y = norm(block.bn1, nn.functional.conv2d(x, block.conv1.weight, stride=stride, padding=1)).relu()
        y = norm(block.bn2, nn.functional.conv2d(y, block.conv2.weight, padding=1))
        if stride == 2:
            x = norm(block.shortcut[1], nn.functional.conv2d(x, block.shortcut[0].weight, stride=2))
        x = (x + y).relu()
        sizes.append(tuple(x.shape[1:]))
    assert sizes == [(16, 32, 32)] * 3 + [(32, 16, 16)] * 3 + [(64, 8, 8)] * 3
    expected = nn.functional.linear(x.mean((2, 3)), model.fc.weight, model.fc.bias)
    assert torch.allclose(model(data), expected, atol=1e-5)


def test_the_ways_past_are_pruned_only_if_asked_for_and_never_trained():
    model = make("resnet20")
    ways = [name for name, module in model.named_modules() if isinstance(module, layers.Identity2d)]
    assert len(ways) == 7
    plain = {pair.name for pair in generator.masked_parameters(model)}
    residual = {pair.name for pair in generator.masked_parameters(model, residual=True)}
    assert residual - plain == {f"{name}.weight" for name in ways} and plain < residual
    trained = {id(parameter) for parameter in generator.parameters(model)}
    assert not any(id(model.get_submodule(name).weight) in trained for name in ways)


def test_a_pruned_way_carries_nothing():
    """With its mask zero a block gives what its convolutions give."""
    model = make("resnet20").eval()
    block = model.blocks[0]
    data = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        block.shortcut.weight_mask.zero_()
        alone = block.bn2(block.conv2(block.bn1(block.conv1(data)).relu())).relu()
        assert torch.equal(block(data), alone)
        block.shortcut.weight_mask.fill_(1)
        assert not torch.equal(block(data), alone)


def test_a_depth_that_no_resnet_has_is_refused():
    from Models.resnet import ResNet

    with pytest.raises(ValueError, match="6 n"):
        ResNet((3, 32, 32), 10, depth=21)


@pytest.mark.parametrize("name", ["vgg11", "vgg11-bn", "resnet20"])
def test_the_layout_in_memory_changes_no_gradient(name, monkeypatch):
    monkeypatch.setattr(nn.functional, "relu", nn.functional.softplus)  # rounding moves no unit across a corner
    exact = make(name).double()
    model = make(name).to(memory_format=exact.memory_format)
    data, target = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 3, 5, 9])
    for each, images in ((exact, data.double()), (model, data)):
        nn.functional.cross_entropy(each(images), target).backward()
    for (at, true), ours in zip(exact.named_parameters(), model.parameters(), strict=True):
        if true.grad is not None and true.grad.norm() > 1e-6:  # a bias before BatchNorm has a gradient of rounding
            assert (ours.grad - true.grad).norm() <= 1e-4 * true.grad.norm(), at
