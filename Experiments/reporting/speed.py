"""Measured speed: the seconds and bytes that pruning saves, for runs that were measured, and what it costs."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes

from Experiments.reporting import canvas, style
from Experiments.reporting.canvas import Picture
from Experiments.reporting.table import Table
from Utils.export.formats import FORMATS, REFERENCE
from Utils.study.runs import Run
from Utils.study.tasks import Task, label, pruner_title

Formats = Mapping[str, Any]  # name of a format -> its figures
COSTS = ("parameters", "file_bytes", "memory_bytes", "multiply_adds")
AT_LEAST = (0.5, 2.0)  # least range of the speed axis, so that random differences look small
DRAWN = sorted((format.marker, name) for name, format in FORMATS.items() if format.marker)  # the filled first


def _measured(tasks: Sequence[Task]) -> Iterator[tuple[Task, str, Run, Formats]]:
    """Yield (task, setting, run, its figures by format) for the runs whose speed was measured."""
    for task in tasks:
        for member in task.members:
            formats = member.run.measurement
            if formats is not None and REFERENCE in formats:
                yield task, label(member.variant), member.run, formats


def _faster(formats: Formats, name: str, size: str, of: str = "median") -> float:
    """Return the speed relative to the dense format's median; of: "median", "lowest" or "highest" of the seconds."""
    return formats[REFERENCE]["seconds"][size]["median"] / formats[name]["seconds"][size][of]


def _sizes(formats: Formats) -> list[str]:
    """Return the batch sizes of the measurement, as it writes them."""
    return sorted(formats[REFERENCE]["seconds"], key=int)


def table(tasks: Sequence[Task]) -> Table:
    """Return a table with one line per run and format."""
    rows, records = [], []
    for task, setting, run, formats in _measured(tasks):
        of_run: dict[str, Any] = {"run": run.path.as_posix(), **task.record, "setting": setting, "pruner": run.pruner}
        of_run |= {"compression": run.compression, "seed": run.seed, "metric": run.figures["metric"]}
        for name, figures in formats.items():
            record = {**of_run, "format": name} | {key: figures[key] for key in COSTS}
            row = [task.title, setting, pruner_title(run.pruner), f"{run.compression:g}", run.seed]
            row += [f"{run.figures['metric']:.2f} {task.metric.title}", name, f"{figures['parameters']:,}"]
            row += [f"{figures[key] / 1024:,.1f}" for key in ("file_bytes", "memory_bytes")]
            row.append(f"{figures['multiply_adds']:,}")
            times = {}
            for size in _sizes(formats):
                taken, faster = figures["seconds"][size], _faster(formats, name, size)
                times[size] = f"{1e3 * taken['median']:.3f} ({faster:.2f})"
                record |= {f"seconds_{key}_{size}": value for key, value in taken.items()}
                record[f"times_dense_{size}"] = faster
            rows.append([*row, *(times.get(size, "") for size in ("1", "64"))])
            records.append(record)
    header = ["task", "setting", "pruner", "compression", "seed", "figure", "format", "parameters"]
    header += ["file, KiB", "memory, KiB", "multiply-adds", "ms for 1 (times dense)", "ms for 64 (times dense)"]
    note = "Milliseconds: median of medians taken in turn; in brackets how many times as fast as the dense format."
    return Table("speed", "Measured speed", header, rows, records, note)


def pictures(tasks: Sequence[Task]) -> list[Picture]:
    """Draw the metric against measured speed: one panel per task and batch size."""
    panels = []
    for task in tasks:
        runs = [(run, formats) for _, _, run, formats in _measured([task])]
        for size in sorted({size for _, formats in runs for size in _sizes(formats)}, key=int):
            words = f"{task.title}, {size} at a time"
            panels.append((f"{task.name}-{size}", words, partial(_panel, task, runs, size, words)))
    return canvas.with_whole("speed", "The figure against measured speed", panels)


def _panel(task: Task, runs: Sequence[tuple[Run, Formats]], size: str, title: str, axes: Axes) -> None:
    reached = list(AT_LEAST)
    for run, formats in runs:
        look, value = style.look(run.pruner), run.figures["metric"]
        for marker, name in DRAWN:
            filled = marker == "filled"
            if name not in formats:
                continue
            spread = [_faster(formats, name, size, of) for of in ("lowest", "highest")]
            axes.plot(spread, [value, value], color=look.colour, linewidth=0.8, alpha=0.6)
            reached += spread
            axes.plot(
                _faster(formats, name, size), value, look.marker, color=look.colour, markersize=5.5, linestyle="none",
                markerfacecolor=look.colour if filled else style.BACK, zorder=3,
                label=look.title if filled else None,
            )  # fmt: skip
    axes.axvline(1.0, color=style.MUTED, linestyle=":", linewidth=1)
    canvas.log(axes)
    axes.set_xlim(min(reached) / 1.1, max(reached) * 1.1)
    axes.set_xticks([2.0**k for k in range(-6, 12) if min(reached) <= 2.0**k <= max(reached)])
    canvas.limits(axes, [run.figures["metric"] for run, _ in runs])
    legend = ", ".join(f"{marker}: {name}" for marker, name in DRAWN)
    axes.set(xlabel=f"times as fast as {REFERENCE} ({legend})", ylabel=f"{task.metric.title}, %", title=title)
    canvas.legend(axes)
