"""The study's own questions, each with its primary contrasts, which answer.toml names with when each was chosen.

1. Does GraSP beat random pruning? GraSP less Rand at compression 1, after the last epoch, paired by seed.
2. Does pruning hurt text more than images? On one network for both (Models/matched.py): what an image task retains at
   compression 1 with Rand, less what the text task retains, paired by seed.

The p-values of all contrasts that are named there are adjusted together (Holm 1979); one with too few seeds counts as
p = 1 and has an interval and no verdict.
"""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product, zip_longest
from pathlib import Path
from statistics import fmean, median

from Utils import load
from Utils.study.retained import retained
from Utils.study.statistics import FLIPPED, Differences, holm, paired
from Utils.study.tasks import Task, pruner_title
from Utils.wording import counted

CHOSEN = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
FIRST, SECOND, MENDED = CHOSEN["first"], CHOSEN["second"], CHOSEN["mended"]
SAID = CHOSEN["words"]
INTERVALS = SAID["intervals"].format(flipped=FLIPPED)
COMPRESSION, SEEDS, LEVEL = CHOSEN["compression"], CHOSEN["seeds"], CHOSEN["level"]
MATCHED = load.MODELS[CHOSEN["matched"]]  # the networks that take texts and images
KNOWN = {(row["dataset"], row["model"]): row["known"] for row in CHOSEN["tasks"]}  # seeds before it was named
KINDS = CHOSEN["kinds"]
PRUNER, SENSITIVITY = "GraSP less Rand", "retained, images less text"
ABOVE, BELOW, NOT_SHOWN = "above 0", "below 0", "no difference shown"
WORDS = {PRUNER: SAID["pruner"], SENSITIVITY: SAID["sensitivity"]}  # of a verdict in a sentence
MANY = ", "  # between contrasts
NO_RUNS = "no runs yet"


@dataclass(frozen=True)
class Primary(Differences):
    """A primary contrast: the difference between two sides by seed, in points."""

    question: str  # PRUNER or SENSITIVITY
    where: str
    text: bool  # about text alone; a contrast between text and images is about neither alone
    known: int = 0  # seeds that were in the history before the contrast was named
    sides: str = ""  # both sides in words, where the difference alone says little
    cut: tuple[frozenset[str], ...] = ()  # of each side, the seeds whose masks cut classes off
    adjusted: float | None = None  # p-value after Holm's correction; None with fewer than SEEDS seeds

    @property
    def mean(self) -> float:
        """Return the mean difference."""
        return self.interval.mean

    @property
    def median(self) -> float:
        """Return the median difference, which a few seeds do not move."""
        return median(self.by_seed.values())

    @property
    def verdict(self) -> str:
        """Return "above 0", "below 0", "no difference shown", or that there are too few seeds for a verdict."""
        if self.adjusted is None:
            return f"no verdict, {len(self.by_seed)} of {SEEDS} seeds"
        if self.adjusted >= LEVEL:
            return NOT_SHOWN
        return ABOVE if self.mean > 0 else BELOW

    def words(self) -> str:
        """Return where the contrast is, its numbers, interval and seeds."""
        spread = "" if self.interval.half is None else f", {self.interval.ends()}"
        numbers = f"{self.mean:+.2f} points{spread}, median {self.median:+.2f}, {counted(len(self.by_seed), 'seed')}"
        return f"{self.where} ({numbers}{'; ' * bool(self.sides)}{self.sides})"


def _asked(task: Task) -> bool:
    return (task.dataset, task.model) in KNOWN


def named() -> list[tuple[str, str]]:
    """Return the question and the place of each contrast of answer.toml, with runs or without: Holm's family."""
    title = {dataset: load.dataset(dataset).title for dataset, _ in KNOWN}
    found = [(PRUNER, f"{title[dataset]}, {model}") for dataset, model in KNOWN]
    return found + [(SENSITIVITY, f"{title[image]} less {title[text]}, {model}") for image, text, model in KINDS]


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
        by_seed = paired(*(task.values(pruner, COMPRESSION) for pruner in (first, second)))
        if by_seed:
            cut = tuple(_cut(task, pruner) & by_seed.keys() for pruner in (first, second))
            known = min(KNOWN[task.dataset, task.model], len(by_seed))
            found.append(Primary(by_seed, PRUNER, task.title, task.kind != "image", known, cut=cut))
    return found


def _cut(task: Task, pruner: str) -> frozenset[str]:
    """Return the seeds whose masks leave two classes or more that no weight reaches: one such can still be answered."""
    runs = task.runs(pruner, COMPRESSION).items()
    alive = {seed: run.result["dead"]["classes"].get("alive") for seed, run in runs}  # absent if not searched for
    return frozenset(seed for seed, run in runs if alive[seed] is not None and len(alive[seed]) < run.classes - 1)


def of_kinds(tasks: Sequence[Task]) -> list[Primary]:
    """Return what images retain less what text retains (Rand, percent), for each pair of tasks of a matched network."""
    found = []
    by_record = {(task.dataset, task.model): task for task in tasks}
    for *datasets, model in KINDS:
        pair = [by_record[dataset, model] for dataset in datasets if (dataset, model) in by_record]
        points = paired(*(_percent(task) for task in pair)) if len(pair) == 2 else {}
        if points:
            where = f"{' less '.join(task.data_title for task in pair)}, {model}"
            known = min(KNOWN[dataset, model] for dataset in datasets)
            sides = ", ".join(_side(task, points) for task in pair)
            found.append(Primary(points, SENSITIVITY, where, False, known, sides))
    return found


def _percent(task: Task) -> dict[str, float]:
    return {seed: 100.0 * value for seed, value in retained(task, SECOND, COMPRESSION).items()}


def _side(task: Task, seeds: Iterable[str]) -> str:
    """Return what a task retains on these seeds, of how many weights."""
    values, runs = _percent(task), task.runs(SECOND, COMPRESSION)
    parts = next(runs[seed].result["parameters"] for seed in seeds)
    words = {"title": task.data_title, "retained": fmean(values[seed] for seed in seeds), **parts}
    return SAID["side"].format(**words, left=100.0 * parts["kept"] / parts["total"])


def primaries(tasks: Sequence[Task]) -> list[Primary]:
    """Return all primary contrasts that have a seed, with adjusted p-values where there are SEEDS seeds.

    They are adjusted for all contrasts that are named, so that they do not depend on which of these have runs.
    """
    found = [*of_pruners(tasks), *of_kinds(tasks)]
    enough = [one for one in found if len(one.by_seed) >= SEEDS]
    adjusted = iter(holm([*(one.p for one in enough), *[1.0] * (len(named()) - len(enough))]))
    return [replace(one, adjusted=next(adjusted)) if one in enough else one for one in found]


def note(found: Sequence[Primary]) -> str:
    """Return what is to be known of the contrasts that were found: when they were named, how they are judged."""
    family, there = named(), {(one.question, one.where.replace(" SAMPLE", "")) for one in found}
    bare = "; ".join(where for question, where in family if (question, where) not in there) or "none"
    words = {"compression": COMPRESSION, "family": len(family), "seeds": SEEDS, "bare": f"Without runs yet: {bare}"}
    return SAID["note"].format(**words, named=CHOSEN["named"], since=CHOSEN["since"], intervals=INTERVALS)


def sentences(tasks: Sequence[Task]) -> list[str]:
    """Return the answer in five sentences, with the figures that they rest on."""
    found = primaries(tasks)
    pruners = [one for one in found if one.question == PRUNER]
    mended = {pruner_title(name): of_pruners(tasks, name, SECOND) for name in MENDED}
    without = [one.where for one in found if one.adjusted is None]
    words = {
        "text": _sorted([one for one in pruners if one.text], PRUNER),
        "images": _sorted([one for one in pruners if not one.text], PRUNER),
        "kinds": _sorted([one for one in found if one.question == SENSITIVITY], SENSITIVITY),
        "mended": "; ".join(f"{title} less Rand: {_listed(repaired)}" for title, repaired in mended.items()),
        "why": _why([one for one in pruners if one.mean < 0.0]),
        "missing": f" and are missing for {MANY.join(without)}" if without else "",
    }
    return [sentence.format(**words, seeds=SEEDS) for sentence in SAID["sentences"]]


def _why(losses: Sequence[Primary]) -> str:
    """Return what the masks leave of the classes, in the contrasts in which GraSP comes out below Rand."""
    parts = []
    for one in (one for one in losses if any(one.cut)):
        first, second = one.cut
        rest = [value for seed, value in one.by_seed.items() if seed not in first | second]
        others = f"; the other {len(rest)} differ by {fmean(rest):+.2f} points on average" if rest else ""
        parts.append(f"on {len(first)} of {len(one.by_seed)} seeds of {one.where} (Rand's on {len(second)}{others})")
    whole = [one.where for one in losses if not any(one.cut)]
    found = [SAID[key].format(MANY.join(some)) for key, some in (("cut", parts), ("whole", whole)) if some]
    return "; ".join(found) or NO_RUNS


def _sorted(contrasts: Sequence[Primary], question: str) -> str:
    """Return the contrasts in words, by verdict."""
    parts = (
        f"{WORDS[question].get(verdict, 'without a verdict yet on')} "
        + _listed([one for one in contrasts if one.verdict == verdict])
        for verdict in dict.fromkeys(one.verdict for one in contrasts)
    )
    return "; ".join(parts) or f"not known ({NO_RUNS})"


def _listed(contrasts: Sequence[Primary]) -> str:
    return MANY.join(one.words() for one in contrasts) or NO_RUNS
