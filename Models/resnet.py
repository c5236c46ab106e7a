"""The `lottery` ResNets for small images (He et al. 2016, section 4.2, in the form of Frankle & Carbin 2019)."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from Layers import layers
from Models.init import assignment_weights


class Block(nn.Module):
    """A pair of 3x3 convolutions with a shortcut: [B, before, H, W] -> [B, after, H / stride, W / stride].

    If the shape stays the same, the shortcut is a masked Identity, which can be pruned. Otherwise it is a 1x1
    convolution.
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = layers.Conv2d(before, after, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = layers.BatchNorm2d(after)
        self.conv2 = layers.Conv2d(after, after, kernel_size=3, padding=1, bias=False)
        self.bn2 = layers.BatchNorm2d(after)
        if stride == 1 and before == after:
            self.shortcut: nn.Module = layers.Identity2d(before)
        else:
            self.shortcut = nn.Sequential(
                layers.Conv2d(before, after, kernel_size=1, stride=stride, bias=False), layers.BatchNorm2d(after)
            )

    def forward(self, input: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(input)))
        return F.relu(self.bn2(self.conv2(hidden)) + self.shortcut(input))


class ResNet(nn.Module):
    """A residual network: [B, C, H, W] -> [B, num_classes].

    It has three stages of (depth - 2) / 6 blocks, with width, 2 width and 4 width channels.
    init: "assignment" (see Models/init.py), or "fan-out". The two differ only in BatchNorm: with "fan-out" its scales
    start uniformly in [0, 1], as in OpenLTH.
    `memory_format` is the layout in which training was measured to be quickest on a CPU.
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
        self.conv = layers.Conv2d(input_shape[0], width, kernel_size=3, padding=1, bias=False)
        self.bn = layers.BatchNorm2d(width)
        blocks, before = [], width
        for stage in range(3):
            for number in range(count):
                after = width << stage
                blocks.append(Block(before, after, 2 if stage and not number else 1))
                before = after
        self.blocks = nn.Sequential(*blocks)
        self.fc = (nn.Linear if dense_classifier else layers.Linear)(before, num_classes)
        self.reset_parameters()

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

    def forward(self, data: Tensor) -> Tensor:
        hidden = self.blocks(F.relu(self.bn(self.conv(data))))
        return self.fc(F.adaptive_avg_pool2d(hidden, 1).flatten(1))


resnet20, wide_resnet20 = partial(ResNet, depth=20), partial(ResNet, depth=20, width=32)
resnet32, wide_resnet32 = partial(ResNet, depth=32), partial(ResNet, depth=32, width=32)
resnet44, wide_resnet44 = partial(ResNet, depth=44), partial(ResNet, depth=44, width=32)
resnet56, wide_resnet56 = partial(ResNet, depth=56), partial(ResNet, depth=56, width=32)
resnet110, wide_resnet110 = partial(ResNet, depth=110), partial(ResNet, depth=110, width=32)
