"""Networks as linear maps, for SynFlow and for the search for dead units."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from Layers.passing import Passing
from Layers.reading import Over, of, replaced


@contextmanager
def linear_flow(model: nn.Module, mixing: bool = False) -> Iterator[None]:
    """Make layers pass signals on as their weights alone would, without normalising, for the duration of the body.

    A layer of this project that is not a linear map of its input with dropout off has a `reading` and asks it for
    `flow`. The layer's docstring says what it then computes. All else are functions of torch, which are replaced
    (Layers/passing.py).
    mixing: units that are normalised together reach each other, as they do through their mean and variance.
    """
    readings = {module: Over(of(module), flow=True) for module in model.modules() if hasattr(module, "reading")}
    with replaced(readings), Passing(mixing):
        yield
