"""Checks of the masks: how many weights are kept, and which."""

from collections.abc import Callable

import torch
from torch import Tensor

from Experiments.grading.bench import Bench, Check, Trial, Verdict, check
from Pruners import SCOPES
from Pruners.ranking import kept_count

DENSITIES = (1.0, 0.9, 0.5, 0.25, 0.1, 0.04)
DISTINCT = "distinct scores"


def _distinct(sizes: list[int]) -> Tensor:
    """Draw scores that are all different, of both signs."""
    count = sum(sizes)
    return torch.randperm(count, generator=torch.Generator().manual_seed(6)).float() - count // 2


def _few(sizes: list[int]) -> Tensor:
    """Draw scores of seven different values, one of them zero."""
    return _distinct(sizes) % 7 - 3


SCORES: dict[str, Callable[[list[int]], Tensor]] = {
    DISTINCT: _distinct,
    "scores of few values": _few,
    "equal scores": lambda sizes: torch.full((sum(sizes),), 0.5),
    "zero scores": lambda sizes: torch.zeros(sum(sizes)),
}


def _with(bench: Bench, make: Callable[[list[int]], Tensor]) -> tuple[Trial, list[Tensor]]:
    """Return (an instance that has scored, the scores to replace its own)."""
    trial = bench.trial("mlp")
    trial.score()
    parts = make(trial.sizes).split(trial.sizes)
    return trial, [part.view_as(p) for part, (_, p) in zip(parts, trial.pairs, strict=True)]


def _masked(bench: Bench, density: float, scope: str) -> Trial:
    """Return an instance that has masked scores which are all different."""
    trial, scores = _with(bench, _distinct)
    trial.put(scores)
    trial.pruner.mask(density, scope)
    return trial


def asked(trial: Trial, density: float, scope: str) -> list[int]:
    """Return how many weights must be kept: in each tensor for scope "local", else in all together."""
    return [kept_count(size, density) for size in (trial.sizes if scope == "local" else [sum(trial.sizes)])]


def kept(trial: Trial, scope: str) -> list[int]:
    """Return how many weights are kept, counted like `asked`."""
    counts = [int(mask.count_nonzero()) for mask, _ in trial.pairs]
    return counts if scope == "local" else [sum(counts)]


def _count(bench: Bench, scores: str, scope: str) -> Verdict:
    trial, drawn = _with(bench, SCORES[scores])
    wrong = []
    for density in DENSITIES:
        trial.unmask()
        trial.put(drawn)
        trial.pruner.mask(density, scope)
        found, wanted = kept(trial, scope), asked(trial, density, scope)
        if found != wanted:
            k = next(k for k, (a, b) in enumerate(zip(found, wanted, strict=True)) if a != b)
            where = f" of {trial.names[k]}" if scope == "local" else ""
            wrong.append(f"at density {density:g} {found[k]} weights{where} stay, not {wanted[k]}")
    if wrong:
        more = f" (wrong at {len(wrong)} of {len(DENSITIES)} densities)" if len(wrong) > 1 else ""
        return Verdict(False, wrong[0] + more, {"wrong": wrong})
    return Verdict(True, f"exact at densities {', '.join(f'{density:g}' for density in DENSITIES)}")


def _highest(bench: Bench, scope: str) -> Verdict:
    trial, scores = _with(bench, _distinct)
    for density in (0.5, 0.1):
        trial.unmask()
        trial.put(scores)
        trial.pruner.mask(density, scope)
        values = {value for mask, _ in trial.pairs for value in mask.unique().tolist()}
        if not values <= {0.0, 1.0}:
            return Verdict(False, f"a mask holds {sorted(values - {0.0, 1.0})[0]:g}")
        groups = list(zip(scores, trial.masks(), strict=True))
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
        trial.pruner.mask(1.0, scope)
        kept_, total = sum(kept(trial, scope)), sum(trial.sizes)
        if kept_ != total:
            return Verdict(False, f"{kept_} of {total} weights stay with scope {scope}")
    return Verdict(True, "all weights stay, in either scope")


def _applied(bench: Bench) -> Verdict:
    trial = _masked(bench, 0.3, "global")
    before = [p.detach().clone() for _, p in trial.pairs]
    trial.pruner.apply_mask()
    for name, (mask, p), old in zip(trial.names, trial.pairs, before, strict=True):
        if (p[mask == 0] != 0).any():
            return Verdict(False, f"pruned weights of {name} are not zero")
        if not torch.equal(p[mask != 0], old[mask != 0]):
            return Verdict(False, f"weights of {name} that stay have changed")
    return Verdict(True, "pruned weights are zero, the others as before")


def _stats(bench: Bench) -> Verdict:
    trial = _masked(bench, 0.3, "global")
    found = tuple(int(number) for number in trial.pruner.stats())
    wanted = (sum(kept(trial, "global")), sum(trial.sizes))
    return Verdict(found == wanted, f"{found}" if found == wanted else f"{found}, not {wanted}")


def _shuffled(bench: Bench) -> Verdict:
    trial = _masked(bench, 0.5, "local")
    before, counts = trial.masks(), kept(trial, "local")
    trial.pruner.shuffle()
    if kept(trial, "local") != counts:
        return Verdict(False, "the number of weights that stay in a tensor has changed")
    same = [name for name, a, b in zip(trial.names, before, trial.masks(), strict=True) if torch.equal(a, b)]
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
