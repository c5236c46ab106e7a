"""From scores to masks: how many weights stay, and which. Counts are exact for any scores; ties go by position."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from Pruners import SCOPES


def kept_count(total: int, density: float) -> int:
    """Number of weights that stay of `total` at `density` in (0, 1]: `total - floor((1 - density) * total)`.

    Raises ValueError if density is not in (0, 1] or so small that no weight would stay.
    """
    if not 0.0 < density <= 1.0:
        raise ValueError(f"density must lie in (0, 1], not {density}")
    kept = total - math.floor((1.0 - density) * total)
    if kept == 0 and total > 0:
        raise ValueError(f"density {density:g} leaves none of {total} weights")
    return kept


def check(scores: Mapping[str, Tensor]) -> None:
    """Raise FloatingPointError, naming the tensor, if a score is NaN: a NaN has no rank."""
    for name, score in scores.items():
        if torch.isnan(score.sum()) and (bad := int(torch.isnan(score).sum())):  # a sum alone may be inf - inf
            raise FloatingPointError(f"{bad} of {score.numel()} scores of {name} are NaN")


def choose(score: Tensor, alive: Tensor, kept: int) -> Tensor:
    """The `kept` highest of the alive entries, as a boolean tensor; equal scores go to the lower position.

    score: [n] numbers without NaN, infinities allowed; alive: [n] boolean. An entry that is not alive never stays,
    whatever its score; if fewer than `kept` are alive, all of those stay.
    """
    count = int(alive.count_nonzero())
    if kept >= count:
        return alive.clone()
    if kept == 0:
        return torch.zeros_like(alive)
    # What lies above the threshold stays, of what equals it the first few.
    threshold = _highest(score if count == alive.numel() else score.masked_select(alive), kept)
    chosen = (score > threshold) & alive
    tied = ((score == threshold) & alive).nonzero().flatten()
    chosen[tied[: kept - int(chosen.count_nonzero())]] = True
    return chosen


def _highest(score: Tensor, place: int) -> Tensor:
    """The value that is at `place` (from 1) from above, by selection, in linear time."""
    below = score.numel() - place
    if score.device.type == "cpu" and score.dtype in (torch.float32, torch.float64):
        return score.new_tensor(np.partition(score.numpy(), below)[below])  # ten times as quick as torch's
    return torch.kthvalue(score, below + 1).values


def rank(scores: Mapping[str, Tensor], alive: Mapping[str, Tensor], density: float, scope: str) -> dict[str, Tensor]:
    """Boolean keep tensors, one for each name and shaped like its score.

    density: fraction of all weights (pruned ones counted) that stays; scope: "global" ranks all tensors together,
    "local" each by itself. Raises FloatingPointError for a NaN score and ValueError for an unusable density or scope.
    """
    if scope not in SCOPES:
        raise ValueError(f"scope must be one of {', '.join(SCOPES)}, not {scope!r}")
    check(scores)
    if scope == "local" or not scores:
        return {
            name: choose(score.flatten(), alive[name].flatten(), kept_count(score.numel(), density)).view_as(score)
            for name, score in scores.items()
        }
    flat = torch.cat([score.flatten() for score in scores.values()])
    live = torch.cat([alive[name].flatten() for name in scores])
    chosen = choose(flat, live, kept_count(flat.numel(), density))
    parts = chosen.split([score.numel() for score in scores.values()])
    return {name: part.view_as(score) for part, (name, score) in zip(parts, scores.items(), strict=True)}
