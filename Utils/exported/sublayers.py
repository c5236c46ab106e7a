"""The sublayers of a translator: attention and feed-forward nets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .caches import Cache, OwnCache
from .products import Product


class _Sublayer:
    """An attention or a feed-forward net, added to its input and normalised; this one has no weights left.

    The bias of its last product is in its input already: the normalisation before adds it, and the bias of its first
    product takes it out again. So it costs no operation, and the last product is added to the input as it is computed.
    """

    def __init__(self, about: Mapping[str, Any], products: Mapping[str, Product], norm: tuple) -> None:
        """products: by name, "in", "out" and "memory"; norm: what F.layer_norm takes behind its input."""
        self.about, self.norm = about, norm
        self.enter: Product | Any  # Any, for None where the kind has none: no kind calls what it does not have
        self.leave: Product | Any
        self.memory: Product | Any
        self.enter, self.leave, self.memory = (products.get(name) for name in ("in", "out", "memory"))

    def __call__(self, input: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """[B, L, E] -> [B, L, E]; memory: [B, S, E] of the source; mask: boolean [B, 1, 1, S], False at its padding."""
        return torch.layer_norm(self.added(input, memory, mask), *self.norm)

    def added(self, input: Tensor, memory: Tensor | None, mask: Tensor | None) -> Tensor:
        return input

    def cache(self, memory: Tensor, padding: Tensor | None, room: int) -> Cache | None:
        """What its steps read and write. memory: [B, S, E] of the source; padding: see `Cache`."""
        return None

    def step(self, input: Tensor, cache: Any, position: int) -> Tensor:
        """What `added` gives at `position` from that one's input alone, [B, E], or [E] of a single sentence."""
        return input


class _FeedForward(_Sublayer):
    def added(self, input: Tensor, memory: Tensor | None, mask: Tensor | None) -> Tensor:
        return self.leave.onto(input, torch.relu_(self.enter(input)))

    def step(self, input: Tensor, cache: Any, position: int) -> Tensor:
        return self.leave.onto(input, torch.relu_(self.enter(input)))


class _Attention(_Sublayer):
    """Its products give head after head, of each its query, key and value. 1 / sqrt(size) is in the query's weights.

    about: "heads", and the sizes of a head's "query", which the key has too, and of its "value".
    """

    def __init__(self, about: Mapping[str, Any], products: Mapping[str, Product], norm: tuple) -> None:
        super().__init__(about, products, norm)
        self.heads, self.query, self.value = (about[key] for key in ("heads", "query", "value"))

    def apart(self, found: Tensor, *sizes: int) -> tuple[Tensor, ...]:
        """[B, L, heads * sum of sizes] -> [B, L, heads, size] each."""
        return found.unflatten(2, (self.heads, -1)).split(sizes, 3)

    def attend(self, input: Tensor, parts: Sequence[Tensor], mask: Tensor | None, causal: bool = False) -> Tensor:
        """parts: query, key and value, each [B, L, heads, size]."""
        query, key, value = (part.transpose(1, 2) for part in parts)
        found = F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal, scale=1.0)
        return self.leave.onto(input, found.transpose(1, 2).flatten(2))


class _SelfAttention(_Attention):
    """Over all of the source; or, where "causal" is true, over what comes before in the target."""

    def added(self, input: Tensor, memory: Tensor | None, mask: Tensor | None) -> Tensor:
        parts = self.apart(self.enter(input), self.query, self.query, self.value)
        causal = self.about["causal"]
        return self.attend(input, parts, None if causal else mask, causal)

    def cache(self, memory: Tensor, padding: Tensor | None, room: int) -> Cache:
        size = self.heads * (2 * self.query + self.value)
        return OwnCache(memory.new_empty(room, len(memory), size), (self.heads, self.query, self.value))

    def step(self, input: Tensor, cache: OwnCache, position: int) -> Tensor:
        self.enter.into(cache.rows[position], input)
        seen = position + 1
        scores = torch.bmm(cache.queries[position], cache.keys.narrow(2, 0, seen))
        heads = torch.bmm(torch.softmax(scores, 2), cache.values.narrow(1, 0, seen))
        return self.leave.onto(input, heads.view(cache.shape))


class _SourceAttention(_Attention):
    """Of the target over the source."""

    def added(self, input: Tensor, memory: Tensor | Any, mask: Tensor | None) -> Tensor:
        parts = *self.apart(self.enter(input), self.query), *self.apart(self.memory(memory), self.query, self.value)
        return self.attend(input, parts, mask)

    def cache(self, memory: Tensor, padding: Tensor | None, room: int) -> Cache:
        held = self.memory(memory).transpose(0, 1).contiguous()
        return Cache(held, (self.heads, self.query, self.value), padding)

    def step(self, input: Tensor, cache: Cache, position: int) -> Tensor:
        query = self.enter(input).reshape(-1, 1, self.query)
        if cache.hidden is None:
            scores = torch.bmm(query, cache.keys)
        else:
            scores = torch.baddbmm(cache.hidden, query, cache.keys)
        heads = torch.bmm(torch.softmax(scores, 2), cache.values)
        return self.leave.onto(input, heads.view(cache.shape))


SUBLAYERS = {"self": _SelfAttention, "source": _SourceAttention, "feed": _FeedForward, "constant": _Sublayer}
