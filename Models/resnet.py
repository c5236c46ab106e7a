"""ResNets: the `lottery` ones for small images (He et al. 2016, section 4.2, in the form of Frankle & Carbin 2019).

What Models/imagenet.py and Models/tinyimagenet.py name is made here too.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from Layers import layers
from Models.init import assignment_weights


def _shortcut(before: int, after: int, stride: int) -> nn.Module:
    """Build the way past a block: a masked Identity, which can be pruned, or a 1x1 convolution if the shape changes."""
    if stride == 1 and before == after:
        return layers.Identity2d(before)
    return nn.Sequential(
        layers.Conv2d(before, after, kernel_size=1, stride=stride, bias=False), layers.BatchNorm2d(after)
    )


class Block(nn.Module):
    """A pair of 3x3 convolutions with a shortcut: [B, before, H, W] -> [B, after, H / stride, W / stride]."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = layers.Conv2d(before, after, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = layers.BatchNorm2d(after)
        self.conv2 = layers.Conv2d(after, after, kernel_size=3, padding=1, bias=False)
        self.bn2 = layers.BatchNorm2d(after)
        self.shortcut = _shortcut(before, after, stride)

    def forward(self, input: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(input)))
        return F.relu(self.bn2(self.conv2(hidden)) + self.shortcut(input))


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 ones, with a shortcut: [B, before, H, W] -> [B, after, H / stride, W / stride].

    inner: channels of the 3x3 convolution, which has the stride, as in torchvision.
    """

    def __init__(self, before: int, after: int, stride: int, inner: int) -> None:
        super().__init__()
        self.conv1 = layers.Conv2d(before, inner, kernel_size=1, bias=False)
        self.bn1 = layers.BatchNorm2d(inner)
        self.conv2 = layers.Conv2d(inner, inner, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = layers.BatchNorm2d(inner)
        self.conv3 = layers.Conv2d(inner, after, kernel_size=1, bias=False)
        self.bn3 = layers.BatchNorm2d(after)
        self.shortcut = _shortcut(before, after, stride)

    def forward(self, input: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(input)))
        hidden = F.relu(self.bn2(self.conv2(hidden)))
        return F.relu(self.bn3(self.conv3(hidden)) + self.shortcut(input))


class Residual(nn.Module):
    """A residual network: [B, C, H, W] -> [B, num_classes].

    A convolution, the `stem`, comes first, with BatchNorm. Then come stages of blocks, as many as `counts` says; the
    first block of each stage but the first halves the image.
    `memory_format` is the layout in which training was measured to be quickest on a CPU.
    """

    memory_format = torch.channels_last

    def build(
        self, stem: nn.Conv2d, counts: Sequence[int], block: Callable[[int, int, int], nn.Module], after: int,
        classes: int, dense: bool, pooled: bool = False,
    ) -> None:  # fmt: skip
        """Make the layers; block(channels before, after, stride); after: channels of the first stage, then doubled."""
        self.conv = stem
        before = stem.out_channels
        self.bn = layers.BatchNorm2d(before)
        self.pool = nn.MaxPool2d(3, 2, padding=1) if pooled else nn.Identity()
        blocks = []
        for stage, count in enumerate(counts):
            for number in range(count):
                blocks.append(block(before, after << stage, 2 if stage and not number else 1))
                before = after << stage
        self.blocks = nn.Sequential(*blocks)
        self.fc = (nn.Linear if dense else layers.Linear)(before, classes)
        self.reset_parameters()

    def forward(self, data: Tensor) -> Tensor:
        hidden = self.blocks(self.pool(F.relu(self.bn(self.conv(data)))))
        return self.fc(F.adaptive_avg_pool2d(hidden, 1).flatten(1))


class ResNet(Residual):
    """A residual network of three stages of (depth - 2) / 6 blocks, with width, 2 width and 4 width channels.

    init: "assignment" (see Models/init.py), or "fan-out". The two differ only in BatchNorm: with "fan-out" its scales
    start uniformly in [0, 1], as in OpenLTH.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        dense_classifier: bool = False,
        depth: int = 20,
        width: int = 16,
        init: str = "assignment",
    ) -> None:
        super().__init__()
        self.init = init
        count, rest = divmod(depth - 2, 6)
        if rest or count < 1:
            raise ValueError(f"a ResNet of this kind has 6 n + 2 layers, not {depth}")
        # torch 2.3 writes beyond its memory in the backward pass of channels-last convolutions of 4 channels.
        self.memory_format = torch.channels_last if width >= 16 else torch.contiguous_format
        stem = layers.Conv2d(input_shape[0], width, kernel_size=3, padding=1, bias=False)
        self.build(stem, [count] * 3, Block, width, num_classes, dense_classifier)

    def reset_parameters(self) -> None:
        """Draw new initial weights from the global generator."""
        if self.init == "assignment":
            assignment_weights(self)
            return
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight)


# Blocks by stage (He et al. 2016, table 1), and whether they are bottlenecks.
DEPTHS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}


class LargeResNet(Residual):
    """A residual network of four stages for larger images (He et al. 2016, section 4.1, as in torchvision).

    depth: a key of DEPTHS.
    width: factor of the channels, of a bottleneck's inner ones alone (Zagoruyko & Komodakis 2016).
    stride: 4 for ImageNet: a 7x7 convolution and a pooling halve the image each; 1: a 3x3 convolution keeps its size.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        dense_classifier: bool = False,
        depth: int = 18,
        width: int = 1,
        stride: int = 4,
    ) -> None:
        super().__init__()
        counts, deep = DEPTHS[depth]
        wide, half = 1 if deep else width, 2 if stride == 4 else 1
        kernel = 7 if stride == 4 else 3

        def block(before: int, after: int, step: int) -> nn.Module:
            return Bottleneck(before, after, step, after // 4 * width) if deep else Block(before, after, step)

        stem = layers.Conv2d(input_shape[0], 64 * wide, kernel, half, padding=kernel // 2, bias=False)
        self.build(stem, counts, block, 256 if deep else 64 * wide, num_classes, dense_classifier, stride == 4)

    def reset_parameters(self) -> None:
        """Draw new initial weights from the global generator: those of torchvision, He's normal by fan out."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, (nn.BatchNorm2d, nn.Linear)):
                module.reset_parameters()


resnet20, wide_resnet20 = partial(ResNet, depth=20), partial(ResNet, depth=20, width=32)
resnet32, wide_resnet32 = partial(ResNet, depth=32), partial(ResNet, depth=32, width=32)
resnet44, wide_resnet44 = partial(ResNet, depth=44), partial(ResNet, depth=44, width=32)
resnet56, wide_resnet56 = partial(ResNet, depth=56), partial(ResNet, depth=56, width=32)
resnet110, wide_resnet110 = partial(ResNet, depth=110), partial(ResNet, depth=110, width=32)
resnet1202, wide_resnet1202 = partial(ResNet, depth=1202), partial(ResNet, depth=1202, width=32)
