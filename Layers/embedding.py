"""Embeddings: layers that turn an input into vectors. Those of words can be trained a few rows at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn import functional as F

from Layers.layers import Linear, masked
from Layers.reading import PLAIN, Reading, replaced


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
        return self.reading.bag(ids, table, offsets, self.mode)


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
            return masked(self, "weight").mean(0).expand(*input.shape, -1)
        table, ids = self.reading.table(self, input)
        return F.embedding(ids, table)


class PatchEmbedding(Linear):
    """A masked Linear on the pixels of image patches. It has a class of its own so that it differs from other Linears.

    It is to an image what Embedding is to a text.
    """


@contextmanager
def whole_tables(model: nn.Module) -> Iterator[None]:
    """Make embeddings read their whole weight in the body, so that gradients reach it, not the rows of an optimizer."""
    embeddings = [module for module in model.modules() if isinstance(module, _Settling)]
    for module in embeddings:
        module.reading.settle()
    with replaced({module: module.reading.whole_table() for module in embeddings}):
        yield
