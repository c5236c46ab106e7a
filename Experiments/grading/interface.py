"""Checks that the class can be loaded and has the methods of a pruner."""

from Experiments.candidate.trials import METHODS
from Experiments.grading.bench import Bench, Check, Verdict, check


def _loads(bench: Bench) -> Verdict:
    return Verdict(True, f"class {bench.name}")  # a class that cannot be loaded fails before any check runs


def _builds(bench: Bench) -> Verdict:
    trial = bench.trial()
    if trial.missing:
        return Verdict(False, f"no method {', '.join(trial.missing)}")
    return Verdict(True, f"built from (mask, parameter) pairs, with {', '.join(METHODS)}")


def rows(truth: str | None) -> list[Check]:
    """Return the checks of this group."""
    return [check("loads", _loads), check("builds", _builds, {"methods": ", ".join(METHODS)})]
