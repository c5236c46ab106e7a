"""Reading of stored matrices back into whole tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def unpack(name: str, kept: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Tensor:
    """Return the whole matrix called `name`. Raises ValueError if it is stored in an unknown way.

    kept: its entry in the JSON's "matrices".
    """
    shape, stored = kept["shape"], kept["stored"]
    if stored == "whole":
        return tensors[name]
    found = torch.zeros(shape)
    if stored == "block":
        found[tensors[f"{name}.rows"].long().unsqueeze(1), tensors[f"{name}.columns"].long()] = tensors[name]
    elif stored == "bits":
        bits = tensors[f"{name}.bits"].unsqueeze(1) >> torch.arange(8, dtype=torch.uint8) & 1
        found.view(-1)[bits.flatten()[: found.numel()].bool()] = tensors[name]
    elif stored == "gaps":
        found.view(-1)[positions(tensors[f"{name}.gaps"])] = tensors[name]
    else:
        raise ValueError(f"{name} is stored as {stored!r}, which this loader does not know")
    return found


def positions(gaps: Tensor) -> Tensor:
    """Return increasing positions [n], int64, from the gaps between them, of which the first is counted from 0.

    gaps: uint8, or int16 read as 0 to 65535. The highest number, 255 or 65535, adds to the gap that follows.
    """
    highest = 2 ** torch.iinfo(gaps.dtype).bits - 1
    steps = gaps.long() & highest
    return steps.cumsum(0)[steps < highest]
