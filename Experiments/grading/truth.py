"""Reference scores, computed from the papers' formulas in float64 by torch.func, independently of our pruners.

Each reference takes a network in eval mode, the names of the scored parameters, and batches [(data, target), ...]. It
returns {name: float64 tensor}. The scores of weights whose mask is zero have no meaning.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp
from torch.nn import functional as F

Scores = dict[str, Tensor]
Batches = list[tuple[Any, Tensor]]


def _wide(model: nn.Module, batches: Batches) -> tuple[nn.Module, Scores, Batches]:
    """Return (a copy of the model in float64, all its tensors by name, the batches in float64)."""
    model = copy.deepcopy(model).double()
    state = {name: tensor.detach() for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    return model, state, [(x.double() if isinstance(x, Tensor) else x, y) for x, y in batches]


def _loss(model: nn.Module, batches: Batches, state: Scores, temperature: float = 1.0) -> Callable[[Scores], Tensor]:
    """Return the loss of logits / temperature, summed over the batches, as a function of some of the tensors."""

    def total(some: Scores) -> Tensor:
        values = [F.cross_entropy(functional_call(model, {**state, **some}, (x,)) / temperature, y) for x, y in batches]
        return torch.stack(values).sum()

    return total


def mag(model: nn.Module, names: list[str], batches: Batches) -> Scores:
    """Return |theta|."""
    return {name: model.get_parameter(name).detach().double().abs() for name in names}


def sensitivity(model: nn.Module, names: list[str], batches: Batches) -> Scores:
    """Return dL/dm, the gradient with respect to the masks, with its sign."""
    model, state, batches = _wide(model, batches)
    masks = {name: state[f"{name}_mask"] for name in names}
    found = grad(lambda m: _loss(model, batches, state)({f"{k}_mask": v for k, v in m.items()}))(masks)
    return {name: found[name] for name in names}


def snip(model: nn.Module, names: list[str], batches: Batches) -> Scores:
    """Return |dL/dm| (Lee et al. 2019, eq. 5)."""
    return {name: score.abs() for name, score in sensitivity(model, names, batches).items()}


def grasp(model: nn.Module, names: list[str], batches: Batches, temperature: float = 200.0) -> Scores:
    """Return theta * (H g), of the loss of logits / temperature (Wang et al. 2020, eq. 8): H Hessian, g gradient."""
    model, state, batches = _wide(model, batches)
    theta = {name: state[name] for name in names}
    slope = grad(_loss(model, batches, state, temperature))
    _, curvature = jvp(slope, (theta,), (slope(theta),))
    return {name: theta[name] * curvature[name] for name in names}


def flow(model: nn.Module, names: list[str], batches: Batches) -> Scores:
    """Return theta * dR/dtheta without absolute values; R is the sum of the outputs for an input of ones."""
    model, state, batches = _wide(model, batches)
    theta = {name: state[name] for name in names}
    slope = grad(lambda some: functional_call(model, {**state, **some}, (_ones(model, batches),)).sum())(theta)
    return {name: theta[name] * slope[name] for name in names}


def _ones(model: nn.Module, batches: Batches) -> Any:
    return model.ones_input() if hasattr(model, "ones_input") else torch.ones_like(batches[0][0][:1])


def grasp_abs(model: nn.Module, names: list[str], batches: Batches) -> Scores:
    """Return |theta * (H g)|."""
    return {name: score.abs() for name, score in grasp(model, names, batches).items()}


def grasp_log(model: nn.Module, names: list[str], batches: Batches) -> Scores:
    """Return s * S / C: s a score of `grasp_abs`, S the sum of its row, C of those in the row that are no smaller."""
    found = grasp_abs(model, names, batches)
    for score in found.values():
        for row in score.flatten(1) if score.dim() > 1 else ():
            row.copy_(row * row.sum() / (row * (row >= row.unsqueeze(1))).sum(1).clamp_min(1e-300))
    return found


def ntk_sap(model: nn.Module, names: list[str], batches: Batches) -> Scores:
    """Return |d/dm ||f(theta * m) - f((theta + delta) * m)||^2| (Wang et al. 2023), summed over outputs and batches.

    The norm is a mean over examples. A generator that begins at 0 gives each batch the seed of its initial weights
    theta, then delta / 0.01, tensor by tensor.
    """
    draw, slopes = torch.Generator().manual_seed(0), []
    for x, y in batches:
        fresh = copy.deepcopy(model)
        with torch.random.fork_rng([]):
            torch.manual_seed(int(torch.randint(2**62, (), generator=draw)))
            for module in list(fresh.modules())[::-1]:
                getattr(module, "reset_parameters", lambda: None)()
        wide, state, [(x, _)] = _wide(fresh, [(x, y)])
        noise = {name: torch.randn(state[name].shape, generator=draw).double() for name in names}

        def distance(m: Scores, wide: Any = wide, state: Scores = state, noise: Scores = noise, x: Any = x) -> Tensor:
            here = {**state, **{f"{name}_mask": mask for name, mask in m.items()}}
            there = {**here, **{name: state[name] + 0.01 * noise[name] for name in noise}}
            away = functional_call(wide, here, (x,)) - functional_call(wide, there, (x,))
            return (away**2).sum() / len(away)

        slopes.append(grad(distance)({name: state[f"{name}_mask"] for name in names}))
    return {name: torch.stack([slope[name] for slope in slopes]).sum(0).abs() for name in names}


@torch.no_grad()
def synflow(model: nn.Module, names: list[str], batches: Batches, power: int = 1) -> Scores:
    """Return how much R decreases when a weight is set to zero (Tanaka et al. 2020, eq. 1), one weight after the other.

    R is the sum of the outputs for an input of ones, of the network with the absolute values of all parameters. It is
    linear in each weight, so this equals |theta| * dR/d|theta|. A model may define its input of ones (`ones_input`).
    power: of the absolute values, and of the variances of BatchNorm.
    """
    model, state, batches = _wide(model, batches)
    state = {name: tensor.abs() ** power if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    ones, found = _ones(model, batches), {}
    whole = functional_call(model, state, (ones,)).sum()
    for name in names:
        theta = state[name]
        kept = (1.0 - torch.eye(theta.numel(), dtype=theta.dtype)).view(-1, *theta.shape)  # all weights but one
        without = [functional_call(model, {**state, name: theta * others}, (ones,)).sum() for others in kept]
        found[name] = (whole - torch.stack(without)).view_as(theta)
    return found


REFERENCES: dict[str, Callable[[nn.Module, list[str], Batches], Scores]] = {
    "mag": mag,
    "snip": snip,
    "grasp": grasp,
    "synflow": synflow,
    "grasp-abs": grasp_abs,
    "grasp-log": grasp_log,
    "snip-iter": snip,
    "force": snip,
    "synflow-l2": partial(synflow, power=2),
    "ntk-sap": ntk_sap,
}
