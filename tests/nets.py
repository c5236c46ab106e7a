"""Small networks, batches and the mask audit: what several test files need."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from Layers import layers
from Layers.bags import Bags
from Layers.pairs import BOS, EOS, PAD, Pairs
from Layers.reading import of
from Models.seq2seq import Seq2SeqTransformer
from Models.text import TextClassificationModel

CPU = torch.device("cpu")
CROSS_ENTROPY = nn.CrossEntropyLoss()
PRUNERS = ("rand", "mag", "snip", "grasp", "synflow")


def drawn(seed: int, make, *args, **kwargs):
    """`make(...)` with weights drawn from `seed`; the global random state is as before."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return make(*args, **kwargs)


def mlp(*widths: int, activation: type[nn.Module] = nn.ReLU, bias: bool = True, seed: int = 0) -> nn.Sequential:
    """Masked Linears of these widths with an activation between each two; biases are not zero."""

    def make() -> nn.Sequential:
        modules: list[nn.Module] = []
        for k in range(len(widths) - 1):
            modules += [layers.Linear(widths[k], widths[k + 1], bias), activation()]
        return nn.Sequential(*modules[:-1])

    return drawn(seed, make)


def conv_net(bias: bool = True, activation: type[nn.Module] = nn.ReLU, seed: int = 0) -> nn.Sequential:
    """[B, 2, 5, 5] -> [B, 3]: two convolutions, the second with stride 2, then one Linear."""
    return drawn(
        seed,
        lambda: nn.Sequential(
            layers.Conv2d(2, 3, 3, padding=1, bias=bias),
            activation(),
            layers.Conv2d(3, 2, 3, stride=2, padding=1, bias=bias),
            activation(),
            nn.Flatten(),
            layers.Linear(2 * 3 * 3, 3, bias),
        ),
    )


class Mixed(nn.Module):
    """[B, 1, 6, 6] -> [B, 3]: every kind of masked layer, a residual connection of either kind, and dropout."""

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        self.conv1 = layers.Conv2d(1, 4, 3, stride=2, padding=1)
        self.bn1 = layers.BatchNorm2d(4)
        self.conv2 = layers.Conv2d(4, 4, 3, padding=1, bias=False)
        self.short1 = layers.Identity2d(4)
        self.fc1 = layers.Linear(4 * 3 * 3, 6)
        self.bn2 = layers.BatchNorm1d(6)
        self.short2 = layers.Identity1d(6)
        self.fc2 = layers.Linear(6, 6)
        self.dropout = nn.Dropout(dropout)
        self.out = layers.Linear(6, 3)

    def forward(self, data: Tensor) -> Tensor:
        first = torch.relu(self.bn1(self.conv1(data)))
        second = torch.relu(self.conv2(first) + self.short1(first))
        third = torch.relu(self.bn2(self.fc1(second.flatten(1))))
        return self.out(self.dropout(torch.relu(self.fc2(third) + self.short2(third))))


def mixed(dropout: float = 0.5, seed: int = 0) -> Mixed:
    """A `Mixed` whose normalisation layers have scales, shifts and running statistics of no special value."""

    def make() -> Mixed:
        model = Mixed(dropout)
        with torch.no_grad():
            for norm in (model.bn1, model.bn2):
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.uniform_(-0.5, 0.5)
                assert norm.running_mean is not None and norm.running_var is not None
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2.0)
        return model

    return drawn(seed, make)


def text_model(vocabulary: int = 30, classes: int = 3, seed: int = 0) -> TextClassificationModel:
    """The shipped text model with a small vocabulary and a bias that is not zero."""

    def make() -> TextClassificationModel:
        model = TextClassificationModel((vocabulary,), classes)
        nn.init.uniform_(model.fc.bias, -0.5, 0.5)
        return model

    return drawn(seed, make)


def seq2seq(
    source: int = 30,
    target: int = 29,
    width: int = 16,
    heads: int = 2,
    depth: int = 2,
    hidden: int = 12,
    dropout: float = 0.1,
    seed: int = 0,
) -> Seq2SeqTransformer:
    """The shipped translation model, small; its biases, scales and shifts have no special value."""

    def make() -> Seq2SeqTransformer:
        model = Seq2SeqTransformer((source,), target, False, width, heads, depth, hidden, dropout)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() == 1:
                    low, high = (0.5, 1.5) if "norm" in name and name.endswith("weight") else (-0.5, 0.5)
                    parameter.uniform_(low, high)
        return model

    return drawn(seed, make)


def pairs(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> tuple[Pairs, Tensor]:
    """A batch of sentences without <bos> and <eos>, and what the model is to say at its target positions."""

    def padded(rows: Iterator[list[int]]) -> Tensor:
        return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=PAD)

    data = Pairs(padded([BOS, *row, EOS] for row in sources), padded([BOS, *row] for row in targets))
    return data, torch.tensor([word for row in targets for word in [*row, EOS]])


def sentences(vocabulary: int, count: int, draw: torch.Generator, longest: int = 7) -> list[list[int]]:
    """`count` rows of 1 to `longest` random words, unknown ones among them, but none of the other special tokens."""
    lengths = torch.randint(1, longest + 1, (count,), generator=draw).tolist()
    words = [torch.randint(EOS, vocabulary, (length,), generator=draw).tolist() for length in lengths]
    return [[0 if word == EOS else word for word in row] for row in words]


def pair_batches(source: int, target: int, sizes: Sequence[int], seed: int = 0) -> list[tuple]:
    """Random sentence pairs of 1 to 7 words a side, padded, one batch for each of `sizes`."""
    draw = torch.Generator().manual_seed(seed)
    return [pairs(sentences(source, n, draw), sentences(target, n, draw)) for n in sizes]


def image_batches(shape: Sequence[int], classes: int, sizes: Sequence[int], seed: int = 0) -> list[tuple]:
    """Normal inputs [n, *shape] of the default float type and random targets, one batch for each of `sizes`."""
    draw = torch.Generator().manual_seed(seed)
    return [(torch.randn(n, *shape, generator=draw), torch.randint(classes, (n,), generator=draw)) for n in sizes]


def text_batches(vocabulary: int, classes: int, sizes: Sequence[int], seed: int = 0) -> list[tuple]:
    """Texts of 1 to 8 random words and random targets, one batch for each of `sizes`."""
    draw = torch.Generator().manual_seed(seed)
    batches = []
    for n in sizes:
        lengths = torch.randint(1, 9, (n,), generator=draw)
        ids = torch.randint(vocabulary, (int(lengths.sum()),), generator=draw)
        batches.append((Bags(ids, lengths.cumsum(0) - lengths), torch.randint(classes, (n,), generator=draw)))
    return batches


def masked_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(dotted name, mask, parameter) of every parameter with a mask, read from the buffers and nothing else."""
    parameters = dict(model.named_parameters())
    for name, buffer in model.named_buffers():
        if name.endswith("_mask"):
            yield name.removesuffix("_mask"), buffer, parameters[name.removesuffix("_mask")]


@torch.no_grad()
def mask_at_random(model: nn.Module, density: float, seed: int = 0) -> None:
    """Keep round(density * size) entries of every masked tensor, at least one, drawn at random."""
    draw = torch.Generator().manual_seed(seed)
    for _, mask, _ in masked_tensors(model):
        order = torch.randperm(mask.numel(), generator=draw)
        kept = max(1, round(density * mask.numel()))
        mask.copy_((order < kept).view_as(mask))


def _behaviour(model: nn.Module, data) -> tuple[list[Tensor], list[Tensor]]:
    """All that can be seen of a copy of `model` at `data`: (outputs in each mode, gradients under the zeros).

    Each mode runs with and without autograd, since fused kernels that read raw weights are taken only without.
    """
    outputs, gradients = [], []
    for training in (True, False):
        for autograd in (True, False):
            twin = copy.deepcopy(model).train(training)
            with torch.random.fork_rng([]), torch.set_grad_enabled(autograd):
                torch.manual_seed(0)  # where there is dropout it draws the same every time
                logits = twin(data)
                outputs.append(logits.detach())
                if autograd:
                    draw = torch.Generator().manual_seed(1)
                    (logits * torch.randn(logits.shape, generator=draw)).sum().backward()
                    gradients += [p.grad[m == 0] for _, m, p in masked_tensors(twin) if p.grad is not None]
    return outputs, gradients


def audit(model: nn.Module, data, density: float | None = 0.3, seed: int = 0) -> bool:
    """Whether no value under a zero of a mask can reach an output of `model`, or gets a gradient.

    A copy gets random masks on every masked tensor, or keeps those it has if `density` is None; then normal and the
    largest finite values are written under the zeros. True if that changes no output bit, in train and in eval mode,
    and every gradient there is exactly zero.
    """
    model = copy.deepcopy(model)
    if density is not None:
        mask_at_random(model, density, seed)
    if not any((mask == 0).any() for _, mask, _ in masked_tensors(model)):
        raise ValueError("no masked weight: nothing to audit")
    expected, gradients = _behaviour(model, data)
    passes = all((gradient == 0).all() for gradient in gradients)
    draw = torch.Generator().manual_seed(seed + 1)
    for huge in (False, True):
        with torch.no_grad():
            for _, mask, parameter in masked_tensors(model):
                noise = torch.randn(mask.shape, generator=draw).to(parameter.dtype)
                if huge:
                    noise = noise.sign() * torch.finfo(parameter.dtype).max
                parameter.copy_(torch.where(mask == 0, noise, parameter))
        outputs, gradients = _behaviour(model, data)
        passes &= all(torch.equal(a, b) for a, b in zip(outputs, expected, strict=True))
        passes &= all((gradient == 0).all() for gradient in gradients)
    return bool(passes)


def part(module):
    """What computes the layer in place of the whole, as Layers.fast.fixed has chosen; None where nothing does."""
    return getattr(of(module), "part", None)
