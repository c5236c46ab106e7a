"""Examples as flat tensors: a split of a data set that hands out batches without Python work per row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from Layers.bags import Bags
from Layers.pairs import BOS, EOS, PAD, Pairs

SIDES = ("source", "target")
ROOM = 0.25  # of a GPU's free memory that may go to examples


class Examples(Protocol):
    """n examples. `arrange` takes an order of their numbers, [m] int64; its batch(a, b) is examples a to b of that.

    A batch lies on the device that the examples lie on; `resident` brings them there.

    seed: decides, for the whole order at once, how examples that are varied in training are varied; None: not at all.

    targets: those of all examples in one row. lengths: [n, k] what makes examples alike, most important column first,
    where a batch of unlike ones would cost padding; None where it costs nothing.
    """

    @property
    def targets(self) -> Tensor: ...

    @property
    def lengths(self) -> Tensor | None: ...

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __len__(self) -> int: ...

    def arrange(self, order: Tensor, seed: int | None = None) -> Callable[[int, int], tuple[Any, Tensor]]: ...


def resident(examples: Examples, device: torch.device) -> Examples:
    """The examples on `device`, where there is room for them beside a model; else as they are."""
    if device.type != "cuda":
        return examples
    tensors = {f.name: value for f in fields(examples) if isinstance(value := getattr(examples, f.name), Tensor)}
    if sum(tensor.nbytes for tensor in tensors.values()) > ROOM * torch.cuda.mem_get_info(device)[0]:
        return examples
    return replace(examples, **{name: tensor.to(device) for name, tensor in tensors.items()})


@dataclass
class Images:
    """pixels uint8 [n, C, H, W], targets int64 [n]; batches are float, (pixel / 255 - mean) / std by channel.

    In training an image is varied: crop: a window of its own size is cut at random out of the image with so many black
    pixels on each side; flip: it is mirrored with probability 1/2.
    """

    pixels: Tensor
    targets: Tensor
    mean: Tensor
    std: Tensor
    crop: int = 0
    flip: bool = False
    lengths = None

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], split: str, mean, std, crop: int = 0, flip: bool = False) -> Images:
        pixels = tensors[f"{split}_pixels"]
        mean, std = (torch.tensor(values).view(-1, 1, 1) * 255 for values in (mean, std))
        return cls(pixels, tensors[f"{split}_targets"], mean, std, crop, flip)

    def __len__(self) -> int:
        return self.targets.numel()

    def arrange(self, order: Tensor, seed: int | None = None) -> Callable[[int, int], tuple[Tensor, Tensor]]:
        device = self.pixels.device
        order = order.to(device)
        windows = None
        if seed is not None and (self.crop or self.flip):
            windows = [part.to(device) for part in self._windows(len(order), seed)]

        def batch(a: int, b: int) -> tuple[Tensor, Tensor]:
            chosen = order[a:b]
            pixels = self.pixels[chosen] if windows is None else self._cut(chosen, *(part[a:b] for part in windows))
            return (pixels.float() - self.mean) / self.std, self.targets[chosen]

        return batch

    def _windows(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Which row, [count, H], and which column, [count, W], of its padded image each of an image's pixels is."""
        draw = torch.Generator().manual_seed(seed)
        height, width = self.pixels.shape[2:]
        down, right = torch.randint(2 * self.crop + 1, (2, count, 1), generator=draw)
        columns = torch.arange(width).expand(count, width)
        if self.flip:
            mirrored = torch.rand(count, 1, generator=draw) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        return down + torch.arange(height), right + columns

    def _cut(self, chosen: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """[B, C, H, W]: those windows of the chosen images, all at once; channels lie last in memory."""
        padded = F.pad(self.pixels[chosen], [self.crop] * 4).permute(0, 2, 3, 1)
        numbers = torch.arange(len(chosen), device=padded.device).view(-1, 1, 1)
        return padded[numbers, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)


def _lay_out(ids: Tensor, offsets: Tensor, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows ids[offsets[k]:offsets[k + 1]] one after the other in a new order: (ids int64, begins [m], lengths [m]).

    All at once, so that a batch is then a slice.
    """
    order = order.to(offsets.device)
    starts = offsets[order]
    lengths = offsets[order + 1] - starts
    begins = lengths.cumsum(0) - lengths
    places = torch.repeat_interleave(starts - begins, lengths)
    places += torch.arange(len(places), device=places.device)
    return ids[places].long(), begins, lengths


@dataclass
class Texts:
    """Text k is ids[offsets[k]:offsets[k + 1]]: ids int32 [N], offsets int64 [n + 1], targets int64 [n]."""

    ids: Tensor
    offsets: Tensor
    targets: Tensor
    lengths = None

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], split: str) -> Texts:
        return cls(*(tensors[f"{split}_{part}"] for part in ("ids", "offsets", "targets")))

    def __len__(self) -> int:
        return self.targets.numel()

    def arrange(self, order: Tensor, seed: int | None = None) -> Callable[[int, int], tuple[Bags, Tensor]]:
        ids, begins, _ = _lay_out(self.ids, self.offsets, order)
        targets = self.targets[order.to(self.targets.device)]
        bounds = [*begins.tolist(), ids.numel()]

        def batch(a: int, b: int) -> tuple[Bags, Tensor]:
            return Bags(ids[bounds[a] : bounds[b]], begins[a:b] - bounds[a]), targets[a:b]

        return batch


@dataclass
class Sentences:
    """Sentence pairs: source k is source_ids[source_offsets[k]:source_offsets[k + 1]], target k likewise.

    Each row is <bos> words <eos>; ids int32 [N], offsets int64 [n + 1]. A batch's targets are those of all positions in
    one row: what comes after <bos>, after the first word, and so on to <eos>, pair by pair.
    """

    source_ids: Tensor
    source_offsets: Tensor
    target_ids: Tensor
    target_offsets: Tensor

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], split: str) -> Sentences:
        """From rows of words alone, `<split>_source_ids` and so on."""
        sides = (framed(tensors[f"{split}_{side}_ids"], tensors[f"{split}_{side}_offsets"]) for side in SIDES)
        return cls(*next(sides), *next(sides))

    def __len__(self) -> int:
        return self.source_offsets.numel() - 1

    @property
    def targets(self) -> Tensor:
        inner = torch.ones_like(self.target_ids, dtype=torch.bool)
        inner[self.target_offsets[:-1]] = False
        return self.target_ids[inner].long()

    @property
    def lengths(self) -> Tensor:
        return torch.stack([self.source_offsets.diff(), self.target_offsets.diff()], dim=1).cpu()

    def source(self, k: int) -> Tensor:
        """[S] the token numbers of source sentence k, <bos> and <eos> among them, on the CPU."""
        return self.source_ids[self.source_offsets[k] : self.source_offsets[k + 1]].long().cpu()

    def target(self, k: int) -> Tensor:
        """[T] those of target sentence k likewise."""
        return self.target_ids[self.target_offsets[k] : self.target_offsets[k + 1]].long().cpu()

    def arrange(self, order: Tensor, seed: int | None = None) -> Callable[[int, int], tuple[Pairs, Tensor]]:
        source, source_begins, source_lengths = _lay_out(self.source_ids, self.source_offsets, order)
        target, target_begins, target_lengths = _lay_out(self.target_ids, self.target_offsets, order)

        def batch(a: int, b: int) -> tuple[Pairs, Tensor]:
            lengths = target_lengths[a:b] - 1
            inputs, _ = _padded(target, target_begins[a:b], lengths)
            outputs, real = _padded(target, target_begins[a:b] + 1, lengths)
            return Pairs(_padded(source, source_begins[a:b], source_lengths[a:b])[0], inputs), outputs[real]

        return batch


def framed(ids: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Rows ids[offsets[k]:offsets[k + 1]] with <bos> before and <eos> behind each, and their offsets."""
    count = offsets.numel() - 1
    longer = offsets + 2 * torch.arange(count + 1)
    whole = ids.new_empty(ids.numel() + 2 * count)
    inner = torch.ones_like(whole, dtype=torch.bool)
    for places, token in ((longer[:-1], BOS), (longer[1:] - 1, EOS)):
        whole[places] = token
        inner[places] = False
    whole[inner] = ids
    return whole, longer


def _padded(ids: Tensor, begins: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Rows ids[begin:begin + length] as one padded tensor [B, longest], and where it is not padding, boolean."""
    columns = torch.arange(int(lengths.max()), device=lengths.device)
    real = columns < lengths.unsqueeze(1)
    places = (begins.unsqueeze(1) + columns).clamp_max(ids.numel() - 1)
    return torch.where(real, ids[places], PAD), real
