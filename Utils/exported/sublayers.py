"""Sublayers of a translator: attentions and feed-forward networks."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .caches import Cache, OwnCache
from .products import Product


class _Sublayer:
    """A sublayer that is added to its input and normalised. This base class is a sublayer without weights.

    The normalisation before a sublayer adds the bias of the sublayer's last product, and the bias of its first product
    subtracts it again. So the bias costs no operation, and the last product is added to the input while it is computed.
    """

    def __init__(self, about: Mapping[str, Any], products: Mapping[str, Product], norm: tuple) -> None:
        """Store the parts. products: "in", "out", "memory"; norm: the arguments of F.layer_norm after the input."""
        self.about, self.norm = about, norm
        self.enter: Product | Any  # Any because it may be None; no kind calls a product that it does not have
        self.leave: Product | Any
        self.memory: Product | Any
        self.enter, self.leave, self.memory = (products.get(name) for name in ("in", "out", "memory"))

    def __call__(self, input: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Run the sublayer on all positions: [B, L, E] -> [B, L, E].

        memory: the encoder's output [B, S, E]. mask: boolean [B, 1, 1, S], False at the source's padding.
        """
        return torch.layer_norm(self.added(input, memory, mask), *self.norm)

    def added(self, input: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Return the input plus the sublayer's output, before the normalisation."""
        return input

    def cache(self, memory: Tensor, padding: Tensor | None, room: int) -> Cache | None:
        """Return what its steps read and write; None if nothing. padding: see `Cache`. room: number of positions."""
        return None

    def step(self, input: Tensor, cache: Any, position: int) -> Tensor:
        """Return `added` of one position, from that position's input: [B, E], or [E] of a single sentence."""
        return self.added(input)


class _FeedForward(_Sublayer):
    def added(self, input: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        return self.leave.onto(input, torch.relu_(self.enter(input)))


class _Attention(_Sublayer):
    """An attention whose products give, head after head, the query, key and value.

    The query's weights contain the factor 1 / sqrt(size). about: the number of "heads", and the sizes of a head's
    "query", which is also the key's, and "value".
    """

    def __init__(self, about: Mapping[str, Any], products: Mapping[str, Product], norm: tuple) -> None:
        super().__init__(about, products, norm)
        self.heads, self.query, self.value = (about[key] for key in ("heads", "query", "value"))

    def apart(self, found: Tensor, *sizes: int) -> tuple[Tensor, ...]:
        """Split [B, L, heads * sum of sizes] into parts of [B, L, heads, size]."""
        return found.unflatten(2, (self.heads, -1)).split(sizes, 3)

    def attend(self, input: Tensor, parts: Sequence[Tensor], mask: Tensor | None, causal: bool = False) -> Tensor:
        """Return the input plus the attention's output. parts: query, key and value, each [B, L, heads, size]."""
        query, key, value = (part.transpose(1, 2) for part in parts)
        found = F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal, scale=1.0)
        return self.leave.onto(input, found.transpose(1, 2).flatten(2))


class _SelfAttention(_Attention):
    """An attention over the whole source, or, if "causal" is true, over the earlier positions of the target."""

    def added(self, input: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
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
    """An attention of the target over the source."""

    def added(self, input: Tensor, memory: Tensor | Any = None, mask: Tensor | None = None) -> Tensor:
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
