"""Rows on repeated use: many rounds, twice the same, two instances."""

from __future__ import annotations

import functools

import torch

from Experiments.grading.bench import Bench, Check, Verdict
from Experiments.grading.counts import asked, kept
from Experiments.grading.truth import REFERENCES
from Pruners import SCOPES
from Utils.training.prune import density_after

ROUNDS, DENSITY = 100, 0.05


def _back(bench: Bench, scope: str) -> Verdict:
    """What is pruned gets the highest scores of all, then a lower density is asked for."""
    trial = bench.trial("mlp")
    scores = trial.score()
    trial.pruner.mask(0.5, scope)
    before = trial.masks()
    lifted = [torch.where(mask == 0, 1.0, 0.0) for mask in before]
    trial.put([up + 0.1 * torch.rand_like(score) for up, score in zip(lifted, scores, strict=True)])
    trial.pruner.mask(0.4, scope)
    back = sum(int(((a == 0) & (b != 0)).sum()) for a, b in zip(before, trial.masks(), strict=True))
    if back:
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
        back = sum(int(((a == 0) & (b != 0)).sum()) for a, b in zip(before, masks, strict=True))
        if back:
            return Verdict(False, f"in round {number} {back} weights that were pruned are back")
        found, wanted = kept(trial, scope), asked(trial, density, scope)
        if found != wanted:
            return Verdict(False, f"after round {number} {sum(found)} weights stay, not {sum(wanted)}")
        before = masks
    total = sum(p.numel() for _, p in trial.pairs)
    return Verdict(True, f"{sum(kept(trial, scope))} of {total} weights after {ROUNDS} rounds, none came back")


def _again(bench: Bench, subject: str) -> Verdict:
    trial = bench.trial(subject)
    first = trial.score()
    if bench.truth not in REFERENCES:  # may draw: from the same seed, then
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
    first, weights = one.score(), one.masks()
    other.score()
    other.pruner.mask(0.3, "global")
    if not all(torch.equal(a, b) for a, b in zip(first, one.scores(), strict=True)):
        return Verdict(False, "the first instance's scores changed as the second scored")
    if not all(torch.equal(a, b) for a, b in zip(weights, one.masks(), strict=True)):
        return Verdict(False, "the first instance's masks changed as the second masked")
    one.pruner.mask(0.5, "global")
    found, wanted = kept(one, "global"), asked(one, 0.5, "global")
    return Verdict(
        found == wanted, "each has its own scores" if found == wanted else f"{found[0]} stay, not {wanted[0]}"
    )


def rows(truth: str | None) -> list[Check]:
    again = "twice the same seed" if truth not in REFERENCES else "scoring twice"
    back = "A pruned weight has lost its value; the rounds after would prune others in its place."
    return [
        *(
            Check(
                f"nothing pruned comes back, {scope}",
                "a pruned weight stays pruned, whatever its score",
                back,
                functools.partial(_back, scope=scope),
            )
            for scope in SCOPES
        ),
        *(
            Check(
                f"{ROUNDS} rounds, {scope}",
                f"score and mask in turn down to density {DENSITY:g}: exact counts, and none comes back",
                f"SynFlow is defined by {ROUNDS} such rounds (Tanaka et al. 2020, algorithm 1). Weights that come back "
                "spoil them, and so do ties that all go: one way through a network has one score.",
                functools.partial(_rounds, scope=scope),
            )
            for scope in SCOPES
        ),
        Check(
            f"{again}, MLP",
            "the same scores",
            "Something is carried over, such as gradients that are not set to zero.",
            functools.partial(_again, subject="mlp"),
        ),
        Check(
            f"{again}, BatchNorm",
            "the same scores",
            "Something is carried over, such as running statistics.",
            functools.partial(_again, subject="conv"),
        ),
        Check(
            "two instances",
            "each has scores and masks of its own",
            "State kept by the class, or by all of its instances, mixes two networks up.",
            _apart,
        ),
    ]
