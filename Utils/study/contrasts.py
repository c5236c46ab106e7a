"""Differences between two settings, paired by seed: between two pruners, or between a variant and its baseline."""

from dataclasses import dataclass

from Utils.study.runs import Run
from Utils.study.statistics import Differences, smallest_p
from Utils.study.tasks import MAIN, Side, Task, Variant, label, plain, pruner_title

BASE = "rand"  # beside it stands every other pruner


@dataclass(frozen=True)
class Contrast(Differences):
    """The difference of the metric between two settings, by seed."""

    task: Task
    what: str  # first against second, in words
    variant: Variant
    pruner: str
    compression: float
    runs: tuple[Run, ...]

    @property
    def smallest_p(self) -> float:
        """Return the smallest p-value that is possible with this number of seeds."""
        return smallest_p(len(self.by_seed))


def pruners(task: Task) -> list[Contrast]:
    """Compare each pruner with BASE at each compression of each variant in which both have a common seed."""
    result = []
    for variant in task.variants:
        for pruner in (name for name in task.pruners(variant) if name != BASE):
            for compression in task.compressions(variant, pruner):
                sides = [(name, compression, variant) for name in (pruner, BASE)]
                what = f"{pruner_title(pruner)} - {pruner_title(BASE)}"
                result += _contrast(task, what, variant, pruner, compression, *sides)
    return result


def variants(task: Task) -> list[Contrast]:
    """Compare each variant with its baseline, by pruner and compression.

    Ablations, scopes and kinds of layer are compared with the same training without them, another training with the
    main one.
    """
    result = []
    for variant in task.variants:
        if variant != MAIN:
            training = plain(variant)
            base = MAIN if variant == training else training
            what = f"setting - {label(base)}"
            for pruner in task.pruners(variant):
                for compression in task.compressions(variant, pruner):
                    sides = [(pruner, compression, variant), (pruner, compression, base)]
                    result += _contrast(task, what, variant, pruner, compression, *sides)
    return result


def _contrast(
    task: Task, what: str, variant: Variant, pruner: str, compression: float, first: Side, second: Side
) -> list[Contrast]:
    by_seed, runs = task.paired(first, second)
    return [Contrast(by_seed, task, what, variant, pruner, compression, tuple(runs))] if by_seed else []
