"""The figures of a report."""

import math
import textwrap
from collections.abc import Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes

from Experiments.reporting import benchmark, canvas, speed, style
from Experiments.reporting.canvas import Picture
from Experiments.reporting.study import Study
from Utils.study import answer
from Utils.study.retained import retained
from Utils.study.statistics import Interval, interval
from Utils.study.tasks import Task, in_order

FALLEN = 0.05  # retaining less than this fraction is no better than a guess; no axis is stretched for it
STEP = 0.012  # fraction of the axis by which pruners are shifted, so that their bars do not overlap


def all_pictures(study: Study) -> dict[str, list[Picture]]:
    """Return the pictures by section of the page."""
    pruned = [task for task in study.tasks if task.pruners()]
    curves = [task for task in pruned if _is_curve(task)] or pruned  # a single point is better shown in a table
    return {
        "metric": canvas.with_whole(
            "metric",
            "Metric against compression",
            [(t.name, t.title, partial(_metric, t)) for t in curves],
        ),
        "answer": answer_pictures(study),
        "benchmark": benchmark.pictures(study.benchmark),
        "retained": retained_pictures(study),
        "speed": speed.pictures(study.tasks),
    }


def _is_curve(task: Task) -> bool:
    """Return whether there are runs at more than one compression, including dense ones."""
    return len(task.compressions()) + bool(task.runs("", 0.0)) > 1


def _metric(task: Task, axes: Axes) -> None:
    pruners = task.pruners()
    everything: list[float] = []
    widest = max(task.compressions())
    for k, pruner in enumerate(pruners):
        look, shift = style.look(pruner), (k - (len(pruners) - 1) / 2) * STEP * widest
        points = [(c, task.values(pruner, c)) for c in (0.0, *task.compressions(pruner=pruner))]
        points = [(c + (shift if c else 0.0), values) for c, values in points if values]
        for x, values in points:
            axes.plot([x] * len(values), [*values.values()], ".", color=look.colour, alpha=0.45, markersize=5)
            everything += values.values()
        found = [point for _, values in points if (point := interval(values.values()))]
        canvas.curve(axes, [x for x, _ in points], found, look.colour, look.marker, look.title)
    axes.set_xlim(-0.06 * widest, 1.06 * widest)  # starts at dense, even without a dense run
    canvas.limits(axes, everything)
    low, high = axes.get_ylim()
    if low < task.chance < high:
        axes.axhline(task.chance, color=style.MUTED, linestyle=":", linewidth=1)
        options: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7.5, "color": style.MUTED}
        axes.annotate("chance", (0.0, task.chance), (0, 2), **options)
    axes.set(xlabel="compression (density is 10 to its negative)", ylabel=f"{task.metric.title}, %")
    _title(axes, task.title, task.unlike_paper)
    canvas.legend(axes)


def _title(axes: Axes, title: str, below: str) -> None:
    """Write a title, and below it, smaller, what is to be known of the curves, as settings unlike the paper's."""
    lines = textwrap.wrap(below, 68, max_lines=2, placeholder=" ...")
    axes.set_title(title, pad=6 + 11 * len(lines))
    text = axes.text(0, 1.02, "\n".join(lines), transform=axes.transAxes, fontsize=7, color=style.MUTED)
    text.set_in_layout(False)  # it may reach beyond the axis, which would shrink for it


def retained_pictures(study: Study) -> list[Picture]:
    """Return one panel per pruner with one line per task, solid for text and dashed for images."""
    tasks = [task for task in study.tasks if task.pruners()]
    names = in_order(pruner for task in tasks for pruner in task.pruners())
    names = [name for name in names if any(retained(task, name, 0.0) for task in tasks if name in task.pruners())]
    titled = [(name, style.look(name).title, partial(_retained, tasks, name)) for name in names]
    return canvas.with_whole("retained", "Performance retained against density", titled)


def _retained(tasks: Sequence[Task], pruner: str, axes: Axes) -> None:
    look, everything = style.look(pruner), [1.0]
    for k, task in enumerate(tasks):
        dense = retained(task, pruner, 0.0)
        if not dense or pruner not in task.pruners():
            continue
        x, found, values = _curve_retained(task, pruner)
        everything += values
        line = "--" if task.kind == "image" else "-"
        canvas.curve(axes, x, found, look.colour, style.MARKERS[k % len(style.MARKERS)], task.title, line)
    canvas.limits(axes, everything)
    _density_axis(axes, look.title)
    canvas.legend(axes, columns=2)


def _curve_retained(task: Task, pruner: str) -> tuple[list[float], list[Interval], list[float]]:
    """Return the densities, the means of what is retained there, and every seed's value. Dense, at 1, comes first."""
    x, found, everything = [1.0], [Interval(1.0, None, len(retained(task, pruner, 0.0)))], [1.0]
    for c in task.compressions(pruner=pruner):
        values = [*retained(task, pruner, c).values()]
        density = interval(task.values(pruner, c, figure="density").values())
        point = interval(values)
        if point is not None and density is not None:  # there is none where no seed has a dense run
            x.append(density.mean)
            found.append(point)
            everything += values
    return x, found, everything


def _density_axis(axes: Axes, title: str) -> None:
    canvas.log(axes)
    axes.invert_xaxis()
    axes.set(xlabel="density (fraction of prunable weights kept)", ylabel="retained (1 is dense)", title=title)


def answer_pictures(study: Study) -> list[Picture]:
    """Return one panel per task with one line per pruner, texts beside images; a pair shares its vertical axis."""
    panels = []
    for k, pair in enumerate(answer.beside(study.tasks), start=1):
        of_pair = [task for task in pair if task is not None]
        panels += [(f"{k}-{task.name}", task.title, partial(_answer, task, of_pair)) for task in of_pair]
    return canvas.with_whole("answer", "Performance retained against density, texts beside images", panels, across=2)


def _answer(task: Task, pair: Sequence[Task], axes: Axes) -> None:
    pruners = task.pruners()
    shown = [point for of in pair for pruner in of.pruners() for point in _curve_retained(of, pruner)[1]]
    ends = [end for point in shown if point.mean >= FALLEN for end in (point.mean, point.low, point.high)]
    canvas.limits(axes, [*filter(math.isfinite, ends)])
    edge = axes.get_ylim()[0]
    seeds = [point.count for pruner in pruners for point in _curve_retained(task, pruner)[1][1:]]
    for k, pruner in enumerate(pruners):
        look = style.look(pruner)
        x, found, _ = _curve_retained(task, pruner)
        found = [Interval(edge, None, point.count) if point.mean < edge else point for point in found]
        span = min(x)  # the shift is a fraction of the axis, which is logarithmic
        shifted = [1.0, *(density * span ** ((k - (len(pruners) - 1) / 2) * STEP) for density in x[1:])]
        canvas.curve(axes, shifted, found, look.colour, look.marker, look.title)
        below = [at for at, point in zip(shifted, found, strict=True) if point.mean == edge]
        mark: dict[str, Any] = {"color": look.colour, "marker": look.marker, "markerfacecolor": style.BACK}
        mark |= {"linestyle": "none", "markersize": 5, "clip_on": False, "zorder": 4}
        axes.plot(below, [edge] * len(below), **mark)[0].set_in_layout(False)
    axes.axhline(1.0, color=style.MUTED, linestyle=":", linewidth=1)
    _density_axis(axes, "")
    counts = " to ".join(dict.fromkeys(f"{of(seeds)}" for of in (min, max)))
    _title(axes, task.title, "; ".join(filter(None, [f"seeds of a mark: {counts}", task.unlike_paper])))
    canvas.legend(axes, columns=3)


def short(layer: str) -> str:
    """Shorten a layer's name: `transformer.encoder.layers.0.linear1` -> `encoder.0.linear1`."""
    return layer.removeprefix("transformer.").replace(".layers.", ".")
