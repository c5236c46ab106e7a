"""Embeddings of which an optimizer updates only the rows that a batch needs."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from Layers.reading import Reading


class Rows(Protocol):
    """The keeper of the rows of a layer's weight."""

    parameter: Tensor

    def look_up(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (rows [U], table [U, d], indices) for the rows that `ids` name.

        rows: their numbers, without repeats.
        table: the rows, as a leaf tensor that collects their gradient.
        indices: the row of the table for each id, shaped like `ids`.
        """

    def catch_up(self) -> None:
        """Bring the whole weight up to date."""


class ByRows(Reading):
    """A way of reading that serves lookups with gradients from `rows`.

    Others use the whole weight, brought up to date. Masks are those of `before`, the way that this one replaces.
    """

    def __init__(self, rows: Rows, before: Reading) -> None:
        self.rows, self.before = rows, before

    def mask(self, module: nn.Module, name: str) -> Tensor | None:
        return self.before.mask(module, name)

    def table(self, module: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
        replaced = self.rows.parameter is not module.weight  # by functional_call
        if not replaced and torch.is_grad_enabled() and module.weight.requires_grad:
            rows, table, indices = self.rows.look_up(ids)
            mask = self.mask(module, "weight")
            return table if mask is None else table * mask[rows], indices
        self.settle()
        return self.before.table(module, ids)

    def whole_table(self) -> Reading:
        return self.before

    def settle(self) -> None:
        self.rows.catch_up()
