"""Figures, each as SVG and PNG, the same bytes each time: no date, no random names."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from Experiments.reporting import style
from Experiments.reporting.results_tables import is_translation
from Experiments.reporting.study import Study
from Utils.study.retained import retained
from Utils.study.statistics import Interval, interval
from Utils.study.tasks import Task, in_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 4.4, 3.3  # inches of a panel, which the page shows at about that width, a narrow one too
BELOW = 0.42  # inches from the axis to the legend, past the numbers and the label
STEP = 0.012  # of the axis, by which pruners stand apart so that their bars do not hide each other
LABELLED = 45  # layers beyond which not every one is labelled
RC = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name with a $ is a name
    "svg.hashsalt": "study",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": style.MUTED,
    "axes.labelcolor": style.INK,
    "axes.titlecolor": style.INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.facecolor": style.BACK,
    "figure.facecolor": style.BACK,
    "text.color": style.INK,
    "xtick.color": style.MUTED,
    "ytick.color": style.MUTED,
    "xtick.labelcolor": style.INK,
    "ytick.labelcolor": style.INK,
    "grid.color": style.GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
}

Draw = Callable[["Axes"], None]


@dataclass(frozen=True)
class Picture:
    """`title`: what it shows, for those who do not see it. shown: whether the page has it, or files alone."""

    name: str
    title: str
    svg: str
    png: bytes
    shown: bool = True


def side_by_side(name: str, title: str, draws: Sequence[Draw], height: float = HEIGHT, shown: bool = True) -> Picture:
    """The panels side by side, at most three in a row."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    across = min(3, len(draws))
    down = -(-len(draws) // across)
    with mpl.rc_context({**mpl.rcParamsDefault, **RC}):
        figure = Figure(figsize=(WIDTH * across, height * down), layout="constrained")
        for k, draw in enumerate(draws):
            draw(figure.add_subplot(down, across, k + 1))
        figure.draw_without_rendering()  # lays it out, once for both files
        figure.set_layout_engine("none")
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
    return Picture(re.sub(r"[^\w.-]+", "-", name), title, svg.getvalue(), png.getvalue(), shown)


def inline(picture: Picture) -> str:
    """The SVG for use within a page: its colours are those of the page, its names are its own, nothing is fetched."""
    svg = picture.svg[picture.svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{picture.name}-", svg)
    for colour, variable in style.THEME.items():
        svg = svg.replace(colour, variable)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert size is not None
    return re.sub(r"<svg [^>]*>", _open(picture.title, size[1], size[2]), svg, count=1)


def _open(title: str, width: str, height: str) -> str:
    import html

    return (
        '<svg xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        f'aria-label="{html.escape(title)}" viewBox="0 0 {width} {height}">'
    )


def all_pictures(study: Study) -> dict[str, list[Picture]]:
    """By section of the page."""
    pruned = [task for task in study.tasks if task.pruners()]
    return {
        "metric": _with_whole(
            "metric",
            "Metric against compression",
            [(t.name, t.title, _metric(t, "metric", t.metric.title)) for t in pruned],
        ),
        "retained": retained_pictures(study),
        "layers": [picture for task in pruned for picture in _layers(task)],
        "bleu": [picture for task in pruned if is_translation(task) for picture in _orders(task)],
    }


def _each(name: str, title: str, panels: Sequence[tuple[str, str, Draw]]) -> list[Picture]:
    """A picture a panel, each (end of its name, words, draw)."""
    return [side_by_side(f"{name}-{part}", f"{title}: {words}", [draw]) for part, words, draw in panels]


def _with_whole(name: str, title: str, panels: Sequence[tuple[str, str, Draw]]) -> list[Picture]:
    """Those, for the page, and all of them as one, for use elsewhere."""
    found = _each(name, title, panels)
    if found:
        found.append(side_by_side(name, title, [draw for _, _, draw in panels], shown=False))
    return found


def curve(axes: Axes, x: Sequence[float], found: Sequence[Interval], colour: str, marker: str, title: str, line="-"):
    """Means joined by a line, bars for the intervals."""
    means = [point.mean for point in found]
    axes.plot(x, means, color=colour, marker=marker, linestyle=line, markersize=5, linewidth=1.5, label=title, zorder=3)
    barred = [(at, point) for at, point in zip(x, found, strict=True) if point.half is not None]
    if barred:
        axes.errorbar(
            [at for at, _ in barred],
            [point.mean for _, point in barred],
            [point.half for _, point in barred],
            fmt="none",
            ecolor=colour,
            elinewidth=1,
            capsize=2.5,
            alpha=0.75,
        )


def _limits(axes: Axes, values: Sequence[float]) -> None:
    """Room for all single values; an interval that is wider runs out of the panel rather than flatten the rest."""
    low, high = min(values), max(values)
    room = 0.08 * (high - low or 1.0)
    axes.set_ylim(low - room, high + room)


def legend(axes: Axes, columns: int = 5) -> None:
    """Below the axis, where it hides nothing."""
    from matplotlib.transforms import ScaledTranslation

    axes.minorticks_off()
    below = axes.transAxes + ScaledTranslation(0.0, -BELOW, axes.figure.dpi_scale_trans)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        bbox_transform=below,
        ncols=columns,
        handlelength=1.6,
        columnspacing=1.0,
        handletextpad=0.4,
    )


def _log(axes: Axes) -> None:
    """Densities as a reader writes them: 0.01, not a power."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")


def _metric(task: Task, figure: str, words: str) -> Draw:
    def draw(axes: Axes) -> None:
        pruners, everything = task.pruners(), []
        widest = max(task.compressions())
        for k, pruner in enumerate(pruners):
            look, shift = style.look(pruner), (k - (len(pruners) - 1) / 2) * STEP * widest
            points = [(c, task.values(pruner, c, figure=figure)) for c in (0.0, *task.compressions(pruner=pruner))]
            points = [(c + (shift if c else 0.0), values) for c, values in points if values]
            for x, values in points:
                axes.plot([x] * len(values), [*values.values()], ".", color=look.colour, alpha=0.45, markersize=5)
                everything += values.values()
            found = [interval(values.values()) for _, values in points]
            curve(
                axes, [x for x, _ in points], [point for point in found if point], look.colour, look.marker, look.title
            )
        _limits(axes, everything)
        low, high = axes.get_ylim()
        if low < task.chance < high:
            axes.axhline(task.chance, color=style.MUTED, linestyle=":", linewidth=1)
            place = {"textcoords": "offset points", "fontsize": 7.5, "color": style.MUTED}
            axes.annotate("chance", (0.0, task.chance), (0, 2), **place)
        axes.set(xlabel="compression (density is 10 to its negative)", ylabel=f"{words}, %", title=task.title)
        legend(axes)

    return draw


def retained_pictures(study: Study) -> list[Picture]:
    """A panel a pruner, a line a task: solid for text, broken for images."""
    tasks = [task for task in study.tasks if task.pruners()]
    names = in_order(pruner for task in tasks for pruner in task.pruners())
    names = [name for name in names if any(retained(task, name, 0.0) for task in tasks if name in task.pruners())]

    def panel(pruner: str) -> Draw:
        def draw(axes: Axes) -> None:
            look, everything = style.look(pruner), [1.0]
            for k, task in enumerate(tasks):
                dense = retained(task, pruner, 0.0)
                if not dense or pruner not in task.pruners():
                    continue
                x, found = [1.0], [Interval(1.0, None, len(dense))]
                for c in task.compressions(pruner=pruner):
                    values = [*retained(task, pruner, c).values()]
                    density = interval(task.values(pruner, c, figure="density").values())
                    point = interval(values)
                    assert point is not None and density is not None
                    x.append(density.mean)
                    found.append(point)
                    everything += values
                line = "--" if task.kind == "image" else "-"
                marker = style.MARKERS[k % len(style.MARKERS)]
                curve(axes, x, found, look.colour, marker, task.title, line)
            _limits(axes, everything)
            _log(axes)
            axes.invert_xaxis()
            axes.set(
                xlabel="density (fraction of prunable weights kept)", ylabel="retained (1 is dense)", title=look.title
            )
            axes.minorticks_off()
            axes.legend(loc="best")

        return draw

    titled = [(name, style.look(name).title, panel(name)) for name in names]
    return _with_whole("retained", "Performance retained against density", titled)


def short(layer: str) -> str:
    """`transformer.encoder.layers.0.linear1` -> `encoder.0.linear1`."""
    return layer.removeprefix("transformer.").replace(".layers.", ".")


def _layers(task: Task) -> list[Picture]:
    """Density by layer, a picture a compression; none where there is but one layer to prune."""
    names = list(dict.fromkeys(name for placed in task.placed for name in placed.run.layers()))
    if len(names) < 2:
        return []

    def panel(c: float) -> Draw:
        def draw(axes: Axes) -> None:
            series = {}
            for pruner in task.pruners():
                each = [run.layers() for run in task.runs(pruner, c).values()]
                if each:
                    series[pruner] = [math.fsum(found.get(name, 0.0) for found in each) / len(each) for name in names]
            least = min([value for values in series.values() for value in values if value > 0.0], default=1.0)
            edge = least / 3.0
            _log(axes)
            rows = range(len(names))
            for pruner, values in series.items():
                look = style.look(pruner)
                x = [value or edge for value in values]
                axes.plot(
                    x, rows, color=look.colour, marker=look.marker, markersize=4.5, linewidth=0.8, label=look.title
                )
                gone = [k for k in rows if values[k] == 0.0]
                axes.plot(
                    [edge] * len(gone), gone, look.marker, color=look.colour, markerfacecolor=style.BACK, markersize=4.5
                )
            axes.axvline(10.0**-c, color=style.MUTED, linestyle=":", linewidth=1)
            axes.set_xlim(edge / 1.5, 1.5)
            every = -(-len(names) // LABELLED)
            axes.set_yticks(list(rows)[::every], [short(name) for name in names][::every], fontsize=7)
            axes.set_ylim(len(names) - 0.5, -0.5)
            axes.set_xlabel("density; hollow: none is left")
            axes.set_title(f"{task.title}: compression {c:g}", loc="right")  # names of layers may leave little room
            legend(axes)

        return draw

    height = 1.6 + 0.15 * min(len(names), 2 * LABELLED)
    return [
        side_by_side(
            f"layers-{task.name}-c{c:g}", f"Density by layer at compression {c:g}: {task.title}", [panel(c)], height
        )
        for c in task.compressions()
    ]


def _orders(task: Task) -> list[Picture]:
    """BLEU with n-grams up to each order, a panel an order."""
    panels = [(str(n), f"BLEU-{n}", _metric(task, f"bleu_{n}", f"BLEU-{n}")) for n in range(1, 5)]
    return _each(f"bleu-{task.name}", f"BLEU by n-gram order: {task.title}", panels)
