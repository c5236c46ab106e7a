"""Convolutions of a single channel, such as a grey image, as matrix products with patches of the data.

The CPU's convolution routines are made for many channels and compute the gradient of such a weight more slowly than the
output. As a matrix product it costs next to nothing, and with one channel there are few patches.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from Layers import layers


def of_one_channel(module: layers.Conv2d) -> bool:
    """Return whether PatchPart can compute this layer.

    With a channels-last weight the output would have to be transposed.
    """
    return module.in_channels == 1 and not isinstance(module.padding, str) and module.weight.stride(1) > 1


class PatchPart:
    """A convolution of [B, 1, H, W].

    Without gradients there is nothing to save, and the whole convolution is computed.
    """

    def __call__(self, module: layers.Conv2d, data: Tensor) -> Tensor:
        """Convolve `data`: [B, 1, H, W] -> [B, O, H', W']."""
        weight, bias = layers.masked(module, "weight"), layers.masked(module, "bias")
        if not torch.is_grad_enabled():
            return module._conv_forward(data, weight, bias)
        assert not isinstance(module.padding, str)  # see of_one_channel
        patches = F.unfold(data, module.kernel_size, module.dilation, module.padding, module.stride)
        rows = weight.flatten(1).expand(len(data), -1, -1)
        output = torch.bmm(rows, patches) if bias is None else torch.baddbmm(bias.view(1, -1, 1), rows, patches)
        return output.unflatten(2, module.size_after(data))
