"""The signal of a network: how much its output varies with its input."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from Layers.fast import fixed_masks
from Layers.modes import modes_kept

INPUTS = 1_000  # number of test inputs


@torch.no_grad()
def spread(model: nn.Module, inputs: Iterable[Any], device: torch.device) -> float:
    """Return sqrt(mean over outputs of the variance over inputs) of the logits, in eval mode.

    inputs: batches as the model takes them, without targets. A batch of B inputs gives [B * n, classes] logits, with
    the same n for all batches.
    The result is exactly 0 if every input gives the same logits. The train / eval modes are restored. Raises
    FloatingPointError if a logit is not finite.
    """
    count, first = 0, None
    with modes_kept(model), fixed_masks(model):
        model.eval()
        for data in inputs:
            logits = model(data.to(device)).reshape(len(data), -1).double()
            if first is None:  # sum differences from one input: if all are equal, the sums stay exactly zero
                first = logits[0].clone()
                total, squares = torch.zeros_like(first), torch.zeros_like(first)
            logits -= first
            count += len(data)
            total += logits.sum(0)
            squares += logits.square_().sum(0)
    variance = (squares / count - (total / count).square()).mean().item()
    if not math.isfinite(variance):
        raise FloatingPointError(f"not all logits of {count} test inputs are finite; a lower --lr may help")
    return math.sqrt(max(0.0, variance))


def share(after: float, before: float) -> float | None:
    """Divide the signal after pruning by the signal of the dense network; None if the latter is 0."""
    return after / before if before > 0.0 else None


def report(before: float, after: float, end: float | None) -> dict[str, float | None]:
    """Return the signal before and after pruning, the fraction that is kept, and that at the end, as in result.json."""
    return {"before": before, "after": after, "kept": share(after, before), "end": end}
