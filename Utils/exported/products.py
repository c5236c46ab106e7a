"""Products with a matrix, as the translator needs them: of one row, into a buffer, added to a sum, or their argmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .forms import Block, CsrLinear, Whole


class Product:
    """A form that also takes a single row [I], for which it calls torch directly."""

    def __init__(self, made: Callable) -> None:
        self.made: Any = made  # it has a weight and a bias if `direct`
        self.direct = type(made) in (Whole, CsrLinear)

    def __call__(self, input: Tensor) -> Tensor:
        if input.dim() > 1:
            return self.made(input)
        if self.direct:
            return torch.addmv(self.made.bias, self.made.weight, input)
        return self.made(input.unsqueeze(0)).squeeze(0)

    def into(self, out: Tensor, input: Tensor) -> None:
        """Write the product to `out`."""
        if self.direct and input.dim() == 1:
            torch.addmv(self.made.bias, self.made.weight, input, out=out)
        else:
            out.copy_(self(input))

    def onto(self, base: Tensor, input: Tensor) -> Tensor:
        """Return `base` plus the product. The form has no bias."""
        if self.direct and input.dim() == 1:
            return torch.addmv(base, self.made.weight, input)
        return base + self(input)


class Words(Product):
    """The product that gives the logit of every word."""

    BLOCK = 1024  # words at a time in the argmax of several sentences

    def __init__(self, made: Callable) -> None:
        super().__init__(made)
        self.rest: Any = None  # (the highest bias, its word) of the words without weights, scalars
        if type(made) is Block and made.rows is not None:  # the logit of a word without weights is its bias
            assert made.bias is not None  # every word has a bias
            others = torch.ones_like(made.bias, dtype=torch.bool).index_fill_(0, made.rows, False).nonzero().flatten()
            value, index = made.bias[others].max(0)
            self.rest = value, others[index]

    def likeliest(self, hidden: Tensor) -> Tensor:
        """Return the word with the highest logit: [B, E], or [E] of a single sentence -> [B]. Ties: the first word."""
        if self.rest is not None:
            return self._of_block(hidden.view(-1, hidden.shape[-1]))
        if type(self.made) is Whole and hidden.dim() > 1:
            return self._by_blocks(hidden)
        return self(hidden).max(-1, keepdim=True)[1].view(-1)

    def _of_block(self, hidden: Tensor) -> Tensor:
        """Return `likeliest` without computing the logits of words without weights."""
        value, word = self.rest
        if len(self.made.rows) == 0:
            return word.expand(len(hidden))
        columns = self.made.columns
        found = self.made.product(hidden if columns is None else hidden.index_select(1, columns))
        best, index = found.max(1)
        best_word = self.made.rows[index]
        return torch.where((best > value) | (best == value) & (best_word < word), best_word, word)

    def _by_blocks(self, hidden: Tensor) -> Tensor:
        """Return `likeliest` by blocks of words, whose logits stay in the processor's cache."""
        best, words = hidden.new_full((len(hidden),), -torch.inf), hidden.new_zeros(len(hidden), dtype=torch.long)
        parts = zip(self.made.weight.split(self.BLOCK), self.made.bias.split(self.BLOCK), strict=True)
        for k, (weight, bias) in enumerate(parts):
            value, index = F.linear(hidden, weight, bias).max(1)
            better = value > best
            best, words = torch.where(better, value, best), torch.where(better, index + k * self.BLOCK, words)
        return words
