"""Comparison of two lists of scores by the ranking they give, up to the rounding of single precision."""

import torch
from torch import Tensor

RELATIVE, ABSOLUTE = 1e-3, 1e-5  # rounding error, as a share of the score itself and of the largest score


def blur(truth: Tensor) -> Tensor:
    """Return the rounding error that is tolerated in each score: [n] -> [n]."""
    return RELATIVE * truth.abs() + ABSOLUTE * truth.abs().max()


def factor(truth: Tensor, found: Tensor) -> float | None:
    """Return the positive number a with found = a * truth, [n] each; None if there is none."""
    norm = (truth * truth).sum()
    a = ((truth * found).sum() / norm).item() if norm > 0 else 0.0
    return a if a > 0 and ((found / a - truth).abs() <= blur(truth)).all() else None


def alike(truth: Tensor, found: Tensor) -> bool:
    """Return whether `found` orders every two scores like `truth`, [n] each, if rounding cannot exchange the two."""
    order = truth.argsort()
    truth, found = truth[order], found[order]
    off = blur(truth)
    below = torch.searchsorted(truth, truth - 2 * off)  # number of scores that are lower whatever the rounding
    highest = found.cummax(0).values
    surely = below > 0
    return bool((found[surely] > highest[below[surely] - 1]).all())


def overlap(truth: Tensor, found: Tensor, density: float) -> float:
    """Return the share of the highest true scores, a fraction `density` of all, that are among the highest found."""
    kept = max(1, round(density * truth.numel()))
    chosen = (set(scores.argsort(descending=True)[:kept].tolist()) for scores in (truth, found))
    return len(set.intersection(*chosen)) / kept
