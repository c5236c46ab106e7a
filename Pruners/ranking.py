"""Ranking of scores: how many weights stay, and which. The counts are exact for any scores.

Equal scores at the threshold are decided by a seeded random draw or by position (`TIES`). By position, the last layers
lose their weights first, although no score asks for that.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from Pruners import SCOPES, TIES


def kept_count(total: int, density: float) -> int:
    """Return how many of `total` weights stay at `density` in (0, 1]: `total - floor((1 - density) * total)`.

    Raises ValueError if density is not in (0, 1], or so small that no weight would stay.
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
    """The entries that stay."""

    chosen: Tensor  # boolean
    by_tie: int = 0  # how many of them were chosen among equal scores of which others went


def choose(score: Tensor, alive: Tensor, kept: int, draw: torch.Generator | None = None) -> Choice:
    """Choose the `kept` highest of the alive entries.

    score: [n] numbers without NaN; infinities are allowed.
    alive: [n] boolean. An entry that is not alive never stays. If fewer than `kept` are alive, all of them stay.
    draw: generator that decides among equal scores; None keeps the lower positions.
    """
    count = int(alive.count_nonzero())
    if kept >= count:
        return Choice(alive.clone())
    if kept == 0:
        return Choice(torch.zeros_like(alive))
    # Scores above the threshold stay, and as many of those equal to it as are missing.
    threshold = _highest(score if count == alive.numel() else score.masked_select(alive), kept)
    chosen = (score > threshold) & alive
    tied = ((score == threshold) & alive).nonzero().flatten()
    missing = kept - int(chosen.count_nonzero())
    if missing == len(tied):
        chosen[tied] = True
        return Choice(chosen)
    if draw is not None:
        tied = tied[torch.randperm(len(tied), generator=draw).to(tied.device)]
    chosen[tied[:missing]] = True
    return Choice(chosen, missing)


def _highest(score: Tensor, position: int) -> Tensor:
    """Return the `position`-th highest value (from 1), by selection in linear time."""
    below = score.numel() - position
    if score.device.type == "cpu" and score.dtype in (torch.float32, torch.float64):
        return score.new_tensor(np.partition(score.numpy(), below)[below])  # ten times as quick as torch's
    return torch.kthvalue(score, below + 1).values


@dataclass(frozen=True)
class Ranking:
    """The weights that stay, by tensor."""

    keep: dict[str, Tensor]  # boolean tensors by name, shaped like the scores
    by_tie: int = 0  # how many of the kept weights were chosen among equal scores of which others went


def rank(
    scores: Mapping[str, Tensor],
    alive: Mapping[str, Tensor],
    density: float,
    scope: str,
    ties: str = "position",
    seed: int = 0,
) -> Ranking:
    """Rank the scores and keep the highest.

    density: fraction of all weights that stays; weights pruned before count as well.
    scope: "global" ranks all tensors together, "local" ranks each by itself.
    ties: "seeded" draws among equal scores from `seed`, "position" keeps the first of them.
    Raises FloatingPointError for a NaN score and ValueError for an unusable density, scope or kind of ties.
    """
    if scope not in SCOPES:
        raise ValueError(f"scope must be one of {', '.join(SCOPES)}, not {scope!r}")
    if ties not in TIES:
        raise ValueError(f"ties must be one of {', '.join(TIES)}, not {ties!r}")
    check(scores)
    draw = torch.Generator().manual_seed(seed) if ties == "seeded" else None
    if scope == "local" or not scores:
        choices = {
            name: choose(score.flatten(), alive[name].flatten(), kept_count(score.numel(), density), draw)
            for name, score in scores.items()
        }
        keep = {name: choice.chosen.view_as(scores[name]) for name, choice in choices.items()}
        return Ranking(keep, sum(choice.by_tie for choice in choices.values()))
    flat = torch.cat([score.flatten() for score in scores.values()])
    live = torch.cat([alive[name].flatten() for name in scores])
    choice = choose(flat, live, kept_count(flat.numel(), density), draw)
    parts = choice.chosen.split([score.numel() for score in scores.values()])
    keep = {name: part.view_as(score) for part, (name, score) in zip(parts, scores.items(), strict=True)}
    return Ranking(keep, choice.by_tie)
