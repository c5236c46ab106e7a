"""Masked weights that are multiplied out once, for many small forward passes without gradients."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from Layers import layers
from Layers.reading import Over, Reading, of, replaced


class Products(Over):
    """A way of reading that returns stored products."""

    def __init__(self, before: Reading, kept: Mapping[str, Tensor]) -> None:
        super().__init__(before)
        self.kept = kept

    def weight(self, module: nn.Module, name: str, rows: slice | None = None) -> Tensor | None:
        if name not in self.kept:
            return self.before.weight(module, name, rows)
        return self.kept[name] if rows is None else self.kept[name][rows]

    def table(self, module: nn.Module, ids: Tensor) -> tuple[Tensor, Tensor]:
        return self.kept["weight"], ids


@contextmanager
def products_kept(model: nn.Module) -> Iterator[None]:
    """Compute each `mask * parameter` only once in the body, which must not change weights or masks."""
    kept = {}
    with torch.no_grad():
        for module in model.modules():
            names = [name for name, _ in layers.own_masks(module)]
            products = {name: of(module).weight(module, name) for name in names}
            if names:
                kept[module] = Products(of(module), {name: w for name, w in products.items() if w is not None})
        with replaced(kept):
            yield
