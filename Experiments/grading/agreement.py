"""Whether two lists of scores rank alike, up to the rounding of single precision."""

from __future__ import annotations

import torch
from torch import Tensor

RELATIVE, ABSOLUTE = 1e-3, 1e-5  # of an entry, of the largest: what rounding may move


def blur(truth: Tensor) -> Tensor:
    """How far off each of the true scores, [n], may be found."""
    return RELATIVE * truth.abs() + ABSOLUTE * truth.abs().max()


def factor(truth: Tensor, found: Tensor) -> float | None:
    """The positive number a with found = a * truth, or None if there is none."""
    norm = (truth * truth).sum()
    a = ((truth * found).sum() / norm).item() if norm > 0 else 0.0
    return a if a > 0 and ((found / a - truth).abs() <= blur(truth)).all() else None


def alike(truth: Tensor, found: Tensor) -> bool:
    """Whether of any two true scores, [n], that rounding cannot confuse, the higher is found higher."""
    order = truth.argsort()
    truth, found = truth[order], found[order]
    off = blur(truth)
    below = torch.searchsorted(truth, truth - 2 * off)  # how many are surely lower
    highest = found.cummax(0).values
    surely = below > 0
    return bool((found[surely] > highest[below[surely] - 1]).all())


def overlap(truth: Tensor, found: Tensor, density: float) -> float:
    """Of the highest `density` of the true scores, the share that is among the highest found."""
    kept = max(1, round(density * truth.numel()))
    chosen = torch.zeros(truth.numel(), dtype=torch.bool)
    chosen[found.argsort(descending=True)[:kept]] = True
    return chosen[truth.argsort(descending=True)[:kept]].double().mean().item()
