"""What the five scores are, written once more from the papers and apart from our pruners: float64, by torch.func.

model: a network in eval mode; names: of the scored parameters; batches: [(data, target), ...]. Scores come as
{name: float64 tensor}. A weight whose mask is zero has some score; it is to be ignored.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp
from torch.nn import functional as F

Scores = dict[str, Tensor]
Batches = list[tuple[Any, Tensor]]


def _wide(model: nn.Module, batches: Batches) -> tuple[nn.Module, Scores, Batches]:
    """(copy in float64, all its tensors by name, batches in float64)."""
    model = copy.deepcopy(model).double()
    state = {name: tensor.detach() for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    return model, state, [(x.double() if isinstance(x, Tensor) else x, y) for x, y in batches]


def _loss(model: nn.Module, batches: Batches, state: Scores, temperature: float = 1.0) -> Callable[[Scores], Tensor]:
    """The loss, summed over the batches, as a function of some of the tensors."""

    def total(some: Scores) -> Tensor:
        values = [F.cross_entropy(functional_call(model, {**state, **some}, (x,)) / temperature, y) for x, y in batches]
        return torch.stack(values).sum()

    return total


def mag(model: nn.Module, names: list[str], batches: Batches) -> Scores:
    """|theta|."""
    return {name: model.get_parameter(name).detach().double().abs() for name in names}


def sensitivity(model: nn.Module, names: list[str], batches: Batches) -> Scores:
    """dL/dm, the gradient by the masks, with its sign."""
    model, state, batches = _wide(model, batches)
    masks = {name: state[f"{name}_mask"] for name in names}
    found = grad(lambda m: _loss(model, batches, state)({f"{k}_mask": v for k, v in m.items()}))(masks)
    return {name: found[name] for name in names}


def snip(model: nn.Module, names: list[str], batches: Batches) -> Scores:
    """|dL/dm| (Lee et al. 2019, eq. 5)."""
    return {name: score.abs() for name, score in sensitivity(model, names, batches).items()}


def grasp(model: nn.Module, names: list[str], batches: Batches, temperature: float = 200.0) -> Scores:
    """theta * (H g) of the loss at logits / 200 (Wang et al. 2020, eq. 8): the highest stay."""
    model, state, batches = _wide(model, batches)
    theta = {name: state[name] for name in names}
    slope = grad(_loss(model, batches, state, temperature))
    _, curvature = jvp(slope, (theta,), (slope(theta),))
    return {name: theta[name] * curvature[name] for name in names}


def flow(model: nn.Module, names: list[str], batches: Batches) -> Scores:
    """theta * dR/dtheta of the network as it is, without absolute values."""
    model, state, batches = _wide(model, batches)
    theta = {name: state[name] for name in names}
    slope = grad(lambda some: functional_call(model, {**state, **some}, (_ones(model, batches),)).sum())(theta)
    return {name: theta[name] * slope[name] for name in names}


def _ones(model: nn.Module, batches: Batches) -> Any:
    return model.ones_input() if hasattr(model, "ones_input") else torch.ones_like(batches[0][0][:1])


def synflow(model: nn.Module, names: list[str], batches: Batches) -> Scores:
    """What the sum of the outputs loses without that entry (Tanaka et al. 2020, eq. 1: R is linear in each).

    In the network of absolute values, for an input of ones; for a network that says what ones are to it, for those. A
    stack of Linears is written out as a product of matrices.
    """
    model, state, batches = _wide(model, batches)
    state = {name: tensor.abs() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    ones = _ones(model, batches)
    found = _products(model, state, ones) or _removals(model, state, ones, names)
    return {name: found[name] for name in names}


def _products(model: nn.Module, state: Scores, ones: Any) -> Scores | None:
    """Of a stack of Linears with ReLUs between: |W_k| entry by entry times (flow from above) x (flow from below)."""
    if not isinstance(model, nn.Sequential) or not all(isinstance(module, nn.Linear | nn.ReLU) for module in model):
        return None
    layers = [str(k) for k, module in enumerate(model) if isinstance(module, nn.Linear)]
    weight = {k: state[f"{k}.weight_mask"] * state[f"{k}.weight"] for k in layers}
    bias = {k: state[f"{k}.bias_mask"] * state[f"{k}.bias"] for k in layers}
    below, flow = {}, ones[0]
    for k in layers:
        below[k] = flow
        flow = weight[k] @ flow + bias[k]
    found, above = {}, torch.ones_like(flow)
    for k in reversed(layers):
        found[f"{k}.weight"] = weight[k] * torch.outer(above, below[k])
        found[f"{k}.bias"] = bias[k] * above
        above = above @ weight[k]
    return found


@torch.no_grad()
def _removals(model: nn.Module, state: Scores, ones: Any, names: list[str]) -> Scores:
    whole = functional_call(model, state, (ones,)).sum()
    found = {}
    for name in names:
        losses = []
        for k in range(state[name].numel()):
            without = state[name].flatten().clone()
            without[k] = 0.0
            losses.append(whole - functional_call(model, {**state, name: without.view_as(state[name])}, (ones,)).sum())
        found[name] = torch.stack(losses).view_as(state[name])
    return found


REFERENCES: dict[str, Callable[[nn.Module, list[str], Batches], Scores]] = {
    "mag": mag,
    "snip": snip,
    "grasp": grasp,
    "synflow": synflow,
}
