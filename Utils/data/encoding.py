"""Texts as token numbers in one pass, without keeping their words: what is kept is four bytes per token."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from Utils.data.text import UNKNOWN

if TYPE_CHECKING:
    import numpy as np


def consecutive(counts: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Return the numbers of the texts of each split, if all splits are added one after the other; counts: of texts."""
    import numpy as np

    ends = dict(zip(counts, accumulate(counts.values()), strict=True))
    return {split: np.arange(ends[split] - count, ends[split]) for split, count in counts.items()}


class Encoding:
    """The tokens of texts that are added one after the other, by numbers in the order in which they were first seen."""

    def __init__(self, tokenize: Callable[[str], Sequence[str]]) -> None:
        self.tokenize = tokenize
        self.numbers: dict[str, int] = {}
        self.ids, self.ends = array("i"), array("q", [0])

    def add(self, text: str) -> None:
        """Add a text."""
        self.ids.extend(self.numbers.setdefault(token, len(self.numbers)) for token in self.tokenize(text))
        self.ends.append(len(self.ids))

    def finish(
        self, splits: Mapping[str, np.ndarray], specials: Sequence[str], min_freq: int = 1
    ) -> tuple[list[str], dict[str, tuple[np.ndarray, np.ndarray]]]:
        """Return the vocabulary, and (ids int32 [N], offsets int64 [texts + 1]) by split.

        splits: the numbers of its texts by split. The vocabulary has `specials`, then each token that the split "train"
        has `min_freq` times or more, by falling frequency, then code point, as torchtext's has. All others are
        `<unk>`.
        """
        import numpy as np

        ids, ends = np.asarray(self.ids, np.int32), np.asarray(self.ends, np.int64)
        parts = {name: _rows(ids, ends, rows) for name, rows in splits.items()}
        counts = np.bincount(parts["train"][0], minlength=len(self.numbers))
        seen = [(-int(counts[k]), word) for word, k in self.numbers.items() if counts[k] >= max(1, min_freq)]
        words = [*specials, *(word for _, word in sorted(seen) if word not in specials)]
        final = np.full(len(self.numbers), words.index(UNKNOWN), np.int32)
        for k, word in enumerate(words):
            if word in self.numbers:
                final[self.numbers[word]] = k
        return words, {name: (final[ids], offsets) for name, (ids, offsets) in parts.items()}


def _rows(ids: np.ndarray, ends: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows ids[ends[k]:ends[k + 1]] with these numbers, one after the other, and their offsets."""
    import numpy as np
    import torch

    from Utils.data.examples import rows_of

    positions, _, lengths = rows_of(torch.from_numpy(ends), torch.from_numpy(rows))
    return ids[positions.numpy()], np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths.numpy())])
