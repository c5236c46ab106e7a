"""The form of a kernel that multiplies with the weights that are left, wherever they stand: the loops of kernel.c."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from . import kernel
from .form import Form, output_size

TILE = 216  # places of a kernel times inputs: as many runs as the first-level cache holds are read, then read again
PLACES = 2**31 - 1  # numbers of an input at most


_held = threading.local()


def _scratch(size: int) -> Tensor:
    """Return this thread's memory for so many numbers of an input. New memory would cost as much as the product."""
    if not hasattr(_held, "room") or _held.room.numel() < size:
        _held.room = torch.empty(size, dtype=torch.float32)
    return _held.room[:size]


@dataclass(frozen=True)
class _Plan:
    """Parts of a product that the input's shape decides. A phase is every s-th row and column, s being the stride."""

    rows: int  # of the output
    columns: int
    high: int  # rows and columns of a phase
    wide: int
    block: int  # of so many examples the numbers lie side by side: of a run's, or of all
    read: Tensor  # where each run of numbers begins, in the phases and in the output
    written: Tensor


class Scattered(Form):
    """A convolution with each weight that is left, for many outputs at a time.

    Memory has the examples of a batch side by side, [C, H, W, B], also in what it returns, so that one form after the
    other need not turn it around. A convolution with a stride is one without, over the phases of its input.
    """

    def prepare(self, weight: Tensor) -> None:
        _, self.inputs, *self.kernel = weight.shape
        self.stride: Sequence[int] = self.how["stride"]
        self.padding: Sequence[int] = self.how["padding"]
        size = self.kernel[0] * self.kernel[1]
        each = max(1, TILE // size)  # inputs of a tile
        self.tiles = -(-self.inputs // each)
        order = weight.flatten().nonzero().flatten()
        tile = order // size % self.inputs // each * self.outputs + order // (size * self.inputs)
        order = order[tile.argsort(stable=True)]
        ends = F.pad(tile.bincount(minlength=self.tiles * self.outputs).cumsum(0), (1, 0)).int()
        place = (order % (size * self.inputs)).int()  # of each weight's input
        # Taps: of each weight, the place of the number that it is multiplied with for the first output.
        self.ends, self.values, self.place, self.taps = self.hold(
            ends, weight.flatten()[order], place, torch.empty_like(place)
        )
        self.start = weight.new_zeros(self.outputs) if self.bias is None else self.bias
        self.plans: dict[torch.Size, _Plan] = {}  # of the latest shape, of which the taps are

    def __call__(self, data: Tensor) -> Tensor:
        if len(data) > (most := self.most(data)):
            return torch.cat([self(part) for part in data.split(most)])
        plan = self.planned(data)
        plane = plan.rows * plan.wide * len(data)
        found = data.new_empty(self.outputs, plane + -plane % kernel.lanes())
        kernel.product(
            self.phases(data, plan),
            plan.read,
            plan.written,
            found,
            self.tiles,
            (self.start, self.ends, self.taps, self.values),
        )
        shaped = found[:, :plane].view(self.outputs, plan.rows, plan.wide, len(data))[:, :, : plan.columns]
        return shaped.permute(3, 0, 1, 2)

    def planned(self, data: Tensor) -> _Plan:
        """Return the plan for the shape of `data`, which the taps belong to then."""
        if data.shape not in self.plans:
            self.plans = {data.shape: self.plan(data)}
        return self.plans[data.shape]

    def most(self, data: Tensor) -> int:
        """Return how many examples can be computed together, as places are numbers of 32 bits."""
        sides = [
            n + 2 * p + k + s for n, p, k, s in zip(data.shape[2:], self.padding, self.kernel, self.stride, strict=True)
        ]
        return max(1, PLACES // (self.inputs * sides[0] * sides[1]))

    def plan(self, data: Tensor) -> _Plan:
        """Return what the shape of `data`, [B, C, H, W], decides, and set the taps by it."""
        examples = len(data)
        size = output_size(data, self.kernel, {"stride": self.stride, "padding": self.padding})
        high, wide = (n + (k - 1) // s for n, k, s in zip(size, self.kernel, self.stride, strict=True))
        column, rest = self.place % self.kernel[1], self.place // self.kernel[1]
        row, channel = rest % self.kernel[0], rest // self.kernel[0]
        down, right = self.stride
        phase = (channel * down + row % down) * right + column % right
        lanes = kernel.lanes()
        block = lanes * max(1, kernel.unroll() // size[1])  # so that a few columns of a row fill the registers
        block = next((block for block in (block, lanes) if examples % block == 0), examples)
        self.taps.copy_(((phase * high + row // down) * wide + column // right) * block)
        asked = torch.zeros(size[0], wide, block, dtype=torch.bool)
        asked[:, : size[1]] = True
        runs = F.pad(asked.flatten(), (0, -asked.numel() % lanes)).view(-1, lanes).any(1).nonzero().flatten() * lanes
        blocks = torch.arange(examples // block).view(-1, 1)
        read = blocks * (self.inputs * down * right * high * wide * block) + runs
        written = blocks * block + runs // block * examples + runs % block
        return _Plan(size[0], size[1], high, wide, block, read.flatten(), written.flatten())

    def phases(self, data: Tensor, plan: _Plan) -> Tensor:
        """Return [B, C, H, W] as [blocks, C, phases, rows, columns, block], flat.

        There are zeros around it, and a run of them after it.
        """
        (down, right), (top, left) = self.stride, self.padding
        blocks = len(data) // plan.block
        shape = blocks, self.inputs, plan.high * down, plan.wide * right, plan.block
        size = math.prod(shape)
        flat = _scratch(size + kernel.lanes())
        whole = flat[:size].view(shape)
        rows, columns = min(data.shape[2], shape[2] - top), min(data.shape[3], shape[3] - left)
        part = data[:, :, :rows, :columns].unflatten(0, (blocks, plan.block)).permute(0, 2, 3, 4, 1)
        planes = whole.flatten(0, 1)
        for border in (planes[:, :top], planes[:, top + rows :], planes[:, :, :left], planes[:, :, left + columns :]):
            border.zero_()
        flat[size:] = 0
        whole[:, :, top : top + rows, left : left + columns].copy_(part)
        if down == right == 1:
            return flat
        apart = planes.view(-1, plan.high, down, plan.wide, right, plan.block).permute(0, 2, 4, 1, 3, 5)
        return torch.cat([apart.flatten(), flat[-kernel.lanes() :]])
