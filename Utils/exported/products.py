"""Products with a matrix as the translator needs them: of one row, into a buffer, onto a sum, or for their argmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .forms import BlockLinear, CsrLinear, WholeLinear


class Product:
    """A form as the translator calls it: rows [..., I], or a single row [I] with nothing between it and torch."""

    def __init__(self, made: Callable) -> None:
        self.made: Any = made  # has a weight and a bias where `direct`
        self.direct = type(made) in (WholeLinear, CsrLinear)

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
        """`base` plus the product, of a form that has no bias."""
        if self.direct and input.dim() == 1:
            return torch.addmv(base, self.made.weight, input)
        return base + self(input)


class Words(Product):
    """The product that gives every word its logit."""

    BLOCK = 1024  # words at a time, where many sentences look for their likeliest

    def __init__(self, made: Callable) -> None:
        super().__init__(made)
        self.rest: Any = None  # (the highest bias, its word) of the words left out, [] each
        if type(made) is BlockLinear and made.rows is not None:  # the logits of the words left out are their biases
            assert made.bias is not None  # each word has one
            others = torch.ones_like(made.bias, dtype=torch.bool).index_fill_(0, made.rows, False).nonzero().flatten()
            value, index = made.bias[others].max(0)
            self.rest = value, others[index]

    def likeliest(self, hidden: Tensor) -> Tensor:
        """[B, E], or [E] of a single sentence -> the word with the highest logit, [B]; the first of equals."""
        if self.rest is not None:
            return self._of_block(hidden.view(-1, hidden.shape[-1]))
        if type(self.made) is WholeLinear and hidden.dim() > 1:
            return self._by_blocks(hidden)
        return self(hidden).max(-1, keepdim=True)[1].view(-1)

    def _of_block(self, hidden: Tensor) -> Tensor:
        """No logit is computed of a word that has no weights."""
        value, word = self.rest
        if len(self.made.rows) == 0:
            return word.expand(len(hidden))
        columns = self.made.columns
        found = self.made.product(hidden if columns is None else hidden.index_select(1, columns))
        best, index = found.max(1)
        best_word = self.made.rows[index]
        return torch.where((best > value) | (best == value) & (best_word < word), best_word, word)

    def _by_blocks(self, hidden: Tensor) -> Tensor:
        """Words are looked at in blocks that stay in the processor's cache; all their logits are never written out."""
        best, words = hidden.new_full((len(hidden),), -torch.inf), hidden.new_zeros(len(hidden), dtype=torch.long)
        parts = zip(self.made.weight.split(self.BLOCK), self.made.bias.split(self.BLOCK), strict=True)
        for k, (weight, bias) in enumerate(parts):
            value, index = F.linear(hidden, weight, bias).max(1)
            better = value > best
            best, words = torch.where(better, value, best), torch.where(better, index + k * self.BLOCK, words)
        return words
