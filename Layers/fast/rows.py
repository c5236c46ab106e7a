"""Embeddings of which an optimizer updates only the rows that a batch needs."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from Layers.reading import Reading


class Rows(Protocol):
    """The keeper of the rows of a layer's weight."""

    parameter: Tensor

    def look_up(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return (table [U, d], indices) for the rows that `ids` name.

        table: the rows, as a leaf tensor that collects their gradient.
        indices: the row of the table for each id, shaped like `ids`.
        """

    def catch_up(self) -> None:
        """Bring the whole weight up to date."""


class ByRows(Reading):
    """A way of reading that serves lookups with gradients from `rows`.

    Others use the whole weight, brought up to date.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def table(self, module: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
        if self.rows.parameter is not module.weight:  # replaced by functional_call
            return module.weight, ids
        if torch.is_grad_enabled() and module.weight.requires_grad:
            return self.rows.look_up(ids)
        self.settle()
        return module.weight, ids

    def settle(self) -> None:
        self.rows.catch_up()
