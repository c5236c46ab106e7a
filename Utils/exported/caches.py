"""Caches of the keys and values that a translator reuses from one token to the next."""

from __future__ import annotations

import torch
from torch import Tensor


class Cache:
    """The keys and values of an attention to the source, stored in one tensor, and the views of it that a step reads.

    Positions are the first dimension, so that one product can write all values of a step.
    """

    def __init__(self, held: Tensor, sizes: tuple[int, int, int], padding: Tensor | None = None) -> None:
        """Set up the views of `held`, [S, B, heads * (query + value)].

        sizes: the number of heads, and the sizes of a head's query and value.
        padding: [B, 1, S], minus infinity at the source's padding and zero elsewhere; None if there is no padding.
        """
        self.held, self.sizes, self.padding = held, sizes, padding
        heads, query, value = sizes
        room, batch, width = held.shape
        by_head = held.view(room, batch * heads, width // heads)
        first = width // heads - query - value
        self.keys = by_head[:, :, first : first + query].permute(1, 2, 0)  # [B * heads, query, S], for bmm
        self.values = by_head[:, :, first + query :].transpose(0, 1)  # [B * heads, S, value]
        self.shape = (heads * value,) if batch == 1 else (batch, heads * value)  # of all heads' values together
        self.hidden = None if padding is None else padding.repeat_interleave(heads, 0)  # [B * heads, 1, S]

    def kept(self, rows: Tensor, filled: int) -> Cache:
        """Return the cache of these rows of the batch. filled: number of target positions written so far."""
        padding = None if self.padding is None else self.padding.index_select(0, rows)
        return Cache(self.held.index_select(1, rows), self.sizes, padding)


class OwnCache(Cache):
    """The queries, keys and values of the target's self-attention, with room for positions still to come."""

    def __init__(self, held: Tensor, sizes: tuple[int, int, int]) -> None:
        """Set up the views of `held`, [room, B, heads * (2 query + value)]. sizes: see Cache."""
        super().__init__(held, sizes)
        heads, query, _ = sizes
        room, batch, width = held.shape
        # By position: what a step writes, [B, ...] or [...] of a single sentence; the queries, [B * heads, 1, query].
        self.rows = (held.view(room, width) if batch == 1 else held).unbind(0)
        self.queries = held.view(room, batch * heads, 1, width // heads)[..., :query].unbind(0)

    def kept(self, rows: Tensor, filled: int) -> OwnCache:
        held = self.held.new_empty(len(self.held), len(rows), self.held.shape[2])
        torch.index_select(self.held[:filled], 1, rows, out=held[:filled])
        return OwnCache(held, self.sizes)
