"""Small networks and batches for the checks, the same every time."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from Layers import layers
from Layers.bags import Bags
from Utils import generator, load

CLASSES = 4


def mlp(sizes: tuple[int, ...]) -> tuple[nn.Module, list[tuple[Any, Tensor]]]:
    """Return three Linears, [B, 12] -> [B, 4], and batches of these sizes. Their biases are scored too."""
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        model = nn.Sequential(
            layers.Linear(12, 16), nn.ReLU(), layers.Linear(16, 12), nn.ReLU(), layers.Linear(12, CLASSES)
        )
        return model, [(torch.randn(n, 12), torch.randint(CLASSES, (n,))) for n in sizes]


def conv(sizes: tuple[int, ...]) -> tuple[nn.Module, list[tuple[Any, Tensor]]]:
    """Return two convolutions with BatchNorm, dropout and one Linear, [B, 2, 6, 6] -> [B, 4], and batches.

    Running means are zero, because implementations of SynFlow differ in how they treat others; variances are not one.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(2)
        model = nn.Sequential(
            layers.Conv2d(2, 4, 3, padding=1),
            layers.BatchNorm2d(4),
            nn.ReLU(),
            layers.Conv2d(4, 3, 3, stride=2, padding=1),
            layers.BatchNorm2d(3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            layers.Linear(27, CLASSES),
        )
        with torch.no_grad():
            for norm in (model[1], model[4]):
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.uniform_(-0.3, 0.5)
                norm.running_var.uniform_(0.3, 2.0)
        return model, [(torch.randn(n, 2, 6, 6), torch.randint(CLASSES, (n,))) for n in sizes]


def text(sizes: tuple[int, ...]) -> tuple[nn.Module, list[tuple[Any, Tensor]]]:
    """Return the text classifier with 30 words, and batches of texts. Its one masked Linear has 256 weights."""
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        model = load.model("text-classification", "nlp")((30,), CLASSES)
        nn.init.uniform_(model.fc.bias, -0.5, 0.5)
        batches = []
        for n in sizes:
            lengths = torch.randint(1, 9, (n,))
            ids = torch.randint(30, (int(lengths.sum()),))
            batches.append((Bags(ids, lengths.cumsum(0) - lengths), torch.randint(CLASSES, (n,))))
        return model, batches


def middling(sizes: tuple[int, ...]) -> tuple[nn.Module, list[tuple[Any, Tensor]]]:
    """Return the fully connected network of MNIST, with 119,400 weights, and batches."""
    with torch.random.fork_rng([]):
        torch.manual_seed(4)
        model = load.model("fc")((1, 28, 28), 10)
        return model, [(torch.randn(n, 1, 28, 28), torch.randint(10, (n,))) for n in sizes]


# name -> (function that makes the network and its batches, sizes of the batches, whether biases are scored)
SUBJECTS: dict[str, tuple[Callable[..., tuple[nn.Module, list]], tuple[int, ...], bool]] = {
    "mlp": (mlp, (7, 3, 5), True),
    "conv": (conv, (7, 3, 5), False),
    "text": (text, (7, 3, 5), False),
    "middling": (middling, (128, 128), False),
}


@torch.no_grad()
def mask_at_random(model: nn.Module, density: float) -> None:
    """Set the masks so that each weight is kept with probability `density`."""
    draw = torch.Generator().manual_seed(5)
    for mask in generator.masks(model):
        mask.copy_(torch.rand(mask.shape, generator=draw) < density)
