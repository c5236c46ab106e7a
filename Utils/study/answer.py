"""The study's own questions, each with one primary contrast per task, chosen before its runs (answer.toml).

1. Does GraSP beat random pruning? GraSP less Rand at compression 1, after the last epoch, paired by seed.
2. Does pruning hurt text more than images? On one network for both (Models/matched.py): what an image task retains at
   compression 1 with Rand, less what the text task retains, paired by seed.

The p-values of all contrasts with enough seeds are adjusted together (Holm 1979). With fewer seeds there is an interval
and no verdict.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product, zip_longest
from pathlib import Path

from Utils import load
from Utils.study.retained import retained
from Utils.study.statistics import Differences, flip_interval, holm, paired
from Utils.study.tasks import Task, pruner_title
from Utils.wording import counted

CHOSEN = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
FIRST, SECOND, MENDED = CHOSEN["first"], CHOSEN["second"], CHOSEN["mended"]
COMPRESSION, SEEDS, LEVEL = CHOSEN["compression"], CHOSEN["seeds"], CHOSEN["level"]
MATCHED = load.MODELS[CHOSEN["matched"]]  # the networks that take texts and images
PRUNER, SENSITIVITY = "GraSP less Rand", "retained, images less text"
ABOVE, BELOW, NOT_SHOWN = "above 0", "below 0", "no difference shown"
WORDS = {  # of a verdict in a sentence
    PRUNER: {ABOVE: "better than Rand on", BELOW: "worse than Rand on", NOT_SHOWN: "not shown to differ on"},
    SENSITIVITY: {
        ABOVE: "text retains less:", BELOW: "images retain less:", NOT_SHOWN: "no difference is shown:",
    },
}  # fmt: skip
MANY = ", "  # between contrasts
MISSING = "not known, for there are no runs"


@dataclass(frozen=True)
class Primary(Differences):
    """A primary contrast: the difference between two sides by seed, in points."""

    question: str  # PRUNER or SENSITIVITY
    where: str
    text: bool  # about text alone; a contrast between text and images is about neither alone
    adjusted: float | None = None  # p-value after Holm's correction; None with fewer than SEEDS seeds

    @property
    def mean(self) -> float:
        """Return the mean difference."""
        return self.interval.mean

    @cached_property
    def ends(self) -> tuple[float, float] | None:
        """Return the ends of the 95 % interval that belongs to the sign-flip test; None with too few seeds for one.

        Student's interval can include 0 where the test shows a difference: one seed that loses a class stretches it.
        """
        return flip_interval([*self.by_seed.values()])

    @property
    def verdict(self) -> str:
        """Return "above 0", "below 0", "no difference shown", or that there are too few seeds for a verdict."""
        if self.adjusted is None:
            return f"no verdict, {len(self.by_seed)} of {SEEDS} seeds"
        if self.adjusted >= LEVEL:
            return NOT_SHOWN
        return ABOVE if self.mean > 0 else BELOW

    def words(self) -> str:
        """Return where the contrast is, its number, interval and seeds."""
        spread = "" if self.ends is None else f", {self.ends[0]:+.2f} to {self.ends[1]:+.2f}"
        return f"{self.where} ({self.mean:+.2f} points{spread}, {counted(len(self.by_seed), 'seed')})"


def _asked(task: Task) -> bool:
    return task.record in CHOSEN["tasks"] or task.model in MATCHED


def beside(tasks: Sequence[Task]) -> list[tuple[Task | None, Task | None]]:
    """Return pairs of a text task and an image task, for a picture: those of each matched network come first.

    The others are paired in order; a task without a counterpart comes last, beside None. Tasks that retain nothing, for
    want of pruned runs or of dense ones above chance, are left out; and those of no primary contrast, if there are any
    that have one.
    """
    usable = [task for task in tasks if any(retained(task, pruner, 0.0) for pruner in task.pruners())]
    usable = [task for task in usable if _asked(task)] or usable
    groups: dict[str, tuple[list[Task], list[Task]]] = {}
    for task in usable:
        group = groups.setdefault(task.model if task.model in MATCHED else "", ([], []))
        group[task.kind == "image"].append(task)
    pairs: list[tuple[Task | None, Task | None]] = []
    for model in (*MATCHED, ""):
        texts, images = groups.get(model, ([], []))
        pairs += product(texts, images) if model and texts and images else zip_longest(texts, images)
    return sorted(pairs, key=lambda pair: None in pair)


def of_pruners(tasks: Sequence[Task], first: str = FIRST, second: str = SECOND) -> list[Primary]:
    """Return `first` less `second` at COMPRESSION for each task that has both, in points of its metric."""
    found = []
    for task in filter(_asked, tasks):
        by_seed = paired(task.values(first, COMPRESSION), task.values(second, COMPRESSION))
        if by_seed:
            found.append(Primary(by_seed, PRUNER, task.title, task.kind != "image"))
    return found


def of_kinds(tasks: Sequence[Task]) -> list[Primary]:
    """Return what images retain less what text retains (Rand, percent), for each pair of tasks of a matched network."""
    found = []
    for model in MATCHED:
        matched = [task for task in tasks if task.model == model]
        for image in (task for task in matched if task.kind == "image"):
            for text in (task for task in matched if task.kind == "text"):
                by_seed = paired(*(retained(task, SECOND, COMPRESSION) for task in (image, text)))
                if by_seed:
                    where = f"{image.data_title} less {text.data_title}, {model}"
                    points = {seed: 100.0 * value for seed, value in by_seed.items()}
                    found.append(Primary(points, SENSITIVITY, where, False))
    return found


def primaries(tasks: Sequence[Task]) -> list[Primary]:
    """Return all primary contrasts, with adjusted p-values where there are SEEDS seeds."""
    found = [*of_pruners(tasks), *of_kinds(tasks)]
    adjusted = iter(holm([one.p for one in found if len(one.by_seed) >= SEEDS]))
    return [replace(one, adjusted=next(adjusted)) if len(one.by_seed) >= SEEDS else one for one in found]


def sentences(tasks: Sequence[Task]) -> list[str]:
    """Return the answer in five sentences, with the figures that they rest on."""
    found = primaries(tasks)
    pruners = [one for one in found if one.question == PRUNER]
    kinds = [one for one in found if one.question == SENSITIVITY]
    mended = {name: of_pruners(tasks, name, SECOND) for name in MENDED}
    repairs = [f"{pruner_title(name)} less Rand comes to {_listed(found)}" for name, found in mended.items()]
    without = [one.where for one in found if one.adjusted is None]
    return [
        f"With a tenth of the weights, on text, GraSP is {_sorted([one for one in pruners if one.text], PRUNER)}.",
        f"On images, it is {_sorted([one for one in pruners if not one.text], PRUNER)}.",
        f"On one network for both kinds, with a tenth of the weights, {_sorted(kinds, SENSITIVITY)}.",
        f"Mended, {'; '.join(repairs)}.",
        f"Verdicts need {SEEDS} seeds{' and are missing for ' * bool(without)}{MANY.join(without)}; so few tasks and "
        "networks say nothing about text and images in general.",
    ]


def _sorted(contrasts: Sequence[Primary], question: str) -> str:
    """Return the contrasts in words, by verdict."""
    verdicts = list(dict.fromkeys(one.verdict for one in contrasts))
    parts = []
    for verdict in verdicts:
        words = WORDS[question].get(verdict, "without a verdict yet on")
        parts.append(f"{words} {_listed([one for one in contrasts if one.verdict == verdict])}")
    return "; ".join(parts) or MISSING


def _listed(contrasts: Sequence[Primary]) -> str:
    return MANY.join(one.words() for one in contrasts) or MISSING
