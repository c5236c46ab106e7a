"""Counts of parameters and multiply-adds: how many remain and how many there are."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from Layers import layers, probe
from Layers.attached import CONVOLUTION, NORMS, Attached, attached
from Layers.attention import MultiheadAttention
from Layers.fast.products import products_kept
from Layers.modes import modes_kept
from Layers.reading import of


def _flops(module: nn.Module, inputs: tuple, output: Tensor) -> dict[str, int]:
    """Count the multiply-adds of one layer for one example, by parameter. A bias costs one per unit and position."""
    size = output.numel()
    if isinstance(module, nn.Linear):
        flops = {"weight": size * module.in_features, "bias": size}
    elif isinstance(module, CONVOLUTION):
        positions = math.prod(inputs[0].shape[2:]) if module.transposed else size // module.out_channels
        flops = {"weight": module.weight.numel() * positions, "bias": size}
    elif isinstance(module, (*NORMS, *layers.IDENTITIES)):
        flops = dict.fromkeys(("weight", "bias"), size)
    elif isinstance(module, (MultiheadAttention, nn.MultiheadAttention)):
        each = size // module.embed_dim  # positions; each is taken to be a key and a value as well
        flops = {name: each * p.numel() for name, p in module.named_parameters(recurse=False) if "proj" in name}
    else:  # an embedding is looked up, which costs no multiplication
        flops = {}
    return {name: flops.get(name, 0) for name, _ in module.named_parameters(recurse=False)}


class _Reads(TorchFunctionMode):
    """A mode that calls `count(module's path, inputs, output)` for products with a layer's weight outside the layer."""

    def __init__(self, model: nn.Module, count: Callable) -> None:
        super().__init__()
        weights = {
            path: of(module).weight(module, "weight")
            for path, module in model.named_modules()
            if isinstance(module, Attached) and "weight" in module._masked
        }
        self.readers, self.kept, self.count = {id(w): path for path, w in weights.items()}, weights, count

    def __torch_function__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        if function is F.linear and id(args[1]) in self.readers:
            self.count(self.readers[id(args[1])], args, output)
        return output


@torch.no_grad()
def flop(model: nn.Module, input_shape: Sequence[int], device: torch.device | str) -> dict[str, dict[str, int]]:
    """Count the multiply-adds of one example in the dense model: {module: {parameter: count}}.

    Every module that holds parameters is listed. Counts follow the Synaptic Flow code. Each time that it is called, a
    Linear or Conv2d costs its weights times the positions of its output, a bias one per unit and position. In a
    translation model one source and one target position are counted. Attention's products without weights are not
    counted.
    """
    total: dict[str, dict[str, int]] = defaultdict(dict)
    modules, inside = dict(model.named_modules()), Counter[str]()

    def count(name: str, inputs: tuple, output: Any) -> None:
        module = modules[name]
        first = output[0] if isinstance(output, tuple) else output
        for parameter, flops in _flops(module, inputs, first).items():
            total[name][parameter] = total[name].get(parameter, 0) + flops
        if isinstance(module, nn.MultiheadAttention):  # torch's own reads the weights of its last layer
            count(f"{name}.out_proj" if name else "out_proj", (), first)

    def leave(name: str, inputs: tuple, output: Any) -> None:
        inside[name] -= 1
        count(name, inputs, output)

    hooks = []
    for name, module in modules.items():
        if any(True for _ in module.parameters(recurse=False)):
            hooks.append(module.register_forward_pre_hook(lambda *_, name=name: inside.update([name])))
            hooks.append(module.register_forward_hook(lambda _, i, o, name=name: leave(name, i, o)))
    try:
        with modes_kept(model), ExitStack() as stack:
            # Attached layers may be read from outside: each weight is then one tensor, by which it is known.
            if attached(model):
                stack.enter_context(products_kept(model))
                stack.enter_context(_Reads(model, lambda name, i, o: None if inside[name] else count(name, i, o)))
            model.eval()
            model(probe.ones(model, input_shape, device))
    finally:
        for hook in hooks:
            hook.remove()
    return total


def summary(
    model: nn.Module,
    scores: Mapping[str, Tensor],
    flops: Mapping[str, Mapping[str, int]],
    prunable: Callable[[nn.Module], bool],
) -> pd.DataFrame:
    """Return a table with one row per parameter tensor: how much of it remains, and moments of its latest scores.

    scores: as in `Pruner.scores`, by dotted name.
    flops: the result of `flop`.
    A tensor that several layers share has one row, with the name that comes first and the multiply-adds of all uses.
    Columns: module, param, sparsity (the fraction that remains), kept, size, shape, flops, mean / variance / sum of the
    scores and of their magnitudes, prunable.
    """
    rows: dict[int, dict[str, Any]] = {}
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            flop = flops.get(path, {}).get(name, 0)
            if id(parameter) in rows:
                rows[id(parameter)]["flops"] += flop
                continue
            score = scores.get(f"{path}.{name}" if path else name)
            mask = getattr(module, f"{name}_mask", None)
            size = parameter.numel()
            kept = size if mask is None else int(mask.count_nonzero())
            pruned = prunable(module) and score is not None
            values = score.double() if score is not None else torch.zeros(1, dtype=torch.float64)
            row = {
                "module": path,
                "param": name,
                "sparsity": kept / size,
                "kept": kept,
                "size": size,
                "shape": tuple(parameter.shape),
                "flops": flop,
            }
            for prefix, moment in (("score", values), ("score abs", values.abs())):
                row[f"{prefix} mean"] = moment.mean().item()
                row[f"{prefix} variance"] = moment.var(correction=0).item()
                row[f"{prefix} sum"] = moment.sum().item()
            rows[id(parameter)] = {**row, "prunable": pruned}
    return pd.DataFrame(list(rows.values()))


def totals(table: pd.DataFrame) -> tuple[dict[str, int], dict[str, int]]:
    """Return (parameters, flops) of a `summary`: the kept and total numbers of each.

    `parameters` also counts the prunable ones alone. `kept` counts every parameter that remains, prunable or not, like
    the printed "Parameter Sparsity".
    """
    prunable = table[table["prunable"]]
    parameters = {
        "kept": int(table["kept"].sum()),
        "total": int(table["size"].sum()),
        "prunable": int(prunable["size"].sum()),
        "prunable_kept": int(prunable["kept"].sum()),
    }
    flops = {
        "kept": int((table["flops"] * table["kept"] // table["size"]).sum()),
        "total": int(table["flops"].sum()),
    }
    return parameters, flops
