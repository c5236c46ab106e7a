"""Examples as flat tensors: a split of a data set that makes batches without Python code per example."""

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
ROOM = 0.25  # largest share of a GPU's free memory for examples


class Examples(Protocol):
    """The examples of a split.

    `arrange(order, seed)` takes numbers of examples, [m] int64. It returns a function batch(a, b) that makes a batch of
    the examples order[a:b], on the device of the examples. The seed decides, for the whole order, how examples are
    augmented; None: not at all.
    """

    @property
    def targets(self) -> Tensor: ...

    @property
    def lengths(self) -> Tensor | None: ...

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __len__(self) -> int: ...

    def arrange(self, order: Tensor, seed: int | None = None) -> Callable[[int, int], tuple[Any, Tensor]]: ...


def resident(examples: Examples, device: torch.device) -> Examples:
    """Return the examples on `device` if they fit beside a model, else unchanged."""
    if device.type != "cuda":
        return examples
    tensors = {f.name: value for f in fields(examples) if isinstance(value := getattr(examples, f.name), Tensor)}
    if sum(tensor.nbytes for tensor in tensors.values()) > ROOM * torch.cuda.mem_get_info(device)[0]:
        return examples
    return replace(examples, **{name: tensor.to(device) for name, tensor in tensors.items()})


@dataclass
class Part:
    """A selection of the examples of a split: `whole`'s examples `numbers`, in this order."""

    whole: Examples
    numbers: Tensor  # int64 [m]

    def __len__(self) -> int:
        return self.numbers.numel()

    @property
    def targets(self) -> Tensor:
        """Return the targets [m]. Each example must have one target."""
        return self.whole.targets[self.numbers.to(self.whole.targets.device)]

    @property
    def lengths(self) -> Tensor | None:
        """Return the lengths of the examples, if they have any."""
        return None if self.whole.lengths is None else self.whole.lengths[self.numbers]

    def arrange(self, order: Tensor, seed: int | None = None) -> Callable[[int, int], tuple[Any, Tensor]]:
        return self.whole.arrange(self.numbers[order], seed)


@dataclass
class Images:
    """Images with labels. Batches are float: (pixel / 255 - mean) / std by channel.

    For augmentation, an image is padded by `crop` black pixels on each side, and a window of its old size is cut out at
    random. With `flip` it is mirrored with probability 1/2.
    """

    pixels: Tensor  # uint8 [n, C, H, W]
    targets: Tensor  # int64 [n]
    mean: Tensor  # mean of pixels in 0..255, by channel
    std: Tensor
    crop: int = 0
    flip: bool = False
    lengths = None

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], split: str, mean, std, crop: int = 0, flip: bool = False) -> Images:
        """Make the examples of a split from `<split>_pixels` and `<split>_targets`.

        mean, std: by channel, for pixels in [0, 1].
        """
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
        """Return the row [count, H] and column [count, W] in its padded image from which each pixel is taken."""
        draw = torch.Generator().manual_seed(seed)
        height, width = self.pixels.shape[2:]
        down, right = torch.randint(2 * self.crop + 1, (2, count, 1), generator=draw)
        columns = torch.arange(width).expand(count, width)
        if self.flip:
            mirrored = torch.rand(count, 1, generator=draw) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        return down + torch.arange(height), right + columns

    def _cut(self, chosen: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return those windows of the chosen images, [B, C, H, W], all at once. Channels are last in memory."""
        padded = F.pad(self.pixels[chosen], [self.crop] * 4).permute(0, 2, 3, 1)
        numbers = torch.arange(len(chosen), device=padded.device).view(-1, 1, 1)
        return padded[numbers, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)


def rows_of(offsets: Tensor, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the positions of the rows offsets[k]:offsets[k + 1] in a new order, their new begins [m], and lengths [m].

    Entries at these positions lie row after row.
    """
    order = order.to(offsets.device)
    starts = offsets[order]
    lengths = offsets[order + 1] - starts
    begins = lengths.cumsum(0) - lengths
    positions = torch.repeat_interleave(starts - begins, lengths)
    positions += torch.arange(len(positions), device=positions.device)
    return positions, begins, lengths


def _lay_out(ids: Tensor, offsets: Tensor, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Concatenate the rows of `ids` in a new order; return (ids int64, begins [m], lengths [m]).

    Afterwards a batch is just a slice.
    """
    positions, begins, lengths = rows_of(offsets, order)
    return ids[positions].long(), begins, lengths


@dataclass
class Texts:
    """Texts with labels: text k is ids[offsets[k]:offsets[k + 1]]."""

    ids: Tensor  # int32 [N]
    offsets: Tensor  # int64 [n + 1]
    targets: Tensor  # int64 [n]
    lengths = None

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], split: str) -> Texts:
        """Make the examples of a split from `<split>_ids`, `<split>_offsets` and `<split>_targets`."""
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
    """Sentence pairs: source k is source_ids[source_offsets[k]:source_offsets[k + 1]], and target k likewise.

    Each sentence is <bos> words <eos>. The targets of a batch are one flat tensor. Pair by pair, it holds the token
    after <bos>, the token after the first word, and so on to <eos>.
    """

    source_ids: Tensor  # int32 [N]
    source_offsets: Tensor  # int64 [n + 1]
    target_ids: Tensor
    target_offsets: Tensor

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], split: str) -> Sentences:
        """Make the examples of a split from words without <bos> and <eos>: `<split>_source_ids` and so on."""
        sides = (framed(tensors[f"{split}_{side}_ids"], tensors[f"{split}_{side}_offsets"]) for side in SIDES)
        return cls(*next(sides), *next(sides))

    def __len__(self) -> int:
        return self.source_offsets.numel() - 1

    @property
    def targets(self) -> Tensor:
        """Return the target tokens of all pairs in one row."""
        inner = torch.ones_like(self.target_ids, dtype=torch.bool)
        inner[self.target_offsets[:-1]] = False
        return self.target_ids[inner].long()

    @property
    def lengths(self) -> Tensor:
        """Return the lengths [n, 2] of sources and targets."""
        return torch.stack([self.source_offsets.diff(), self.target_offsets.diff()], dim=1).cpu()

    def source(self, k: int) -> Tensor:
        """Return source sentence k, token numbers [S] with <bos> and <eos>, on the CPU."""
        return self.source_ids[self.source_offsets[k] : self.source_offsets[k + 1]].long().cpu()

    def target(self, k: int) -> Tensor:
        """Return target sentence k, token numbers [T] with <bos> and <eos>, on the CPU."""
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
    """Add <bos> before and <eos> after each row ids[offsets[k]:offsets[k + 1]]; return (ids, offsets)."""
    count = offsets.numel() - 1
    longer = offsets + 2 * torch.arange(count + 1)
    whole = ids.new_empty(ids.numel() + 2 * count)
    inner = torch.ones_like(whole, dtype=torch.bool)
    for positions, token in ((longer[:-1], BOS), (longer[1:] - 1, EOS)):
        whole[positions] = token
        inner[positions] = False
    whole[inner] = ids
    return whole, longer


def _padded(ids: Tensor, begins: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows ids[begin:begin + length] as a padded tensor [B, longest], and a mask that is False at padding."""
    columns = torch.arange(int(lengths.max()), device=lengths.device)
    real = columns < lengths.unsqueeze(1)
    positions = (begins.unsqueeze(1) + columns).clamp_max(ids.numel() - 1)
    return torch.where(real, ids[positions], PAD), real
