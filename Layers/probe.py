"""The all-ones input of a network, for SynFlow, multiply-add counts and the search for dead units."""

from collections.abc import Sequence

import torch
from torch import nn

from Layers.bags import Bags

WORDS = 32
MANY = 4096  # words that a model without an embedding gets at most, each of which may have weights of its own


def ones(model: nn.Module, shape: Sequence[int], device: torch.device | str = "cpu", each: bool = False):
    """Return the all-ones input of `model`, one example long.

    A model whose input is not a float tensor defines `ones_input()`, which returns its own (for token ids: ones in
    one-hot space), on the model's device. For another model of texts it is a text of WORDS words, or of every word once
    if it embeds whole bags. Such a model has an embedding and no shape but the size of a vocabulary, or says that size
    in its attribute `size_of_vocabulary`. For every other model the input is a tensor of ones `[1, *shape]` with the
    type of the parameters. each: every word once (MANY at most) also for a model of texts without an embedding.
    """
    if hasattr(model, "ones_input"):
        return model.ones_input()
    table = next((part for part in model.modules() if isinstance(part, (nn.Embedding, nn.EmbeddingBag))), None)
    sizes = [*shape, getattr(model, "size_of_vocabulary", 0), 0 if table is None else table.num_embeddings]
    if len(shape) <= 1 and any(sizes[len(shape) :]):
        known = min(size for size in sizes if size)  # a table may have more rows than there are words, for padding
        length = min(known, MANY) if table is None and each else WORDS
        ids = torch.arange(known if isinstance(table, nn.EmbeddingBag) else length, device=device) % known
        return Bags(ids, ids[:1])
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    return torch.ones([1, *shape], device=device, dtype=dtype)
