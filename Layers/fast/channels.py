"""Convolutions restricted to the channels that their frozen masks connect.

If no weight of an input channel is kept, the channel has no effect. If no weight of an output channel is kept, the
output is its bias. A convolution without these channels is smaller and gives the same outputs and gradients, because
the gradient of a masked weight is zero anyway. Only whole channels help; scattered zeros save nothing.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from Layers import layers

FULL = 8  # channels that a processor computes at once; a part has a multiple of it


def _filled(alive: Tensor) -> Tensor | None:
    """Return the sorted indices of set flags [C], with others up to a multiple of FULL; None for all channels."""
    wanted = min(alive.numel(), -(-max(int(alive.sum()), 1) // FULL) * FULL)
    if wanted == alive.numel():
        return None
    first = torch.sort(alive.logical_not().byte(), stable=True).indices  # set flags, then the others, each in order
    return first[:wanted].sort().values


def _chosen(tensor: Tensor, dim: int, indices: Tensor | None) -> Tensor:
    return tensor if indices is None else tensor.index_select(dim, indices)


class ChannelPart:
    """The part of a convolution that its mask leaves: input channels [i] and output channels [o] (None: all)."""

    def __init__(self, mask: Tensor) -> None:
        links = mask.flatten(2).ne(0).any(2)
        self.inputs, self.outputs = _filled(links.any(0)), _filled(links.any(1))
        self.mask = self._of(mask)

    def _of(self, weight: Tensor) -> Tensor:
        """Select the kept channels of a weight: [O, I, h, w] -> [o, i, h, w]."""
        return _chosen(_chosen(weight, 0, self.outputs), 1, self.inputs)

    def __call__(self, module: layers.Conv2d, data: Tensor) -> Tensor:
        """Convolve `data`: [B, I, H, W] -> [B, O, H', W']."""
        layout = layers.layout_of(data)
        output = F.conv2d(
            _chosen(data, 1, self.inputs).contiguous(memory_format=layout),
            (self.mask * self._of(module.weight)).contiguous(memory_format=layout),
            None,
            module.stride,
            module.padding,
            module.dilation,
        )
        bias = layers.masked(module, "bias")
        if self.outputs is None:
            return output if bias is None else output + bias.view(1, -1, 1, 1)
        bias = output.new_zeros(module.out_channels) if bias is None else bias.to(output.dtype)
        constant = bias.view(1, -1, 1, 1).expand(len(output), -1, *output.shape[2:])
        return constant.clone(memory_format=layout).index_add_(1, self.outputs, output)
