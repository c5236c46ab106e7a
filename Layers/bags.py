"""A batch of texts as two flat tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


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

    def padded(self, length: int | None = None) -> tuple[Tensor, Tensor]:
        """Return the texts side by side: ids [B, length], 0 after a text's end, and `real` [B, length], False there.

        length: words of a text that are taken; as many as the longest has, if None, but one at least.
        """
        whole = torch.as_tensor(self.ids.shape[0], device=self.offsets.device)  # a size, which tracing follows
        ends = torch.cat([self.offsets[1:], whole.view(1)])
        taken = (ends - self.offsets).max().clamp_min(1) if length is None else length
        index = self.offsets.unsqueeze(1) + torch.arange(taken, device=self.offsets.device)  # type: ignore[arg-type]
        real = index < ends.unsqueeze(1)
        return F.pad(self.ids, (0, 1))[torch.where(real, index, whole)], real
