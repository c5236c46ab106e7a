"""Scopes: what is ranked together, how many weights each tensor keeps, and which stay whatever the others have."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Scope:
    """A scope with more to it than its name.

    kind: "global" ranks all tensors together, "local" each by itself at the density of all. With "erk" and "file" each
    is ranked by itself at a density of its own.
    densities: of "file", the ratios of the tensors' densities by name.
    never_empty: keep the best weight of each row first: of an output of a Linear, an output channel, a word.
    pattern: (N, M) keeps N of every M weights that follow each other along the input, the second dimension.
    """

    kind: str = "global"
    densities: Mapping[str, float] = field(default_factory=dict)
    never_empty: bool = False
    pattern: tuple[int, int] | None = None

    def size(self, name: str, score: Tensor) -> float:
        """Return what a tensor's kept weights are in proportion to, unless it is full.

        "erk", the Erdos-Renyi kernel, has density (inputs + outputs + width + height) / (inputs * outputs * width *
        height) times a constant (Mocanu et al. 2018, arXiv 1707.04780, eq. 1; Evci et al. 2020, arXiv 1911.11134).
        """
        return float(sum(score.shape)) if self.kind == "erk" else self.densities[name] * score.numel()


def shares(total: int, sizes: Sequence[float], most: Sequence[int], least: Sequence[int] | None = None) -> list[int]:
    """Divide `total` in proportion to `sizes`, above 0, with no share above `most` or below `least`. The sum is exact.

    What a full share cannot take goes to the others in proportion. Fractions are rounded by largest remainder, the
    first of equals first. If `total` is not enough for `least`, that is not heeded.
    """
    least = least if least is not None and sum(least) <= total else [0] * len(sizes)
    low, high = 0.0, max((limit / size for size, limit in zip(sizes, most, strict=True)), default=0.0)

    def at(factor: float) -> list[float]:
        return [max(a, min(b, factor * size)) for size, a, b in zip(sizes, least, most, strict=True)]

    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if math.fsum(at(middle)) < total else (low, middle)
    exact = at(high)
    found = [math.floor(share + 1e-9) for share in exact]
    by_rest = sorted(range(len(found)), key=lambda k: found[k] - exact[k])
    for k in [k for k in by_rest if found[k] < most[k]][: max(0, total - sum(found))]:
        found[k] += 1
    return found


def best(score: Tensor, alive: Tensor, draw: torch.Generator | None) -> Tensor:
    """Return a flag for the highest alive entry of each row: [rows, n], a row without one has none."""
    score = score.masked_fill(~alive, -math.inf)
    tied = alive & (score == score.amax(1, keepdim=True))
    lots = torch.rand(score.shape, generator=draw) if draw else torch.linspace(1, 0, score.shape[1]).expand_as(score)
    places = torch.where(tied, lots.to(score.device), -1.0).argmax(1, keepdim=True)
    return torch.zeros_like(alive).scatter_(1, places, True) & alive


def patterned(
    score: Tensor, alive: Tensor, density: float, pattern: tuple[int, int], draw: torch.Generator | None
) -> tuple[Tensor, int]:
    """Return (flags of the highest N of every M entries along the second dimension, how many of them a tie decided).

    The last group may be shorter: of r entries r * N / M stay, rounded up. At a density above N / M, on the way there,
    M * density take the place of N. A tensor of one dimension, which has no inputs, keeps all.
    """
    if score.dim() < 2:
        return alive, 0
    kept, group = max(pattern[0], math.ceil(pattern[1] * density - 1e-9)), pattern[1]
    last, rest = score.movedim(1, -1), -score.shape[1] % group
    rows = F.pad(last, (0, rest)).reshape(-1, group)
    live = F.pad(alive.movedim(1, -1), (0, rest)).reshape(-1, group)
    there = F.pad(torch.ones_like(last), (0, rest)).reshape(-1, group).sum(1)
    quota, chosen = (there * kept / group).ceil(), torch.zeros_like(live)
    for k in range(kept):
        chosen |= best(rows, live & ~chosen, draw) & (k < quota).unsqueeze(1)
    lowest = rows == rows.masked_fill(~chosen, math.inf).amin(1, keepdim=True)
    decided = lowest & chosen & (lowest & live & ~chosen).any(1, keepdim=True)
    whole = chosen.view(*last.shape[:-1], -1)[..., : score.shape[1]]
    return whole.movedim(-1, 1), int(decided.count_nonzero())
