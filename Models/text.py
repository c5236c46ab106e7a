"""Text classification: the mean of word embeddings, then one Linear."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from Layers import layers
from Layers.bags import Bags
from Layers.embedding import EmbeddingBag
from Models.width import scaled


class TextClassificationModel(nn.Module):
    """An EmbeddingBag(V, 64, mode="mean") and a Linear(64, classes): `Bags` of B texts -> logits [B, classes].

    input_shape: (V,), the size of the vocabulary.
    width: factor of the 64.
    Only `fc` has masks. Initial weights are uniform in [-0.5, 0.5], the bias is zero.
    """

    def __init__(
        self, input_shape: Sequence[int], num_classes: int, dense_classifier: bool = False, width: float = 1.0
    ) -> None:
        super().__init__()
        (vocabulary,), size = input_shape, scaled(64, width)
        self.embedding = EmbeddingBag(vocabulary, size, mode="mean")
        self.fc = (nn.Linear if dense_classifier else layers.Linear)(size, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial weights from the global generator."""
        nn.init.uniform_(self.embedding.weight, -0.5, 0.5)
        nn.init.uniform_(self.fc.weight, -0.5, 0.5)
        nn.init.zeros_(self.fc.bias)

    def forward(self, data: Bags) -> Tensor:
        return self.fc(self.embedding(data.ids, data.offsets))

    def ones_input(self) -> Bags:
        """Return ones in one-hot space: one text with every word once, so that the mean embedding row is the input."""
        ids = torch.arange(self.embedding.num_embeddings, device=self.embedding.weight.device)
        return Bags(ids, torch.zeros(1, dtype=ids.dtype, device=ids.device))
