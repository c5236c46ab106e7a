"""The `default` model class: a plain fully connected and a plain convolutional network."""

import itertools
import math
from collections.abc import Sequence

from torch import nn

from Layers import layers
from Models.width import scaled


def _classifier(features: int, classes: int, dense: bool) -> nn.Module:
    return nn.Linear(features, classes) if dense else layers.Linear(features, classes)


def fc(input_shape: Sequence[int], num_classes: int, dense_classifier: bool = False, width: float = 1.0) -> nn.Module:
    """Build six Linear layers, the hidden ones of 100 * width units: [B, *input_shape] -> [B, num_classes]."""
    widths = [math.prod(input_shape), *[scaled(100, width)] * 5]
    modules: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(widths):
        modules += [layers.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*modules, _classifier(widths[-1], num_classes, dense_classifier))


def conv(input_shape: Sequence[int], num_classes: int, dense_classifier: bool = False, width: float = 1.0) -> nn.Module:
    """Build two 3x3 convolutions of 32 * width channels and one Linear: [B, C, H, W] -> [B, num_classes]."""
    channels, rows, columns = input_shape
    inner = scaled(32, width)
    return nn.Sequential(
        layers.Conv2d(channels, inner, kernel_size=3, padding=1),
        nn.ReLU(),
        layers.Conv2d(inner, inner, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        _classifier(inner * rows * columns, num_classes, dense_classifier),
    )
