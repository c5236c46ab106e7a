"""The all-ones input of a network, for SynFlow, multiply-add counts and the search for dead units."""

from collections.abc import Sequence

import torch
from torch import nn


def ones(model: nn.Module, shape: Sequence[int], device: torch.device | str = "cpu"):
    """Return the all-ones input of `model`, one example long.

    A model whose input is not a float tensor defines `ones_input()`, which returns its own (for token ids: ones in
    one-hot space), on the model's device. For every other model the input is a tensor of ones `[1, *shape]` with the
    type of the parameters.
    """
    if hasattr(model, "ones_input"):
        return model.ones_input()
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    return torch.ones([1, *shape], device=device, dtype=dtype)
