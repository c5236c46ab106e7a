"""The paper's claims on its figures, tested on the stored runs; its explanations are in reasons.py."""

import math
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from Utils import load
from Utils.quality import ACCURACY
from Utils.study import reasons, sensitivity
from Utils.study.paper import Paper
from Utils.study.retained import retained
from Utils.study.statements import Claim, Question, Statement, Statements, compared, stated
from Utils.study.tasks import MAIN, Task, Variant, pruner_title

EQUAL = 0.5  # two settings within this many points of accuracy or BLEU count as equal
COLLAPSED = 0.5  # retaining less than this fraction of the dense performance is a collapse
HIGH_DENSITY = 0.5  # up to this compression the density counts as high

CLAIMS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
RAND, MAG, GRASP, SYNFLOW = "rand", "mag", "grasp", "synflow"


def judge(tasks: list[Task], paper: Paper) -> list[Claim]:
    """Return every claim. A claim that no run is about is undecided and has no statements."""
    judged = []
    for question in questions(tasks, paper):
        found = [(task.title, tuple(question.statements(task))) for task in tasks if question.of(task)]
        if question.sparse:
            found = [(title, statements) for title, statements in found if statements]
        judged += [Claim(question.name, title, question.border, statements) for title, statements in found]
        if not found:
            judged.append(Claim(question.name, question.where, question.border, (), question.price))
    return judged


def questions(tasks: list[Task], paper: Paper) -> list[Question]:
    """Return the paper's claims and explanations as questions, with bounds from the paper's tables."""
    accuracies = paper.table("metric", dataset=paper.classification)
    bleus = paper.table("metric", dataset=paper.translation)
    images = paper.image_table
    printed = max(accuracies.column(GRASP)[0.0], accuracies.column(RAND)[0.0])
    move = max(abs(value - bleus.column(pruner)[0.0]) for (_, pruner), value in bleus.cells.items())
    top, top_bleu, top_images = (max(table.compressions) for table in (accuracies, bleus, images))
    numbers = {"printed": printed, "move": move, "top": top, "top_bleu": top_bleu, "top_images": top_images}
    numbers |= {"equal": EQUAL, "high": HIGH_DENSITY, "collapsed": 100 * COLLAPSED, "grasp": images.cells[0.05, GRASP]}
    news, translated = (load.dataset(name).title for name in (paper.classification, paper.translation))

    def question(claim: str, statements: Statements, where: str, of: Callable[[Task], bool]) -> Question:
        name, border = (CLAIMS[claim][key].format(**numbers) for key in ("name", "border"))
        return Question(name, where, border, of, statements)

    of_news = partial(question, where=news, of=lambda task: task.dataset == paper.classification)
    of_translation = partial(question, where=translated, of=lambda task: task.dataset == paper.translation)
    of_images = partial(question, where=images.title, of=lambda task: task.record == images.of)

    def below(task: Task) -> list[Statement]:
        return against(task, [c for c in task.compressions() if c < top], -EQUAL, EQUAL)

    return [
        of_news("falls", falls),
        of_news("beats", lambda task: against(task, [top], low=0.0)),
        of_news("equal_below", below),
        of_news("test_accuracy", lambda task: is_test_accuracy(task, printed)),
        of_translation("moves", lambda task: moves(task, top_bleu, move)),
        of_translation("equal_bleu", lambda task: against(task, [1.0], -EQUAL, EQUAL)),
        *sensitivity.questions(CLAIMS["sensitive"], tasks),
        of_images("collapses", lambda task: collapses(task, GRASP)),
        of_images("rand_at_chance", lambda task: at_chance(task, RAND, 1.0)),
        of_images("synflow_at_chance", lambda task: at_chance(task, SYNFLOW, top_images)),
        of_images("best_trained", partial(best, pruner=MAG, highest=1.0, variant=images.variant(MAG))),
        of_images("best_untrained", partial(best, pruner=MAG, highest=1.0, variant=MAIN)),
        *reasons.questions(EQUAL, bleus.column(GRASP)[0.0], move),
    ]


def _points(task: Task) -> list[tuple[str, float]]:
    """Return (pruner, compression) of the runs of GraSP and Rand."""
    return [(pruner, c) for pruner in (GRASP, RAND) for c in task.compressions(pruner=pruner)]


def falls(task: Task) -> list[Statement]:
    """State that the metric falls from dense to each compression."""
    points = _points(task)
    return compared(task, ((f"{pruner_title(p)} 0 - {c:g}", (p, 0.0), (p, c)) for p, c in points), 0.0)


def against(task: Task, compressions: Iterable[float], low: float, high: float = math.inf) -> list[Statement]:
    """State that GraSP minus Rand lies between `low` and `high` at each compression."""
    names = f"{pruner_title(GRASP)} - {pruner_title(RAND)}"
    return compared(task, ((f"{names} at {c:g}", (GRASP, c), (RAND, c)) for c in compressions), low, high)


def moves(task: Task, highest: float, margin: float) -> list[Statement]:
    """State that the metric changes by at most `margin` from dense, up to the compression `highest`."""
    points = [(p, c) for p, c in _points(task) if c <= highest]
    return compared(task, ((f"{pruner_title(p)} {c:g} - 0", (p, c), (p, 0.0)) for p, c in points), -margin, margin)


def is_test_accuracy(task: Task, printed: float) -> list[Statement]:
    """State that the test accuracy is nearer to the printed one than the train accuracy is; the label shows both."""
    test = task.values("", 0.0, figure=f"final_{ACCURACY.key}")
    train = task.values("", 0.0, figure="final_train_top1")
    seeds = [seed for seed in test if seed in train]
    if not seeds:
        return []
    means = [math.fsum(side[seed] for seed in seeds) / len(seeds) for side in (test, train)]
    label = f"test {means[0]:.2f}, train {means[1]:.2f}; difference of the distances"
    away = [abs(train[seed] - printed) - abs(test[seed] - printed) for seed in seeds]
    runs = task.runs("", 0.0)
    return stated(label, away, [runs[seed] for seed in seeds], 0.0, math.inf)


def collapses(task: Task, pruner: str) -> list[Statement]:
    """State that less than COLLAPSED of the dense performance is retained at each low compression."""
    statements = []
    for c in (c for c in task.compressions(pruner=pruner) if c <= HIGH_DENSITY):
        values = [100.0 * share for share in retained(task, pruner, c).values()]
        runs = [*task.runs(pruner, c).values(), *task.runs(pruner, 0.0).values()]
        statements += stated(f"{pruner_title(pruner)} at {c:g} (%)", values, runs, -math.inf, 100.0 * COLLAPSED)
    return [replace(statement, signed=False) for statement in statements]


def at_chance(task: Task, pruner: str, compression: float) -> list[Statement]:
    """State that the metric at a compression equals chance."""
    values = [value - task.chance for value in task.values(pruner, compression).values()]
    runs = task.runs(pruner, compression).values()
    return stated(f"{pruner_title(pruner)} at {compression:g}", values, runs, -EQUAL, EQUAL)


def best(task: Task, pruner: str, highest: float, variant: Variant) -> list[Statement]:
    """State that a pruner in a variant is better than each other one in the main settings, up to `highest`."""
    compressions = [c for c in task.compressions(variant, pruner) if c <= highest]
    sides = (
        (f"{pruner_title(pruner)} - {pruner_title(other)} at {c:g}", (pruner, c, variant), (other, c))
        for other in task.pruners()
        if other != pruner
        for c in compressions
    )
    return compared(task, sides, 0.0)
