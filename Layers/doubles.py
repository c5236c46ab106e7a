"""A model in float64, also where its forward pass asks for other numbers: `x.float()`, `torch.zeros(n)`."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

CASTS = {getattr(Tensor, name): Tensor.double for name in ("float", "half", "bfloat16")}
OF_FLAGS = (*CASTS, Tensor.double, Tensor.to, Tensor.type, Tensor.type_as)


def _wide(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value.is_floating_point else value


class Doubles(TorchFunctionMode):
    """A mode in which functions of torch return float64 in place of other floating types.

    Flags that a comparison gave have no slope. Cast to numbers they are a gate: they count as 1 and pass on a slope to
    what was compared (see Layers/passing.py).
    """

    def __init__(self) -> None:
        super().__init__()
        self.compared: dict[int, tuple[Tensor, Tensor]] = {}  # by id: flags, kept alive, and what was compared

    def __torch_function__(self, function, types, args=(), kwargs=None):
        wide = {name: _wide(value) for name, value in (kwargs or {}).items()}
        output = CASTS.get(function, function)(*map(_wide, args), **wide)
        if not isinstance(output, Tensor):
            return output
        tensors = [a for a in args if isinstance(a, Tensor)]
        if output.dtype is torch.bool:
            for sources in ([self.compared[id(a)][1] for a in tensors if id(a) in self.compared], tensors):
                for source in sources:
                    if source.requires_grad and source.shape == output.shape:
                        self.compared.setdefault(id(output), (output, source))
        elif output.is_floating_point():
            output = output.double()
            if function in OF_FLAGS and id(args[0]) in self.compared:
                source = self.compared[id(args[0])][1]
                output = torch.ones_like(output) + (source - source.detach())
        return output
