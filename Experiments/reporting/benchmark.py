"""The benchmark in the report: mean ranks with their critical difference, text beside images, what is missing."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from Experiments.reporting import canvas, style
from Experiments.reporting.canvas import Picture
from Experiments.reporting.table import DASH, Table
from Utils import load, settings
from Utils.study import runs as stored
from Utils.study.benchmark import GROUPS, WAYS, Agreement, Benchmark
from Utils.study.runs import Run
from Utils.study.tasks import encoded
from Utils.wording import counted

HEIGHT, LINE = 2.4, 0.16  # inches of the critical-difference figure: without its names, and for each line of names
BARS = 0.34  # of a line: the distance of two bars


def tables(found: Benchmark) -> list[Table]:
    """Return the tables of the benchmark: none without a run of it, and none of ranks without a complete block."""
    if not any(runs for cell in found.planned for runs in cell.runs.values()):
        return []
    ranked = [rank_table(found), agreement_table(found), settings_table(found)] if found.ways else []
    return [*ranked, block_table(found)]


def scope(found: Benchmark) -> str:
    """Return in words how much of the benchmark is ranked."""
    blocks = sum(len(cell.complete(found.ways)) for cell in found.cells)
    planned = sum(len(cell.seeds) for cell in found.planned)
    tasks = dict.fromkeys(cell.task for cell in found.planned)
    out = {"ways": [way for way in WAYS if way not in found.ways], "tasks": [t for t in tasks if t not in found.tasks]}
    without = "; ".join(f"{what} left out: {', '.join(names)}" for what, names in out.items() if names)
    return (
        f"{counted(len(found.ways), 'way')} in {blocks} complete blocks (task, compression, seed) of {planned} planned, "
        f"{counted(len(found.cells), 'cell')} (task, compression) of {counted(len(found.tasks), 'task')}"
        f"{'; ' * bool(without)}{without}."
    )


def scoring_steps(run: Run) -> float | None:
    """Return what all its scores cost in training steps: as the run says, or, made before runs said so, its pruner."""
    if "scoring_steps" in run.result:
        return float(run.result["scoring_steps"])
    of, pruner = run.settings, load.pruner(run.settings["pruner"])
    examples, batch = of.get("prune_dataset_size") or of["prune_dataset_ratio"] * run.classes, of["prune_batch_size"]
    cost = pruner.cost(pruner, [min(batch, examples - done) for done in range(0, examples, batch)])
    return None if cost is None else of["prune_epochs"] * cost / of["train_batch_size"]


def _training_steps(run: Run) -> int:
    of = run.settings
    return math.ceil(run.result["data"]["rows"]["train"] / of["train_batch_size"]) * of["post_epochs"]


def rank_table(found: Benchmark) -> Table:
    """Return the table of mean ranks, the best way first."""
    everything = range(len(found.cells))
    sides = [[k for k in everything if found.cells[k].image == image] for image in (False, True)]
    means, low, high = found.means(everything)
    test = found.test()
    rows, records = [], []
    for k in np.argsort(means, kind="stable"):
        way = found.ways[k]
        blocks = [(cell, cell.complete(found.ways)) for cell in found.cells]
        of_runs = [cell.runs[way][seed] for cell, seeds in blocks for seed in seeds]
        kept = [np.mean(values) for cell, seeds in blocks if (values := cell.retained(way, seeds))]
        steps = [(cost, cost / _training_steps(run)) for run in of_runs if (cost := scoring_steps(run)) is not None]
        by_kind = [float(found.ranks[side, k].mean()) if side else None for side in sides]
        record: dict[str, Any] = {"way": way, "rank": means[k], "low": low[k], "high": high[k]}
        record |= dict(zip(("text", "images"), by_kind, strict=True)) | {"retained": np.mean(kept) if kept else None}
        record |= {f"steps_{end.__name__}": end(steps)[0] if steps else None for end in (min, max)}
        records.append(record | {"runs": len(of_runs)})
        cost = f"{min(steps)[0]:.2g} to {max(steps)[0]:.2g} ({100 * max(s for _, s in steps):.2g} %)" if steps else DASH
        rows.append([way, f"{means[k]:.2f}", f"{low[k]:.2f} to {high[k]:.2f}"])
        rows[-1] += [DASH if value is None else f"{value:.2f}" for value in by_kind]
        rows[-1] += [f"{np.mean(kept):.1f}" if kept else DASH, cost]
    header = ["way", "mean rank", "95 % interval over seeds", "on text", "on images", "retained, %"]
    header.append("steps that the mask costs (of training, at most)")
    note = (
        f"{scope(found)} 1 is the best. A rank is taken in each block, averaged over seeds, then over cells; ties share "
        "the mean of their ranks. The interval is a bootstrap over the seeds of each task, at all its compressions alike: "
        "it says nothing about other tasks. Friedman's test, corrected for ties, "
        f"{test.statistic:.1f}; p = {test.p:.2g}; mean ranks differ beyond doubt (5 % for all pairs together) if they lie "
        f"more than {test.critical:.2f} apart. Both by permutation of the ways within each task, at all its compressions "
        "alike, for those are not independent (after Demsar 2006). Retained: (metric - chance) / (dense - chance), mean "
        "over cells. Steps: those of this run's training that scoring costs as much as."
    )
    return Table("benchmark-ranks", "Ways to prune, ranked", header, rows, records, note)


def agreement_table(found: Benchmark) -> Table:
    """Return the table of the rank correlations between tasks."""
    rows, records = [], []
    for one in found.agreements():
        pairs = "" if one.name not in GROUPS else counted(len(one.pairs), "pair")
        p = DASH if one.p is None else f"{one.p:.2g}"
        rows.append([one.name, pairs, f"{one.mean:+.2f}", f"{one.low:+.2f} to {one.high:+.2f}", p])
        records.append({"between": one.name, "pairs": len(one.pairs), "rho": one.mean, "low": one.low, "high": one.high})
        records[-1]["p"] = one.p
    header = ["between", "pairs of tasks", "Spearman's rho", "95 % interval over seeds", "p"]
    note = (
        f"Of the mean ranks of {len(found.ways)} ways on one task with those on another, at the compressions that both "
        "have; 1: the same order, -1: the reverse. Several pairs: the mean of their rho. Interval: bootstrap over the seeds "
        "of each task; noise between seeds draws it towards 0. p: two-sided, by exchange of the ways on one side, the text."
    )
    return Table("benchmark-agreement", "Do text and images rank the ways alike?", header, rows, records, note)


def block_table(found: Benchmark) -> Table:
    """Return the table of the ways' mean ranks in each cell, and of the runs that are missing there."""
    rows, records = [], []
    for cell in found.planned:
        ranks = found.ranks[found.cells.index(cell)] if cell in found.cells else None
        by_way = {way: len(cell.complete([way])) for way in WAYS} | {"dense": sum(s in cell.dense for s in cell.seeds)}
        missing = {way: len(cell.seeds) - count for way, count in by_way.items() if count < len(cell.seeds)}
        complete = len(cell.complete(found.ways)) if found.ways else 0
        shown = [DASH] * len(found.ways) if ranks is None else [f"{rank:.2f}" for rank in ranks]
        lacking = ", ".join(f"{way} {count}" for way, count in missing.items()) or "none"
        rows.append([cell.task, f"{cell.compression:g}", f"{complete} of {len(cell.seeds)}", *shown, lacking])
        record: dict[str, Any] = {"task": cell.task, "compression": cell.compression, "blocks": complete}
        record |= {f"missing {way}": missing.get(way, 0) for way in by_way}
        records.append(record | ({} if ranks is None else dict(zip(found.ways, map(float, ranks), strict=True))))
    header = ["task", "compression", "complete blocks", *found.ways, "runs missing"]
    note = "Mean rank over seeds in each cell. sweeps/benchmark.toml makes what is missing; large networks: sweeps/queue."
    return Table("benchmark-cells", "The benchmark's cells, and what is missing", header, rows, records, note)


def settings_table(found: Benchmark) -> Table:
    """Return the table of the settings of the ranked runs by task: those of all its runs, or how many there are."""
    aside = {row.name for row in settings.ROWS if row.axis}
    values: dict[str, dict[str, set[str]]] = {}
    for cell, runs in zip(found.cells, found.runs, strict=True):
        for run in runs:
            for name, value in stored.settings(run):
                if name not in aside and value is not None:
                    values.setdefault(name, {}).setdefault(cell.task, set()).add(encoded(value))
    rows, records = [], []
    for name, by_task in values.items():
        each = [by_task.get(task, set()) for task in found.tasks]
        rows.append([name, *(" / ".join(sorted(one)) or DASH for one in each)])
        records.append({"setting": name} | dict(zip(found.tasks, rows[-1][1:], strict=True)))
    note = "Of all ranked runs of a task; two values where the ways differ. Task, pruner, compression and seeds vary."
    return Table("benchmark-settings", "The benchmark's settings", ["setting", *found.tasks], rows, records, note)


def pictures(found: Benchmark) -> list[Picture]:
    """Draw the critical differences, and each way's mean rank on text against that on images."""
    if not found.ways:
        return []
    lines = (len(found.ways) + 1) // 2
    critical = "Mean ranks; a bar joins ways whose difference is within the critical one"
    drawn = [canvas.picture("benchmark-critical", critical, [partial(_critical, found)], HEIGHT + LINE * lines)]
    for k, one in enumerate(one for one in found.agreements() if one.name in GROUPS[:2]):
        drawn.append(canvas.picture(f"benchmark-kinds-{k + 1}", f"Mean ranks: {one.name}", [partial(_kinds, found, one)]))
    return drawn


def _look(way: str) -> tuple[str, str]:
    marker = style.MARKERS[list(WAYS).index(way) % len(style.MARKERS)]
    return style.look(WAYS[way]["pruner"]).colour, marker


def _critical(found: Benchmark, axes: Axes) -> None:
    """Draw the diagram of Demsar 2006, with each way's interval over seeds on the axis."""
    means, low, high = found.means(range(len(found.cells)))
    test, ways = found.test(), len(found.ways)
    order = np.argsort(means, kind="stable")
    half = (ways + 1) // 2
    groups = test.groups(means.tolist())
    top = 1.0 + BARS * len(groups)
    for place, k in enumerate(order):
        colour, marker = _look(found.ways[k])
        left = place < half
        line = top + (place if left else ways - 1 - place)
        edge = 0.7 if left else ways + 0.3
        axes.plot([means[k], means[k], edge], [0.0, line, line], color=colour, linewidth=1.0)
        axes.plot([low[k], high[k]], [0.0, 0.0], color=colour, linewidth=4.0, alpha=0.35, solid_capstyle="butt")
        axes.plot([means[k]], [0.0], marker, color=colour, markersize=5, zorder=3)
        words = f"{found.ways[k]} {means[k]:.2f}"
        axes.annotate(words, (edge, line), ha="right" if left else "left", va="center", fontsize=8)
    for k, group in enumerate(groups):
        ends = [min(means[group]), max(means[group])]
        axes.plot([ends[0] - 0.03, ends[1] + 0.03], [0.5 + BARS * k] * 2, color=style.INK, linewidth=3.0)
    axes.plot([1.0, 1.0 + test.critical], [-1.2, -1.2], color=style.INK, marker="|", linewidth=1.0)
    axes.annotate(f"critical difference {test.critical:.2f}", (1.0, -1.5), fontsize=8)
    axes.set_xlim(0.7, ways + 0.3)
    axes.set_ylim(top + half - 0.5, -2.2)
    axes.xaxis.tick_top()
    axes.set_xticks(range(1, ways + 1))
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_title(f"Mean rank in {len(found.cells)} cells of {counted(len(found.tasks), 'task')}; 1 is the best")


def _kinds(found: Benchmark, one: Agreement, axes: Axes) -> None:
    """Draw each way's mean rank over the text cells of these pairs against that over the image cells."""
    sides = [found.means(sorted({k for pair in one.pairs for k in pair[side]})) for side in (0, 1)]
    for k, way in enumerate(found.ways):
        colour, marker = _look(way)
        x, y = ([side[end][k] for end in range(3)] for side in sides)
        axes.plot(x[1:], [y[0]] * 2, [x[0]] * 2, y[1:], color=colour, linewidth=1.0, alpha=0.6)
        axes.plot(x[0], y[0], marker, color=colour, markersize=6, label=way, zorder=3, linestyle="none")
    ends = (0.7, len(found.ways) + 0.3)
    axes.plot(ends, ends, color=style.MUTED, linestyle=":", linewidth=1)
    axes.set(xlim=ends, ylim=ends, xlabel="mean rank on text", ylabel="mean rank on images")
    axes.set_title(f"{one.name[:1].upper()}{one.name[1:]}: rho {one.mean:+.2f} ({one.low:+.2f} to {one.high:+.2f})")
    canvas.legend(axes, columns=4)
