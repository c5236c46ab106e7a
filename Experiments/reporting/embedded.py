"""The runs and their means as data for the page's charts.

Each datum is there once, in the words in which the tables show it, so that the page computes and rounds nothing. A
column is a list, or {"words": its different entries, "at": the number of each entry} where that is shorter.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from Experiments.reporting import canvas, style
from Experiments.reporting.figures import short
from Experiments.reporting.results_tables import layer_names, made_with, span
from Experiments.reporting.study import Study
from Experiments.reporting.table import spread
from Utils import settings
from Utils.quality import METRICS
from Utils.study import answer
from Utils.study import runs as stored
from Utils.study.retained import retained
from Utils.study.runs import Run
from Utils.study.statistics import Interval, interval
from Utils.study.tasks import Task, Variant, in_order, label, plain, pruner_title

RETAINED, METRIC, LAYERS = "retained", "metric", "layers"
RUNS = "Small marks: single runs."
MEAN = (
    "Large marks: mean over seeds, the bar its 95 % interval (Student's t); of one seed there is none. "
    f"{RUNS} A bar may run out of its panel."
)
MEDIAN = f"Large marks: median over seeds; in brackets the lowest and the highest. {RUNS}"
SHARES = "Marks: mean over seeds of the fraction of a tensor's weights that is kept; hollow, below all, where none is."
AXES = {  # figure -> (title of an axis of it, whether it is logarithmic)
    "compression": ("compression (density is 10 to its negative)", False),
    "density": ("density (fraction of prunable weights kept)", True),
    "flop_sparsity": ("FLOP sparsity (fraction of multiply-adds that remains)", True),
}


@dataclass(frozen=True)
class Figure:
    """A figure of a run that can be drawn."""

    key: str  # RETAINED, or a key of Run.figures
    title: str
    form: str = ".2f"
    log: bool = False
    median: bool = False  # shown by the median, for means of it say little

    def values(self, task: Task, pruner: str, c: float, variant: Variant) -> dict[str, float]:
        """Return the figure by seed."""
        if self.key == RETAINED:
            return {seed: 100.0 * value for seed, value in retained(task, pruner, c, variant).items()}
        return task.values(pruner, c, variant, self.key)

    def words(self, values: Iterable[float], dense: bool) -> str:
        """Return the mean or median over seeds as the tables show it; "" without values."""
        values = list(values)
        if not values:
            return ""
        if self.median:
            return span(values)
        mean = interval(values)
        if mean is not None and dense and self.key == RETAINED:
            mean = Interval(mean.mean, None, mean.count)  # 100 % by definition
        return spread(mean, self.form)


def figures(tasks: Sequence[Task]) -> list[Figure]:
    """Return the figures that some run of these tasks has, the one to begin with first."""
    main = " or ".join(dict.fromkeys(task.metric.title for task in tasks))
    further = [metric for metric in METRICS if any(task.metric != metric for task in tasks)]
    known = [
        Figure(RETAINED, "performance retained, %", ".1f"),
        Figure(METRIC, f"{main}, %"),
        Figure("best_metric", f"{main} at the best epoch, %"),
        *(Figure(f"final_{metric.key}", f"{metric.title}, %") for metric in further),
        *(Figure(f"bleu_{n}", f"BLEU-{n}, %") for n in range(1, 5)),
        Figure("final_train_top1", "training accuracy, %"),
        Figure("final_test_loss", "test loss", ".3g", log=True, median=True),
        Figure("post_prune_loss", "test loss right after pruning", ".3g", log=True, median=True),
        Figure("flop_sparsity", AXES["flop_sparsity"][0], ".4g", log=True),
    ]
    there = {
        key
        for task in tasks
        for member in task.members
        for key in member.run.figures
        if key != f"final_{task.metric.key}"  # it is METRIC
    }
    return [figure for figure in known if figure.key in there | {RETAINED}]


def pack(column: Sequence[Any]) -> Any:
    """Return the shorter form of a column."""
    at = {word: k for k, word in enumerate(dict.fromkeys(column))}
    coded = {"words": [*at], "at": [at[word] for word in column]}
    return min(list(column), coded, key=lambda form: len(text(form)))


def text(content: object) -> str:
    """Return JSON that may stand in a script element: no tag can end or begin in it."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def data(study: Study, header: Sequence[str]) -> dict[str, Any]:
    """Return all data of the page; header: that of the list of runs."""
    tasks = [task for task in study.tasks if any(map(task.pruners, task.variants))]
    shown = figures(tasks)
    numbers = {run.path: k for k, run in enumerate(study.runs)}
    points = _Points(shown, numbers)
    variants = list(dict.fromkeys(variant for task in tasks for variant in task.variants))
    names = in_order(pruner for task in tasks for variant in task.variants for pruner in task.pruners(variant))
    series = [
        {"task": k, "setting": variants.index(variant), "pruner": names.index(pruner)}
        | {"points": points.of(task, pruner, variant)}
        for k, task in enumerate(tasks)
        for variant in task.variants
        for pruner in task.pruners(variant)
    ]
    return {
        "header": header,
        "figures": [
            {"key": figure.key, "title": figure.title, "log": figure.log, "note": MEDIAN if figure.median else MEAN}
            | {"shared": figure.key == RETAINED}  # one axis for two tasks
            for figure in shown
        ]
        + [{"key": LAYERS, "title": "density by layer", "log": True, "note": SHARES}],
        "axes": [{"key": key, "title": title, "log": log} for key, (title, log) in AXES.items()],
        "start": {"tasks": _start(tasks), "compression": f"{answer.COMPRESSION:g}"},
        "pairs": [[task.name for task in pair if task] for pair in answer.beside(tasks)],
        "tasks": [
            {"name": task.name, "title": task.title, "lines": _lines(task)}
            | {"metric": f"{task.metric.title}, %", "unlike": task.unlike_paper}
            | {"layers": f"table-layers-{task.name}", "short": [*map(short, layer_names(task))]}
            for task in tasks
        ],
        "settings": [label(variant) for variant in variants],
        "pruners": [_look(name) for name in names],
        "dense": {"title": "dense", "colour": style.THEME[style.INK], "outline": canvas.outline(style.MARKERS[0])},
        "series": {key: pack([one[key] for one in series]) if key != "points" else [one[key] for one in series]
                   for key in ("task", "setting", "pruner", "points")},
        "points": points.columns(),
        "runs": _runs(study, points),
        "configurations": _configurations(study.runs),
    }  # fmt: skip


def _lines(task: Task) -> dict[str, tuple[float, str]]:
    """Return where a panel has a dotted line, and the words at it, by figure."""
    chance = (task.chance, "chance")
    return {RETAINED: (100.0, "as good as dense"), METRIC: chance, "best_metric": chance}


def _look(pruner: str) -> dict[str, str]:
    look = style.look(pruner)
    return {"name": pruner, "title": look.title, "colour": look.colour, "outline": canvas.outline(look.marker)}


def _start(tasks: Sequence[Task]) -> list[str]:
    """Return the names of the pair of tasks to begin with: of the text and image pairs the one with most points."""
    pairs = [[task for task in pair if task is not None] for pair in answer.beside(tasks)] or [list(tasks[:1])]
    best = max(pairs, key=lambda pair: (len(pair), sum(len(task.compressions()) for task in pair)))
    return [task.name for task in best]


class _Points:
    """The means over seeds, and what each run has of its own in them; a dense one serves all pruners."""

    def __init__(self, shown: Sequence[Figure], numbers: dict[Any, int]) -> None:
        self.shown, self.numbers = shown, numbers
        self.records: list[dict[str, Any]] = []
        self.values: dict[str, dict[int, str]] = {figure.key: {} for figure in shown}  # by number of the run
        self.dense: dict[tuple[str, Variant], int] = {}

    def of(self, task: Task, pruner: str, variant: Variant) -> list[int]:
        """Return the numbers of a curve's points, by compression."""
        dense = task.runs(pruner, 0.0, variant)
        where = (task.name, plain(variant))
        if dense and where not in self.dense:
            self.dense[where] = self._add(task, pruner, 0.0, variant, dense)
        begin = [self.dense[where]] if dense else []
        pruned = task.compressions(variant, pruner)
        return begin + [self._add(task, pruner, c, variant, task.runs(pruner, c, variant)) for c in pruned]

    def _add(self, task: Task, pruner: str, c: float, variant: Variant, runs: dict[str, Run]) -> int:
        record: dict[str, Any] = {"compression": f"{c:g}", "runs": [self.numbers[run.path] for run in runs.values()]}
        density = interval(task.values(pruner, c, variant, "density").values())
        record["density"] = f"{density.mean:.4g}" if density else ""
        for figure in self.shown:
            values = figure.values(task, pruner, c, variant)
            record[figure.key] = figure.words(values.values(), dense=c == 0.0)
            for seed, value in values.items():
                self.values[figure.key][self.numbers[runs[seed].path]] = f"{value:{figure.form}}"
        self.records.append(record)
        return len(self.records) - 1

    def columns(self) -> dict[str, Any]:
        """Return the points in columns; "runs" has the numbers of each one's runs."""
        keys = ("compression", "density", *(figure.key for figure in self.shown))
        found = {key: pack([record[key] for record in self.records]) for key in keys}
        return {**found, "runs": [record["runs"] for record in self.records]}


def _runs(study: Study, points: _Points) -> dict[str, Any]:
    """Return every run's place, settings, code, data and figures in columns."""
    where = {member.run.path: (task, member.variant) for task in study.tasks for member in task.members}
    kinds = list(dict.fromkeys(map(_configuration, study.runs)))
    rows: list[dict[str, Any]] = []
    for run in study.runs:
        task, variant = where[run.path]
        dense = task.runs(run.pruner, 0.0, variant).get(run.seed)
        rows.append(
            {"folder": run.path.parent.as_posix(), "name": run.name, "task": task.title, "setting": label(variant)}
            | {"pruner": pruner_title(run.pruner), "compression": f"{run.compression:g}", "seed": run.seed}
            | {"figure": f"{run.figures['metric']:.2f} {task.metric.title}", "density": f"{run.figures['density']:.4g}"}
            | {"commit": str(run.result.get("commit"))[:12], "data": str(run.settings.get("data_key", ""))[:12]}
            | {"files": ", ".join(f"{name} {sum_}" for name, sum_ in run.result["data"]["files"].items())}
            | made_with(run)
            | {"dense": dense.path.as_posix() if dense else ""}
            | {"seconds": f"{sum(run.result.get('seconds', {}).values()):.0f}"}
            | {"configuration": kinds.index(_configuration(run))}
        )
    columns = {key: pack([row[key] for row in rows]) for key in rows[0]}
    own = {key: pack([found.get(k, "") for k in range(len(rows))]) for key, found in points.values.items()}
    return {**columns, "figures": own}


def _configuration(run: Run) -> tuple[tuple[str, str], ...]:
    """Return all settings of a run in words but those that its task, pruner, compression and seeds say."""
    axes = {row.name for row in settings.ROWS if row.axis}
    return tuple(
        (name, value if isinstance(value, str) else json.dumps(value))
        for name, value in stored.settings(run)
        if name not in axes
    )


def _configurations(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the different configurations, one column per setting."""
    kinds = [dict(kind) for kind in dict.fromkeys(map(_configuration, runs))]
    names = sorted({name for kind in kinds for name in kind})
    return {name: pack([kind.get(name, "") for kind in kinds]) for name in names}
