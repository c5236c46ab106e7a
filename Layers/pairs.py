"""A batch of sentence pairs as two padded tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

UNKNOWN, PAD, BOS, EOS = range(4)  # the special tokens' numbers in every vocabulary of a translation


@dataclass(slots=True)
class Pairs:
    """A batch of sentence pairs: `source` [B, S] <bos> words <eos>, `target` [B, T] <bos> words.

    Both are token numbers, int64, padded at the end.
    """

    source: Tensor
    target: Tensor

    def to(self, device: torch.device | str) -> Pairs:
        """Return the batch on `device`."""
        return Pairs(self.source.to(device), self.target.to(device))

    def __len__(self) -> int:
        return self.source.shape[0]
