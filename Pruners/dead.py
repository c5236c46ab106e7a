"""Find what a mask has cut off for good: empty tensors, units with no way in or out, classes that nothing reaches.

It takes any model that can be called, and its masks alone: derivatives follow whatever the model does, place by place.
An exporter may take out only what is dead for certain, so it follows the weights of the operations that it knows
(Utils/export/reach.py). On the models of this project both say the same of each unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from Layers import layers, probe
from Layers.flow import linear_flow
from Pruners.untouched import untouched

CHANNELS_FIRST = (nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, layers.Identity2d)


def _structure(model: nn.Module) -> dict[str, Tensor]:
    """Stand-ins for parameters and running statistics that keep nothing but the paths: float64, by name.

    A kept weight becomes 1 / (kept weights of its unit), so that signals neither overflow nor fade in deep networks,
    a pruned one 0, a bias 0, and a BatchNorm its masked scale. What carries no mask counts as kept.
    """
    stand_ins = {}
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            stand_ins[name] = torch.zeros_like(parameter, dtype=torch.float64)
            continue
        path, _, leaf = name.rpartition(".")
        mask = layers.mask_of(model.get_submodule(path), leaf)
        kept = torch.ones_like(parameter, dtype=torch.float64) if mask is None else (mask != 0).double()
        # An embedding row is a word, not a unit: its entries are the units, each with every word as its way in.
        fan_in = kept.flatten(1).sum(1) if kept.dim() > 1 else torch.ones_like(kept)
        if isinstance(model.get_submodule(path), (nn.Embedding, nn.EmbeddingBag)):
            fan_in = torch.ones_like(fan_in)
        stand_ins[name] = kept / fan_in.clamp_min(1).reshape(-1, *[1] * (kept.dim() - 1))
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            stand_ins[name] = torch.zeros_like(buffer, dtype=torch.float64)
        elif name.endswith("running_var"):
            stand_ins[name] = torch.ones_like(buffer, dtype=torch.float64)
    return stand_ins


def _pass(model: nn.Module, stand_ins: dict[str, Tensor], data, lift: float) -> tuple[list, Tensor]:
    """([(name, module, output), ...], logits) of every layer with parameters, `lift` added to each output."""
    seen: list[tuple[str, nn.Module, Tensor]] = []

    def note(name: str):
        def hook(module: nn.Module, _, output: Tensor) -> Tensor:
            seen.append((name, module, output + lift))
            return seen[-1][-1]

        return hook

    # Of nested holders the inner ones: an attention's output is that of its last Linear.
    holders = [
        (name, module)
        for name, module in model.named_modules()
        if any(True for _ in module.parameters()) and not any(True for c in module.children() for _ in c.parameters())
    ]
    hooks = [module.register_forward_hook(note(name)) for name, module in holders]
    try:
        return seen, functional_call(model, stand_ins, (data,))
    finally:
        for hook in hooks:
            hook.remove()


@dataclass
class Dead:
    """tensors: names of masked tensors with no entry left. no_way_in, no_way_out: flags [units] of each layer with
    hidden units, by name: no path of kept weights leads to the unit from the input, or from it to an output.
    classes: how many outputs there are. alive: the indices of those that some path reaches.
    """

    tensors: list[str]
    no_way_in: dict[str, Tensor]
    no_way_out: dict[str, Tensor]
    classes: int
    alive: list[int]

    def report(self) -> dict:
        """The same in numbers, for result.json: `tensors`, `units` (of each layer all, those with no way in, no way
        out, and either) and `classes` (`total`, `alive`).
        """
        units = {}
        for name, no_in in self.no_way_in.items():
            no_out = self.no_way_out[name]
            units[name] = {
                "units": no_in.numel(),
                "no_way_in": int(no_in.sum()),
                "no_way_out": int(no_out.sum()),
                "dead": int((no_in | no_out).sum()),
            }
        return {"tensors": self.tensors, "units": units, "classes": {"total": self.classes, "alive": self.alive}}


def find(model: nn.Module, shape: Sequence[int], device: torch.device | str = "cpu") -> Dead:
    """What is dead in `model`.

    Paths are found with the all-ones input (`shape` without the batch) in a network whose kept weights are all
    positive: a unit's activation is zero exactly if no path leads in. Its gradient is zero exactly if none leads out,
    once every unit is lifted above its ReLU's kink. A layer called more than once counts as its best call.
    """
    masks = {name: buffer for name, buffer in model.named_buffers() if name.endswith("_mask")}
    with untouched(model), linear_flow(model), torch.enable_grad():
        model.eval()
        stand_ins = _structure(model)
        for name, _ in model.named_parameters():
            stand_ins[name].requires_grad_()
        data = probe.ones(model, shape, device)
        data = data.double() if isinstance(data, Tensor) and data.is_floating_point() else data
        reached, logits = _pass(model, stand_ins, data, 0.0)
        lifted, lifted_logits = _pass(model, stand_ins, data, 1.0)
        outputs = [output for _, _, output in lifted]
        gradients = torch.autograd.grad(lifted_logits.sum(), outputs, allow_unused=True)

    no_way_in: dict[str, Tensor] = {}
    no_way_out: dict[str, Tensor] = {}
    for (name, module, output), gradient in zip(reached, gradients, strict=True):
        if output.data_ptr() == logits.data_ptr():
            continue  # the layer that gives the classes, which are counted below
        dim = 1 if isinstance(module, CHANNELS_FIRST) else output.dim() - 1
        gradient = torch.zeros_like(output) if gradient is None else gradient
        for found, signal in ((no_way_in, output.detach()), (no_way_out, gradient)):
            found[name] = ~_any_but(signal != 0, dim) & found.get(name, True)
    alive = _any_but(logits.detach() != 0, logits.dim() - 1)
    return Dead(
        [name.removesuffix("_mask") for name, mask in masks.items() if not mask.any()],
        no_way_in,
        no_way_out,
        alive.numel(),
        alive.nonzero().flatten().tolist(),
    )


def _any_but(flags: Tensor, dim: int) -> Tensor:
    """True for each index of `dim` at which any entry is set."""
    return flags.transpose(0, dim).flatten(1).any(1)


def accuracy_cap(alive: Sequence[int], class_counts: Sequence[int]) -> float:
    """The highest top-1 accuracy, in percent, that any weights can reach once only the classes `alive` are reached.

    class_counts: examples of each class in the test set. The logit of a class that nothing reaches is a constant, its
    bias, so that of all those classes one alone, always the same, can ever be the answer.
    """
    total = sum(class_counts)
    reached = sum(class_counts[k] for k in alive)
    constant = [count for k, count in enumerate(class_counts) if k not in set(alive)]
    return 100.0 * (reached + max(constant, default=0)) / total if total else 0.0
