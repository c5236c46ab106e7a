"""Changed copies of a split: the same examples and targets, with words or image tiles in another order or missing.

A text is a row of words, a source sentence the row of its words, an image the row of its tiles, from left to right and
top to bottom. So each change is one function of rows for texts and images alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import singledispatch

import torch
from torch import Tensor
from torch.nn import functional as F

from Utils.data.examples import Examples, Images, Sentences, Texts, framed, rows_of
from Utils.errors import UserError

TILE = 4  # rows and columns of an image's tile


@dataclass(frozen=True)
class Rows:
    """The inputs of n examples as rows of units (words or tiles): row k is units[offsets[k]:offsets[k + 1]]."""

    units: Tensor  # [N] words, or [N, ...] tiles
    offsets: Tensor  # int64 [n + 1]
    back: Callable[[Tensor, Tensor], Examples]  # (units, offsets) -> the examples with these inputs
    blank: Tensor | None = None  # what a missing unit becomes; None: it leaves no gap

    def numbers(self) -> Tensor:
        """Return the number of the row of each unit, [N]."""
        return torch.repeat_interleave(torch.arange(len(self.offsets) - 1), self.offsets.diff())


@singledispatch
def rows(examples: Examples) -> Rows:
    """Return the inputs of the examples as rows. Raises UserError for examples that are not held in memory."""
    raise UserError("test inputs that stay in their files cannot be changed; choose a run on other data")


@rows.register
def _(examples: Texts) -> Rows:
    return Rows(examples.ids, examples.offsets, lambda ids, offsets: replace(examples, ids=ids, offsets=offsets))


@rows.register
def _(examples: Sentences) -> Rows:
    def back(ids: Tensor, offsets: Tensor) -> Examples:
        ids, offsets = framed(ids, offsets)
        return replace(examples, source_ids=ids, source_offsets=offsets)

    offsets = examples.source_offsets
    inner = torch.ones_like(examples.source_ids, dtype=torch.bool)
    inner[offsets[:-1]] = inner[offsets[1:] - 1] = False  # without <bos> and <eos>
    return Rows(examples.source_ids[inner], offsets - 2 * torch.arange(len(offsets)), back)


@rows.register
def _(examples: Images) -> Rows:
    count, channels, height, width = examples.pixels.shape
    down, right = (-size % TILE for size in (height, width))  # edges are filled up, and cut off again by `back`
    padded = F.pad(examples.pixels, [0, right, 0, down])
    grid = padded.unfold(2, TILE, TILE).unfold(3, TILE, TILE).permute(0, 2, 3, 1, 4, 5)
    across = grid.shape[:3]

    def back(tiles: Tensor, _: Tensor) -> Examples:
        whole = tiles.view(*across, channels, TILE, TILE).permute(0, 3, 1, 4, 2, 5).reshape(padded.shape)
        return replace(examples, pixels=whole[:, :, :height, :width])

    offsets = torch.arange(count + 1) * (across[1] * across[2])
    blank = examples.mean.round().to(torch.uint8).view(channels, 1, 1)  # zero for the network, up to rounding
    return Rows(grid.reshape(-1, channels, TILE, TILE), offsets, back, blank)


def shuffled(examples: Examples, draw: torch.Generator) -> Examples:
    """Put the units of each row in random order."""
    found = rows(examples)
    keys = found.numbers().double() + torch.rand(len(found.units), generator=draw, dtype=torch.float64)
    return found.back(found.units[keys.argsort()], found.offsets)


def swapped(examples: Examples, draw: torch.Generator) -> Examples:
    """Exchange one random unit of each row with the next unit. A row of one unit stays as it is."""
    found = rows(examples)
    first = _one(found, draw, last=1)
    order = torch.arange(len(found.units))
    order[first], order[first + 1] = first + 1, first
    return found.back(found.units[order], found.offsets)


def dropped(examples: Examples, draw: torch.Generator) -> Examples:
    """Remove one random unit of each row. A row of one unit stays as it is."""
    found = rows(examples)
    gone = torch.zeros(len(found.units), dtype=torch.bool)
    gone[_one(found, draw)] = True
    if found.blank is not None:
        units = found.units.clone()
        units[gone] = found.blank
        return found.back(units, found.offsets)
    lost = torch.bincount(found.numbers()[gone], minlength=len(found.offsets) - 1)
    return found.back(found.units[~gone], found.offsets - F.pad(lost.cumsum(0), [1, 0]))


def exchanged(examples: Examples, draw: torch.Generator) -> Examples:
    """Give each example the input of another one: what a metric says of a network that does not read its input."""
    found = rows(examples)
    count = len(found.offsets) - 1
    cycle = torch.randperm(count, generator=draw)  # each example gets the input of the one before it in a random cycle
    order = torch.empty_like(cycle)
    order[cycle] = cycle.roll(1)
    units, begins, lengths = rows_of(found.offsets, order)
    return found.back(found.units[units], F.pad((begins + lengths), [1, 0]))


def _one(found: Rows, draw: torch.Generator, last: int = 0) -> Tensor:
    """Return the position of one random unit of each row with two units or more, never of its `last` last units."""
    lengths = found.offsets.diff()
    places = (torch.rand(len(lengths), generator=draw, dtype=torch.float64) * (lengths - last)).long()
    return (found.offsets[:-1] + places)[lengths > 1]


CHANGES = {"shuffled": shuffled, "swapped": swapped, "dropped": dropped, "exchanged": exchanged}


@singledispatch
def rarity(examples: Examples) -> Tensor | None:
    """Return how rare the words behind each target are; None without words. Words are numbered by falling frequency."""
    return None


@rarity.register
def _(examples: Texts) -> Tensor:
    """Return the mean logarithm of the words' ranks in each text."""
    logs = torch.log1p(examples.ids.double())
    sums = F.pad(logs.cumsum(0), [1, 0])[examples.offsets].diff()
    return sums / examples.offsets.diff().clamp_min(1)


@rarity.register
def _(examples: Sentences) -> Tensor:
    """Return the logarithm of each target word's own rank."""
    return torch.log1p(examples.targets.double())
