"""Networks as linear maps, for SynFlow and for the search for dead units."""

from contextlib import AbstractContextManager

from torch import nn

from Layers.reading import Over, Reading, of, replaced


class Flow(Over):
    """The way of reading in a linear flow."""

    def __init__(self, before: Reading) -> None:
        super().__init__(before)
        self.flow = True


def linear_flow(model: nn.Module) -> AbstractContextManager[None]:
    """Make layers pass signals on as their weights alone would, without normalising, for the duration of the body.

    A layer that is not a linear map of its input with dropout off (softmax attention, LayerNorm) has a `reading` and
    asks it for `flow`. The layer's docstring says what it then computes.
    """
    return replaced({module: Flow(of(module)) for module in model.modules() if hasattr(module, "reading")})
