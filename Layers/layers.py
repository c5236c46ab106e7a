"""Layers of torch.nn in which each parameter has a 0/1 mask of the same shape.

A parameter `weight` has a buffer `weight_mask`, and `bias` has `bias_mask`. The forward pass uses `mask * parameter`
only. So a weight under a zero never affects an output, and its gradient is exactly zero. Each layer defines its plain
computation in `whole`. Its attribute `reading` (Layers/reading.py) decides whether `forward` calls it.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from Layers.reading import PLAIN, of


def register_masks(module: nn.Module) -> None:
    """Add an all-ones buffer `<name>_mask` for every parameter that `module` itself holds."""
    for name, parameter in list(module.named_parameters(recurse=False)):
        module.register_buffer(f"{name}_mask", torch.ones_like(parameter))


def own_masks(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield (parameter name, mask) for every mask that `module` itself holds."""
    for name, buffer in module.named_buffers(recurse=False):
        if name.endswith("_mask"):
            yield name.removesuffix("_mask"), buffer


def mask_of(module: nn.Module, name: str) -> Tensor | None:
    """Return the mask of `module.<name>` that the forward pass uses; None if it uses none."""
    return of(module).mask(module, name)


def masked(module: nn.Module, name: str, rows: slice | None = None) -> Tensor | Any:
    """Return `mask * parameter` of `module.<name>`; None if the layer was built without that parameter.

    rows: a slice of the first dimension; None for all rows.
    """
    return of(module).weight(module, name, rows)


def layout_of(tensor: Tensor) -> torch.memory_format:
    """Return the memory format of an image batch [B, C, H, W]: channels_last or contiguous_format."""
    last = tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


class _Masked(nn.Module):
    """A base class that adds masks to the layer of torch.nn beside it, which is built from the same arguments."""

    reading = PLAIN

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        register_masks(self)

    def forward(self, input: Tensor) -> Tensor:
        return self.reading.output(self, input)


class Linear(_Masked, nn.Linear):
    """An nn.Linear with masks: [..., in_features] -> [..., out_features]."""

    def whole(self, input: Tensor) -> Tensor:
        """Return the output, computed with every weight."""
        return F.linear(input, masked(self, "weight"), masked(self, "bias"))


class Conv2d(_Masked, nn.Conv2d):
    """An nn.Conv2d with masks: [B, in_channels, H, W] -> [B, out_channels, H', W']."""

    def whole(self, input: Tensor) -> Tensor:
        """Return the output, computed with every weight."""
        return self._conv_forward(input, masked(self, "weight"), masked(self, "bias"))

    def size_after(self, input: Tensor) -> list[int]:
        """Return the output size [H', W']."""
        if self.padding == "same":
            return list(input.shape[2:])
        paddings = (0, 0) if isinstance(self.padding, str) else self.padding
        return [
            (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for size, padding, dilation, kernel, stride in zip(
                input.shape[2:], paddings, self.dilation, self.kernel_size, self.stride, strict=True
            )
        ]


class _MaskedNorm(_Masked, nn.modules.batchnorm._BatchNorm):
    """The forward pass of batch normalisation with masked scale and shift (Ioffe & Szegedy 2015, algorithm 1 and 2)."""

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # torch.nn's convention: None asks for the plain average over all batches
                momentum = 1.0 / float(self.num_batches_tracked)
        use_batch = self.training or self.running_mean is None
        update = not self.training or self.track_running_stats
        return F.batch_norm(
            input,
            self.running_mean if update else None,
            self.running_var if update else None,
            masked(self, "weight"),
            masked(self, "bias"),
            use_batch,
            momentum,
            self.eps,
        )


class BatchNorm1d(_MaskedNorm, nn.BatchNorm1d):
    """An nn.BatchNorm1d with masks: [B, C] or [B, C, L], shape kept."""


class BatchNorm2d(_MaskedNorm, nn.BatchNorm2d):
    """An nn.BatchNorm2d with masks: [B, C, H, W], shape kept."""


class _Identity(_Masked):
    """A residual connection as a layer: it multiplies every channel by a weight that stays one, so it can be pruned."""

    extra_dims = 0

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.weight = nn.Parameter(torch.ones(num_features))
        self.register_parameter("bias", None)
        register_masks(self)

    def whole(self, input: Tensor) -> Tensor:
        """Return the output, computed with every weight."""
        return input * masked(self, "weight").reshape(-1, *[1] * self.extra_dims)

    def extra_repr(self) -> str:
        return str(self.num_features)


class Identity1d(_Identity):
    """A residual connection of shape [B, C]."""


class Identity2d(_Identity):
    """A residual connection of shape [B, C, H, W]."""

    extra_dims = 2


IDENTITIES = (Identity1d, Identity2d)
MASKED = (Linear, Conv2d, BatchNorm1d, BatchNorm2d, *IDENTITIES)
"""Every masked layer class, for those who ask a module what it is."""
