"""Checks of repeated use: many rounds, scoring twice, two instances."""

import torch
from torch import Tensor

from Experiments.grading.bench import Bench, Check, Verdict, check, equal
from Experiments.grading.counts import asked, kept
from Experiments.grading.truth import REFERENCES
from Pruners import SCOPES
from Utils.training.prune import density_after

ROUNDS, DENSITY = 100, 0.05


def _returned(before: list[Tensor], after: list[Tensor]) -> int:
    """Return how many weights are pruned in the masks `before` and kept in the masks `after`."""
    return sum(int(((a == 0) & (b != 0)).sum()) for a, b in zip(before, after, strict=True))


def _back(bench: Bench, scope: str) -> Verdict:
    """Give pruned weights the highest scores of all, then prune to a lower density."""
    trial = bench.trial("mlp")
    scores = trial.score()
    trial.pruner.mask(0.5, scope)
    before = trial.masks()
    lifted = [torch.where(mask == 0, 1.0, 0.0) for mask in before]
    trial.put([up + 0.1 * torch.rand_like(score) for up, score in zip(lifted, scores, strict=True)])
    trial.pruner.mask(0.4, scope)
    if back := _returned(before, trial.masks()):
        return Verdict(False, f"{back} weights that were pruned are back")
    found, wanted = kept(trial, scope), asked(trial, 0.4, scope)
    more = "" if found == wanted else f", not {sum(wanted)}"
    return Verdict(found == wanted, f"none came back, {sum(found)} stay{more}")


def _rounds(bench: Bench, scope: str) -> Verdict:
    trial = bench.trial("mlp")
    before = trial.masks()
    for number in range(1, ROUNDS + 1):
        density = density_after(DENSITY, "exponential", number, ROUNDS)
        trial.score()
        trial.pruner.mask(density, scope)
        masks = trial.masks()
        if back := _returned(before, masks):
            return Verdict(False, f"in round {number} {back} weights that were pruned are back")
        found, wanted = kept(trial, scope), asked(trial, density, scope)
        if found != wanted:
            return Verdict(False, f"after round {number} {sum(found)} weights stay, not {sum(wanted)}")
        before = masks
    return Verdict(
        True, f"{sum(kept(trial, scope))} of {sum(trial.sizes)} weights after {ROUNDS} rounds, none came back"
    )


def _again(bench: Bench, subject: str) -> Verdict:
    trial = bench.trial(subject)
    first = trial.score()
    if bench.truth not in REFERENCES:  # its scores may be drawn, so both draws begin at the same seed
        trial = bench.trial(subject)
    second = trial.score()
    for name, a, b in zip(trial.names, first, second, strict=True):
        if ((a - b).abs() > 1e-4 * a.abs().max()).any():
            ratio = ((a * b).sum() / (a * a).sum()).item()
            more = f", about {ratio:.3g} times the first: is a gradient added up?" if ratio > 1.5 else ""
            return Verdict(False, f"the second scores of {name} are others{more}")
    return Verdict(True, "the same scores")


def _apart(bench: Bench) -> Verdict:
    one, other = bench.trial("mlp", 1), bench.trial("conv", 2)
    first, masks = one.score(), one.masks()
    other.score()
    other.pruner.mask(0.3, "global")
    if not equal(first, one.scores()):
        return Verdict(False, "the first instance's scores changed as the second scored")
    if not equal(masks, one.masks()):
        return Verdict(False, "the first instance's masks changed as the second masked")
    one.pruner.mask(0.5, "global")
    found, wanted = kept(one, "global"), asked(one, 0.5, "global")
    return Verdict(
        found == wanted, "each has its own scores" if found == wanted else f"{found[0]} stay, not {wanted[0]}"
    )


def rows(truth: str | None) -> list[Check]:
    """Return the checks of this group."""
    again = {"again": "scoring twice" if truth in REFERENCES else "twice the same seed"}
    return [
        *(check("back", _back, scope=scope) for scope in SCOPES),
        *(check("rounds", _rounds, {"rounds": ROUNDS, "density": DENSITY}, scope=scope) for scope in SCOPES),
        *(check(f"again_{subject}", _again, again, subject=subject) for subject in ("mlp", "conv")),
        check("apart", _apart),
    ]
