"""Checks, their verdicts, and the class under test on the networks that it is tested on."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from Experiments.grading import subjects
from Pruners import guest
from Utils import generator

CPU = torch.device("cpu")
ROWS = tomllib.loads(Path(__file__).with_name("checks.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check."""

    ok: bool
    found: str  # the outcome in words
    figures: dict[str, Any] = field(default_factory=dict)  # for the sheet's JSON


@dataclass(frozen=True)
class Check:
    """A row of the sheet that is still to be made."""

    name: str
    expected: str
    why: str  # why it matters, for the reader of a row that fails
    body: Callable[[Bench], Verdict]  # a row whose body raises anything fails


def check(row: str, body: Callable[..., Verdict], words: Mapping[str, Any] | None = None, **arguments: Any) -> Check:
    """Return a row of checks.toml. The arguments of its body fill the braces of its texts, and so do more `words`."""
    texts = {key: text.format(**arguments, **(words or {})) for key, text in ROWS[row].items()}
    return Check(**texts, body=partial(body, **arguments))


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
        """Return the name of each pair."""
        return [pair.name for pair in self.pairs]

    @property
    def sizes(self) -> list[int]:
        """Return the number of weights of each pair."""
        return [parameter.numel() for _, parameter in self.pairs]

    def score(self) -> list[Tensor]:
        """Call the class's `score` and return its scores. Raises what `scores` raises."""
        self.pruner.score(self.model, self.loss, self.batches, CPU)
        return self.scores()

    def scores(self) -> list[Tensor]:
        """Return copies of the scores, one tensor for each pair; LookupError or ValueError if they are not valid."""
        found = guest.scores(self.pruner, self.pairs)
        for pair, score in zip(self.pairs, found, strict=True):
            if not isinstance(score, Tensor) or score.shape != pair[1].shape:
                shape = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
                raise ValueError(f"the scores of {pair.name} are {shape}, its weights {tuple(pair[1].shape)}")
            if not score.isfinite().all():
                raise ValueError(f"scores of {pair.name} are not finite")
        return [score.detach().clone() for score in found]

    def put(self, values: list[Tensor]) -> None:
        """Replace the class's scores by these. Raises ValueError if it keeps its scores somewhere else."""
        for key, value in zip(guest.score_keys(self.pruner.scores, self.pairs), values, strict=True):
            self.pruner.scores[key] = value.clone()
        if not equal(self.scores(), values):
            raise ValueError("self.scores cannot be set: it is not where the scores are kept")

    @torch.no_grad()
    def unmask(self) -> None:
        """Set every mask to ones."""
        for mask, _ in self.pairs:
            mask.fill_(1)

    def masks(self) -> list[Tensor]:
        """Return copies of the masks."""
        return [mask.detach().clone() for mask, _ in self.pairs]


def equal(left: list[Tensor], right: list[Tensor]) -> bool:
    """Return whether two lists hold the same tensors, bit by bit."""
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


class Bench:
    """The class under test, with everything that a check needs."""

    kind: Any  # the class, set once it is loaded

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request  # of the parent process, see child.py
        self.truth: str | None = request["truth"]  # the pruner whose formula the scores should follow
        self.memory: dict[str, Any] = {}  # results that several checks share

    def settle(self) -> None:
        """Reset the global settings of torch, which the check before may have changed."""
        torch.manual_seed(0)
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)

    def trial(self, subject: str = "mlp", seed: int = 0, density: float = 1.0) -> Trial:
        """Build the class on a new network, which is in eval mode, as in the pruning routine.

        subject: the network, a key of subjects.SUBJECTS.
        seed: seed of torch's generator, from which the instance may draw.
        density: below 1, the network is already pruned at random to this density.
        """
        make, sizes, bias = subjects.SUBJECTS[subject]
        model, batches = make(sizes)
        model.eval()
        if density < 1:
            subjects.mask_at_random(model, density)
        pairs = list(generator.masked_parameters(model, bias))
        torch.manual_seed(seed)
        return Trial(model, batches, pairs, guest.build(self.kind, iter(pairs), seed=seed))
