"""The all-ones input of a network, for SynFlow, multiply-add counts and the search for dead units."""

from collections.abc import Sequence

import torch
from torch import nn

from Layers.bags import Bags

WORDS = 32


def ones(model: nn.Module, shape: Sequence[int], device: torch.device | str = "cpu"):
    """Return the all-ones input of `model`, one example long.

    A model whose input is not a float tensor defines `ones_input()`, which returns its own (for token ids: ones in
    one-hot space), on the model's device. For another model of texts, which has an embedding and no shape but the size
    of a vocabulary, it is a text of WORDS words, or of every word once if it embeds whole bags. For every other model
    the input is a tensor of ones `[1, *shape]` with the type of the parameters.
    """
    if hasattr(model, "ones_input"):
        return model.ones_input()
    table = next((part for part in model.modules() if isinstance(part, (nn.Embedding, nn.EmbeddingBag))), None)
    if table is not None and len(shape) <= 1:
        known = min((table.num_embeddings, *shape))  # a table may have more rows than there are words, for padding
        ids = torch.arange(known if isinstance(table, nn.EmbeddingBag) else WORDS, device=device) % known
        return Bags(ids, ids[:1])
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    return torch.ones([1, *shape], device=device, dtype=dtype)
