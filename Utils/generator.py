"""Which parameters of a model are trained, and which are pruned."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from Layers import layers
from Layers.attention import MultiheadAttention, OutProjection
from Layers.reading import Raw

RAW = Raw()


class MaskedParameter(tuple[Tensor, Tensor]):
    """A pair (mask, parameter) that also has a `name`, the parameter's dotted path in its model."""

    name: str

    def __new__(cls, mask: Tensor, parameter: Tensor, name: str) -> MaskedParameter:
        pair = super().__new__(cls, (mask, parameter))
        pair.name = name
        return pair


def masks(module: nn.Module) -> Iterator[Tensor]:
    """The mask buffers of `module` and all below it."""
    for name, buffer in module.named_buffers():
        if name.endswith("_mask"):
            yield buffer


def trainable(module: nn.Module) -> bool:
    """Whether the module's own parameters are trained; a residual Identity's are not."""
    return not isinstance(module, layers.IDENTITIES)


def prunable(module: nn.Module, batchnorm: bool, residual: bool, attention: str = "out") -> bool:
    """Whether the module's parameters are prunable: Linear and Conv2d always, the others if asked for.

    attention: "out" takes the projection after an attention's heads, which is a Linear, "all" the query, key and value
    projections too, "none" neither.
    """
    if isinstance(module, OutProjection):
        return attention != "none"
    if isinstance(module, MultiheadAttention):
        return attention == "all"
    kinds: tuple[type, ...] = (layers.Linear, layers.Conv2d)
    if batchnorm:
        kinds += (layers.BatchNorm1d, layers.BatchNorm2d)
    if residual:
        kinds += layers.IDENTITIES
    return isinstance(module, kinds)


def parameters(model: nn.Module) -> Iterator[Tensor]:
    """Every trainable parameter once."""
    seen: set[int] = set()
    for module in filter(trainable, model.modules()):
        for parameter in module.parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield parameter


def masked_parameters(
    model: nn.Module,
    bias: bool = False,
    batchnorm: bool = False,
    residual: bool = False,
    attention: str = "out",
) -> Iterator[MaskedParameter]:
    """The (mask, parameter) pairs of every prunable module; its biases only with `bias`."""
    for path, module in model.named_modules():
        if prunable(module, batchnorm, residual, attention):
            for name, parameter in module.named_parameters(recurse=False):
                if not name.endswith("bias") or bias:
                    full = f"{path}.{name}" if path else name
                    yield MaskedParameter(getattr(module, f"{name}_mask"), parameter, full)


def ignore_masks(model: nn.Module, which: str) -> None:
    """Have the layers read their weights as if they had no masks: "none", those of "attention", or "all".

    What torch.nn.Transformer does with a masked projection: it reads the raw weight, so that what was pruned, zero to
    begin with, is trained all the same.
    """
    for module in model.modules():
        if which == "all" or (which == "attention" and isinstance(module, (MultiheadAttention, OutProjection))):
            module.reading = RAW  # type: ignore[assignment]  # torch declares: tensors or modules alone
