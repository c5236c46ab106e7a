"""Checks that `score` changes nothing but the scores. The class's own process looks, so these rows can be forged."""

from Experiments.candidate.trials import WHAT
from Experiments.grading.bench import Bench, Check, Verdict, check


def _look(bench: Bench, training: bool) -> dict[str, list[str]]:
    """Return what scoring has changed. The network has a stored gradient and a fixed parameter."""
    key = f"effects {training}"
    if key not in bench.memory:
        bench.memory[key] = bench.trial("conv", density=0.8).effects(training, fixed="1.bias", stored="8.weight")
    return bench.memory[key]


def _kept(bench: Bench, what: str, training: bool) -> Verdict:
    changed = _look(bench, training)[what]
    return Verdict(not changed, f"changed: {', '.join(changed)}" if changed else "as before")


def rows(truth: str | None) -> list[Check]:
    """Return the checks of this group."""
    checks = [check(what, _kept, what=what, training=False) for what in WHAT]
    return [*checks, check("statistics_in_training", _kept, what="statistics", training=True)]
