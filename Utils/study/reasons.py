"""The paper's explanations, each a small experiment on the stored runs: redundancy, context, rare words, and so on.

Each is asked of every task that has the runs for it. Figures of `--experiment probe` belong to a run like its others.
"""

import math
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from Utils.study.statements import Question, Statement, Statements, compared, stated
from Utils.study.statistics import paired
from Utils.study.tasks import MAIN, Task, Variant, pruner_title

REASONS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
GRASP, RAND = "grasp", "rand"
Figure = Callable[[Task, str, float], dict[str, float]]  # pruner, compression -> a figure by seed
AT = 1.0  # the compression of those that ask about one
NARROW: Variant = (("width", "0.25"),)
WIDE: Variant = (("width", "4.0"),)
LONG: Variant = (("post_epochs", "30"),)
TRAINED: Variant = (("pre_epochs", "10"),)
SMALL: Variant = (("train_batch_size", "64"),)
EMBEDDING: Variant = (("prune_embedding", "true"),)
IGNORED: Variant = (("ignore_masks", '"all"'),)


def questions(equal: float, bleu: float, move: float) -> list[Question]:
    """Return the explanations as questions.

    equal: points within which two settings count as equal. bleu, move: the paper's dense BLEU, and its widest move.
    """

    def question(name: str, statements: Statements, of: Callable[[Task], bool] = lambda task: True) -> Question:
        words = {key: text.format(equal=equal, bleu=bleu, move=move) for key, text in REASONS[name].items()}
        return Question(words["name"], "any task", words["border"], of, statements, words["price"], sparse=True)

    def pruned(figure: Figure, sign: float) -> Statements:
        return lambda task: _each(task, lambda pruner: _less(task, figure, pruner, sign))

    return [
        question("overfits", overfits, lambda task: task.kind == "text"),
        question("context", pruned(_gap("unchanged_top1", "shuffled_top1"), -1.0)),
        question("subtle", pruned(partial(Task.values, figure="dropped_changed"), 1.0)),
        question("rare", pruned(_gap("rarest_top1", "commonest_top1"), -1.0)),
        question("correlated", correlated),
        question("dimension", lambda task: _variants(task, MAIN, EMBEDDING, 0.0)),
        question("redundant", lambda task: _loses_more(task, NARROW, WIDE)),
        question("budget", lambda task: _loses_more(task, MAIN, LONG)),
        question("transfer", lambda task: _variants(task, TRAINED, MAIN, 0.0)),
        question("trained_grasp", trained_grasp),
        question("batch", lambda task: _batch(task, equal)),
        question("ngrams", lambda task: ngrams(task, bleu), lambda task: not task.unlike_paper),
        question("ignored", lambda task: ignored(task, move)),
    ]


def _gap(first: str, second: str) -> Figure:
    """Return the function that gives one figure of Run.figures less another, by seed."""
    return lambda task, *of: paired(task.values(*of, figure=first), task.values(*of, figure=second))


def _less(task: Task, figure: Figure, pruner: str, sign: float) -> dict[str, float]:
    """Return a figure of the pruned network less that of the dense one of the same seed, times `sign`."""
    by_seed = paired(figure(task, pruner, AT), figure(task, pruner, 0.0))
    return {seed: sign * value for seed, value in by_seed.items()}


def _each(task: Task, by_seed: Callable[[str], Mapping[str, float]]) -> list[Statement]:
    """State for GraSP and Rand that these values are above 0."""
    statements = []
    for pruner in (GRASP, RAND):
        values = by_seed(pruner)
        sides = [task.runs(pruner, AT), task.runs(pruner, 0.0)]
        runs = [side[seed] for seed in values for side in sides]
        statements += stated(f"{pruner_title(pruner)} at {AT:g}", values.values(), runs, 0.0)
    return statements


def _variants(task: Task, first: Variant, second: Variant, low: float, high: float = math.inf) -> list[Statement]:
    """State for GraSP and Rand at AT that the metric in one variant less that in another is in these bounds."""
    sides = ((f"{pruner_title(p)} at {AT:g}", (p, AT, first), (p, AT, second)) for p in (GRASP, RAND))
    return compared(task, sides, low, high)


def overfits(task: Task) -> list[Statement]:
    """State for Rand that the training accuracy exceeds the test accuracy by less than in the dense network."""
    statements, gap = [], _gap("final_train_top1", "final_test_top1")
    for c in task.compressions(pruner=RAND):
        by_seed = paired(gap(task, RAND, 0.0), gap(task, RAND, c))
        runs = [task.runs(RAND, side)[seed] for seed in by_seed for side in (0.0, c)]
        statements += stated(f"Rand at {c:g}", by_seed.values(), runs, 0.0)
    return statements


def correlated(task: Task) -> list[Statement]:
    """State that the inputs that GraSP keeps are more correlated than those that Rand keeps."""
    by_seed = paired(*(task.values(pruner, AT, figure="kept_correlation") for pruner in (GRASP, RAND)))
    runs = [task.runs(pruner, AT)[seed] for seed in by_seed for pruner in (GRASP, RAND)]
    return stated(f"GraSP - Rand at {AT:g}", by_seed.values(), runs, 0.0)


def _loses_more(task: Task, first: Variant, second: Variant) -> list[Statement]:
    """State that Rand costs more of the metric in the first variant than in the second."""
    lost, runs = [], []
    for variant in (first, second):
        by_seed, used = task.paired((RAND, 0.0, variant), (RAND, AT, variant))
        lost.append(by_seed)
        runs += used
    return stated(f"Rand at {AT:g}", paired(*lost).values(), runs, 0.0)


def trained_grasp(task: Task) -> list[Statement]:
    """State that GraSP is better than Rand where both prune a trained network."""
    return compared(task, [(f"at {AT:g}", (GRASP, AT, TRAINED), (RAND, AT, TRAINED))], 0.0)


def _batch(task: Task, equal: float) -> list[Statement]:
    """State that the metric does not depend on the batch size, dense and pruned."""
    dense = compared(task, [("dense", (RAND, 0.0, SMALL), (RAND, 0.0))], -equal, equal)
    return dense + _variants(task, SMALL, MAIN, -equal, equal)


def ngrams(task: Task, printed: float) -> list[Statement]:
    """State that the dense BLEU of n-grams up to four is nearer to the printed one than that up to three."""
    three, four = (task.values(RAND, 0.0, figure=f"bleu_{n}") for n in (3, 4))
    away = {seed: abs(three[seed] - printed) - abs(four[seed] - printed) for seed in three}
    runs = task.runs(RAND, 0.0)
    return stated("dense", away.values(), [runs[seed] for seed in away], 0.0)


def ignored(task: Task, move: float) -> list[Statement]:
    """State that a pruned network whose masks are ignored is as good as the dense one."""
    sides = [(f"{pruner_title(p)} at 2", (p, 2.0, IGNORED), (p, 0.0)) for p in (GRASP, RAND)]
    return compared(task, sides, -move, move)
