"""Checks that the class can be loaded and has the methods of a pruner."""

from Experiments.grading.bench import Bench, Check, Verdict, check

METHODS = ("score", "mask", "apply_mask", "shuffle", "stats")


def _loads(bench: Bench) -> Verdict:
    return Verdict(True, f"class {bench.kind.__name__}")  # a class that cannot be loaded fails before any check runs


def _builds(bench: Bench) -> Verdict:
    trial = bench.trial()
    missing = [name for name in METHODS if not callable(getattr(trial.pruner, name, None))]
    if missing:
        return Verdict(False, f"no method {', '.join(missing)}")
    return Verdict(True, f"built from (mask, parameter) pairs, with {', '.join(METHODS)}")


def rows(truth: str | None) -> list[Check]:
    """Return the checks of this group."""
    return [check("loads", _loads), check("builds", _builds, {"methods": ", ".join(METHODS)})]
