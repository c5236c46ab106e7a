"""The base class of pruners: scoring without a trace, exact masks, and the state of a run."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from Pruners import ranking
from Pruners.layout import Scope
from Pruners.untouched import untouched


class Pruner:
    """A method of pruning in three steps: `score` the weights, rank them and write the `mask`, and `apply_mask`.

    masked_parameters: (mask, parameter) pairs of equal shape, as from `Utils.generator.masked_parameters`. If a pair
    has an attribute `name`, it is the tensor's name in errors and in `scores`.
    seed: for this pruner's own random draws (Rand's scores, `shuffle`, ties), independent of all other generators.
    ties: how equal scores at the threshold are decided, one of `Pruners.TIES`. `by_tie` counts the weights that the
    latest `mask` kept by such a decision; not those that are kept as the first of their unit.
    """

    steps: float | None = None  # training steps, forward and backward, on the scoring examples that a score costs
    returns = False  # whether a weight that an earlier round has pruned may come back

    def __init__(self, masked_parameters: Iterable[tuple[Tensor, Tensor]], seed: int = 0, ties: str = "seeded") -> None:
        pairs = list(masked_parameters)
        self.masked_parameters: list[tuple[Tensor, Tensor]] = pairs
        self.names = [getattr(pair, "name", f"tensor {k}") for k, pair in enumerate(pairs)]
        self.scores: dict[Any, Tensor] = {}
        self.generator = torch.Generator().manual_seed(seed)
        self.seed, self.ties, self.by_tie = seed, ties, 0

    @property
    def parameters(self) -> list[Tensor]:
        """Return the parameter tensors, in order."""
        return [parameter for _, parameter in self.masked_parameters]

    def compute(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> list[Tensor]:
        """Return one score tensor per parameter, in the same order and shapes.

        Use `torch.autograd.grad` for gradients.
        """
        raise TypeError(f"{type(self).__name__} defines no compute()")

    def cost(self, sizes: Sequence[int]) -> float | None:
        """Return what a score costs: the number of examples that a training step of that cost has.

        sizes: the number of examples in each scoring batch. None means unknown, for a class that does not say `steps`.
        """
        return None if self.steps is None else self.steps * sum(sizes)

    def score(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> None:
        """Fill `self.scores`, {name: tensor shaped like the parameter}, in the model's present train / eval mode.

        Weights, gradients, buffers, modes, `requires_grad` and random generators are left as they were, also after an
        error. Gradients are taken under torch.no_grad() too. Raises FloatingPointError, naming the tensor, if a score
        is NaN.
        """
        # The math kernel: the fused attention kernels have no second derivative, which GraSP needs.
        with torch.enable_grad(), untouched(model, self.parameters), sdpa_kernel(SDPBackend.MATH):
            tensors = self.compute(model, loss, dataloader, device)
        scores = {name: tensor.detach() for name, tensor in zip(self.names, tensors, strict=True)}
        ranking.check(scores)
        self.scores = scores

    @torch.no_grad()
    def mask(self, density: float, scope: str | Scope = "global") -> None:
        """Write masks that keep the highest scores. What is already pruned stays pruned, unless it `returns`.

        Raises ValueError for an impossible density or scope, and RuntimeError if `score` has not been called. In both
        cases no mask is changed.
        """
        if not self.scores and self.names:
            raise RuntimeError("score() comes before mask()")
        ids = {id(parameter): name for name, parameter in zip(self.names, self.parameters, strict=True)}
        self.scores = {ids.get(key, key): score for key, score in self.scores.items()}  # assignment one's keys are ids
        if missing := [name for name in self.names if name not in self.scores]:
            raise RuntimeError(
                f"score() has left no scores[{missing[0]!r}]: its keys are names (self.names) or ids of tensors"
            )
        alive = {
            name: (mask != 0) | self.returns for name, (mask, _) in zip(self.names, self.masked_parameters, strict=True)
        }
        result = ranking.rank(self.scores, alive, density, scope, self.ties, self.seed)
        for name, (mask, _) in zip(self.names, self.masked_parameters, strict=True):
            mask.copy_(result.keep[name])
        self.by_tie = result.by_tie

    def take_masks(self) -> None:
        """Take masks that were made elsewhere as scores: what stays has a higher one than what is pruned."""
        self.scores = {name: mask.clone() for name, (mask, _) in zip(self.names, self.masked_parameters, strict=True)}

    @torch.no_grad()
    def apply_mask(self) -> None:
        """Set every pruned weight to zero."""
        for mask, parameter in self.masked_parameters:
            parameter.mul_(mask)

    @torch.no_grad()
    def shuffle(self) -> None:
        """Permute each mask within its tensor, so each tensor keeps its count (Frankle et al. 2020, section 5)."""
        for mask, _ in self.masked_parameters:
            order = torch.randperm(mask.numel(), generator=self.generator).to(mask.device)
            mask.copy_(mask.flatten()[order].view_as(mask))

    def invert(self) -> None:
        """Reverse the order of the scores (Frankle et al. 2020, section 5)."""
        self.scores = {name: -score for name, score in self.scores.items()}

    def state(self) -> dict[str, Any]:
        """Return the latest scores, the random generator's state and `by_tie`, for `restore`.

        Masks belong to the model.
        """
        return {"scores": self.scores, "generator": self.generator.get_state(), "by_tie": self.by_tie}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state of a pruner of the same tensors."""
        devices = dict(zip(self.names, (parameter.device for parameter in self.parameters), strict=True))
        self.scores = {name: score.to(devices[name]) for name, score in state["scores"].items()}
        self.generator.set_state(state["generator"])
        self.by_tie = state["by_tie"]

    def stats(self) -> tuple[int, int]:
        """Return (kept, total), the numbers of weights that stay and of all prunable weights."""
        kept = sum(int(mask.count_nonzero()) for mask, _ in self.masked_parameters)
        return kept, sum(mask.numel() for mask, _ in self.masked_parameters)
