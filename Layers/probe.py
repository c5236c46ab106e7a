"""What a network is fed when only its structure matters: SynFlow's flow, FLOP counts, the search for dead units."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def ones(model: nn.Module, shape: Sequence[int], device: torch.device | str = "cpu"):
    """The all-ones input of `model`, one example long.

    A model whose input is not a float tensor defines `ones_input()` and returns its own, on its own device (for
    token ids: ones in one-hot space). For every other model it is a tensor of ones `[1, *shape]`, of the type of its
    parameters.
    """
    if hasattr(model, "ones_input"):
        return model.ones_input()
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    return torch.ones([1, *shape], device=device, dtype=dtype)
