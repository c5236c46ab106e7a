"""Batches of a split in a seeded order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from Utils import seeds
from Utils.examples import Examples


class Loader:
    """Yields (data, target); each `iter` is the next epoch.

    batch_size: examples a batch, the last may be shorter. shuffle: another order every epoch, given by `seed` and the
    epoch's number alone. length: only so many examples, drawn once by `seed` (all if None or too large). workers: so
    many threads put batches together ahead of their use; 0 does it when asked. The batches do not depend on workers.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        length: int | None = None,
        workers: int = 0,
    ) -> None:
        self.examples, self.batch_size, self.shuffle = examples, batch_size, shuffle
        self.seed, self.workers = seed, workers
        self.epoch = 0
        count = len(examples)
        self.indices = torch.arange(count)
        if length is not None and length < count:
            self.indices = self._permutation(count, "subset")[:length]

    def _permutation(self, count: int, *purpose: object) -> Tensor:
        return torch.randperm(count, generator=torch.Generator().manual_seed(seeds.derive(self.seed, *purpose)))

    @property
    def targets(self) -> Tensor:
        """[n] the targets of all examples that an epoch holds, in no particular order."""
        return self.examples.targets[self.indices]

    def __len__(self) -> int:
        return -(-self.indices.numel() // self.batch_size)

    def order(self, epoch: int) -> Tensor:
        """[n] the numbers of the examples in the order of that epoch, the first being 0."""
        return self.indices[self._permutation(len(self.indices), "order", epoch)] if self.shuffle else self.indices

    def __iter__(self) -> Iterator[tuple]:
        count = self.indices.numel()
        batch = self.examples.arrange(self.order(self.epoch))
        self.epoch += 1
        bounds = [(a, min(a + self.batch_size, count)) for a in range(0, count, self.batch_size)]
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
