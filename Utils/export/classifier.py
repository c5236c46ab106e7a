"""Export of networks that map a batch to one row of logits for each example."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from Utils.data.corpus import Corpus
from Utils.data.loader import Loader
from Utils.export import dead_units
from Utils.export.draft import Draft
from Utils.export.trace import draft as draft


def compact(draft: Draft, data: Corpus) -> Draft:
    """Return the smaller network without dead units."""
    return dead_units.compact(draft, _batch(data, 1))


def use(data: Corpus, size: int, device: torch.device) -> Callable[[nn.Module], Any]:
    """Return a function that runs a model on the first `size` test examples, as one batch; it is what is timed."""
    batch = _batch(data, size).to(device)
    return lambda model: model(batch)


def _batch(data: Corpus, size: int) -> Any:
    return next(iter(Loader(data.test, size, length=size)))[0]
