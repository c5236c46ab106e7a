"""Checks, their verdicts, and the class under test as the judge sees it: networks sent, and answers got."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from Experiments.candidate import networks
from Experiments.grading import draws
from Experiments.grading.draws import Draw
from Experiments.grading.remote import Candidate, Raised
from Utils import generator

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
    body: Callable[[Bench], Verdict]  # a row whose body raises Raised or Lost fails
    forgeable: bool = False  # it rests on what the class's own process says, so it weighs little


def check(row: str, body: Callable[..., Verdict], words: Mapping[str, Any] | None = None, **arguments: Any) -> Check:
    """Return a row of checks.toml. The arguments of its body fill the braces of its texts, and so do more `words`."""
    entry = dict(ROWS[row])
    forgeable = entry.pop("forgeable", False)
    texts = {key: text.format(**arguments, **(words or {})) for key, text in entry.items()}
    return Check(**texts, body=partial(body, **arguments), forgeable=forgeable)


class Trial:
    """An instance of the class on a network. `model` is the judge's own copy: nothing but its masks ever changes."""

    def __init__(
        self,
        candidate: Candidate,
        builder: str,
        arguments: tuple[Any, ...],
        model: nn.Module,
        batches: networks.Batches,
        bias: bool,
        seed: int,
    ) -> None:
        self.candidate, self.model, self.batches = candidate, model, batches
        self.pairs = list(generator.masked_parameters(model, bias))
        self.names = [pair.name for pair in self.pairs]
        self.shapes = [parameter.shape for _, parameter in self.pairs]
        self.sizes = [parameter.numel() for _, parameter in self.pairs]
        candidate.trials += 1
        self.number = candidate.trials
        fields: dict[str, Any] = {"builder": builder, "arguments": arguments, "bias": bias, "seed": seed}
        self.missing: list[str] = self._ask("build", networks.packed(model, batches), **fields)[0]["missing"]

    def _ask(
        self, operation: str, tensors: dict[str, Tensor] | None = None, times: int = 0, **fields: Any
    ) -> tuple[dict[str, Any], list[Tensor]]:
        return self.candidate.ask(operation, {"trial": self.number, **fields}, tensors, self.shapes * times)

    def _scores(self, found: list[Tensor]) -> list[Tensor]:
        for name, score in zip(itertools.cycle(self.names), found, strict=False):
            if not score.isfinite().all():
                raise Raised(f"scores of {name} are not finite")
        return found

    def score(self) -> list[Tensor]:
        """Have the class score and return its scores, one tensor for each pair, all of them finite."""
        return self._scores(self._ask("score", times=1)[1])

    def draws(self, seeds: list[int]) -> list[list[Tensor]]:
        """Return the scores of a new instance for each of the seeds."""
        return self._parts(self._scores(self._ask("draws", times=len(seeds), seeds=seeds)[1]))

    def held(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the scores and the masks as they are."""
        found = self._ask("held", times=2)[1]
        return self._scores(found[: len(self.shapes)]), found[len(self.shapes) :]

    def masked(
        self, scores: list[Tensor], densities: Sequence[float], scope: str, fresh: bool = True
    ) -> list[list[Tensor]]:
        """Replace the class's scores by these, and return its masks for each density.

        fresh: begin each time with nothing pruned. Raises Raised if the class keeps its scores somewhere else.
        """
        fields: dict[str, Any] = {"densities": list(densities), "scope": scope, "fresh": fresh}
        tensors = {str(k): value for k, value in enumerate(scores)}
        return self._parts(self._ask("masked", tensors, len(densities), **fields)[1])

    def rounds(self, densities: Sequence[float], scope: str) -> list[list[Tensor]]:
        """Have the class score and mask in turn, and return the masks of each round."""
        return self._parts(self._ask("rounds", times=len(densities), densities=list(densities), scope=scope)[1])

    def _parts(self, found: list[Tensor]) -> list[list[Tensor]]:
        size = len(self.shapes)
        return [found[k : k + size] for k in range(0, len(found), size)]

    def mask(self, density: float, scope: str) -> list[Tensor]:
        """Have the class mask, and return the masks."""
        return self._ask("mask", times=1, density=density, scope=scope)[1]

    def shuffle(self) -> list[Tensor]:
        """Have the class permute the masks, and return them."""
        return self._ask("shuffle", times=1)[1]

    def apply(self) -> list[Tensor]:
        """Have the class set pruned weights to zero, and return the weights."""
        return self._ask("apply", times=1)[1]

    def stats(self) -> tuple[int, ...]:
        """Return what the class's `stats` says."""
        return tuple(self._ask("stats")[0]["numbers"])

    def peak(self) -> int | None:
        """Return the bytes that scoring needs, as the candidate's process has counted them."""
        return self._ask("peak")[0]["bytes"]

    def effects(self, training: bool, fixed: str, stored: str) -> dict[str, list[str]]:
        """Have the class score; return what its process says has changed.

        fixed: the name of a parameter that is not trained. stored: that of one with a stored gradient.
        """
        return self._ask("effects", training=training, fixed=[fixed], stored=[stored])[0]["changed"]


def equal(left: list[Tensor], right: list[Tensor]) -> bool:
    """Return whether two lists hold the same tensors, bit by bit."""
    return all(torch.equal(a.double(), b.double()) for a, b in zip(left, right, strict=True))


class Bench:
    """The class under test, with everything that a check needs."""

    def __init__(
        self, candidate: Candidate, truth: str | None, draw: Draw, data_dir: str = "Data", threads: int = 1
    ) -> None:
        self.candidate, self.draw = candidate, draw
        self.truth = truth  # the pruner whose formula the scores should follow
        self.data_dir, self.threads = data_dir, threads
        self.name = ""  # the class's name, once it is loaded
        self.memory: dict[str, Any] = {}  # results that several checks share

    def trial(self, subject: str = "mlp", seed: int = 0, density: float = 1.0, variant: str = "") -> Trial:
        """Build the class on a new network, which is in eval mode, as in the pruning routine.

        subject: the network, a key of draws.SUBJECTS.
        seed: seed of torch's generator, from which the instance may draw.
        density: below 1, the network is already pruned at random to this density.
        variant: names further networks of the same subject, with other numbers.
        """
        described = draws.SUBJECTS[subject]
        model, batches = draws.drawn(described, self.draw.seed(subject + variant))
        if density < 1:
            draws.mask_at_random(model, density, self.draw.generator("masks"))
        return Trial(self.candidate, described.builder, described.arguments, model, batches, described.bias, seed)
