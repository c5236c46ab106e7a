"""Lookup of words in an embedding of which only the rows that are not all zero are stored."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .unpacking import positions


class Lookup:
    """An embedding: token numbers [...] -> vectors [..., d]. A word whose row is not stored has a vector of zeros.

    tensors: the stored rows [R, d] as `name`; if some are missing, the gaps between the words that have one, and the
    size of the vocabulary behind them, as `name`.words. `held`: the tensors in memory.
    """

    def __init__(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        self.table = tensors[name]
        self.rows: Tensor | None = None
        self.held = [self.table]
        if f"{name}.words" in tensors:
            words = positions(tensors[f"{name}.words"])
            self.table = torch.nn.functional.pad(self.table, (0, 0, 1, 0))  # row 0 is that of all the other words
            self.rows = words.new_zeros(int(words[-1]))
            self.rows[words[:-1]] = torch.arange(1, len(words), device=words.device)
            self.held = [self.table, self.rows]

    def at(self, ids: Tensor) -> Tensor:
        """Return the rows of `table` that hold these words."""
        return ids if self.rows is None else self.rows.index_select(0, ids.flatten()).view_as(ids)

    def __call__(self, ids: Tensor) -> Tensor:
        return torch.embedding(self.table, self.at(ids))
