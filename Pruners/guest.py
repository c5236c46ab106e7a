"""A wrapper for a user's own pruner class with the interface of assignment one."""

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def build(kind: Callable[..., Any], masked_parameters: Iterable[tuple[Tensor, Tensor]], **options: Any) -> Any:
    """Call `kind(masked_parameters)`, with those of `options` (`seed`, `ties`) that its signature accepts."""
    try:
        taken: Collection[str] = inspect.signature(kind).parameters
    except (TypeError, ValueError):
        taken = ()
    return kind(masked_parameters, **{name: value for name, value in options.items() if name in taken})


def places(scores: Any, pairs: Sequence[tuple[Tensor, Tensor]]) -> list[Any]:
    """Return the key in `scores` (or, if it is a list, the index) of the scores of each pair.

    Keys may be ids of parameters (assignment one), names of parameters (this project), ids of masks, or the parameters
    themselves. Raises LookupError if a pair has no scores.
    """
    if not isinstance(scores, Mapping):
        if not isinstance(scores, list) or len(scores) != len(pairs):
            raise LookupError(f"self.scores holds no scores of {len(pairs)} tensors")
        return list(range(len(pairs)))
    held = {id(key) if isinstance(key, Tensor) else key: key for key in scores}
    keys = []
    for number, (mask, parameter) in enumerate(pairs):
        name = getattr(pairs[number], "name", f"tensor {number}")
        known = [key for key in (id(parameter), name, id(mask)) if key in held]
        if not known:
            raise LookupError(f"self.scores has no entry of {name}, neither by its id nor by its name")
        keys.append(held[known[0]])
    return keys


def scores(pruner: Any, pairs: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Return the scores of each pair, in order. Raises LookupError if a pair has none."""
    return [pruner.scores[place] for place in places(pruner.scores, pairs)]


class Guest:
    """The interface of `Pruners.pruners.Pruner` around a class that may know neither seeds nor names.

    seed: for the numbers that the class draws from torch's global generators. Their states are restored afterwards, so
    a run with a guest has the same initial weights, data order and dropout as one with a built-in pruner.
    The attribute `generator` is the class's own if it has one of that name. Its state and the scores are all that a
    checkpoint keeps of a guest.
    """

    def __init__(
        self,
        kind: Callable[..., Any],
        masked_parameters: Iterable[tuple[Tensor, Tensor]],
        seed: int = 0,
        ties: str = "seeded",
    ) -> None:
        self.masked_parameters = list(masked_parameters)
        self.names = [getattr(pair, "name", f"tensor {k}") for k, pair in enumerate(self.masked_parameters)]
        self.inner = build(kind, iter(self.masked_parameters), seed=seed, ties=ties)
        own = torch.Generator().manual_seed(seed)
        its = getattr(self.inner, "generator", None)
        self.generator: torch.Generator = its if isinstance(its, torch.Generator) else own
        self.draws_for_it = self.generator is own
        self.known: dict[str, Tensor] = {}
        self.by_tie = 0  # stays 0 if the class does not count them

    @contextmanager
    def _draws(self) -> Iterator[None]:
        """Seed torch's global generators from `generator` in the body, and restore them afterwards.

        If `generator` is this wrapper's own, it advances by one draw.
        """
        ahead = torch.Generator()
        ahead.set_state(self.generator.get_state())
        devices = sorted({p.device.index or 0 for _, p in self.masked_parameters if p.is_cuda})
        with torch.random.fork_rng(devices):
            torch.manual_seed(int(torch.randint(2**62, (), generator=ahead)))
            yield
        if self.draws_for_it:
            self.generator.set_state(ahead.get_state())

    @property
    def scores(self) -> dict[str, Tensor]:
        """Return the scores by name. Before the class has scored, these are the scores of the restored state."""
        try:
            tensors = scores(self.inner, self.masked_parameters)
        except (LookupError, AttributeError):
            return self.known
        return {name: score.detach() for name, score in zip(self.names, tensors, strict=True)}

    def state(self) -> dict[str, Any]:
        """Return the latest scores, the random generator's state and `by_tie`, for `restore`.

        Masks belong to the model.
        """
        return {"scores": self.scores, "generator": self.generator.get_state(), "by_tie": self.by_tie}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state of a pruner of the same tensors."""
        self.known = state["scores"]
        self.generator.set_state(state["generator"])
        self.by_tie = state["by_tie"]

    def score(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> None:
        """Score the weights with the class's own `score`."""
        with self._draws():
            self.inner.score(model, loss, dataloader, device)

    def mask(self, density: float, scope: str = "global") -> None:
        """Write the masks with the class's own `mask`."""
        self.inner.mask(density, scope)
        self.by_tie = int(getattr(self.inner, "by_tie", 0))

    def apply_mask(self) -> None:
        """Set pruned weights to zero with the class's own `apply_mask`."""
        self.inner.apply_mask()

    def shuffle(self) -> None:
        """Permute the masks with the class's own `shuffle`."""
        with self._draws():
            self.inner.shuffle()

    @torch.no_grad()
    def invert(self) -> None:
        """Reverse the order of the scores, in place. Assignment one's own `invert` divides by zero."""
        for score in scores(self.inner, self.masked_parameters):
            score.neg_()

    def stats(self) -> tuple[int, int]:
        """Return (kept, total), the numbers of weights that stay and of all prunable weights, counted in the masks."""
        kept = sum(int(mask.count_nonzero()) for mask, _ in self.masked_parameters)
        return kept, sum(mask.numel() for mask, _ in self.masked_parameters)
