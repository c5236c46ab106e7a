"""Counts of parameters and multiply-adds: how many remain and how many there are."""

import math
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from Layers import layers, probe
from Layers.attention import MultiheadAttention
from Layers.modes import modes_kept


def _positions(output: Tensor) -> int:
    return math.prod(output.shape[2:])


def _flops(module: nn.Module, output: Tensor) -> dict[str, int]:
    """Count the multiply-adds of one layer for one example, by parameter. A bias costs one per unit."""
    each = math.prod(output.shape[1:-1])  # positions of a sequence
    if isinstance(module, nn.Linear):
        flops = {"weight": each * module.weight.numel(), "bias": each * module.out_features}
    elif isinstance(module, nn.Conv2d):
        positions = _positions(output)
        flops = {"weight": module.weight.numel() * positions, "bias": module.out_channels * positions}
    elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        flops = dict.fromkeys(("weight", "bias"), module.num_features * _positions(output))
    elif isinstance(module, layers.IDENTITIES):
        flops = {"weight": module.num_features * _positions(output)}
    elif isinstance(module, MultiheadAttention):
        flops = {f"in_proj_{name}": each * getattr(module, f"in_proj_{name}").numel() for name in ("weight", "bias")}
    elif isinstance(module, nn.LayerNorm):
        flops = dict.fromkeys(("weight", "bias"), each * module.weight.numel())
    else:  # an embedding is looked up, which costs no multiplication
        flops = {}
    return {name: flops.get(name, 0) for name, _ in module.named_parameters(recurse=False)}


@torch.no_grad()
def flop(model: nn.Module, input_shape: Sequence[int], device: torch.device | str) -> dict[str, dict[str, int]]:
    """Count the multiply-adds of one example in the dense model: {module: {parameter: count}}.

    Every module that holds parameters is listed. Counts follow the Synaptic Flow code. A Linear or Conv2d costs its
    weights times the positions of its output, a bias one per unit and position. In a translation model one source and
    one target position are counted. Attention's products without weights are not counted.
    """
    total: dict[str, dict[str, int]] = {}
    hooks = []
    for name, module in model.named_modules():
        if any(True for _ in module.parameters(recurse=False)):

            def count(module: nn.Module, _, output: Tensor, name: str = name) -> None:
                total[name] = _flops(module, output)

            hooks.append(module.register_forward_hook(count))
    try:
        with modes_kept(model):
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
    Columns: module, param, sparsity (the fraction that remains), kept, size, shape, flops, mean / variance / sum of the
    scores and of their magnitudes, prunable.
    """
    rows = []
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
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
                "flops": flops.get(path, {}).get(name, 0),
            }
            for prefix, moment in (("score", values), ("score abs", values.abs())):
                row[f"{prefix} mean"] = moment.mean().item()
                row[f"{prefix} variance"] = moment.var(correction=0).item()
                row[f"{prefix} sum"] = moment.sum().item()
            rows.append({**row, "prunable": pruned})
    return pd.DataFrame(rows)


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
