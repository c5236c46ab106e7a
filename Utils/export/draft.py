"""A model on its way out: what `Utils.exported` will run, its tensors still whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class Draft:
    """kind: the key of `exported.KINDS` that runs it. program: that kind's JSON. tensors: by name, whole, masks
    multiplied in, float32 on the CPU. matrices: the names of those that a pruner may have thinned, so that it is worth
    looking for another way to store them and to compute with them.
    """

    kind: str
    program: Any
    tensors: dict[str, Tensor]
    matrices: list[str] = field(default_factory=list)
