"""Batches of a split in a seeded order."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from Utils.data.examples import Examples
from Utils.machine import seeds


class Loader:
    """Yields (data, target); each `iter` is the next epoch. Every example comes exactly once an epoch.

    batch_size: examples a batch, the last may be shorter. shuffle: another order every epoch. augment: examples are
    varied where they know how, as for training; None: as `shuffle`. Both are given by `seed` and the epoch's number
    alone. length: only so many examples, drawn once by `seed` (all if None or too large). workers: so many threads put
    batches together ahead of their use; 0 does it when asked. The batches do not depend on workers.

    Where examples have lengths, a batch holds such of like lengths: the epoch's order is sorted by them, so that chance
    decides among equals alone, cut into batches, and these are shuffled.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        length: int | None = None,
        workers: int = 0,
        augment: bool | None = None,
    ) -> None:
        self.examples, self.batch_size, self.shuffle = examples, batch_size, shuffle
        self.augment = shuffle if augment is None else augment
        self.seed, self.workers = seed, workers
        self.epoch = 0
        count = len(examples)
        self.indices = torch.arange(count)
        if length is not None and length < count:
            self.indices = self._permutation(count, "subset")[:length]

    def _permutation(self, count: int, *purpose: object) -> Tensor:
        return torch.randperm(count, generator=torch.Generator().manual_seed(seeds.derive(self.seed, *purpose)))

    def state(self) -> dict[str, int]:
        """Return the number of epochs that have begun, for `restore`."""
        return {"epoch": self.epoch}

    def restore(self, state: dict[str, int]) -> None:
        """Go on after the epochs of that state."""
        self.epoch = state["epoch"]

    def __len__(self) -> int:
        return -(-self.indices.numel() // self.batch_size)

    def batches(self, epoch: int) -> tuple[Tensor, ...]:
        """The numbers of the examples of each batch of that epoch, the first being 0."""
        order = self.indices
        if self.shuffle:
            order = order[self._permutation(len(order), "order", epoch)]
        if self.examples.lengths is None:
            return order.split(self.batch_size)
        for column in reversed(self.examples.lengths.unbind(1)):  # the least important first, each sort stable
            order = order[column[order].argsort(stable=True)]
        batches = order.split(self.batch_size)
        if self.shuffle:
            batches = tuple(batches[k] for k in self._permutation(len(batches), "batches", epoch))
        return batches

    def __iter__(self) -> Iterator[tuple]:
        batches = self.batches(self.epoch)
        seed = seeds.derive(self.seed, "examples", self.epoch) if self.augment else None
        batch = self.examples.arrange(torch.cat(batches), seed)
        self.epoch += 1
        ends = list(itertools.accumulate(len(numbers) for numbers in batches))
        bounds = list(zip([0, *ends], ends, strict=False))
        if self.workers == 0:
            for a, b in bounds:
                yield batch(a, b)
            return
        with ThreadPoolExecutor(self.workers) as pool:
            waiting: deque = deque()
            for a, b in bounds:
                waiting.append(pool.submit(batch, a, b))
                if len(waiting) > 2 * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
