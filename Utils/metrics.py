"""Counts of parameters and multiply-adds: how many remain and how many there are."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from Layers import layers, probe
from Layers.attached import CONVOLUTION, NORMS, TABLES, attached
from Layers.attention import MultiheadAttention
from Layers.fast.products import products_kept
from Layers.modes import modes_kept
from Utils import console
from Utils.errors import first_line
from Utils.uses import Costs, Uses

STEPS = (nn.RNNBase, nn.RNNCellBase, nn.Bilinear)  # layers all of whose parameters work once at each position


def _flops(module: nn.Module, inputs: tuple, named: Mapping[str, Any], output: Any) -> dict[str, int]:
    """Count the multiply-adds of one layer for one example, by parameter; those that are not known are left out.

    named: the inputs that were given by name. A bias costs one per unit and position.
    """
    while isinstance(output, tuple) and output:  # a recurrent layer's first is the data of all steps, packed or not
        output = output[0]
    size, inputs = output.numel() if isinstance(output, Tensor) else 0, (*inputs, *named.values())
    if isinstance(module, nn.Linear):
        flops = {"weight": size * module.in_features, "bias": size}
    elif isinstance(module, CONVOLUTION):
        positions = math.prod(inputs[0].shape[2:]) if module.transposed else size // module.out_channels
        flops = {"weight": module.weight.numel() * positions, "bias": size}
    elif isinstance(module, (*NORMS, *layers.IDENTITIES)):
        flops = dict.fromkeys(("weight", "bias"), size)
    elif isinstance(module, (MultiheadAttention, nn.MultiheadAttention)):
        queries, key = size // module.embed_dim, named.get("key", inputs[1])
        keys = key.numel() // key.shape[-1]  # and as many values
        # in_proj is three of a size, one below the other; bias_k is one more key.
        thirds = {"i": queries + 2 * keys, "q": 3 * queries, "b": 0}
        own = module.named_parameters(recurse=False)
        flops = {name: p.numel() * thirds.get(name[0], 3 * keys) // 3 for name, p in own}
    elif isinstance(module, STEPS):
        steps = size and size // output.shape[-1]
        flops = {name: p.numel() * steps for name, p in module.named_parameters(recurse=False)}
    elif isinstance(module, TABLES):  # looked up, which costs no multiplication
        flops = {"weight": 0}
    else:
        flops = {}
    return {name: flops[name] for name, _ in module.named_parameters(recurse=False) if name in flops}


@torch.no_grad()
def flop(model: nn.Module, input_shape: Sequence[int], device: torch.device | str) -> Costs:
    """Count the multiply-adds of one example in the dense model: {module: {parameter: count}}.

    Parameters whose cost is not known, and those of layers that are never called, are left out. Counts follow the
    Synaptic Flow code. Each time that it is called, a Linear or Conv2d costs its weights times the positions of its
    output, a recurrent layer times its steps, a bias one per unit and position. In a translation model one source and
    one target position are counted. Attention's products without weights are not counted. Of layers that have got
    their masks from `attach`, what others compute with their parameters counts too. A note says it if the model
    does not run on ones; then nothing is counted.
    """
    total = Costs()
    modules, inside = dict(model.named_modules()), Counter[str]()

    def count(name: str, inputs: tuple, named: Mapping[str, Any], output: Any) -> None:
        module = modules[name]
        for parameter, flops in _flops(module, inputs, named, output).items():
            total[name][parameter] = total[name].get(parameter, 0) + flops
        if isinstance(module, nn.MultiheadAttention):  # torch's own reads the weights of its last layer
            count(f"{name}.out_proj" if name else "out_proj", (), {}, output)

    def leave(name: str, _: nn.Module, *call: Any) -> None:
        inside[name] -= 1
        count(name, *call)

    hooks = []
    for name, module in modules.items():
        if any(True for _ in module.parameters(recurse=False)):
            hooks.append(module.register_forward_pre_hook(lambda *_, name=name: inside.update([name])))
            hooks.append(module.register_forward_hook(partial(leave, name), with_kwargs=True))
    try:
        with modes_kept(model), ExitStack() as stack:
            # Attached layers may be read from outside: each weight is then one tensor, by which it is known.
            if attached(model):
                stack.enter_context(products_kept(model))
                stack.enter_context(Uses(model, total, inside))
            model.eval()
            model(probe.ones(model, input_shape, device))
    except Exception as error:  # a model of someone else's may raise anything
        words = f"as the model does not run on one example of ones ({first_line(error)})"
        console.note_once(f"multiply-adds are not counted, {words}")
        total = Costs()
    finally:
        for hook in hooks:
            hook.remove()
    return total


def uncounted(model: nn.Module, flops: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return the names of the parameters of which some multiply-adds are not known. flops: the result of `flop`."""
    found = {(path, name) for path, costs in flops.items() for name in costs}
    partly = flops.partly if isinstance(flops, Costs) else set()
    known, unknown = (
        {id(model.get_submodule(path)._parameters[name]) for path, name in each} for each in (found, partly)
    )
    return [name for name, parameter in model.named_parameters() if id(parameter) not in known - unknown]


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
