"""Embeddings that can be trained a few rows at a time."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Rows(Protocol):
    """Who keeps the rows of a weight for a layer: an optimizer that updates only those a batch needs."""

    parameter: nn.Parameter

    def look_up(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(table [U, d], places): the rows that `ids` name, as a leaf that collects their gradient, and for each id its
        place in that table, shaped like `ids`."""

    def catch_up(self) -> None:
        """Bring the whole weight up to date."""


class _ByRows:
    """`rows`, where it is set, serves the lookups that are differentiated; every other one reads the whole weight."""

    rows: Rows | None = None

    def _table(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(weight, ids), or the same lookup in a table of the needed rows alone."""
        if self.rows is None or self.rows.parameter is not self.weight:  # a stand-in, as functional_call puts there
            return self.weight, ids
        if torch.is_grad_enabled() and self.weight.requires_grad:
            return self.rows.look_up(ids)
        self.rows.catch_up()
        return self.weight, ids

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        if self.rows is not None:
            self.rows.catch_up()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, *arguments) -> None:
        if self.rows is not None:  # or it would bring its own rows back
            self.rows.catch_up()
        super()._load_from_state_dict(*arguments)

    def __getstate__(self) -> dict:
        """A copy has the weight of this moment, and no optimizer."""
        if self.rows is not None:
            self.rows.catch_up()
        return {name: value for name, value in self.__dict__.items() if name != "rows"}


class EmbeddingBag(_ByRows, nn.EmbeddingBag):
    """nn.EmbeddingBag: ids [N] and offsets [B] -> [B, embedding_dim]. mode: "mean", "sum" or "max"."""

    def __init__(self, num_embeddings: int, embedding_dim: int, mode: str = "mean") -> None:
        super().__init__(num_embeddings, embedding_dim, mode=mode)

    def forward(self, input: Tensor, offsets: Tensor | None = None) -> Tensor:
        table, ids = self._table(input)
        return F.embedding_bag(ids, table, offsets, mode=self.mode)


class Embedding(_ByRows, nn.Embedding):
    """nn.Embedding: ids [...] -> [..., embedding_dim].

    In a linear flow: ones in one-hot space, whatever the ids; the mean row of the whole weight at every position.
    """

    flow = False

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__(num_embeddings, embedding_dim)

    def forward(self, input: Tensor) -> Tensor:
        if self.flow:
            if self.rows is not None:
                self.rows.catch_up()
            return self.weight.mean(0).expand(*input.shape, -1)
        table, ids = self._table(input)
        return F.embedding(ids, table)
