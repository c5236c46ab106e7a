"""The networks and batches of the rows: their numbers are drawn from a seed, so that no table can know them."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from Experiments.candidate import networks
from Experiments.candidate.networks import Batches
from Layers.bags import Bags
from Utils import generator

CLASSES = 4
WORDS = 30  # in the vocabulary of the text classifier


@dataclass(frozen=True)
class Draw:
    """Numbers for one submission: from the course's secret and the submission's hash, or the same for everyone."""

    key: bytes = b""

    @classmethod
    def of(cls, secret: bytes, sha256: str) -> "Draw":
        """Return the draw of a submission. It tells nothing of the secret."""
        return cls(hmac.digest(secret, sha256.encode(), "sha256"))

    @property
    def name(self) -> str:
        """Return what stands on the sheet: the seed, or that everyone has the same numbers."""
        return self.key.hex() if self.key else "the same for everyone"

    def seed(self, what: str) -> int:
        """Return the seed of one purpose."""
        return int.from_bytes(hmac.digest(self.key or b"everyone", what.encode(), "sha256")[:7], "big")

    def generator(self, what: str) -> torch.Generator:
        """Return a generator for one purpose."""
        return torch.Generator().manual_seed(self.seed(what))


@dataclass(frozen=True)
class Subject:
    """A network that classes are tested on."""

    builder: str  # a key of networks.BUILDERS
    arguments: tuple[Any, ...]
    sizes: tuple[int, ...]  # of the batches
    bias: bool  # whether biases are scored
    data: Callable[[int], Any]  # n -> inputs of n examples, drawn from torch's generator
    finish: Callable[[nn.Module], None] = lambda model: None  # draws what is more than initial weights


def _norms(model: Any) -> None:
    """Running means stay zero, because implementations of SynFlow differ in how they treat others; variances do not."""
    for norm in (model[1], model[4]):
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.uniform_(-0.3, 0.5)
        norm.running_var.uniform_(0.3, 2.0)


def _bias(model: Any) -> None:
    model.fc.bias.uniform_(-0.5, 0.5)


def _texts(n: int) -> Bags:
    lengths = torch.randint(1, 9, (n,))
    return Bags(torch.randint(WORDS, (int(lengths.sum()),)), lengths.cumsum(0) - lengths)


SUBJECTS = {
    "mlp": Subject("mlp", (12, CLASSES), (7, 3, 5), True, lambda n: torch.randn(n, 12)),
    "conv": Subject("conv", (2, CLASSES), (7, 3, 5), False, lambda n: torch.randn(n, 2, 6, 6), _norms),
    "text": Subject("text-classification", ((WORDS,), CLASSES), (7, 3, 5), False, _texts, _bias),
    "middling": Subject("fc", ((1, 28, 28), 10), (128, 128), False, lambda n: torch.randn(n, 1, 28, 28)),
}


def drawn(subject: Subject, seed: int) -> tuple[nn.Module, Batches]:
    """Return the network in eval mode and its batches. The global generator is left as it was."""
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(seed)
        model = networks.BUILDERS[subject.builder](*subject.arguments)
        subject.finish(model)
        classes = subject.arguments[-1]
        batches = [(subject.data(n), torch.randint(classes, (n,))) for n in subject.sizes]
    return model.eval(), batches


@torch.no_grad()
def mask_at_random(model: nn.Module, density: float, draw: torch.Generator) -> None:
    """Set the masks so that each weight is kept with probability `density`."""
    for mask in generator.masks(model):
        mask.copy_(torch.rand(mask.shape, generator=draw) < density)


def distinct(sizes: list[int], draw: torch.Generator) -> Tensor:
    """Draw scores that are all different, of both signs: [sum of sizes]."""
    return torch.randperm(sum(sizes), generator=draw).float() - sum(sizes) // 2
