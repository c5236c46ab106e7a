"""A call of a model with other tensors in place of its own."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


def call(model: nn.Module, tensors: Mapping[str, Tensor], data: Any) -> Any:
    """Return model(data) with `tensors` in place of the parameters and buffers of these names.

    A tensor that several layers share is replaced in all of them. A layer that the model holds under several names is
    replaced once: torch's own way with ties would put the replacement back, in place of what the layer had.
    """
    own = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    chosen = {id(own[name]): tensor for name, tensor in tensors.items()}
    places = {
        f"{path}.{name}".lstrip("."): chosen[id(tensor)]
        for path, module in model.named_modules()
        for name, tensor in (*module._parameters.items(), *module._buffers.items())
        if id(tensor) in chosen
    }
    return functional_call(model, places, (data,), tie_weights=False)
