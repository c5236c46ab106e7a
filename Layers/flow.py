"""Networks as linear maps, for SynFlow and for the search for dead units."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from torch import nn

from Layers.attached import attached
from Layers.passing import Passing
from Layers.reading import Over, Reading, of, replaced


class Flow(Over):
    """The way of reading in a linear flow."""

    def __init__(self, before: Reading) -> None:
        super().__init__(before)
        self.flow = True


@contextmanager
def linear_flow(model: nn.Module) -> Iterator[None]:
    """Make layers pass signals on as their weights alone would, without normalising, for the duration of the body.

    A layer that is not a linear map of its input with dropout off (softmax attention, LayerNorm) has a `reading` and
    asks it for `flow`. The layer's docstring says what it then computes. Of a model with layers of others, the
    functions of torch are replaced (Layers/passing.py).
    """
    readings = {module: Flow(of(module)) for module in model.modules() if hasattr(module, "reading")}
    with replaced(readings), Passing() if attached(model) else nullcontext():
        yield
