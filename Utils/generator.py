"""Selection of the parameters of a model that are trained, and of those that are pruned."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from Layers import layers
from Layers.attached import CONVOLUTION, NORMS, TABLES, Attached
from Layers.attention import MultiheadAttention, OutProjection
from Layers.embedding import Embedding, EmbeddingBag, PatchEmbedding
from Layers.reading import Raw

RAW = Raw()
EMBEDDINGS = (*TABLES, PatchEmbedding)
OUT_PROJECTIONS = (OutProjection, NonDynamicallyQuantizableLinear)  # torch.nn's own has that class
ATTENTIONS = (MultiheadAttention, nn.MultiheadAttention)


class MaskedParameter(tuple[Tensor, Tensor]):
    """A pair (mask, parameter) that also has a `name`, the parameter's dotted path in its model."""

    name: str

    def __new__(cls, mask: Tensor, parameter: Tensor, name: str) -> MaskedParameter:
        pair = super().__new__(cls, (mask, parameter))
        pair.name = name
        return pair


def masks(module: nn.Module) -> Iterator[Tensor]:
    """Yield the mask buffers of `module` and of all modules below it."""
    for name, buffer in module.named_buffers():
        if name.endswith("_mask"):
            yield buffer


def trainable(module: nn.Module) -> bool:
    """Return whether the module's own parameters are trained. Those of a residual Identity are not."""
    return not isinstance(module, layers.IDENTITIES)


def prunable(
    module: nn.Module, batchnorm: bool, residual: bool, attention: str = "out", embedding: bool = False
) -> bool:
    """Return whether the module's parameters are prunable. It needs masks; Linear and convolutions always are.

    batchnorm: those of BatchNorm, and of other normalisations that have masks.
    attention: "out" selects the projection after the attention heads, which is a Linear. "all" selects the query, key
    and value projections as well. "none" selects neither.
    embedding: those of words, which need masks (`mask_embeddings`), and of image patches.
    """
    if not isinstance(module, Attached) and not any(layers.own_masks(module)):
        return False
    if isinstance(module, EMBEDDINGS):
        return embedding
    if isinstance(module, OUT_PROJECTIONS):
        return attention != "none"
    if isinstance(module, ATTENTIONS):
        return attention == "all"
    kinds: tuple[type, ...] = (nn.Linear, CONVOLUTION)
    if batchnorm:
        kinds += NORMS
    if residual:
        kinds += layers.IDENTITIES
    return isinstance(module, kinds)


def parameters(model: nn.Module) -> Iterator[Tensor]:
    """Yield every trainable parameter once."""
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
    embedding: bool = False,
) -> Iterator[MaskedParameter]:
    """Yield the (mask, parameter) pairs of every prunable module; biases only if `bias` is set.

    A parameter that several modules share is yielded once, if all of them are prunable.
    """
    kinds = batchnorm, residual, attention, embedding
    seen = {id(p) for module in model.modules() if not prunable(module, *kinds) for p in module.parameters(False)}
    for path, module in model.named_modules():
        if prunable(module, *kinds):
            for name, parameter in module.named_parameters(recurse=False):
                mask = getattr(module, f"{name}_mask", None)
                if mask is not None and (not name.endswith("bias") or bias) and id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield MaskedParameter(mask, parameter, f"{path}.{name}" if path else name)


def mask_embeddings(model: nn.Module) -> None:
    """Give the embeddings of words masks, which they have only if they are to be pruned."""
    for module in model.modules():
        if isinstance(module, (Embedding, EmbeddingBag)):
            layers.register_masks(module)


def ignore_masks(model: nn.Module, which: str) -> None:
    """Make layers use their weights as if they had no masks: "none", the layers of "attention", or "all" of them.

    torch.nn.Transformer treats a masked projection this way. It reads the raw weight, so pruned weights start at zero
    but are trained again.
    """
    for module in model.modules():
        if which == "all" or (which == "attention" and isinstance(module, ATTENTIONS + OUT_PROJECTIONS)):
            module.reading = RAW  # type: ignore[assignment]  # torch declares: tensors or modules alone
