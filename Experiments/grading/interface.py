"""Checks that the class can be loaded and has the methods of a pruner."""

from Experiments.grading.bench import Bench, Check, Verdict

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
    return [
        Check("the file can be imported", "no error, within the time limit", "Nothing else can be checked.", _loads),
        Check(
            "the class can be built",
            f"Class(masked_parameters), which may be a generator, with methods {', '.join(METHODS)}",
            "The pruning routine hands over pairs and calls these methods.",
            _builds,
        ),
    ]
