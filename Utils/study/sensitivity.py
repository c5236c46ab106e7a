"""The claim that text is more sensitive to pruning than images: for each pruner, up to compression 1 and beyond it.

A text task stands beside every image task; a network that takes both kinds (`Models/matched.py`), beside itself alone.
"""

import math
from collections.abc import Mapping
from functools import partial

from Utils.study.answer import MATCHED
from Utils.study.retained import retained
from Utils.study.statements import Question, Statement
from Utils.study.statistics import difference
from Utils.study.tasks import Task, in_order, pruner_title

BORDER = 1.0
RANGES = (("up to 1", 0.0, BORDER), ("beyond 1", BORDER, math.inf))  # in words, above, up to


def questions(words: Mapping[str, str], tasks: list[Task]) -> list[Question]:
    """Return one question for each pruner and range that some pair of tasks has; the first if none has any.

    words: the name, with {pruner} and {range} in it, and the border.
    """
    images, texts = ([task for task in tasks if (task.kind == "image") == of] for of in (True, False))
    pruners = in_order({pruner for task in texts for pruner in task.pruners()}) or ["rand"]
    found = []
    for pruner in pruners:
        for name, above, highest in RANGES:
            title = words["name"].format(pruner=pruner_title(pruner), range=name)
            asked = {task.name: more_sensitive(task, images, pruner, above, highest) for task in texts}
            statements = partial(lambda asked, task: asked.get(task.name, []), asked)
            question = Question(title, "text beside images", words["border"], lambda _: True, statements, sparse=True)
            found.append((question, any(asked.values())))
    return [question for question, some in found if some] or [question for question, _ in found[:1]]


def more_sensitive(text: Task, images: list[Task], pruner: str, above: float, highest: float) -> list[Statement]:
    """State for each image task that it retains more (percent) than the text task.

    Each seed's value is its mean over the compressions of the range that both tasks have.
    """
    statements = []
    for image in (image for image in images if _alike(text, image)):
        both = set(text.compressions(pruner=pruner)) & set(image.compressions(pruner=pruner))
        common = sorted(c for c in both if above < c <= highest)
        sides = [_mean_retained(task, pruner, common) for task in (image, text)]
        gap = difference([*sides[0].values()], [*sides[1].values()])
        if gap is not None:
            at = ", ".join(f"{c:g}" for c in common)
            runs = [
                task.runs(pruner, c)[seed]
                for task, side in zip((image, text), sides, strict=True)
                for c in (*common, 0.0)
                for seed in side
            ]
            statements.append(Statement(f"{image.title} at {at} (%)", gap, tuple(runs), 0.0))
    return statements


def _alike(text: Task, image: Task) -> bool:
    """Return whether two tasks may stand side by side: one network for both kinds only beside itself."""
    return text.model == image.model or not {text.model, image.model} & set(MATCHED)


def _mean_retained(task: Task, pruner: str, compressions: list[float]) -> dict[str, float]:
    """Return the mean retained performance in percent, by seed, for the seeds that have all the compressions."""
    each: list[Mapping[str, float]] = [retained(task, pruner, c) for c in compressions]
    if not each:
        return {}
    return {
        seed: 100.0 * math.fsum(values[seed] for values in each) / len(each)
        for seed in each[0]
        if all(seed in values for values in each)
    }
