"""Translation: the Transformer of the paper, with the module names of the PyTorch tutorial that the paper used."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from Layers import layers
from Layers.embedding import Embedding
from Layers.pairs import BOS, PAD, Pairs
from Models.transformer import Cache, PositionalEncoding, Transformer

BLOCK = 1024  # words a block in `likeliest_step` on a CPU


class TokenEmbedding(nn.Module):
    """An embedding: token numbers [...] -> [..., width], rows times sqrt(width) (Vaswani et al. 2017, section 3.4)."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = Embedding(vocabulary, width)
        self.scale = math.sqrt(width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.embedding(tokens) * self.scale


@dataclass
class State:
    """The state of a batch of translations in progress."""

    caches: list[Cache]  # one per decoder layer
    mask: Tensor  # mask of the source, [S, B, 1]
    position: int = 0  # position of the next token

    def keep(self, rows: Tensor) -> None:
        """Continue with these rows of the batch, in this order. A row may occur more than once."""
        for cache in self.caches:
            cache.keep(rows, self.position)
        self.mask = self.mask.index_select(1, rows)


class Seq2SeqTransformer(nn.Module):
    """A Transformer: `Pairs` -> logits [n, target words] at the n target positions that are not padding, row by row.

    input_shape: (source words,).
    num_classes: target words.
    It has 3 + 3 post-norm layers of width 512 with 8 heads, feed-forward width 512 and dropout 0.1. All weight
    matrices, including embeddings and generator, start from Xavier's uniform distribution.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        dense_classifier: bool = False,
        width: int = 512,
        heads: int = 8,
        depth: int = 3,
        hidden: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        (words,) = input_shape
        self.transformer = Transformer(width, heads, depth, hidden, dropout)
        self.generator = (nn.Linear if dense_classifier else layers.Linear)(width, num_classes)
        self.src_tok_emb = TokenEmbedding(words, width)
        self.tgt_tok_emb = TokenEmbedding(num_classes, width)
        self.positional_encoding = PositionalEncoding(width, dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial matrices from the global generator. Vectors are initialised by their own layers."""
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Encode [B, S]; return (memory [B, S, E], mask [B, 1, 1, S], False at padding)."""
        mask = (source != PAD)[:, None, None, :]
        return self.transformer.encoder(self.positional_encoding(self.src_tok_emb(source)), mask), mask

    def forward(self, data: Pairs) -> Tensor:
        memory, mask = self.encode(data.source)
        target = self.positional_encoding(self.tgt_tok_emb(data.target))
        hidden = self.transformer.decoder(target, memory, mask)
        return self.generator(hidden[data.target != PAD])

    def begin(self, source: Tensor, room: int) -> State:
        """Prepare to translate `source` [B, S] into at most `room` tokens each, one per `step`, in eval mode."""
        memory, mask = self.encode(source)
        caches = [layer.cache(memory, room) for layer in self.transformer.decoder.layers]
        return State(caches, mask[:, 0, 0, :].t().unsqueeze(2))

    def step(self, tokens: Tensor, state: State) -> Tensor:
        """Return the logits [B, target words] of the token after the latest ones, [B]; `state` advances."""
        return self.generator(self._advance(tokens, state))

    def likeliest_step(self, tokens: Tensor, state: State) -> Tensor:
        """Do the same as `step`, but return only the word with the highest logit, [B]; of equal words the first.

        A CPU computes the logits in blocks that stay in its cache, and never writes all of them to memory.
        """
        hidden = self._advance(tokens, state)
        best, words = hidden.new_full((len(hidden),), -torch.inf), torch.zeros_like(tokens)
        block = BLOCK if hidden.device.type == "cpu" else self.generator.out_features
        for first in range(0, self.generator.out_features, block):
            rows = slice(first, first + block)
            weight, bias = (layers.masked(self.generator, name, rows) for name in ("weight", "bias"))
            value, index = F.linear(hidden, weight, bias).max(1)
            better = value > best
            best, words = torch.where(better, value, best), torch.where(better, index + first, words)
        return words

    def _advance(self, tokens: Tensor, state: State) -> Tensor:
        """Run the latest tokens through the decoder: [B] -> [B, E]."""
        target = self.positional_encoding(self.tgt_tok_emb(tokens.unsqueeze(1)), state.position).squeeze(1)
        for layer, cache in zip(self.transformer.decoder.layers, state.caches, strict=True):
            target = layer.step(target, state.position, cache, state.mask)
        state.position += 1
        return self.transformer.decoder.norm(target)

    def ones_input(self) -> Pairs:
        """Return one source and one target position.

        In a linear flow each holds ones in one-hot space (see Embedding).
        """
        token = torch.full((1, 1), BOS, device=self.generator.weight.device)
        return Pairs(token, token)
