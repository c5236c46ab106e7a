"""Frozen masks: each layer computes only what its mask leaves, if that is quicker than the whole product."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from Layers import fast, layers
from Layers.attention import MultiheadAttention
from Layers.fast import unread
from Layers.reading import Over, Reading, of, replaced

# The module of each kind of part is imported when a layer is first computed in that way.

CHANNELS = 0.75  # largest share of a convolution's weights in a part; above it, selecting channels costs what it saves
DENSITY = 0.05  # largest share of kept weights in a matrix; above it, the whole product is quicker
SIDES = 128  # least outputs * inputs / (outputs + inputs); below it, transposing the data costs more than it saves


def _mask(module: nn.Module, weight: str) -> Tensor | None:
    """Return the mask that the layer uses, or None.

    On a GPU it is None, because no part has been measured to be quicker.
    """
    mask = layers.mask_of(module, weight)
    return mask if mask is not None and mask.device.type == "cpu" else None


def _convolution(module: layers.Conv2d, mask: Tensor | None) -> Callable | None:
    from Layers.fast.channels import ChannelPart
    from Layers.fast.patches import PatchPart, of_one_channel

    if module.groups != 1 or module.padding_mode != "zeros":
        return None
    if module.weight.device.type == "cpu" and of_one_channel(module):
        return PatchPart()
    if mask is None:
        return None
    if (found := fast.convolution(module, mask)) is not None:
        return found
    part = ChannelPart(mask)
    return part if part.mask.numel() <= CHANNELS * mask.numel() else None


def _matrix(mask: Tensor | None, weight: str, bias: str) -> Callable | None:
    if mask is None or mask.numel() < SIDES * sum(mask.shape) or mask.count_nonzero() > DENSITY * mask.numel():
        return None
    from Layers.fast.sparse import SparsePart

    return SparsePart(mask, weight, bias)


def _identity(module: nn.Module) -> Callable[[nn.Module, Tensor], Tensor]:
    """Return the computation of a residual connection. Its weight is not trained, so it needs no gradient."""
    product = layers.masked(module, "weight").detach()
    if product.eq(1.0).all():
        return lambda module, data: data
    product = product.reshape(-1, *[1] * module.extra_dims)
    return lambda module, data: data * product


def _part(module: nn.Module, idle: Tensor | None = None) -> Callable | None:
    """Return the computation that replaces the layer's `whole`; None if `whole` is quicker.

    idle: flags [units] of outputs that nothing reads, so they may have any value.
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
        from Layers.fast.constant import ConstantPart

        return ConstantPart()
    return _convolution(module, mask) if isinstance(module, layers.Conv2d) else _matrix(mask, "weight", "bias")


class Frozen(Over):
    """A way of reading that skips masks of ones and lets `part` compute the output; all else is left to `before`.

    full: the parameters whose mask is all ones.
    part: a function of the module and its inputs; None if the whole computation is quicker.
    """

    part: Callable | None = None

    def __init__(self, before: Reading, full: frozenset[str]) -> None:
        super().__init__(before)
        self.full = full

    def mask(self, module: nn.Module, name: str) -> Tensor | None:
        return None if name in self.full else super().mask(module, name)

    def output(self, module: nn.Module, *inputs: Any) -> Tensor:
        return super().output(module, *inputs) if self.part is None else self.part(module, *inputs)


@contextmanager
def fixed_masks(model: nn.Module) -> Iterator[None]:
    """Compute less in the body, which must neither change masks nor differentiate gradients again.

    Outputs are the same up to rounding. Units that are known to reach no output (Layers/fast/unread.py) keep their bias
    as output. A model of torch.compile is left whole, because new parts would need a new compilation each time.
    """
    readings = {}
    if not hasattr(model, "_orig_mod"):
        unread_of = unread.of(model)
        for module in model.modules():
            if masks := list(layers.own_masks(module)):
                full = frozenset(name for name, mask in masks if mask.all())
                readings[module] = Frozen(of(module), full)
    with replaced(readings):
        for module, reading in readings.items():  # a layer's part depends on which masks are all ones
            reading.part = _part(module, unread_of.get(module))
        yield
