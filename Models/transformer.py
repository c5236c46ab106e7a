"""Layers of a post-norm Transformer (Vaswani et al. 2017), with the names of torch.nn and every weight masked."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from Layers.attention import MultiheadAttention
from Layers.layers import Linear
from Layers.reading import PLAIN


class _FeedForward(nn.Module):
    """The feed-forward net at the end of both kinds of layer: linear2(dropout(relu(linear1)))."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = Linear(width, hidden)
        self.linear2 = Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def feed_forward(self, input: Tensor) -> Tensor:
        return self.dropout(self.linear2(self.dropout(F.relu(self.linear1(input)))))


class EncoderLayer(_FeedForward):
    """Self-attention, then the feed-forward net, each added to its input and normalised: [B, S, E] -> [B, S, E]."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__(width, hidden, dropout)
        self.self_attn = MultiheadAttention(width, heads, dropout)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, source: Tensor, mask: Tensor) -> Tensor:
        source = self.norm1(source + self.dropout(self.self_attn(source, source, mask)))
        return self.norm2(source + self.feed_forward(source))


@dataclass
class Cache:
    """The keys and values of one decoder layer, [L, B, heads, E / heads] each.

    `key` and `value` are allocated for all target positions; those before the present one are filled.
    """

    key: Tensor  # keys of the target so far
    value: Tensor
    source_key: Tensor
    source_value: Tensor

    def keep(self, rows: Tensor, filled: int) -> None:
        """Continue with these rows of the batch, in this order. A row may occur more than once."""
        for name in ("key", "value"):
            before = getattr(self, name)
            after = before.new_empty(len(before), len(rows), *before.shape[2:])
            torch.index_select(before[:filled], 1, rows, out=after[:filled])
            setattr(self, name, after)
        self.source_key, self.source_value = (
            held.index_select(1, rows) for held in (self.source_key, self.source_value)
        )


class DecoderLayer(_FeedForward):
    """Self-attention, attention to the source, feed-forward net, each added and normalised: [B, T, E] -> [B, T, E]."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__(width, hidden, dropout)
        self.self_attn = MultiheadAttention(width, heads, dropout)
        self.multihead_attn = MultiheadAttention(width, heads, dropout)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, target: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        target = self.norm1(target + self.dropout(self.self_attn(target, target, causal=True)))
        target = self.norm2(target + self.dropout(self.multihead_attn(target, memory, mask)))
        return self.norm3(target + self.feed_forward(target))

    def cache(self, memory: Tensor, room: int) -> Cache:
        """Compute the cache for a new target of at most `room` positions from `memory` [B, S, E]."""
        source = [heads.permute(2, 0, 1, 3).contiguous() for heads in self.multihead_attn.project(memory, "kv")]
        key, value = (heads.new_empty(room, *heads.shape[1:]) for heads in source)
        return Cache(key, value, *source)

    def step(self, target: Tensor, position: int, cache: Cache, mask: Tensor) -> Tensor:
        """Return `forward`'s output in eval mode at the last of position + 1 positions, from that one's input [B, E].

        mask: boolean [S, B, 1], False at the padding of the source.
        """
        heads = self.self_attn.project(target.unsqueeze(1), "qkv")
        query, cache.key[position], cache.value[position] = (part.squeeze(2) for part in heads)
        seen = slice(position + 1)
        target = self.norm1(target + self.self_attn.attend_once(query, cache.key[seen], cache.value[seen]))
        (query,) = self.multihead_attn.project(target.unsqueeze(1), "q")
        attended = self.multihead_attn.attend_once(query.squeeze(2), cache.source_key, cache.source_value, mask)
        target = self.norm2(target + attended)
        return self.norm3(target + self.feed_forward(target))


class Encoder(nn.Module):
    """Layers followed by a final normalisation."""

    def __init__(self, layers: list[nn.Module], width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width)

    def forward(self, source: Tensor, mask: Tensor) -> Tensor:
        for layer in self.layers:
            source = layer(source, mask)
        return self.norm(source)


class Decoder(Encoder):
    """Layers that also attend to a memory, followed by a final normalisation: [B, T, E] and [B, S, E] -> [B, T, E]."""

    # Of its own form: a decoder reads a memory as well.
    def forward(self, target: Tensor, memory: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        for layer in self.layers:
            target = layer(target, memory, mask)
        return self.norm(target)


class Transformer(nn.Module):
    """Encoder and decoder of `depth` layers each."""

    def __init__(self, width: int, heads: int, depth: int, hidden: int, dropout: float) -> None:
        super().__init__()
        sizes = width, heads, hidden, dropout
        self.encoder = Encoder([EncoderLayer(*sizes) for _ in range(depth)], width)
        self.decoder = Decoder([DecoderLayer(*sizes) for _ in range(depth)], width)


class PositionalEncoding(nn.Module):
    """The addition of sines and cosines of the position (section 3.5) to [B, L, E], then dropout.

    first: the position of the first entry. In a linear flow nothing is added, because only the input flows.
    """

    reading = PLAIN
    table: Tensor

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("table", self._table(128), persistent=False)

    def _table(self, length: int) -> Tensor:
        frequencies = torch.exp(torch.arange(0, self.width, 2) * (-torch.tensor(10_000.0).log() / self.width))
        angles = torch.arange(length).unsqueeze(1) * frequencies
        return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, : self.width]

    def forward(self, input: Tensor, first: int = 0) -> Tensor:
        if not self.reading.flow:
            last = first + input.shape[1]
            if last > self.table.shape[0]:  # a longer sentence than any before
                self.table = self._table(2 * last).to(self.table)
            input = input + self.table[first:last]
        return self.dropout(input)
