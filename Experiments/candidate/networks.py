"""The networks that classes are tested on, as structures: the judge decides their numbers."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from Layers import layers
from Layers.bags import Bags
from Models.mlp import fc
from Models.text import TextClassificationModel


def mlp(inputs: int, classes: int) -> nn.Module:
    """Build three Linears, [B, inputs] -> [B, classes]."""
    return nn.Sequential(
        layers.Linear(inputs, 16), nn.ReLU(), layers.Linear(16, 12), nn.ReLU(), layers.Linear(12, classes)
    )


def conv(channels: int, classes: int) -> nn.Module:
    """Build two convolutions with BatchNorm, dropout and one Linear, [B, channels, 6, 6] -> [B, classes]."""
    return nn.Sequential(
        layers.Conv2d(channels, 4, 3, padding=1),
        layers.BatchNorm2d(4),
        nn.ReLU(),
        layers.Conv2d(4, 3, 3, stride=2, padding=1),
        layers.BatchNorm2d(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        layers.Linear(27, classes),
    )


BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "conv": conv,
    "fc": fc,
    "text-classification": TextClassificationModel,
}

Batches = list[tuple[Any, Tensor]]  # (inputs, targets) each


def packed(model: nn.Module, batches: Batches) -> dict[str, Tensor]:
    """Return the tensors of a network and its batches under names for a message."""
    tensors = {f"state/{name}": tensor.detach() for name, tensor in model.state_dict().items()}
    for k, (data, target) in enumerate(batches):
        parts = {"ids": data.ids, "offsets": data.offsets} if isinstance(data, Bags) else {"data": data}
        tensors |= {f"{k}/{name}": tensor for name, tensor in {**parts, "target": target}.items()}
    return tensors


def unpacked(builder: str, arguments: list[Any], tensors: dict[str, Tensor]) -> tuple[nn.Module, Batches]:
    """Return the network in eval mode, and its batches, from what `packed` has returned."""
    model = BUILDERS[builder](*arguments)
    model.load_state_dict({name[6:]: tensor for name, tensor in tensors.items() if name.startswith("state/")})
    batches: Batches = []
    while f"{(k := len(batches))}/target" in tensors:
        whole = tensors.get(f"{k}/data")
        data = Bags(tensors[f"{k}/ids"], tensors[f"{k}/offsets"]) if whole is None else whole
        batches.append((data, tensors[f"{k}/target"]))
    return model.eval(), batches
