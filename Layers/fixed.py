"""While masks stand, layers compute no more than they leave, and in the way that is the quicker one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from Layers import layers, unread
from Layers.attention import MultiheadAttention
from Layers.channels import ChannelPart
from Layers.constant import ConstantPart
from Layers.patches import PatchPart, of_one_channel
from Layers.sparse import SparsePart

CHANNELS = 0.75  # the most of a convolution's weights that a part of it may have; above, picking costs what is saved
DENSITY = 0.05  # the most of a matrix's weights that may be left; above, a whole product is the quicker one
SIDES = 128  # outputs times inputs by outputs plus inputs, below which turning the data costs more than is saved


def _mask(module: nn.Module, weight: str) -> Tensor | None:
    """None where the layer has none that it reads, and on a GPU, where no part has been measured to be quicker."""
    mask = layers.mask_of(module, weight)
    return mask if mask is not None and mask.device.type == "cpu" else None


def _convolution(module: layers.Conv2d, mask: Tensor | None) -> ChannelPart | PatchPart | None:
    if module.groups != 1 or module.padding_mode != "zeros":
        return None
    if module.weight.device.type == "cpu" and of_one_channel(module):
        return PatchPart()
    if mask is None:
        return None
    part = ChannelPart(mask)
    return part if part.mask.numel() <= CHANNELS * mask.numel() else None


def _matrix(mask: Tensor | None, weight: str, bias: str) -> SparsePart | None:
    if mask is None or mask.numel() < SIDES * sum(mask.shape) or mask.count_nonzero() > DENSITY * mask.numel():
        return None
    return SparsePart(mask, weight, bias)


def _identity(module: nn.Module) -> Callable[[nn.Module, Tensor], Tensor]:
    """A residual connection's weight is not trained, so that nobody needs its gradient."""
    product = layers.masked(module, "weight").detach()
    if product.eq(1.0).all():
        return lambda module, data: data
    product = product.reshape(-1, *[1] * module.extra_dims)
    return lambda module, data: data * product


def _part(module: nn.Module, idle: Tensor | None = None) -> Callable | None:
    """What computes the layer in place of the whole; None where the whole is quicker.

    idle: flags [units] of outputs that nothing reads, so that they may be anything.
    """
    if isinstance(module, layers.IDENTITIES):
        return _identity(module)
    if isinstance(module, MultiheadAttention):
        return _matrix(_mask(module, "in_proj_weight"), "in_proj_weight", "in_proj_bias")
    if not isinstance(module, (layers.Conv2d, layers.Linear)):
        return None
    mask = _mask(module, "weight")
    if idle is not None and module.weight.device.type == "cpu":
        read = idle.logical_not().view(-1, *[1] * (module.weight.dim() - 1)).to(module.weight.dtype)
        mask = read.expand_as(module.weight) if mask is None else mask * read
    if mask is not None and not mask.any():
        return ConstantPart()
    return _convolution(module, mask) if isinstance(module, layers.Conv2d) else _matrix(mask, "weight", "bias")


@contextmanager
def fixed_masks(model: nn.Module) -> Iterator[None]:
    """Inside, masks must not change, and gradients are differentiated once. Outputs are the same up to rounding.

    Units that are known to reach no output (Layers/unread.py) stand at their bias. A model of torch.compile stays
    whole: new parts, and a new compilation with them, would come with each use of this.
    """
    held = [] if hasattr(model, "_orig_mod") else list(model.modules())
    try:
        unread_of = unread.of(model) if held else {}
        for module in held:
            module.full = frozenset(name for name, mask in layers.own_masks(module) if mask.all())
            if (part := _part(module, unread_of.get(module))) is not None:
                module.part = part
        yield
    finally:
        for module in held:
            for name in ("full", "part"):
                module.__dict__.pop(name, None)
