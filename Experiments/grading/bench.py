"""What checks are made of, and the class under test with the networks it is tested on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from Experiments.grading import subjects
from Pruners import guest
from Utils import generator

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Verdict:
    """Whether a row holds, what was found in words, and figures for the JSON."""

    ok: bool
    found: str
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """A row in the making. body(bench) gives its verdict; what it raises is a row that fails."""

    name: str
    expected: str
    why: str
    body: Callable[[Bench], Verdict]


@dataclass
class Trial:
    """An instance of the class under test on a network."""

    model: nn.Module
    batches: list[tuple[Any, Tensor]]
    pairs: list[generator.MaskedParameter]
    pruner: Any
    loss: nn.Module = field(default_factory=nn.CrossEntropyLoss)

    @property
    def names(self) -> list[str]:
        return [pair.name for pair in self.pairs]

    def score(self) -> list[Tensor]:
        """Have it score; its scores, one tensor a pair. Raises LookupError or ValueError where there are none."""
        self.pruner.score(self.model, self.loss, self.batches, CPU)
        return self.scores()

    def scores(self) -> list[Tensor]:
        found = guest.scores(self.pruner, self.pairs)
        for pair, score in zip(self.pairs, found, strict=True):
            if not isinstance(score, Tensor) or score.shape != pair[1].shape:
                shape = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
                raise ValueError(f"the scores of {pair.name} are {shape}, its weights {tuple(pair[1].shape)}")
            if not score.isfinite().all():
                raise ValueError(f"scores of {pair.name} are not finite")
        return [score.detach().clone() for score in found]

    def put(self, values: list[Tensor]) -> None:
        """Give it these scores in place of its own."""
        for key, value in zip(guest.score_keys(self.pruner.scores, self.pairs), values, strict=True):
            self.pruner.scores[key] = value.clone()
        if not all(torch.equal(a, b) for a, b in zip(self.scores(), values, strict=True)):
            raise ValueError("self.scores cannot be set: it is not where the scores are kept")

    @torch.no_grad()
    def unmask(self) -> None:
        for mask, _ in self.pairs:
            mask.fill_(1)

    def masks(self) -> list[Tensor]:
        return [mask.detach().clone() for mask, _ in self.pairs]


class Bench:
    """kind: the class under test; request: what the parent asked for."""

    kind: Any

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        self.truth: str | None = request["truth"]
        self.memory: dict[str, Any] = {}  # what rows have found for rows to come

    def settle(self) -> None:
        """Undo what the row before may have set for all of torch."""
        torch.manual_seed(0)
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)

    def trial(self, subject: str = "mlp", seed: int = 0, density: float = 1.0) -> Trial:
        """A new instance on a new network, in eval mode as the pruning routine hands it over.

        seed: of what the instance draws. density: of masks at random that are already there.
        """
        make, sizes, bias = subjects.SUBJECTS[subject]
        model, batches = make(sizes)
        model.eval()
        if density < 1:
            subjects.mask_at_random(model, density)
        pairs = list(generator.masked_parameters(model, bias))
        torch.manual_seed(seed)
        return Trial(model, batches, pairs, guest.build(self.kind, iter(pairs), seed=seed))
