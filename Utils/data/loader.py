"""Batches of a split in a seeded order."""

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from Utils.data.examples import Examples
from Utils.machine import seeds


class Loader:
    """An iterable of (data, target) batches; each `iter` starts the next epoch. Every example comes once per epoch.

    batch_size: examples per batch; the last batch may be smaller.
    shuffle: use another order in every epoch.
    augment: augment examples, as for training; None: if `shuffle` is set. Order and augmentation depend only on `seed`
    and the epoch's number.
    length: use only this many examples, drawn once from `seed`; all if None or too large.
    balanced: draw them in turn from each class, so that each has as many as any other while it has some left.
    workers: number of threads that prepare batches ahead of time; 0 prepares each when it is asked for. The batches do
    not depend on it.
    If examples have lengths, a batch holds examples of similar length. The epoch's order is sorted by length, with
    random order among equals. It is then cut into batches, and these are shuffled.
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
        balanced: bool = False,
    ) -> None:
        self.examples, self.batch_size, self.shuffle = examples, batch_size, shuffle
        self.augment = shuffle if augment is None else augment
        self.seed, self.workers = seed, workers
        self.epoch = 0
        count = len(examples)
        self.indices = torch.arange(count)
        if length is not None and length < count:
            order = self._permutation(count, "subset")
            if balanced:
                order = order[_turns(examples.targets.cpu()[order]).argsort(stable=True)]
            self.indices = order[:length]

    def _permutation(self, count: int, *purpose: object) -> Tensor:
        return torch.randperm(count, generator=torch.Generator().manual_seed(seeds.derive(self.seed, *purpose)))

    def state(self) -> dict[str, int]:
        """Return the number of epochs that have started, for `restore`."""
        return {"epoch": self.epoch}

    def restore(self, state: dict[str, int]) -> None:
        """Continue after the epochs of that state."""
        self.epoch = state["epoch"]

    @property
    def sizes(self) -> list[int]:
        """Return the numbers of examples in the batches."""
        return [len(part) for part in self.indices.split(self.batch_size)]

    def __len__(self) -> int:
        return -(-self.indices.numel() // self.batch_size)

    def batches(self, epoch: int) -> tuple[Tensor, ...]:
        """Return the numbers of the examples in each batch of an epoch (from 0)."""
        order = self.indices
        if self.shuffle:
            order = order[self._permutation(len(order), "order", epoch)]
        if self.examples.lengths is None:
            return order.split(self.batch_size)
        for column in reversed(self.examples.lengths.unbind(1)):  # the least important first; each sort is stable
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


def _turns(labels: Tensor) -> Tensor:
    """Return how many equal labels stand before each one, [n] -> [n]."""
    order = labels.argsort(stable=True)
    firsts = torch.searchsorted(labels[order], labels[order])  # of each group of equals
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(labels)) - firsts)
