"""Masked weights that are multiplied out once, for many small forward passes without gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from Layers import fast, layers
from Layers.reading import Reading, of


class Products(Reading):
    """Reads products that are there already; all else is left to the way that it stands in for."""

    def __init__(self, before: Reading, kept: Mapping[str, Tensor]) -> None:
        self.before, self.kept = before, kept

    def mask(self, module: nn.Module, name: str) -> Tensor | None:
        return self.before.mask(module, name)

    def weight(self, module: nn.Module, name: str, rows: slice | None = None) -> Tensor | None:
        if name not in self.kept:
            return self.before.weight(module, name, rows)
        return self.kept[name] if rows is None else self.kept[name][rows]


@contextmanager
def products_kept(model: nn.Module) -> Iterator[None]:
    """Inside, no `mask * parameter` is computed twice. Weights and masks must not change meanwhile."""
    holders = [module for module in model.modules() if any(True for _ in layers.own_masks(module))]
    before = {module: of(module) for module in holders if fast.used()}
    try:
        with torch.no_grad():
            for module, reading in before.items():
                found = {name: reading.weight(module, name) for name, _ in layers.own_masks(module)}
                module.reading = Products(reading, {name: value for name, value in found.items() if value is not None})
            yield
    finally:
        for module, reading in before.items():
            module.reading = reading
