"""Networks as linear maps: what SynFlow and the search for dead units look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def linear_flow(model: nn.Module) -> Iterator[None]:
    """Inside, every layer with a `flow` switch passes signals on as its weights alone would, without normalising.

    A layer that is no linear map of its input once dropout is off (softmax attention, LayerNorm) has such a switch, and
    says in its docstring what it does then.
    """
    switched: list[Any] = [module for module in model.modules() if hasattr(module, "flow")]
    try:
        for module in switched:
            module.flow = True
        yield
    finally:
        for module in switched:
            module.flow = False
