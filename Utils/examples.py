"""Examples as flat tensors: a split of a data set that hands out batches without Python work per row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from Layers.bags import Bags


class Examples(Protocol):
    """n examples. `arrange` takes an order of their numbers, [m] int64; its batch(a, b) is examples a to b of that."""

    targets: Tensor

    def __len__(self) -> int: ...

    def arrange(self, order: Tensor) -> Callable[[int, int], tuple[Any, Tensor]]: ...


@dataclass
class Images:
    """pixels uint8 [n, C, H, W], targets int64 [n]; batches are float, (pixel / 255 - mean) / std by channel."""

    pixels: Tensor
    targets: Tensor
    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], split: str, mean, std) -> Images:
        pixels = tensors[f"{split}_pixels"]
        as_float = (torch.tensor(values).view(-1, 1, 1) * 255 for values in (mean, std))
        return cls(pixels, tensors[f"{split}_targets"], *as_float)

    def __len__(self) -> int:
        return self.targets.numel()

    def arrange(self, order: Tensor) -> Callable[[int, int], tuple[Tensor, Tensor]]:
        def batch(a: int, b: int) -> tuple[Tensor, Tensor]:
            chosen = order[a:b]
            return (self.pixels[chosen].float() - self.mean) / self.std, self.targets[chosen]

        return batch


@dataclass
class Texts:
    """Text k is ids[offsets[k]:offsets[k + 1]]: ids int32 [N], offsets int64 [n + 1], targets int64 [n]."""

    ids: Tensor
    offsets: Tensor
    targets: Tensor

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], split: str) -> Texts:
        return cls(*(tensors[f"{split}_{part}"] for part in ("ids", "offsets", "targets")))

    def __len__(self) -> int:
        return self.targets.numel()

    def arrange(self, order: Tensor) -> Callable[[int, int], tuple[Bags, Tensor]]:
        # All texts are laid out in the new order at once; a batch is then a slice.
        starts = self.offsets[order]
        lengths = self.offsets[order + 1] - starts
        ends = lengths.cumsum(0)
        begins = ends - lengths
        ids = self.ids[torch.repeat_interleave(starts - begins, lengths) + torch.arange(int(lengths.sum()))].long()
        targets = self.targets[order]
        bounds = [*begins.tolist(), ids.numel()]

        def batch(a: int, b: int) -> tuple[Bags, Tensor]:
            return Bags(ids[bounds[a] : bounds[b]], begins[a:b] - bounds[a]), targets[a:b]

        return batch
