"""Texts side by side, against torch's own padding of their list."""

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from Layers.bags import Bags


@pytest.mark.parametrize("length", [None, 1, 4, 9])
def test_texts_side_by_side_are_those_of_a_list(length):
    draw = torch.Generator().manual_seed(1)
    texts = [torch.randint(50, (size,), generator=draw) for size in (3, 1, 0, 6, 2)]
    sizes = torch.tensor([text.numel() for text in texts])
    ids, real = Bags(torch.cat(texts), sizes.cumsum(0) - sizes).padded(length)
    wide = 6 if length is None else length
    expected = pad_sequence([*texts, torch.zeros(9, dtype=torch.int64)], batch_first=True)[:-1, :wide]
    assert torch.equal(ids, expected) and ids.dtype == torch.int64
    assert torch.equal(real, torch.arange(wide) < sizes.unsqueeze(1))


def test_texts_without_words_have_one_place():
    ids, real = Bags(torch.zeros(0, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)).padded()
    assert ids.tolist() == [[0], [0]] and real.tolist() == [[False], [False]]
