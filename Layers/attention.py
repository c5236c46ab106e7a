"""Multi-head attention with masks (Vaswani et al. 2017, section 3.2.2), with the parameter names of torch.nn."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from Layers.layers import Linear, masked, register_masks
from Layers.reading import PLAIN


class OutProjection(Linear):
    """The masked Linear after the heads. It has a class of its own so that it differs from other Linears."""


class MultiheadAttention(nn.Module):
    """A masked nn.MultiheadAttention(embed_dim, num_heads, dropout, batch_first=True).

    `in_proj_weight` [3 E, E] holds the query, key and value projections one below the other, `in_proj_bias` [3 E] their
    biases. `out_proj` is the Linear after the heads. Every weight is multiplied by its mask, in train and in eval mode.
    Initial values are those of torch.nn: Xavier for `in_proj_weight`, zero for biases.

    In a linear flow, attention is over a single position. There the softmax is 1, and the heads return the value
    projection. Query and key then have no effect, and a pruner that scores by flow would remove them all. So each of
    their weights gets the gradient of a value weight in its position. They add nothing to the output, nor to any other
    gradient.
    """

    reading = PLAIN

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"{embed_dim} features cannot be shared out among {num_heads} heads")
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dim, embed_dim))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * embed_dim))
        register_masks(self)
        self.out_proj = OutProjection(embed_dim, embed_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial weights from the global generator."""
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.in_proj_bias)
        nn.init.zeros_(self.out_proj.bias)

    def project(self, input: Tensor, which: str) -> tuple[Tensor, ...]:
        """Project [B, L, E] to the requested ones of query, key and value, each [B, heads, L, E / heads].

        which: consecutive letters of "qkv", in that order.
        """
        first = "qkv".index(which)
        rows = slice(first * self.embed_dim, (first + len(which)) * self.embed_dim)
        heads = self.reading.output(self, input, rows)
        return heads.unflatten(-1, (len(which), self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    def whole(self, input: Tensor, rows: slice) -> Tensor:
        """Project with these rows of `in_proj_weight`, using every weight: [B, L, E] -> [B, L, len(rows)]."""
        return F.linear(input, masked(self, "in_proj_weight", rows), masked(self, "in_proj_bias", rows))

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """Attend from `query` [B, T, E] to `memory` [B, S, E] (the same tensor in self-attention); return [B, T, E].

        mask: boolean, broadcast to [B, heads, T, S]; False marks positions that are not attended to.
        causal: attend to no later position.
        """
        if self.reading.flow:
            return self._linear(memory)
        if query is memory:
            return self.attend(*self.project(query, "qkv"), mask=mask, causal=causal)
        return self.attend(*self.project(query, "q"), *self.project(memory, "kv"), mask=mask, causal=causal)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Apply attention and the output projection: [B, heads, T, E / heads] -> [B, T, E]."""
        if causal and mask is not None:  # one mask for both: newer torch takes one of the two alone
            ahead = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=mask.device)
            mask, causal = mask & ahead.tril(), False
        dropout = self.dropout if self.training else 0.0
        heads = F.scaled_dot_product_attention(query, key, value, mask, dropout, causal)
        return self.out_proj(heads.transpose(1, 2).flatten(2))

    def attend_once(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Do the same as `attend` for a single position without dropout: query [B, heads, E / heads] -> [B, E].

        key, value: [L, B, heads, E / heads].
        mask: boolean [L, B, 1]; False marks positions that are not attended to.
        Positions are the first dimension, so the keys of a growing sentence are adjacent in memory. A product with a
        part of a longer tensor would copy it.
        """
        weights = (query * key).sum(-1) / math.sqrt(query.shape[-1])
        if mask is not None:
            weights = weights.masked_fill(~mask, -torch.inf)
        heads = (weights.softmax(0).unsqueeze(-1) * value).sum(0)
        return self.out_proj(heads.flatten(1))

    def _linear(self, memory: Tensor) -> Tensor:
        (value,) = self.project(memory, "v")
        if torch.is_grad_enabled():
            for ghost in self.project(memory.detach(), "qk"):
                value = value + (ghost - ghost.detach())
        return self.out_proj(value.transpose(1, 2).flatten(2))
