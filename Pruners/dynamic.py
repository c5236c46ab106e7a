"""Masks that change in training: the cubic curve of gradual pruning, and RigL, which drops weights and grows others."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from Pruners.base import Pruner
from Pruners.pruners import at, gradients
from Pruners.ranking import check, choose
from Pruners.untouched import untouched


def cubic(step: int, end: int, first: float, last: float) -> float:
    """Return the density after training step `step` on the way from `first`, at step 0, to `last`, at step `end`.

    This is equation 1 of Zhu and Gupta (2017, arXiv 1710.01878), of sparsities there.
    """
    return last + (first - last) * (1.0 - step / end) ** 3


def cosine(step: int, end: int, first: float) -> float:
    """Return the fraction of the kept weights that move after `step`: `first` / 2 * (1 + cos(pi * step / end)).

    This is f_decay of Evci et al. (2020, arXiv 1911.11134), section 3.
    """
    return first / 2 * (1.0 + math.cos(math.pi * step / end))


def dense_gradients(
    model: nn.Module,
    pairs: Sequence[tuple[Tensor, Tensor]],
    loss: Callable,
    data: Any,
    target: Tensor,
    amp: torch.dtype | None = None,
) -> list[Tensor]:
    """Return dL/dw at w = mask * parameter of each pair, shaped like it, also where the mask is zero.

    The model is in its present train / eval mode, and left as it was, like the random generators.
    amp: the number type of its matrix products; None for that of the parameters.
    """
    weights = [(mask * parameter.detach()).requires_grad_() for mask, parameter in pairs]
    with torch.enable_grad(), untouched(model):
        with torch.autocast(target.device.type, amp, enabled=amp is not None):
            logits = at(model, pairs, weights, data)
        return gradients(loss(logits, target), weights)


@torch.no_grad()
def regrow(pruner: Pruner, slopes: Sequence[Tensor], fraction: float) -> None:
    """Drop this fraction of each tensor's kept weights, the smallest, and grow as many where |slope| is largest.

    This is an update of RigL's masks (Evci et al. 2020, algorithm 1). What is dropped may be grown again at once, so a
    tensor without zeros stays as it is. The numbers dropped are rounded down. Counts stay exactly the same. Equal
    values are decided as the pruner decides ties.
    slopes: of `dense_gradients`. Raises FloatingPointError, naming the tensor, if one is NaN.
    """
    check(dict(zip(pruner.names, slopes, strict=True)))
    draw, pruner.by_tie = pruner.generator if pruner.ties == "seeded" else None, 0
    for (mask, parameter), slope in zip(pruner.masked_parameters, slopes, strict=True):
        alive = mask.flatten() != 0
        count = int(alive.count_nonzero())
        moved = int(fraction * count)
        stays = choose(parameter.abs().flatten(), alive, count - moved, draw)
        grown = choose(slope.abs().flatten(), ~stays.chosen, moved, draw)
        mask.copy_((stays.chosen | grown.chosen).view_as(mask))
        pruner.by_tie += stays.by_tie + grown.by_tie
