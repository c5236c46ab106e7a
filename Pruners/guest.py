"""A wrapper for a user's own pruner class with the interface of assignment one."""

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from Pruners.base import Pruner
from Pruners.layout import Scope


def build(kind: Callable[..., Any], masked_parameters: Iterable[tuple[Tensor, Tensor]], **options: Any) -> Any:
    """Call `kind(masked_parameters)`, with those of `options` (`seed`, `ties`) that its signature accepts."""
    try:
        taken: Collection[str] = inspect.signature(kind).parameters
    except (TypeError, ValueError):
        taken = ()
    return kind(masked_parameters, **{name: value for name, value in options.items() if name in taken})


def score_keys(scores: Any, pairs: Sequence[tuple[Tensor, Tensor]]) -> list[Any]:
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
    return [pruner.scores[key] for key in score_keys(pruner.scores, pairs)]


class Guest(Pruner):
    """A pruner whose work is done by a class that may know neither seeds nor names.

    seed: for the numbers that the class draws from torch's global generators. Their states are restored afterwards, so
    a run with a guest has the same initial weights, data order and dropout as one with a built-in pruner.
    The attribute `generator` is the class's own if it has one of that name. Its state and the scores are all that a
    checkpoint keeps of a guest. `by_tie` stays 0 if the class does not count such weights.
    """

    def __init__(
        self,
        kind: Callable[..., Any],
        masked_parameters: Iterable[tuple[Tensor, Tensor]],
        seed: int = 0,
        ties: str = "seeded",
    ) -> None:
        self.inner: Any = None
        super().__init__(masked_parameters, seed, ties)
        self.inner = build(kind, iter(self.masked_parameters), seed=seed, ties=ties)
        its = getattr(self.inner, "generator", None)
        self.draws_for_it = not isinstance(its, torch.Generator)
        if isinstance(its, torch.Generator):
            self.generator = its

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

    @scores.setter
    def scores(self, known: dict[str, Tensor]) -> None:
        self.known = known

    def score(self, model: nn.Module, loss: Callable, dataloader: Iterable, device: torch.device) -> None:
        """Score the weights with the class's own `score`."""
        with self._draws():
            self.inner.score(model, loss, dataloader, device)

    def mask(self, density: float, scope: str | Scope = "global") -> None:
        """Write the masks with the class's own `mask`; in a scope that has more than a name, by its scores."""
        if not isinstance(scope, str):
            return super().mask(density, scope)
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
