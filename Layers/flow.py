"""Networks as linear maps, for SynFlow and for the search for dead units."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def linear_flow(model: nn.Module) -> Iterator[None]:
    """Make layers pass signals on as their weights alone would, without normalising, for the duration of the body.

    A layer that is not a linear map of its input with dropout off (softmax attention, LayerNorm) has an attribute
    `flow`, which this context sets. The layer's docstring says what it then computes.
    """
    switched: list[Any] = [module for module in model.modules() if hasattr(module, "flow")]
    try:
        for module in switched:
            module.flow = True
        yield
    finally:
        for module in switched:
            module.flow = False
