"""Checks of the masks: how many weights are kept, and which."""

from collections.abc import Callable

import torch
from torch import Tensor

from Experiments.grading.bench import Bench, Check, Trial, Verdict, check, equal
from Experiments.grading.draws import distinct
from Pruners import SCOPES
from Pruners.ranking import kept_count

DENSITIES = (1.0, 0.9, 0.5, 0.25, 0.1, 0.04)
DISTINCT = "distinct scores"


# name -> the scores, made of ones that are all different
SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    DISTINCT: lambda scores: scores,
    "scores of few values": lambda scores: scores % 7 - 3,
    "equal scores": lambda scores: torch.full_like(scores, 0.5),
    "zero scores": torch.zeros_like,
}


def _with(bench: Bench, scores: str) -> tuple[Trial, list[Tensor]]:
    """Return (an instance that has scored, the scores to replace its own)."""
    trial = bench.trial("mlp")
    trial.score()
    parts = SCORES[scores](distinct(trial.sizes, bench.draw.generator(scores))).split(trial.sizes)
    return trial, [part.view(shape) for part, shape in zip(parts, trial.shapes, strict=True)]


def _masked(bench: Bench, density: float, scope: str) -> tuple[Trial, list[Tensor]]:
    """Return (an instance that has masked scores which are all different, its masks)."""
    trial, scores = _with(bench, DISTINCT)
    return trial, trial.masked(scores, [density], scope)[0]


def asked(trial: Trial, density: float, scope: str) -> list[int]:
    """Return how many weights must be kept: in each tensor for scope "local", else in all together."""
    return [kept_count(size, density) for size in (trial.sizes if scope == "local" else [sum(trial.sizes)])]


def kept(masks: list[Tensor], scope: str) -> list[int]:
    """Return how many weights the masks keep, counted like `asked`."""
    counts = [int(mask.count_nonzero()) for mask in masks]
    return counts if scope == "local" else [sum(counts)]


def not_binary(masks: list[Tensor]) -> float | None:
    """Return an entry that is neither 0 nor 1; None if there is none."""
    for mask in masks:
        others = mask[(mask != 0) & (mask != 1)]
        if others.numel():
            return float(others[0])
    return None


def _count(bench: Bench, scores: str, scope: str) -> Verdict:
    trial, drawn = _with(bench, scores)
    wrong = []
    for density, masks in zip(DENSITIES, trial.masked(drawn, DENSITIES, scope), strict=True):
        found, wanted = kept(masks, scope), asked(trial, density, scope)
        if found != wanted:
            k = next(k for k, (a, b) in enumerate(zip(found, wanted, strict=True)) if a != b)
            where = f" of {trial.names[k]}" if scope == "local" else ""
            wrong.append(f"at density {density:g} {found[k]} weights{where} stay, not {wanted[k]}")
    if wrong:
        more = f" (wrong at {len(wrong)} of {len(DENSITIES)} densities)" if len(wrong) > 1 else ""
        return Verdict(False, wrong[0] + more, {"wrong": wrong})
    return Verdict(True, f"exact at densities {', '.join(f'{density:g}' for density in DENSITIES)}")


def _highest(bench: Bench, scope: str) -> Verdict:
    trial, scores = _with(bench, DISTINCT)
    densities = (0.5, 0.1)
    for density, masks in zip(densities, trial.masked(scores, densities, scope), strict=True):
        if (other := not_binary(masks)) is not None:
            return Verdict(False, f"a mask holds {other:g}")
        groups = list(zip(scores, masks, strict=True))
        if scope == "global":
            groups = [(torch.cat([s.flatten() for s, _ in groups]), torch.cat([m.flatten() for _, m in groups]))]
        for score, mask in groups:
            stay, go = score[mask != 0], score[mask == 0]
            if stay.numel() and go.numel() and stay.min() < go.max():
                what = "the lowest stay" if stay.max() < go.min() else "a weight stays that scores below one that goes"
                return Verdict(False, f"at density {density:g} {what}")
    return Verdict(True, "the highest stay, and masks hold 0 and 1 alone")


def _dense(bench: Bench) -> Verdict:
    for scope in SCOPES:
        trial = bench.trial("conv")
        trial.score()
        kept_, total = sum(kept(trial.mask(1.0, scope), scope)), sum(trial.sizes)
        if kept_ != total:
            return Verdict(False, f"{kept_} of {total} weights stay with scope {scope}")
    return Verdict(True, "all weights stay, in either scope")


def _applied(bench: Bench) -> Verdict:
    trial, masks = _masked(bench, 0.3, "global")
    for name, mask, p, (_, old) in zip(trial.names, masks, trial.apply(), trial.pairs, strict=True):
        if (p[mask == 0] != 0).any():
            return Verdict(False, f"pruned weights of {name} are not zero")
        if not equal([p[mask != 0]], [old[mask != 0]]):
            return Verdict(False, f"weights of {name} that stay have changed")
    return Verdict(True, "pruned weights are zero, the others as before")


def _stats(bench: Bench) -> Verdict:
    trial, masks = _masked(bench, 0.3, "global")
    found, wanted = trial.stats(), (sum(kept(masks, "global")), sum(trial.sizes))
    return Verdict(found == wanted, f"{found}" if found == wanted else f"{found}, not {wanted}")


def _shuffled(bench: Bench) -> Verdict:
    trial, before = _masked(bench, 0.5, "local")
    after = trial.shuffle()
    if kept(after, "local") != kept(before, "local"):
        return Verdict(False, "the number of weights that stay in a tensor has changed")
    same = [name for name, a, b in zip(trial.names, before, after, strict=True) if equal([a], [b])]
    if any(name for name in same if name.endswith("weight")):
        return Verdict(False, f"the mask of {same[0]} is as before: is the permuted one written back?")
    return Verdict(True, "other masks with the same number in each tensor")


def rows(truth: str | None) -> list[Check]:
    """Return the checks of this group."""
    of = {"local": "of each tensor", "global": "of all"}
    counts = {scores: "count" if scores == DISTINCT else "count_of_ties" for scores in SCORES}
    return [
        *(
            check(row, _count, {"of": of[scope]}, scores=scores, scope=scope)
            for scores, row in counts.items()
            for scope in SCOPES
        ),
        *(check("highest", _highest, scope=scope) for scope in SCOPES),
        check("dense", _dense),
        check("applied", _applied),
        check("stats", _stats),
        check("shuffled", _shuffled),
    ]
