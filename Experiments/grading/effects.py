"""Checks that `score` changes nothing but the scores."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from Experiments.grading.bench import Bench, Check, Verdict, check

WHAT = ("weights", "masks", "statistics", "gradients", "requires_grad", "modes", "hooks", "generators", "settings")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
HOOKS = ("forward", "forward_pre", "backward", "backward_pre")


def _state(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return everything that scoring could change: {what a check is about: {name: value}}."""
    buffers = dict(model.named_buffers())
    tensors = {**dict(model.named_parameters()), **buffers}
    numpys: Any = np.random.get_state()  # a tuple; numpy declares it as a tuple or a dictionary
    return {
        "weights": {name: p.detach().clone() for name, p in model.named_parameters()},
        "masks": {name: b.detach().clone() for name, b in buffers.items() if name.endswith("_mask")},
        "statistics": {name: b.detach().clone() for name, b in buffers.items() if name.endswith(STATISTICS)},
        "gradients": {n: None if p.grad is None else p.grad.detach().clone() for n, p in model.named_parameters()},
        "requires_grad": {name: tensor.requires_grad for name, tensor in tensors.items()},
        "modes": {name or "the model": module.training for name, module in model.named_modules()},
        "hooks": {
            name or "the model": [len(getattr(module, f"_{kind}_hooks")) for kind in HOOKS]
            for name, module in model.named_modules()
        },
        "generators": {
            "torch's": torch.get_rng_state(),
            "Python's": random.getstate(),
            "numpy's": numpys[1].tolist() + [numpys[2]],
        },
        "settings": {
            "the default type": torch.get_default_dtype(),
            "autograd": torch.is_grad_enabled(),
            "the number of threads": torch.get_num_threads(),
        },
    }


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())
    if isinstance(a, Tensor) or isinstance(b, Tensor):  # no gradient before and zeros after are the same
        return not any(isinstance(x, Tensor) and x.any() for x in (a, b)) and a is None
    return a == b


def _look(bench: Bench, training: bool) -> tuple[dict, dict]:
    """Return the states before and after scoring. The network has a stored gradient and a fixed parameter."""
    key = f"effects {training}"
    if key not in bench.memory:
        trial = bench.trial("conv", density=0.8)
        model: Any = trial.model.train(training)
        model[1].bias.requires_grad_(False)
        model[8].weight.grad = torch.full_like(model[8].weight, 3.0)
        before = _state(model)
        trial.score()
        bench.memory[key] = before, _state(model)
    return bench.memory[key]


def _kept(bench: Bench, what: str, training: bool) -> Verdict:
    before, after = (state[what] for state in _look(bench, training))
    changed = [name for name in before if name not in after or not _same(before[name], after[name])]
    changed += [name for name in after if name not in before]
    if changed:
        return Verdict(False, f"changed: {', '.join(changed)}")
    return Verdict(True, "as before")


def rows(truth: str | None) -> list[Check]:
    """Return the checks of this group."""
    checks = [check(what, _kept, what=what, training=False) for what in WHAT]
    return [*checks, check("statistics_in_training", _kept, what="statistics", training=True)]
