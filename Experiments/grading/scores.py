"""Checks of the scores: compared with the reference of the pruner that the class is graded as, if there is one."""

import itertools
import math

import torch
from torch import Tensor

from Experiments.grading import FORMULAS, RETURNING, agreement, mistakes, truth
from Experiments.grading.bench import Bench, Check, Trial, Verdict, check, equal

NETWORKS = {"mlp": "the MLP, biases too", "conv": "the net with BatchNorm", "text": "the text classifier"}
DRAWS = 200


def _alive(tensors: list[Tensor], trial: Trial, whole: bool) -> Tensor:
    """Return the scores of all weights that are not pruned, or with `whole` of all: [n], float64."""
    return torch.cat([t.double()[(mask != 0) | whole] for t, (mask, _) in zip(tensors, trial.pairs, strict=True)])


def _against(bench: Bench, subject: str, density: float) -> Verdict:
    trial = bench.trial(subject, density=density)
    assert bench.truth is not None  # `rows` makes this check only of a class with a reference
    named = truth.REFERENCES[bench.truth](trial.model, trial.names, trial.batches)
    whole = bench.truth in RETURNING
    right = _alive([named[name] for name in trial.names], trial, whole)
    tensors = trial.score()
    found = _alive(tensors, trial, whole)
    if (a := agreement.factor(right, found)) is not None:
        return Verdict(True, "the reference" + ("" if abs(a - 1) < 1e-3 else f" times {a:.3g}, which ranks the same"))
    if agreement.alike(right, found):
        return Verdict(True, "a monotone transform of the reference, which ranks the same")
    for what, scores in mistakes.made(bench.truth, trial.model, trial.names, trial.batches):
        other = _alive([scores[name] for name in trial.names], trial, whole)
        if other.isfinite().all() and (agreement.factor(other, found) is not None or agreement.alike(other, found)):
            return Verdict(False, what)
    pairs = zip(trial.names, tensors, strict=True)
    if density == 1 and all(agreement.alike(named[name].flatten(), score.double().flatten()) for name, score in pairs):
        return Verdict(False, "ranks alike in each tensor, but not across: something is done tensor by tensor")
    share = agreement.overlap(right, found, 0.1)
    return Verdict(False, f"another ranking: {share:.0%} of its highest tenth are the reference's", {"overlap": share})


def _present(bench: Bench, subject: str) -> Verdict:
    trial = bench.trial(subject)
    count = sum(score.numel() for score in trial.score())
    return Verdict(True, f"{count} scores in {len(trial.pairs)} tensors")


def _draws(bench: Bench) -> list[list[Tensor]]:
    """Return the scores with each of many seeds."""
    if "draws" not in bench.memory:
        trial = bench.trial("mlp")
        bench.memory["draws"] = [d for k in range(0, DRAWS, 20) for d in trial.draws(list(range(k, k + 20)))]
    return bench.memory["draws"]


def _seeds(bench: Bench) -> Verdict:
    one, same, other = bench.trial("mlp").draws([1, 1, 2])
    if not equal(one, same):
        return Verdict(False, "the same seed gives other scores")
    if any((a == b).any() for a, b in zip(one, other, strict=True)):
        return Verdict(False, "another seed gives the same scores")
    return Verdict(True, "the same with one seed, others with another")


def _uniform(bench: Bench) -> Verdict:
    """Test the mean of each weight's rank over the draws; its standard deviation is sqrt(1 / 12 / draws)."""
    mean, squares = torch.zeros(()), torch.zeros(())
    for draw in _draws(bench):
        score = torch.cat([s.flatten() for s in draw])
        rank = score.argsort().argsort().double() / (score.numel() - 1)
        mean, squares = mean + rank / DRAWS, squares + rank**2 / DRAWS
    off = (mean - 0.5).abs().max().item() * math.sqrt(12 * DRAWS)
    spread = (squares - mean**2).min().item() * 12
    figures = {"deviations": off, "least_variance": spread}
    if off > 5 or spread < 0.5:
        return Verdict(False, f"a weight's mean rank is {off:.1f} standard deviations off the middle", figures)
    return Verdict(True, f"mean ranks within {off:.1f} standard deviations of the middle, {DRAWS} seeds", figures)


def _independent(bench: Bench) -> Verdict:
    """Test the correlation of every two tensors, entry by entry, over all draws."""
    draws = [[s.flatten().double() for s in draw] for draw in _draws(bench)]
    worst, where = 0.0, ""
    names = bench.trial("mlp").names
    for a, b in itertools.combinations(range(len(names)), 2):
        size = min(draws[0][a].numel(), draws[0][b].numel())
        both = torch.stack([torch.cat([draw[k][:size] for draw in draws]) for k in (a, b)])
        off = torch.corrcoef(both)[0, 1].abs().item() * math.sqrt(size * DRAWS)
        if off > worst or not math.isfinite(off):
            worst, where = off, f"{names[a]} and {names[b]}"
    words = f"correlations within {worst:.1f} standard deviations of none"
    if not worst <= 5:
        return Verdict(False, f"{where} are correlated ({worst:.1f} standard deviations)", {"deviations": worst})
    return Verdict(True, words, {"deviations": worst})


def rows(truth_name: str | None) -> list[Check]:
    """Return the checks of this group. Without a reference, scores are only checked for being there and finite."""
    if truth_name not in truth.REFERENCES:
        present = [check("finite", _present, {"network": words}, subject=name) for name, words in NETWORKS.items()]
        drawn = [check("seeds", _seeds), check("uniform", _uniform), check("independent", _independent)]
        return [*present, *drawn] if truth_name in FORMULAS else present
    formula = {"formula": FORMULAS[truth_name]}
    return [
        *(
            check("ranking", _against, {**formula, "network": words}, subject=subject, density=1.0)
            for subject, words in NETWORKS.items()
        ),
        check("half_pruned", _against, formula, subject="mlp", density=0.5),
    ]
