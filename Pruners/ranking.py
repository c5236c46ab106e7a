"""From scores to masks: how many weights stay, and which. Counts are exact for any scores.

Where scores tie at the threshold, a seeded draw decides or the position does (`TIES`). By position the last layers lose
their weights first, which no score has asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from Pruners import SCOPES, TIES


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


@dataclass(frozen=True)
class Choice:
    """Which entries stay, as a boolean tensor, and how many of them a tie decided: equal scores went, these stayed."""

    chosen: Tensor
    by_tie: int = 0


def choose(score: Tensor, alive: Tensor, kept: int, draw: torch.Generator | None = None) -> Choice:
    """Choose the `kept` highest of the alive entries.

    score: [n] numbers without NaN, infinities allowed. alive: [n] boolean; an entry that is not alive never stays, and
    if fewer than `kept` are alive, all of those stay. draw: decides among equal scores; None: the lower position does.
    """
    count = int(alive.count_nonzero())
    if kept >= count:
        return Choice(alive.clone())
    if kept == 0:
        return Choice(torch.zeros_like(alive))
    # What lies above the threshold stays, of what equals it as many as there is room for.
    threshold = _highest(score if count == alive.numel() else score.masked_select(alive), kept)
    chosen = (score > threshold) & alive
    tied = ((score == threshold) & alive).nonzero().flatten()
    room = kept - int(chosen.count_nonzero())
    if room == len(tied):
        chosen[tied] = True
        return Choice(chosen)
    if draw is not None:
        tied = tied[torch.randperm(len(tied), generator=draw).to(tied.device)]
    chosen[tied[:room]] = True
    return Choice(chosen, room)


def _highest(score: Tensor, place: int) -> Tensor:
    """The value that is at `place` (from 1) from above, by selection, in linear time."""
    below = score.numel() - place
    if score.device.type == "cpu" and score.dtype in (torch.float32, torch.float64):
        return score.new_tensor(np.partition(score.numpy(), below)[below])  # ten times as quick as torch's
    return torch.kthvalue(score, below + 1).values


@dataclass(frozen=True)
class Ranking:
    """keep: boolean tensors by name, shaped like the scores; by_tie: how many of the kept weights a tie decided."""

    keep: dict[str, Tensor]
    by_tie: int = 0


def rank(
    scores: Mapping[str, Tensor],
    alive: Mapping[str, Tensor],
    density: float,
    scope: str,
    ties: str = "position",
    seed: int = 0,
) -> Ranking:
    """Rank scores and keep the highest.

    density: fraction of all weights (pruned ones counted) that stays; scope: "global" ranks all tensors together,
    "local" each by itself; ties: "seeded" draws among equal scores from `seed`, "position" takes the first of them.
    Raises FloatingPointError for a NaN score and ValueError for an unusable density, scope or kind of ties.
    """
    if scope not in SCOPES:
        raise ValueError(f"scope must be one of {', '.join(SCOPES)}, not {scope!r}")
    if ties not in TIES:
        raise ValueError(f"ties must be one of {', '.join(TIES)}, not {ties!r}")
    check(scores)
    draw = torch.Generator().manual_seed(seed) if ties == "seeded" else None
    if scope == "local" or not scores:
        found = {
            name: choose(score.flatten(), alive[name].flatten(), kept_count(score.numel(), density), draw)
            for name, score in scores.items()
        }
        keep = {name: choice.chosen.view_as(scores[name]) for name, choice in found.items()}
        return Ranking(keep, sum(choice.by_tie for choice in found.values()))
    flat = torch.cat([score.flatten() for score in scores.values()])
    live = torch.cat([alive[name].flatten() for name in scores])
    choice = choose(flat, live, kept_count(flat.numel(), density), draw)
    parts = choice.chosen.split([score.numel() for score in scores.values()])
    keep = {name: part.view_as(score) for part, (name, score) in zip(parts, scores.items(), strict=True)}
    return Ranking(keep, choice.by_tie)
