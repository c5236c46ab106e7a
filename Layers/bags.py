"""A batch of texts as two flat tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(slots=True)
class Bags:
    """B texts in one row: `ids` [N] token numbers of all of them, `offsets` [B] where each begins, both int64."""

    ids: Tensor
    offsets: Tensor

    def to(self, device: torch.device | str) -> Bags:
        return Bags(self.ids.to(device), self.offsets.to(device))

    def __len__(self) -> int:
        return self.offsets.numel()
