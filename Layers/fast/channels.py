"""Convolutions between the channels alone that their masks link, for as long as the masks stand.

Where a mask leaves a channel of the input no weight, the channel changes nothing; where it leaves one of the output no
weight, that one is its bias. A convolution without both is smaller, and gives the same outputs and gradients: those of
a masked weight are zero either way. Only whole channels count; scattered zeros save nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from Layers import layers

FULL = 8  # channels that a processor takes at once: a part is filled up to a multiple of it


def _filled(alive: Tensor) -> Tensor | None:
    """The indices of a channel-wise flag [C], others added up to a multiple of FULL, in order; None for all of them."""
    wanted = min(alive.numel(), -(-max(int(alive.sum()), 1) // FULL) * FULL)
    if wanted == alive.numel():
        return None
    first = torch.sort(alive.logical_not().byte(), stable=True).indices  # those alive come first, each kind in order
    return first[:wanted].sort().values


def _chosen(tensor: Tensor, dim: int, indices: Tensor | None) -> Tensor:
    return tensor if indices is None else tensor.index_select(dim, indices)


class ChannelPart:
    """What of a convolution its mask leaves: channels [i] of the input and [o] of the output (None: all of them)."""

    def __init__(self, mask: Tensor) -> None:
        links = mask.flatten(2).ne(0).any(2)
        self.inputs, self.outputs = _filled(links.any(0)), _filled(links.any(1))
        self.mask = self._of(mask)

    def _of(self, weight: Tensor) -> Tensor:
        """[O, I, h, w] -> [o, i, h, w]."""
        return _chosen(_chosen(weight, 0, self.outputs), 1, self.inputs)

    def __call__(self, module: layers.Conv2d, data: Tensor) -> Tensor:
        """The convolution of `data`, [B, I, H, W] -> [B, O, H', W']."""
        layout = layers.layout_of(data)
        found = F.conv2d(
            _chosen(data, 1, self.inputs).contiguous(memory_format=layout),
            (self.mask * self._of(module.weight)).contiguous(memory_format=layout),
            None,
            module.stride,
            module.padding,
            module.dilation,
        )
        bias = layers.masked(module, "bias")
        if self.outputs is None:
            return found if bias is None else found + bias.view(1, -1, 1, 1)
        bias = found.new_zeros(module.out_channels) if bias is None else bias.to(found.dtype)
        constant = bias.view(1, -1, 1, 1).expand(len(found), -1, *found.shape[2:])
        return constant.clone(memory_format=layout).index_add_(1, self.outputs, found)
