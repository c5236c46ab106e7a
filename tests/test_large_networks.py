"""The networks for larger images: counts and logits against torchvision's, and what of them is pruned."""

import nets
import pytest
import torch
from torch import nn
from torchvision import models as theirs

from Layers import layers
from Models.resnet import DEPTHS, LargeResNet
from Utils import generator, load

RESNETS = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide-resnet50", "wide-resnet101"]
VGGS = [f"vgg{depth}{bn}" for depth in (11, 13, 16, 19) for bn in ("", "-bn")]


def theirs_of(name: str, **options):
    called = name.replace("-", "_") + ("_2" if name.startswith("wide") else "")
    return getattr(theirs, called)(weights=None, **options)


def made(name: str, family: str, shape=(3, 224, 224), classes=1000):
    return load.model(name, family)(shape, classes)


def ours(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and statistics that torchvision has too, in order: no masks, no residual Identities."""
    ways = {f"{path}.weight" for path, module in model.named_modules() if isinstance(module, layers.IDENTITIES)}
    return {
        name: value for name, value in model.state_dict().items() if name not in ways and not name.endswith("_mask")
    }


@pytest.mark.parametrize("name", [*RESNETS, *VGGS])
def test_shapes_are_those_of_torchvision(name):
    """Each tensor in its order, so that the counts are equal as well."""
    with torch.device("meta"):
        model, other = made(name, "imagenet"), theirs_of(name)
    assert [value.shape for value in ours(model).values()] == [value.shape for value in other.state_dict().values()]
    assert list(model.children())[-1] is model.fc


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "wide-resnet50", "vgg11-bn"])
def test_logits_are_those_of_torchvision_with_its_weights(name):
    """On small images: a VGG of torchvision resizes what reaches its Linears, so it gets the usual size."""
    side = 224 if name.startswith("vgg") else 64
    other = nets.drawn(0, theirs_of, name, num_classes=7).eval()
    model = made(name, "imagenet", (3, side, side), 7).eval()
    with torch.no_grad():
        for mine, value in zip(ours(model).values(), other.state_dict().values(), strict=True):
            mine.copy_(value)
        data = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
        expected = other(data)
        assert torch.allclose(model(data), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
        assert expected.std() > 0


def test_tiny_imagenet_networks_keep_the_image_at_the_beginning():
    """Counted by hand: a 3x3 stem, so 64 * 3 * (49 - 9) weights less than ImageNet's; Linears of 1024 units."""
    with torch.device("meta"):
        for name in ("resnet18", "resnet50"):
            small, large = made(name, "tinyimagenet", (3, 64, 64), 200), made(name, "imagenet", (3, 64, 64), 200)
            counts = [sum(value.numel() for value in ours(model).values()) for model in (small, large)]
            assert counts[1] - counts[0] == 64 * 3 * (49 - 9)
        vgg = made("vgg16", "tinyimagenet", (3, 64, 64), 200)
        assert [tuple(m.weight.shape) for m in vgg.modules() if isinstance(m, nn.Linear)] == [
            (1024, 2048), (1024, 1024), (200, 1024)
        ]  # fmt: skip
        wide = made("wide-resnet18", "tinyimagenet", (3, 64, 64), 200)
        assert wide.conv.weight.shape == (128, 3, 3, 3) and wide.fc.weight.shape == (200, 1024)
        assert made("wide-resnet50", "tinyimagenet").blocks[0].conv2.weight.shape == (128, 128, 3, 3)


def test_small_images_are_refused_by_a_vgg():
    with pytest.raises(ValueError, match="32 x 32"):
        made("vgg11", "imagenet", (1, 28, 28), 10)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("stride", [1, 4])
def test_nothing_under_a_zero_reaches_an_output(monkeypatch, deep, stride):
    """Of a network with one block in each stage."""
    monkeypatch.setitem(DEPTHS, 0, ((1, 1, 1, 1), deep))
    model = nets.drawn(0, LargeResNet, (3, 32, 32), 5, depth=0, stride=stride)
    with torch.no_grad():
        for _, _, parameter in nets.masked_tensors(model):
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    assert nets.audit(model, nets.image_batches((3, 32, 32), 5, (3,))[0][0], density=0.5, seed=0)
    prunable = {pair.name for pair in generator.masked_parameters(model)}
    weights = {name for name, p in model.named_parameters() if p.dim() > 1}
    assert prunable == weights
