"""The way a layer reads its weights, kept in one attribute, `reading`, of every masked layer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Reading:
    """The plain way: compute `mask * parameter` in full."""

    flow = False  # whether signals pass as the weights alone would pass them on, see Layers/flow.py

    def mask(self, module: nn.Module, name: str) -> Tensor | None:
        """Return the mask of `module.<name>` that is used; None if none is."""
        return getattr(module, f"{name}_mask", None)

    def weight(self, module: nn.Module, name: str, rows: slice | None = None) -> Tensor | Any:
        """Return the tensor used in place of `module.<name>`; None if the layer was built without it.

        rows: a slice of the first dimension; None for all rows.
        """
        parameter: Tensor | None
        parameter, mask = module._parameters[name], self.mask(module, name)  # an attached layer's attribute is masked
        if rows is not None and parameter is not None:
            parameter, mask = parameter[rows], None if mask is None else mask[rows]
        return parameter if parameter is None or mask is None else mask * parameter

    def output(self, module: Any, *inputs: Any) -> Tensor:
        """Return the layer's output. The layer's method `whole` is the plain computation."""
        return module.whole(*inputs)

    def table(self, module: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return (weight [V, d], ids) for an embedding lookup, or the same lookup in a table of fewer rows.

        A masked weight is multiplied by its mask only in the rows that are looked up.
        """
        mask = self.mask(module, "weight")
        if mask is None:
            return module.weight, ids
        flat = ids.flatten()
        rows = torch.embedding(module.weight, flat)  # F.embedding is another function in a linear flow (passing.py)
        return rows * mask[flat], torch.arange(len(flat), device=ids.device).view_as(ids)

    def bag(self, ids: Tensor, table: Tensor, offsets: Tensor | None, mode: str) -> Tensor:
        """Return the bags [B, d] of an EmbeddingBag, of what its `table` gave."""
        return F.embedding_bag(ids, table, offsets, mode=mode)

    def whole_table(self) -> "Reading":
        """Return the way of reading that looks up in the layer's own weight, with the same masks."""
        return self

    def settle(self) -> None:
        """Bring the layer's own weight up to date, before others read or write it."""


class Raw(Reading):
    """The way without masks, in which torch.nn.Transformer reads a masked projection."""

    def mask(self, module: nn.Module, name: str) -> Tensor | None:
        return None


class Over(Reading):
    """A way that changes something of the way `before`, which it replaces for a while."""

    def __init__(self, before: Reading, flow: bool = False) -> None:
        self.before, self.flow = before, flow or before.flow

    def mask(self, module: nn.Module, name: str) -> Tensor | None:
        return self.before.mask(module, name)

    def output(self, module: Any, *inputs: Any) -> Tensor:
        return self.before.output(module, *inputs)

    def table(self, module: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
        return self.before.table(module, ids)

    def bag(self, ids: Tensor, table: Tensor, offsets: Tensor | None, mode: str) -> Tensor:
        return self.before.bag(ids, table, offsets, mode)

    def settle(self) -> None:
        self.before.settle()


PLAIN = Reading()


def of(module: nn.Module) -> Reading:
    """Return the way a layer reads its weights. A layer of torch.nn has no masks and reads in the plain way."""
    return getattr(module, "reading", PLAIN)


@contextmanager
def replaced(readings: Mapping[nn.Module, Reading]) -> Iterator[None]:
    """Set the `reading` of these layers during the body, and restore it afterwards, also after an error."""
    module: Any  # torch declares that attributes set from outside are tensors or modules
    before: dict[nn.Module, Any] = {module: module.__dict__.get("reading") for module in readings}
    try:
        for module, reading in readings.items():
            module.reading = reading
        yield
    finally:
        for module, reading in before.items():
            if reading is None:
                del module.reading  # the class has one
            else:
                module.reading = reading
