"""The correlation of the inputs that a mask keeps: does a pruner prefer inputs that say the same?"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from Layers import layers
from Layers.modes import modes_kept


@torch.no_grad()
def kept_correlation(model: nn.Module, inputs: Iterable[Any], device: torch.device) -> dict[str, float | None]:
    """Return, for each masked Linear by name, how correlated the kept inputs of a unit are, relative to all inputs.

    It is the mean absolute correlation of two different inputs that the same unit keeps, over all such pairs, divided
    by that of any two inputs. So a dense layer has 1, and a random mask about 1. Inputs that never vary are left out.
    None where no unit keeps two others, or if none are correlated.
    inputs: batches as the model takes them, without targets.
    """
    linears = {name: module for name, module in model.named_modules() if isinstance(module, layers.Linear)}
    seen: dict[str, list[Tensor]] = {name: [] for name in linears}
    hooks = [
        module.register_forward_pre_hook(lambda _, given, kept=seen[name]: kept.append(given[0].flatten(0, -2)))
        for name, module in linears.items()
    ]
    try:
        with modes_kept(model):
            model.eval()
            for data in inputs:
                model(data.to(device))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: _ratio(torch.cat(seen[name]), module.weight_mask) for name, module in linears.items()}


def _ratio(rows: Tensor, mask: Tensor) -> float | None:
    """Return the ratio of a layer with inputs [n, in] and mask [out, in]."""
    varying = (rows != rows[0]).any(0)
    off = rows[:, varying].double()
    off -= off.mean(0)
    off /= off.square().sum(0).sqrt()
    alike = (off.T @ off).abs().fill_diagonal_(0.0)
    kept = mask[:, varying].double()
    counts = kept.sum(1)
    pairs, inputs = (counts * (counts - 1)).sum(), alike.shape[0]
    whole = alike.sum() / max(1, inputs * (inputs - 1))
    if not pairs or not whole:
        return None
    return (((kept @ alike) * kept).sum() / pairs / whole).item()
