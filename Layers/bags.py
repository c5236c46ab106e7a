"""A batch of texts as two flat tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(slots=True)
class Bags:
    """A batch of B texts: `ids` [N] the tokens of all texts, `offsets` [B] the start of each text, both int64."""

    ids: Tensor
    offsets: Tensor

    def to(self, device: torch.device | str) -> Bags:
        """Return the batch on `device`."""
        return Bags(self.ids.to(device), self.offsets.to(device))

    def __len__(self) -> int:
        return self.offsets.numel()
