"""Multiply-adds of what a network computes with its layers' parameters outside these layers' own calls."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from Layers.attached import Attached
from Layers.reading import of

PRODUCTS, SUMS, LOOK_UPS = ("linear", "matmul", "mm"), ("add", "add_"), ("embedding", "embedding_bag")
COPIES = ("clone", "contiguous", "to", "float", "double", "half")
ALIKE = ("to", "type_as", "view_as", "expand_as", "reshape_as")  # methods that take of a second tensor its form alone
WHOLE = "multi_head_attention_forward"  # what torch's attention computes, counted as a layer's call


class Costs(defaultdict[str, dict[str, int]]):
    """Multiply-adds by module and parameter, and in `partly` the parameters of which some use is not counted."""

    def __init__(self) -> None:
        super().__init__(dict)
        self.partly: set[tuple[str, str]] = set()


def _place(value: Any) -> int | None:
    """Return where the numbers of a tensor lie, the same for all its views; None of anything else."""
    plain = isinstance(value, Tensor) and value.layout is torch.strided and value.numel()
    return value.untyped_storage().data_ptr() if plain else None


class Uses(TorchFunctionMode):
    """A mode that counts products and sums with parameters, and look-ups, and notes other uses in `costs.partly`.

    inside: of each module the number of its calls that have not ended; what they do with its own parameters is left to
    others. The bias of a layer whose weight is used so costs nothing by itself. An index by numbers is not seen.
    """

    def __init__(self, model: nn.Module, costs: Costs, inside: Mapping[str, int]) -> None:
        super().__init__()
        self.modules, self.costs, self.inside = dict(model.named_modules()), costs, inside
        self.kept: list[Tensor] = []  # as long as they live, no other tensor lies in their place
        self.holders: dict[int, set[tuple[str, str]]] = defaultdict(set)
        for path, module in self.modules.items():
            for name, parameter in module.named_parameters(recurse=False):
                masked = isinstance(module, Attached) and name in module._masked
                for tensor in (parameter, *([of(module).weight(module, name)] if masked else [])):
                    self._keep(tensor, {(path, name)})

    def _keep(self, tensor: Tensor, holders: set[tuple[str, str]]) -> None:
        self.kept.append(tensor)
        if (place := _place(tensor)) is not None:
            self.holders[place] |= holders

    def __torch_function__(self, function, types, args=(), kwargs=None):
        output, name = function(*args, **(kwargs or {})), getattr(function, "__name__", "")
        given = [] if name.startswith("new_") or name.endswith("_like") else tree_leaves((args, kwargs))
        values = {_place(value): value for value in (given[:1] if name in (*ALIKE, *COPIES) else given)}
        known = values.keys() & self.holders.keys()
        made = [value for value in tree_leaves(output) if isinstance(value, Tensor) and value.dtype != torch.bool]
        if all(_place(value) in known for value in made):
            return output  # a view, or nothing that is computed with
        for place in known:
            holders = self.holders[place]
            if name in COPIES:
                self._keep(output, holders)
            elif name != WHOLE and not any(self.inside[path] for path, _ in holders):
                self._add(*min(holders), self._cost(name, args, kwargs or {}, values[place], output))
        return output

    def _add(self, path: str, parameter: str, cost: int | None) -> None:
        costs = self.costs[path]
        costs[parameter] = costs.get(parameter, 0) + (cost or 0)
        if cost is None:
            self.costs.partly.add((path, parameter))
        if parameter == "weight" and self.modules[path]._parameters.get("bias") is not None:
            costs.setdefault("bias", 0)

    def _cost(self, name: str, args: tuple, named: Mapping[str, Any], value: Tensor, output: Any) -> int | None:
        """Return what a function costs for the parameter of which it gets this value; None if that is not known."""
        factors = dict(zip(("input", "weight", "bias"), args, strict=False)) | dict(named)
        added = factors.pop("bias", None) if name == "linear" else value if name in SUMS else None
        if added is value and value.squeeze().dim() < 2:
            return output.numel()
        if name in PRODUCTS and sum(_place(factor) in self.holders for factor in factors.values()) == 1:
            return output.numel() * next(iter(factors.values())).shape[-1]
        return 0 if name in LOOK_UPS else None
