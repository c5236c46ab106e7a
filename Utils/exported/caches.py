"""Keys and values that a translator keeps from one token to the next."""

from __future__ import annotations

import torch
from torch import Tensor


class Cache:
    """Keys and values of an attention to the source, [S, B, heads * (query + value)], and how a step reads them.

    Positions come first, so that one product writes those of a step. As views: keys [B * heads, query, S] and values
    [B * heads, S, value], which bmm reads in place. shape: of the heads' values side by side, [B, ...], or [...] of a
    single sentence. padding: [B, 1, S], minus infinity at the source's padding and zero elsewhere, or None; hidden: the
    same for each head.
    """

    def __init__(self, held: Tensor, sizes: tuple[int, int, int], padding: Tensor | None = None) -> None:
        """sizes: of the heads, how many, and each one's query and value."""
        self.held, self.sizes, self.padding = held, sizes, padding
        heads, query, value = sizes
        room, batch, width = held.shape
        by_head = held.view(room, batch * heads, width // heads)
        first = width // heads - query - value
        self.keys = by_head[:, :, first : first + query].permute(1, 2, 0)
        self.values = by_head[:, :, first + query :].transpose(0, 1)
        self.shape = (heads * value,) if batch == 1 else (batch, heads * value)
        self.hidden = None if padding is None else padding.repeat_interleave(heads, 0)

    def kept(self, rows: Tensor, filled: int) -> Cache:
        """The same of these sentences; filled: positions of the target so far."""
        padding = None if self.padding is None else self.padding.index_select(0, rows)
        return Cache(self.held.index_select(1, rows), self.sizes, padding)


class OwnCache(Cache):
    """The same of the target so far, with room for the rest, and its queries: [room, B, heads * (2 query + value)].

    Of each position, rows: what a step writes, [B, ...] or [...]; queries: [B * heads, 1, query].
    """

    def __init__(self, held: Tensor, sizes: tuple[int, int, int]) -> None:
        super().__init__(held, sizes)
        heads, query, _ = sizes
        room, batch, width = held.shape
        self.rows = (held.view(room, width) if batch == 1 else held).unbind(0)
        self.queries = held.view(room, batch * heads, 1, width // heads)[..., :query].unbind(0)

    def kept(self, rows: Tensor, filled: int) -> OwnCache:
        held = self.held.new_empty(len(self.held), len(rows), self.held.shape[2])
        torch.index_select(self.held[:filled], 1, rows, out=held[:filled])
        return OwnCache(held, self.sizes)
