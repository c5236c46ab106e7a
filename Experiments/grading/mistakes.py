"""Common mistakes in the scores, computed so that a failing row can name the mistake."""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import nn

from Experiments.grading import truth
from Experiments.grading.truth import Batches, Scores

Made = Iterator[tuple[str, Scores]]


def made(name: str, model: nn.Module, names: list[str], batches: Batches) -> Made:
    """Yield (description of a mistake, the scores that it gives). name: the reference; the others: see truth.py."""
    reference = truth.REFERENCES[name]
    right = reference(model, names, batches)
    yield "the order is reversed, the lowest are to stay: a wrong sign", _negative(right)
    yield from OF_EACH[name](model, names, batches)
    yield "the scores are the magnitudes |theta|", truth.mag(model, names, batches)
    if len(batches) > 1:
        yield "only the first batch is used", reference(model, names, batches[:1])
        yield "only the last batch is used", reference(model, names, batches[-1:])
    yield "BatchNorm is in train mode: it uses the batch's statistics", reference(_training(model), names, batches)


def _mag(model: nn.Module, names: list[str], batches: Batches) -> Made:
    yield "the absolute value is missing: signed weights", _theta(model, names)


def _snip(model: nn.Module, names: list[str], batches: Batches) -> Made:
    signed = truth.sensitivity(model, names, batches)
    yield "the absolute value is missing: signed dL/dmask", signed
    yield "the absolute value is missing and the sign is wrong", _negative(signed)
    yield "the factor theta is missing: |dL/dtheta|", _magnitude(_quotient(signed, _theta(model, names)))
    yield "absolute values are taken before the batches are summed", _each(truth.snip, model, names, batches)


def _grasp(model: nn.Module, names: list[str], batches: Batches) -> Made:
    right, cold = truth.grasp(model, names, batches), truth.grasp(model, names, batches, temperature=1.0)
    yield "the temperature is missing: logits are not divided by 200", cold
    yield "the temperature is missing and the order is reversed", _negative(cold)
    yield "absolute values are taken: |theta * (H g)|", _magnitude(right)
    yield "the factor theta is missing: H g", _quotient(right, _theta(model, names))
    yield "batches are scored one by one and added up: g is not that of all", _each(truth.grasp, model, names, batches)


def _synflow(model: nn.Module, names: list[str], batches: Batches) -> Made:
    right, signed = truth.synflow(model, names, batches), truth.flow(model, names, batches)
    yield "the factor |theta| is missing", _quotient(right, truth.mag(model, names, batches))
    yield "the absolute value of the weights is missing", signed
    yield "the absolute value is taken of the scores, not of the weights", _magnitude(signed)


def _synflow_l2(model: nn.Module, names: list[str], batches: Batches) -> Made:
    yield "absolute values in place of squares: the scores are SynFlow's", truth.synflow(model, names, batches)


def _grasp_abs(model: nn.Module, names: list[str], batches: Batches) -> Made:
    yield "the absolute value is missing: the scores are GraSP's", truth.grasp(model, names, batches)


def _grasp_log(model: nn.Module, names: list[str], batches: Batches) -> Made:
    yield "units are not told apart: |theta * (H g)|", truth.grasp_abs(model, names, batches)


def _ntk_sap(model: nn.Module, names: list[str], batches: Batches) -> Made:
    yield "the scores are SNIP's", truth.snip(model, names, batches)


OF_EACH: dict[str, Callable[[nn.Module, list[str], Batches], Made]] = {
    "mag": _mag,
    "snip": _snip,
    "grasp": _grasp,
    "synflow": _synflow,
    "grasp-abs": _grasp_abs,
    "grasp-log": _grasp_log,
    "snip-iter": _snip,
    "force": _snip,
    "synflow-l2": _synflow_l2,
    "ntk-sap": _ntk_sap,
}


def _theta(model: nn.Module, names: list[str]) -> Scores:
    return {name: model.get_parameter(name).detach().double() for name in names}


def _negative(scores: Scores) -> Scores:
    return {name: -score for name, score in scores.items()}


def _magnitude(scores: Scores) -> Scores:
    return {name: score.abs() for name, score in scores.items()}


def _quotient(scores: Scores, other: Scores) -> Scores:
    return {name: score / other[name] for name, score in scores.items()}


def _each(reference: Callable[..., Scores], model: nn.Module, names: list[str], batches: Batches) -> Scores:
    """Return the sum of the scores of the single batches."""
    parts = [reference(model, names, [batch]) for batch in batches]
    return {name: torch.stack([part[name] for part in parts]).sum(0) for name in names}


def _training(model: nn.Module) -> nn.Module:
    """Return a copy that uses batch statistics as in train mode, without dropout and without updating statistics."""
    model = copy.deepcopy(model).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
        if hasattr(module, "track_running_stats"):
            module.track_running_stats = False  # type: ignore[assignment]  # torch declares only tensors and modules
    return model
