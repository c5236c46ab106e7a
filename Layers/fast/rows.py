"""Embeddings of which an optimizer updates only the rows that a batch needs."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from Layers.reading import Reading


class Rows(Protocol):
    """Who keeps the rows of a weight for a layer."""

    parameter: Tensor

    def look_up(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return (table [U, d], places): the rows that `ids` name, as a leaf that collects their gradient, and for each
        id its place in that table, shaped like `ids`."""

    def catch_up(self) -> None:
        """Bring the whole weight up to date."""


class ByRows(Reading):
    """Serves lookups that are differentiated from `rows`; others read the whole weight, brought up to date."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def table(self, module: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
        if self.rows.parameter is not module.weight:  # a stand-in, as functional_call puts there
            return module.weight, ids
        if torch.is_grad_enabled() and module.weight.requires_grad:
            return self.rows.look_up(ids)
        self.settle()
        return module.weight, ids

    def settle(self) -> None:
        self.rows.catch_up()
