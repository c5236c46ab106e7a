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
    elif stored == "columns":
        rows = torch.arange(shape[0]).repeat_interleave(_unsigned(tensors[f"{name}.counts"]))
        found.flatten(1)[rows, _unsigned(tensors[f"{name}.columns"])] = tensors[name]
    else:
        raise ValueError(f"{name} is stored as {stored!r}, which this loader does not know")
    return found


def _unsigned(numbers: Tensor) -> Tensor:
    """Return whole numbers as int64. Numbers stored as int16 are read as 0 to 65535."""
    return numbers.long() & 0xFFFF if numbers.dtype == torch.int16 else numbers.long()
