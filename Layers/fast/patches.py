"""Convolutions of a single channel, such as a grey image, as products with the patches of the data.

The gradient of such a weight takes the convolution routines of a CPU longer than the output, for they want many
channels at once. As a product of matrices it costs next to nothing, and the patches are few: one channel of them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from Layers import layers


def of_one_channel(module: layers.Conv2d) -> bool:
    """Whether PatchPart can take it. Where the weight lies channels-last, the output would have to be turned."""
    return module.in_channels == 1 and not isinstance(module.padding, str) and module.weight.stride(1) > 1


class PatchPart:
    """A convolution of [B, 1, H, W]. Without gradients there is nothing to save: then it is the whole one."""

    def __call__(self, module: layers.Conv2d, data: Tensor) -> Tensor:
        """[B, 1, H, W] -> [B, O, H', W']."""
        weight, bias = layers.masked(module, "weight"), layers.masked(module, "bias")
        if not torch.is_grad_enabled():
            return module._conv_forward(data, weight, bias)
        assert not isinstance(module.padding, str)  # see of_one_channel
        patches = F.unfold(data, module.kernel_size, module.dilation, module.padding, module.stride)
        rows = weight.flatten(1).expand(len(data), -1, -1)
        found = torch.bmm(rows, patches) if bias is None else torch.baddbmm(bias.view(1, -1, 1), rows, patches)
        return found.unflatten(2, module.size_after(data))
