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
from Pruners.layout import Scope, best, patterned, shares

Tensors = Mapping[str, Tensor]  # by name


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
        tied = tied[torch.randperm(len(tied), generator=draw)[:missing].to(tied.device)]
    chosen[tied[:missing]] = True
    return Choice(chosen, missing)


def _highest(score: Tensor, position: int) -> Tensor:
    """Return the `position`-th highest value (from 1), by selection in linear time."""
    # Without the lowest: if most values are one, such as 0, the selection takes fifty times as long.
    above = score[score > (lowest := score.min())]
    if (below := above.numel() - position) < 0:
        return lowest
    if score.device.type == "cpu" and score.dtype in (torch.float32, torch.float64):
        return score.new_tensor(np.partition(above.numpy(), below)[below])  # ten times as quick as torch's
    return torch.kthvalue(above, below + 1).values


@dataclass(frozen=True)
class Ranking:
    """The weights that stay, by tensor."""

    keep: dict[str, Tensor]  # boolean tensors by name, shaped like the scores
    by_tie: int = 0  # how many of the kept weights were chosen among equal scores of which others went


def rank(
    scores: Tensors,
    alive: Tensors,
    density: float,
    scope: str | Scope,
    ties: str = "position",
    seed: int = 0,
) -> Ranking:
    """Rank the scores and keep the highest.

    density: fraction of all weights that stays; weights pruned before count as well.
    scope: "global" ranks all tensors together, "local" ranks each by itself; a `Scope` may ask for more.
    ties: "seeded" draws among equal scores from `seed`, "position" keeps the first of them.
    Raises FloatingPointError for a NaN score and ValueError for an unusable density, scope or kind of ties.
    """
    if not isinstance(scope, Scope) and scope not in SCOPES:
        raise ValueError(f"scope must be one of {', '.join(SCOPES)}, not {scope!r}")
    if ties not in TIES:
        raise ValueError(f"ties must be one of {', '.join(TIES)}, not {ties!r}")
    check(scores)
    layout = scope if isinstance(scope, Scope) else Scope(scope)
    draw = torch.Generator().manual_seed(seed) if ties == "seeded" else None
    if layout.pattern:
        found = {k: patterned(s, alive[k], density, layout.pattern, draw) for k, s in scores.items()}
        return Ranking({name: keep for name, (keep, _) in found.items()}, sum(ties for _, ties in found.values()))
    first = {
        name: best(score.flatten(1), alive[name].flatten(1), draw).flatten()
        for name, score in scores.items()
        if layout.never_empty and score.dim() > 1
    }
    keep: dict[str, Tensor] = {}
    by_tie = 0
    for names, kept in _groups(scores, alive, density, layout, first):
        score, live = (torch.cat([each[name].flatten() for name in names]) for each in (scores, alive))
        wanted = torch.cat([first.get(name, torch.zeros_like(alive[name]).flatten()) for name in names])
        choice = choose(score, wanted, kept, draw) if first else Choice(wanted)
        more = choose(score, live & ~choice.chosen, kept - int(choice.chosen.count_nonzero()), draw)
        by_tie += choice.by_tie + more.by_tie
        parts = (choice.chosen | more.chosen).split([scores[name].numel() for name in names])
        keep |= {name: part.view_as(scores[name]) for name, part in zip(names, parts, strict=True)}
    return Ranking(keep, by_tie)


def _groups(
    scores: Tensors, alive: Tensors, density: float, layout: Scope, first: Tensors
) -> list[tuple[list[str], int]]:
    """Return (names of the tensors that are ranked together, how many of their weights stay) for each ranking.

    first: the weights that stay first, by tensor.
    """
    names, total = list(scores), sum(score.numel() for score in scores.values())
    if not names:
        return []
    if layout.kind == "global":
        return [(names, kept_count(total, density))]
    if layout.kind == "local":
        return [([name], kept_count(scores[name].numel(), density)) for name in names]
    most = [int(alive[name].count_nonzero()) for name in names]  # so that rounding never asks for what is pruned
    least = [int(first[name].count_nonzero()) if name in first else 0 for name in names]
    kept = shares(kept_count(total, density), [layout.size(name, scores[name]) for name in names], most, least)
    return [([name], count) for name, count in zip(names, kept, strict=True)]
