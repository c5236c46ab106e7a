"""Embeddings that can be trained a few rows at a time."""

from torch import Tensor, nn
from torch.nn import functional as F

from Layers.reading import PLAIN, Reading


class _Settling(nn.Module):
    """A base class that brings the weight up to date before it is saved, loaded or copied.

    A copy uses the plain way of reading its weight.
    """

    reading: Reading = PLAIN

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        self.reading.settle()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, *arguments) -> None:
        self.reading.settle()  # or its rows would be brought back
        super()._load_from_state_dict(*arguments)

    def __getstate__(self) -> dict:
        self.reading.settle()
        return {name: value for name, value in self.__dict__.items() if name != "reading"}


class EmbeddingBag(_Settling, nn.EmbeddingBag):
    """An nn.EmbeddingBag: ids [N] and offsets [B] -> [B, embedding_dim]. mode: "mean", "sum" or "max"."""

    def __init__(self, num_embeddings: int, embedding_dim: int, mode: str = "mean") -> None:
        super().__init__(num_embeddings, embedding_dim, mode=mode)

    # No weight by sample, which torch.nn.EmbeddingBag has:
    def forward(self, input: Tensor, offsets: Tensor | None = None) -> Tensor:  # type: ignore[override]
        table, ids = self.reading.table(self, input)
        return F.embedding_bag(ids, table, offsets, mode=self.mode)


class Embedding(_Settling, nn.Embedding):
    """An nn.Embedding: ids [...] -> [..., embedding_dim].

    In a linear flow the input counts as ones in one-hot space, whatever the ids. Every position then gets the mean row
    of the weight.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__(num_embeddings, embedding_dim)

    def forward(self, input: Tensor) -> Tensor:
        if self.reading.flow:
            self.reading.settle()
            return self.weight.mean(0).expand(*input.shape, -1)
        table, ids = self.reading.table(self, input)
        return F.embedding(ids, table)
