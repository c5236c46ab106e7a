"""The draft of an export: what `Utils.exported` will run, with all matrices still whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class Draft:
    """A model as operations and tensors."""

    kind: str  # the class that runs it, a key of `exported.KINDS`
    program: Any  # the operations, as the JSON of that class
    tensors: dict[str, Tensor]  # by name; masked, float32, on the CPU
    matrices: list[str] = field(default_factory=list)  # tensors that may be sparse: other ways to store them are tried
    tables: list[str] = field(default_factory=list)  # embeddings [V, d]: words' rows that are all zero may be left out
