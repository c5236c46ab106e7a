"""VGGs: the `lottery` ones for small images (Simonyan & Zisserman 2015, in the form of Frankle & Carbin 2019).

What Models/imagenet.py and Models/tinyimagenet.py name is made here too.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from Layers import layers
from Models.init import assignment_weights

# Channels of each 3x3 convolution by stage; between two stages the image is halved.
PLANS = {
    11: ([64], [128], [256] * 2, [512] * 2, [512] * 2),
    13: ([64] * 2, [128] * 2, [256] * 2, [512] * 2, [512] * 2),
    16: ([64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3),
    19: ([64] * 2, [128] * 2, [256] * 4, [512] * 4, [512] * 4),
}
CHANNELS = 512  # of the last stage
SMALLEST = 16  # rows and columns of an image: four times it is halved


class ConvModule(nn.Module):
    """A 3x3 convolution that keeps the image size, BatchNorm if `batchnorm`, then ReLU."""

    def __init__(self, before: int, after: int, batchnorm: bool) -> None:
        super().__init__()
        self.conv = layers.Conv2d(before, after, kernel_size=3, padding=1)
        self.bn = layers.BatchNorm2d(after) if batchnorm else nn.Identity()

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(input)))


def convolutions(channels: int, depth: int, batchnorm: bool) -> list[nn.Module]:
    """Build the convolutions of all stages, with a pooling between two stages; channels: of the images."""
    modules: list[nn.Module] = []
    for number, stage in enumerate(PLANS[depth]):
        if number:
            modules.append(nn.MaxPool2d(2))
        for width in stage:
            modules.append(ConvModule(channels, width, batchnorm))
            channels = width
    return modules


class VGG(nn.Module):
    """A VGG network: [B, C, H, W] -> [B, num_classes], H and W at least 16, or else ValueError.

    depth: 11, 13, 16 or 19 layers with weights, including the classifier.
    init: "assignment" (see Models/init.py), or "fan-out". With "fan-out", convolutions start from He's normal
    distribution by fan out, the classifier from a normal distribution of deviation 0.01, biases from 0.
    `memory_format` is the layout in which training was measured to be quickest on a CPU.
    """

    memory_format = torch.channels_last

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        dense_classifier: bool = False,
        depth: int = 16,
        batchnorm: bool = False,
        init: str = "assignment",
    ) -> None:
        super().__init__()
        self.init = init
        if min(input_shape[1:]) < SMALLEST:
            raise ValueError(f"takes images from {SMALLEST} x {SMALLEST} pixels on")
        self.layers = nn.Sequential(*convolutions(input_shape[0], depth, batchnorm))
        self.fc = (nn.Linear if dense_classifier else layers.Linear)(CHANNELS, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial weights from the global generator."""
        if self.init == "assignment":
            assignment_weights(self)
            return
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, data: Tensor) -> Tensor:
        return self.fc(F.adaptive_avg_pool2d(self.layers(data), 1).flatten(1))


class LargeVGG(nn.Module):
    """A VGG network with three Linears: [B, C, H, W] -> [B, num_classes], H and W at least 32, or else ValueError.

    depth: 11, 13, 16 or 19 layers with weights by the usual name, which counts those three.
    hidden: units of the first two, each followed by dropout of a half.
    Five poolings halve the image; each position that is left has its weights in the first Linear.
    """

    memory_format = torch.channels_last

    def __init__(
        self, input_shape: Sequence[int], num_classes: int, dense_classifier: bool = False, depth: int = 16,
        batchnorm: bool = False, hidden: int = 4096,
    ) -> None:  # fmt: skip
        super().__init__()
        channels, *sides = input_shape
        if min(sides) < 2 * SMALLEST:
            raise ValueError(f"takes images from {2 * SMALLEST} x {2 * SMALLEST} pixels on")
        self.layers = nn.Sequential(*convolutions(channels, depth, batchnorm), nn.MaxPool2d(2))
        positions = math.prod(side // 32 for side in sides)
        self.hidden = nn.Sequential(
            *(layers.Linear(CHANNELS * positions, hidden), nn.ReLU(), nn.Dropout()),
            *(layers.Linear(hidden, hidden), nn.ReLU(), nn.Dropout()),
        )
        self.fc = (nn.Linear if dense_classifier else layers.Linear)(hidden, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial weights from the global generator: those of torchvision."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
            if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, data: Tensor) -> Tensor:
        return self.fc(self.hidden(self.layers(data).flatten(1)))


vgg11, vgg11_bn = partial(VGG, depth=11), partial(VGG, depth=11, batchnorm=True)
vgg13, vgg13_bn = partial(VGG, depth=13), partial(VGG, depth=13, batchnorm=True)
vgg16, vgg16_bn = partial(VGG, depth=16), partial(VGG, depth=16, batchnorm=True)
vgg19, vgg19_bn = partial(VGG, depth=19), partial(VGG, depth=19, batchnorm=True)
