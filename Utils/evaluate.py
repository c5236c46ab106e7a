"""Loss and accuracy over a loader."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from Layers.modes import modes_kept

TOP = (1, 2, 5)


@torch.no_grad()
def evaluate(model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> dict[str, float]:
    """{loss, top1, top2, top5}: mean loss an example, accuracies in percent, in eval mode; the modes are put back.

    top-k only where there are that many classes. Raises FloatingPointError if the loss is not finite.
    """
    count, total, correct = 0, torch.zeros((), dtype=torch.float64, device=device), {}
    with modes_kept(model):
        model.eval()
        for data, target in dataloader:
            data, target = data.to(device), target.to(device)
            logits = model(data)
            count += target.numel()
            total += loss(logits, target).double() * target.numel()
            ranks = [k for k in TOP if k <= logits.shape[1]]
            hits = logits.topk(ranks[-1], dim=1).indices == target.unsqueeze(1)
            for k in ranks:
                correct[k] = correct.get(k, 0) + hits[:, :k].sum()
    mean = total.item() / count
    if not math.isfinite(mean):
        raise FloatingPointError(f"the loss over {count} examples is {mean} in evaluation; a lower --lr may help")
    return {"loss": mean, **{f"top{k}": 100.0 * int(hits) / count for k, hits in correct.items()}}
