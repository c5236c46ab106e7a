"""New initial weights."""

import torch
from torch import nn


@torch.no_grad()
def redraw(model: nn.Module) -> None:
    """Draw new initial weights from torch's generator. Masks stay.

    The model's `reset_parameters` overrides those of its layers.
    """
    for module in reversed(list(model.modules())):  # children before parents
        if callable(reset := getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))):
            reset()
