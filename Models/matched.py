"""Networks that take texts and images alike: one core of prunable layers behind a front end for either kind.

A front end turns an example into 32 vectors: the first 32 words of a text, or 32 patches of an image. What follows is
the same for both, layer by layer and weight by weight. So a difference between text and images does not come from the
network. The front end's weights are pruned only with `--prune-embedding`, on both sides.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from Layers import layers
from Layers.bags import Bags
from Layers.embedding import Embedding, PatchEmbedding
from Models.transformer import EncoderLayer, PositionalEncoding
from Models.width import scaled

POSITIONS = 32  # vectors per example
WIDTH = 64  # numbers in a vector
SIDE = 32  # rows and columns of the largest image
PATCH = (4, 8)  # rows and columns of a patch: a 32 x 32 image has 8 x 4 of them


class Words(nn.Module):
    """The front end for texts: `Bags` of B texts -> the embeddings of their first 32 words, zero after a text's end.

    Returns ([B, 32, width], real [B, 32]); `real` is False after the end of a text.
    """

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = Embedding(vocabulary, width)

    def forward(self, data: Bags) -> tuple[Tensor, Tensor]:
        ids, real = data.padded(POSITIONS)
        return self.embedding(ids) * real.unsqueeze(2), real


class Patches(nn.Module):
    """The front end for images: [B, C, H, W], H and W up to 32 -> 32 patches of 4 x 8 pixels, each projected.

    A smaller image is padded by zeros on all sides. Returns ([B, 32, width], real [B, 32]); all of `real` is True.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.embedding = PatchEmbedding(channels * PATCH[0] * PATCH[1], width)

    def forward(self, data: Tensor) -> tuple[Tensor, Tensor]:
        down, right = (32 - size for size in data.shape[2:])
        image = F.pad(data, [right // 2, right - right // 2, down // 2, down - down // 2])
        patches = F.unfold(image, PATCH, stride=PATCH).transpose(1, 2)
        return self.embedding(patches), torch.ones(patches.shape[:2], dtype=torch.bool, device=data.device)


class _Matched(nn.Module):
    """The front end that fits the input, a normalisation, so that both kinds enter at the same scale, and positions.

    input_shape: (V,), the size of a vocabulary, or (C, H, W). Raises ValueError for larger images.
    """

    front: Words | Patches

    def __init__(self, input_shape: Sequence[int]) -> None:
        super().__init__()
        self.input_shape = tuple(input_shape)
        if len(input_shape) > 1 and max(input_shape[1:]) > SIDE:
            raise ValueError(f"takes images of up to {SIDE} x {SIDE} pixels")
        if len(input_shape) == 1:
            self.front = Words(input_shape[0], WIDTH)
        else:
            self.front = Patches(input_shape[0], WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.positions = PositionalEncoding(WIDTH, dropout=0.0)

    def vectors(self, data: Bags | Tensor) -> tuple[Tensor, Tensor]:
        """Return the normalised vectors with their positions [B, 32, width], and which of them are real [B, 32]."""
        vectors, real = self.front(data)
        return self.positions(self.norm(vectors)), real

    def ones_input(self) -> Bags | Tensor:
        """Return one image of ones, or one text of 32 words, which in a linear flow are ones in one-hot space."""
        weight = self.front.embedding.weight
        if isinstance(self.front, Patches):
            return weight.new_ones(1, *self.input_shape)
        ids = torch.zeros(POSITIONS, dtype=torch.int64, device=weight.device)
        return Bags(ids, ids[:1])

    def reset_parameters(self) -> None:
        """Draw new initial matrices from the global generator: Xavier's uniform (Glorot & Bengio 2010), but embeddings.

        Vectors are initialised by their own layers.
        """
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1 and not name.startswith("front."):
                nn.init.xavier_uniform_(parameter)


def _mean(vectors: Tensor, real: Tensor) -> Tensor:
    """Return the mean over real positions: [B, 32, E] and [B, 32] -> [B, E]."""
    weights = real.to(vectors).unsqueeze(2)
    return (vectors * weights).sum(1) / weights.sum(1).clamp_min(1)


class MatchedTransformer(_Matched):
    """A network of two encoder layers, the mean over positions, and a Linear: `Bags` or images -> [B, classes].

    It has width 64, 4 heads, feed-forward width 256 and no dropout. Before the classifier 73,728 weights are prunable,
    and 24,576 more with `--prune-attention all`. `width` is a factor of the feed-forward width.
    """

    def __init__(
        self, input_shape: Sequence[int], num_classes: int, dense_classifier: bool = False, width: float = 1.0
    ) -> None:
        super().__init__(input_shape)
        hidden = scaled(256, width)
        self.layers = nn.ModuleList([EncoderLayer(WIDTH, heads=4, hidden=hidden, dropout=0.0) for _ in range(2)])
        self.fc = (nn.Linear if dense_classifier else layers.Linear)(WIDTH, num_classes)
        self.reset_parameters()

    def forward(self, data: Bags | Tensor) -> Tensor:
        hidden, real = self.vectors(data)
        seen = real | ~real.any(1, keepdim=True)  # a text without words attends to its zeros: to nothing would be NaN
        for layer in self.layers:
            hidden = layer(hidden, seen[:, None, None, :])
        return self.fc(_mean(hidden, real))


class MatchedMLP(_Matched):
    """A network of a Linear at each position, their mean, and three Linears: `Bags` or images -> [B, classes].

    Hidden widths are 256, 128 and 192. Before the classifier 73,728 weights are prunable, as in the Transformer.
    `width` is a factor of the hidden widths.
    """

    def __init__(
        self, input_shape: Sequence[int], num_classes: int, dense_classifier: bool = False, width: float = 1.0
    ) -> None:
        super().__init__(input_shape)
        widths = [WIDTH, *(scaled(size, width) for size in (256, 128, 192))]
        self.linear1, self.linear2, self.linear3 = (layers.Linear(*pair) for pair in itertools.pairwise(widths))
        self.fc = (nn.Linear if dense_classifier else layers.Linear)(widths[-1], num_classes)
        self.reset_parameters()

    def forward(self, data: Bags | Tensor) -> Tensor:
        vectors, real = self.vectors(data)
        hidden = _mean(F.relu(self.linear1(vectors)), real)
        return self.fc(F.relu(self.linear3(F.relu(self.linear2(hidden)))))
