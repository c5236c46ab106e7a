"""Operations that a candidate is asked for: build the class on a network, score, mask, tell what has changed."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from Experiments.candidate import networks
from Pruners import guest
from Utils import generator
from Utils.machine import memory

CPU = torch.device("cpu")
METHODS = ("score", "mask", "apply_mask", "shuffle", "stats")
WHAT = ("weights", "masks", "statistics", "gradients", "requires_grad", "modes", "hooks", "generators", "settings")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
HOOKS = ("forward", "forward_pre", "backward", "backward_pre")
Answer = tuple[dict[str, Any], list[Tensor]]


class Trial:
    """An instance of the class under test on a network."""

    def __init__(self, kind: Any, message: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.kind = kind
        self.model, self.batches = networks.unpacked(message["builder"], message["arguments"], tensors)
        self.pairs = list(generator.masked_parameters(self.model, message["bias"]))
        self.loss = nn.CrossEntropyLoss()
        self.pruner = self.instance(message["seed"])

    def instance(self, seed: int) -> Any:
        """Return a new instance of the class, which may draw from torch's generator or a seed of its own."""
        torch.manual_seed(seed)
        return guest.build(self.kind, iter(self.pairs), seed=seed)

    def scores(self) -> list[Tensor]:
        """Return the class's scores, one tensor for each pair; LookupError or ValueError if they are not valid."""
        found = guest.scores(self.pruner, self.pairs)
        for pair, score in zip(self.pairs, found, strict=True):
            if not isinstance(score, Tensor) or score.shape != pair[1].shape:
                shape = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
                raise ValueError(f"the scores of {pair.name} are {shape}, its weights {tuple(pair[1].shape)}")
        return found

    def masks(self) -> list[Tensor]:
        """Return the masks."""
        return [mask for mask, _ in self.pairs]

    def copies(self) -> list[Tensor]:
        """Return copies of the masks, which what comes next does not change."""
        return [mask.detach().clone() for mask in self.masks()]

    def build(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> Answer:
        return {"missing": [name for name in METHODS if not callable(getattr(self.pruner, name, None))]}, []

    def score(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> Answer:
        self.pruner.score(self.model, self.loss, self.batches, CPU)
        return {}, self.scores()

    def held(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> Answer:
        return {}, [*self.scores(), *self.masks()]

    def draws(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> Answer:
        """Return the scores of a new instance for each of the seeds."""
        found = []
        for seed in message["seeds"]:
            self.pruner = self.instance(seed)
            found += self.score(message, tensors)[1]
        return {}, found

    def masked(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> Answer:
        """Return the masks of the scores in the message for each of the densities; "fresh" begins each time at ones.

        Raises ValueError if the class keeps its scores somewhere else than in `scores`.
        """
        found = []
        for density in message["densities"]:
            for mask in self.masks() if message["fresh"] else []:
                with torch.no_grad():
                    mask.fill_(1)
            for k, key in enumerate(guest.score_keys(self.pruner.scores, self.pairs)):
                self.pruner.scores[key] = tensors[str(k)].clone()
            if not all(torch.equal(score, tensors[str(k)]) for k, score in enumerate(self.scores())):
                raise ValueError("self.scores cannot be set: it is not where the scores are kept")
            self.pruner.mask(density, message["scope"])
            found += self.copies()
        return {}, found

    def rounds(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> Answer:
        """Return the masks after scoring and masking in turn, for each of the densities."""
        found = []
        for density in message["densities"]:
            self.score(message, tensors)
            self.pruner.mask(density, message["scope"])
            found += self.copies()
        return {}, found

    def mask(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> Answer:
        self.pruner.mask(message["density"], message["scope"])
        return {}, self.masks()

    def shuffle(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> Answer:
        self.pruner.shuffle()
        return {}, self.masks()

    def apply(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> Answer:
        self.pruner.apply_mask()
        return {}, [parameter for _, parameter in self.pairs]

    def stats(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> Answer:
        return {"numbers": [int(number) for number in self.pruner.stats()]}, []

    def peak(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> Answer:
        """Return the bytes that scoring needs at its peak; None if the system does not count them."""
        try:
            added = memory.added(lambda: self.pruner.score(self.model, self.loss, self.batches, CPU))
        except (OSError, LookupError, ValueError):
            return {"bytes": None}, []
        return {"bytes": added}, []

    def effects(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> Answer:
        """Score, and return the names of what is otherwise than before, by kind."""
        model: Any = self.model.train(message["training"])
        for name, parameter in model.named_parameters():
            if name in message["fixed"]:
                parameter.requires_grad_(False)
            if name in message["stored"]:
                parameter.grad = torch.full_like(parameter, 3.0)
        before = state(model)
        self.pruner.score(self.model, self.loss, self.batches, CPU)
        self.scores()
        after = state(model)
        changed = {what: [] for what in WHAT}  # type: dict[str, list[str]]
        for what in WHAT:
            old, new = before[what], after[what]
            changed[what] += [name for name in old if name not in new or not _same(old[name], new[name])]
            changed[what] += [name for name in new if name not in old]
        return {"changed": changed}, []


OPERATIONS: dict[str, Callable[[Trial, dict[str, Any], dict[str, Tensor]], Answer]] = {
    name: getattr(Trial, name)
    for name in ("build score draws held masked mask rounds shuffle apply stats peak effects".split())
}


def settle() -> None:
    """Reset the global settings of torch, which a row before may have changed."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)


def state(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return everything that scoring could change: {what a row is about: {name: value}}."""
    buffers = dict(model.named_buffers())
    tensors = {**dict(model.named_parameters()), **buffers}
    modules = {name or "the model": module for name, module in model.named_modules()}
    numpys: Any = np.random.get_state()  # a tuple; numpy declares it as a tuple or a dictionary
    return {
        "weights": {name: p.detach().clone() for name, p in model.named_parameters()},
        "masks": {name: b.detach().clone() for name, b in buffers.items() if name.endswith("_mask")},
        "statistics": {name: b.detach().clone() for name, b in buffers.items() if name.endswith(STATISTICS)},
        "gradients": {n: None if p.grad is None else p.grad.detach().clone() for n, p in model.named_parameters()},
        "requires_grad": {name: tensor.requires_grad for name, tensor in tensors.items()},
        "modes": {name: module.training for name, module in modules.items()},
        "hooks": {name: [len(getattr(m, f"_{kind}_hooks")) for kind in HOOKS] for name, m in modules.items()},
        "generators": {
            "torch's": torch.get_rng_state(), "Python's": random.getstate(),
            "numpy's": numpys[1].tolist() + [numpys[2]],
        },
        "settings": {
            "the default type": torch.get_default_dtype(), "autograd": torch.is_grad_enabled(),
            "the number of threads": torch.get_num_threads(),
        },
    }  # fmt: skip


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())
    if isinstance(a, Tensor) or isinstance(b, Tensor):  # no gradient before and zeros after are the same
        return not any(isinstance(x, Tensor) and x.any() for x in (a, b)) and a is None
    return a == b
