"""Checks of repeated use: many rounds, scoring twice, two instances."""

import torch
from torch import Tensor

from Experiments.grading import DRAWING, RETURNING
from Experiments.grading.bench import Bench, Check, Verdict, check, equal
from Experiments.grading.counts import asked, kept
from Experiments.grading.truth import REFERENCES
from Pruners import SCOPES
from Utils.training.prune import density_after

ROUNDS, DENSITY, AT_ONCE = 100, 0.05, 5


def _returned(before: list[Tensor], after: list[Tensor]) -> int:
    """Return how many weights are pruned in the masks `before` and kept in the masks `after`."""
    return sum(int(((a == 0) & (b != 0)).sum()) for a, b in zip(before, after, strict=True))


def _back(bench: Bench, scope: str) -> Verdict:
    """Give pruned weights the highest scores of all, then prune to a lower density."""
    trial = bench.trial("mlp")
    trial.score()
    before, draw = trial.mask(0.5, scope), bench.draw.generator("lifted")
    lifted = [torch.where(m == 0, 1.0, 0.0) + 0.1 * torch.rand(m.shape, generator=draw) for m in before]
    (masks,) = trial.masked(lifted, [0.4], scope, fresh=False)
    found, wanted = kept(masks, scope), asked(trial, 0.4, scope)
    back, returns = _returned(before, masks), bench.truth in RETURNING
    if bool(back) != returns:
        return Verdict(False, "none came back" if returns else f"{back} weights that were pruned are back")
    more = "" if found == wanted else f", not {sum(wanted)}"
    return Verdict(found == wanted, f"{back or 'none'} came back, {sum(found)} stay{more}")


def _rounds(bench: Bench, scope: str) -> Verdict:
    trial = bench.trial("mlp")
    before = [mask for mask, _ in trial.pairs]
    densities = [density_after(DENSITY, "exponential", number, ROUNDS) for number in range(1, ROUNDS + 1)]
    # A few rounds at a time, so that a mistake is named before it makes a later round raise an error.
    made = (masks for k in range(0, ROUNDS, AT_ONCE) for masks in trial.rounds(densities[k : k + AT_ONCE], scope))
    for number, (density, masks) in enumerate(zip(densities, made, strict=True), 1):
        if (back := _returned(before, masks)) and bench.truth not in RETURNING:
            return Verdict(False, f"in round {number} {back} weights that were pruned are back")
        found, wanted = kept(masks, scope), asked(trial, density, scope)
        if found != wanted:
            return Verdict(False, f"after round {number} {sum(found)} weights stay, not {sum(wanted)}")
        before = masks
    left, none = sum(kept(before, scope)), "" if bench.truth in RETURNING else ", none came back"
    return Verdict(True, f"{left} of {sum(trial.sizes)} weights after {ROUNDS} rounds{none}")


def _again(bench: Bench, subject: str) -> Verdict:
    trial = bench.trial(subject)
    first = trial.score()
    if (
        bench.truth in DRAWING or bench.truth not in REFERENCES
    ):  # its scores may be drawn, so both draws begin at the same seed
        trial = bench.trial(subject)
    second = trial.score()
    for name, a, b in zip(trial.names, first, second, strict=True):
        a, b = a.double(), b.double()
        if ((a - b).abs() > 1e-4 * a.abs().max()).any():
            ratio = ((a * b).sum() / (a * a).sum()).item()
            more = f", about {ratio:.3g} times the first: is a gradient added up?" if ratio > 1.5 else ""
            return Verdict(False, f"the second scores of {name} are others{more}")
    return Verdict(True, "the same scores")


def _apart(bench: Bench) -> Verdict:
    one, other = bench.trial("mlp", 1), bench.trial("conv", 2)
    first, masks = one.score(), [mask for mask, _ in one.pairs]
    other.score()
    other.mask(0.3, "global")
    scores_now, masks_now = one.held()
    if not equal(first, scores_now):
        return Verdict(False, "the first instance's scores changed as the second scored")
    if not equal(masks, masks_now):
        return Verdict(False, "the first instance's masks changed as the second masked")
    found, wanted = kept(one.mask(0.5, "global"), "global"), asked(one, 0.5, "global")
    return Verdict(
        found == wanted, "each has its own scores" if found == wanted else f"{found[0]} stay, not {wanted[0]}"
    )


def rows(truth: str | None) -> list[Check]:
    """Return the checks of this group."""
    returns = truth in RETURNING
    asked_for = {"rounds": ROUNDS, "density": DENSITY, "and_none": "" if returns else ", and none comes back"}
    steady = truth in REFERENCES and truth not in DRAWING
    again = {"again": "scoring twice" if steady else "twice the same seed"}
    return [
        *(check("returns" if returns else "back", _back, scope=scope) for scope in SCOPES),
        *(check("rounds", _rounds, asked_for, scope=scope) for scope in SCOPES),
        *(check(f"again_{subject}", _again, again, subject=subject) for subject in ("mlp", "conv")),
        check("apart", _apart),
    ]
