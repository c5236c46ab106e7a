"""Networks of others: a class from a file, or a classifier of torchvision, made to fit the data and given masks."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from Layers.attached import KINDS, TABLES, attach
from Layers.bags import Bags
from Layers.layers import own_masks

HEADS = {"aux_logits": False, "init_weights": True}  # without the losses of a second head
OPTIONS: dict[str, dict[str, Any]] = {"googlenet": HEADS, "inception_v3": HEADS}


def of_class(kind: type[nn.Module], options: dict[str, Any]) -> nn.Module:
    """Call `kind` with those of `options` that its signature accepts. Raises TypeError if it returns no module."""
    taken = inspect.signature(kind).parameters
    made = kind(**{name: value for name, value in options.items() if name in taken})
    if not isinstance(made, nn.Module):
        raise TypeError(f"{kind.__name__} is no torch.nn.Module")
    return made


def names() -> list[str]:
    """Return the names of torchvision's classifiers."""
    from torchvision import models

    return models.list_models(module=models)


def of_torchvision(name: str, input_shape: Sequence[int], num_classes: int) -> tuple[nn.Module, str]:
    """Return the network with weights drawn from the global generator, and what is fitted to the data, in words.

    The classifier gets `num_classes` outputs, the first convolution as many inputs as an image has channels.
    """
    from torchvision import models

    channels, rows, columns = input_shape
    options = OPTIONS.get(name, {"image_size": rows} if name.startswith("vit_") and rows == columns else {})
    made = models.get_model(name, weights=None, num_classes=num_classes, **options)
    path, first = next((path, part) for path, part in made.named_modules() if isinstance(part, nn.Conv2d))
    words = f"{last_matrix(made)[0]} has {num_classes} outputs"
    if first.in_channels != channels:
        parent, _, own = path.rpartition(".")
        setattr(made.get_submodule(parent), own, _with_channels(first, channels))
        words = f"its first layer {path} has inputs for {channels} of {first.in_channels} channels, {words}"
    return made, words


def last_matrix(model: nn.Module) -> tuple[str, nn.Module]:
    """Return the path of the last Linear or convolution, which is taken for the classifier, and the layer."""
    return [(path, part) for path, part in model.named_modules() if isinstance(part, (nn.Linear, nn.Conv2d))][-1]


def masked(model: nn.Module, dense_classifier: bool, embeddings: bool) -> nn.Module:
    """Give the layers masks, in place; embeddings and the last layer only if they are to be pruned.

    Raises ValueError if there is no layer that can have one.
    """
    if not any(isinstance(part, KINDS) for part in model.modules()):
        raise ValueError(f"{type(model).__name__} has no layer that can have a mask")
    kinds = tuple(kind for kind in KINDS if embeddings or kind not in TABLES)
    return attach(model, kinds, [last_matrix(model)[1]] if dense_classifier else [])


def unmasked(model: nn.Module) -> list[str]:
    """Return the layers that have weights and no mask, in words: recurrent ones, parametrised ones, bare parameters."""
    found, parts = [], list(model.named_modules())
    masked = {id(part._parameters.get(name)) for _, part in parts for name, _ in own_masks(part)}  # by whatever layer
    for path, part in parts:
        count = sum(
            p.numel() for p in part._parameters.values() if p is not None and p.dim() > 1 and id(p) not in masked
        )
        if count:
            found.append(f"{path or 'its own parameters'} ({getattr(part, '_stock', type(part)).__name__}, {count:,})")
    return found


@torch.no_grad()
def misfit(model: Callable[[Any], Any], input_shape: Sequence[int], num_classes: int) -> str | None:
    """Return what is wrong with the output for a batch of two examples, in words; None if it is [2, num_classes].

    input_shape: (C, H, W), or (V,) for texts. Errors of the model pass through.
    """
    words = torch.arange(8) % input_shape[0]
    output = model(torch.ones(2, *input_shape) if len(input_shape) > 1 else Bags(words, torch.tensor([0, 4])))
    if not isinstance(output, Tensor):
        return f"it returns a {type(output).__name__}, not one tensor of logits"
    found, wanted = list(output.shape), [2, num_classes]
    return None if found == wanted else f"its output for two examples is {found}, not {wanted}"


def _with_channels(layer: Any, channels: int) -> nn.Conv2d:
    names = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    options = {name: getattr(layer, name) for name in names}
    return nn.Conv2d(channels, layer.out_channels, **options, bias=layer.bias is not None)
