"""The benchmark in the report: mean ranks with their critical difference, text beside images, what is missing."""

import math
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from Experiments.reporting import canvas, style
from Experiments.reporting.canvas import Picture
from Experiments.reporting.table import DASH, Table
from Utils import load, settings
from Utils.study import runs as stored
from Utils.study.benchmark import DENSE, GROUPS, WAYS, Agreement, Benchmark, ends
from Utils.study.runs import Run
from Utils.study.tasks import encoded, label
from Utils.wording import counted

TEXTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))  # by table
BAR = 0.34  # of the distance of two names: that of two bars in the critical-difference figure
WORDS: dict[str, Any] = {"fontsize": 8, "va": "center"}
Records = list[dict[str, Any]]


def tables(found: Benchmark) -> list[Table]:
    """Return the tables of the benchmark: none without a run of it, and none of ranks without a complete block."""
    made = {"ranks": _ranks(found), "agreement": _agreement(found), "settings": _settings(found)} if found.ways else {}
    there = any(cell.runs[way] for cell in found.planned for way in WAYS)
    return [_table(name, records, found) for name, records in {**made, "cells": _cells(found)}.items() if there]


def _table(name: str, records: Records, found: Benchmark) -> Table:
    words = TEXTS[name]
    forms = {key: words["columns"].get(key, (key, ".2f")) for key in records[0]} if records else {}
    rows = [[_shown(value, forms[key][1]) for key, value in record.items()] for record in records]
    note = words["note"].format(**_scope(found)) if name == "ranks" else words["note"]
    return Table(f"benchmark-{name}", words["title"], [heading for heading, _ in forms.values()], rows, records, note)


def _shown(value: Any, form: str) -> str:
    return DASH if value is None or value != value else f"{value:{form}}"


def _scope(found: Benchmark) -> dict[str, Any]:
    """Return how much of the benchmark is ranked, and the test of the ranks."""
    out = [way for way in WAYS if way not in found.ways]
    out += dict.fromkeys(cell.task for cell in found.planned if cell.task not in found.tasks)
    blocks = sum(cell.blocks(found.ways) for cell in found.cells)
    counts = {"ways": len(found.ways), "blocks": blocks, "planned": sum(cell.seeds for cell in found.planned)}
    counts |= {"cells": len(found.cells), "tasks": len(found.tasks)}
    return {**counts, "out": ", ".join(out) or "nothing", **vars(found.test)}


def steps(run: Run) -> tuple[float, int]:
    """Return what all scores of a run cost in steps of training, NaN if unknown, and its steps of training.

    A run that was made before runs said so costs what its pruner says.
    """
    of, cost = run.settings, run.result.get("scoring_steps")
    if cost is None:
        pruner, batch = load.pruner(of["pruner"]), of["prune_batch_size"]
        examples = of.get("prune_dataset_size") or of["prune_dataset_ratio"] * run.classes
        score = pruner.cost(pruner, [min(batch, examples - done) for done in range(0, examples, batch)])
        cost = math.nan if score is None else of["prune_epochs"] * score / of["train_batch_size"]
    return cost, math.ceil(run.result["data"]["rows"]["train"] / of["train_batch_size"]) * of["post_epochs"]


def _ranks(found: Benchmark) -> Records:
    """Return the mean ranks, the best way first."""
    image = np.array([cell.image for cell in found.cells])
    means, (low, high) = found.means
    records = []
    for k in np.argsort(means, kind="stable"):
        way, ranks = found.ways[k], found.ranks[0, :, k]
        kept = [values[values[:, -1] > 0.0] for values in (cell.values([*found.ways, DENSE]) for cell in found.cells)]
        shares = [100.0 * np.mean(values[:, k] / values[:, -1]) for values in kept if len(values)]
        record = {"way": way, "rank": means[k], "low": low[k], "high": high[k]}
        for name, values in (("text", ranks[~image]), ("images", ranks[image]), ("retained", shares)):
            record[name] = np.mean(values) if len(values) else None
        cost, training = max(steps(next(iter(cell.runs[way].values()))) for cell in found.cells)
        records.append({**record, "scoring": cost, "training": training})
    return records


def _agreement(found: Benchmark) -> Records:
    """Return the rank correlations between tasks."""
    records = []
    for one in found.agreements():
        low, high = (end if len(set(one.rho)) > 1 else None for end in ends(one.rho))
        records.append({"between": one.name, "pairs": len(one.pairs), "rho": one.rho[0], "low": low, "high": high})
        records[-1]["p"] = one.p
    return records


def _cells(found: Benchmark) -> Records:
    """Return the ways' mean ranks in each cell, and the runs that are missing there."""
    records = []
    for cell in found.planned:
        lacking = {way: cell.seeds - len(runs) for way, runs in cell.runs.items()}
        whole = not any(cell.runs[way] for way in WAYS)
        missing = ", ".join(f"{way} {count}" for way, count in lacking.items() if count) or "none"
        record = {"task": cell.task, "compression": cell.compression, "blocks": cell.blocks(found.ways)}
        ranks = found.ranks[0, found.cells.index(cell)] if cell in found.cells else [None] * len(found.ways)
        record |= {"planned": cell.seeds, **dict(zip(found.ways, ranks, strict=True))}
        records.append({**record, "missing": "all" if whole else missing})
    return records


def _settings(found: Benchmark) -> Records:
    """Return the settings that all ranked runs of a task share, in words."""
    axes, records = {row.name for row in settings.ROWS if row.axis}, []
    for task, numbers in found.tasks.items():
        runs = [run for k in numbers for way in found.ways for run in found.cells[k].runs[way].values()]
        shared = set.intersection(*({(name, encoded(value)) for name, value in stored.settings(run)} for run in runs))
        named = sorted(one for one in shared if one[0] not in axes and one[1] != "null")
        records.append({"task": task, "settings": label(tuple(named))})
    return records


def pictures(found: Benchmark) -> list[Picture]:
    """Draw the critical differences, and each way's mean rank on text against that on images."""
    kinds = [one for one in found.agreements() if one.name in GROUPS[:2]]
    panels = [("critical", "mean ranks and their critical difference", partial(_critical, found))] if found.ways else []
    panels += [(one.name, f"mean ranks, {one.name}", partial(_kinds, found, one)) for one in kinds]
    return canvas.each("benchmark", "The benchmark", panels)


def _look(way: str) -> dict[str, Any]:
    """Return the colour of a way's pruner and its marker, another one for each further way of a pruner."""
    look = style.look(WAYS[way]["pruner"])
    alike = [name for name, other in WAYS.items() if other["pruner"] == WAYS[way]["pruner"]]
    place = style.MARKERS.index(look.marker) + 3 * alike.index(way)
    return {"color": look.colour, "marker": style.MARKERS[place % len(style.MARKERS)]}


def _critical(found: Benchmark, axes: Axes) -> None:
    """Draw the diagram of Demsar 2006, with each way's interval over seeds on the axis."""
    (means, spread), ways = found.means, len(found.ways)
    bars = found.test.groups(means.tolist())
    for place, k in enumerate(np.argsort(means, kind="stable")):
        look, left = _look(found.ways[k]), place < (ways + 1) // 2
        line = 1.0 + BAR * len(bars) + (place if left else ways - 1 - place)
        edge, side = (0.7, "right") if left else (ways + 0.3, "left")
        axes.plot([means[k], means[k], edge], [0.0, line, line], color=look["color"], linewidth=1.0)
        axes.plot(spread[:, k], [0.0, 0.0], color=look["color"], linewidth=4.0, alpha=0.35, solid_capstyle="butt")
        axes.plot([means[k]], [0.0], **look, markersize=5, zorder=3)
        axes.annotate(f"{found.ways[k]} {means[k]:.2f}", (edge, line), ha=side, **WORDS)
    for k, bar in enumerate(bars):
        reach = [means[bar].min() - 0.03, means[bar].max() + 0.03]
        axes.plot(reach, [0.5 + BAR * k] * 2, color=style.INK, linewidth=3.0)
    axes.plot([1.0, 1.0 + found.test.critical], [-1.9, -1.9], color=style.INK, marker="|", linewidth=1.0)
    axes.annotate(f"critical difference {found.test.critical:.2f}", (1.0, -2.4), **WORDS)
    axes.xaxis.tick_top()
    axes.spines["top"].set(position=("data", 0.0), visible=True)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set(
        xticks=range(1, ways + 1), yticks=[], xlim=(0.7, ways + 0.3), ylim=(1.5 + BAR * len(bars) + ways / 2, -2.8)
    )
    axes.grid(False)
    axes.set_title(f"Mean rank, {len(found.cells)} cells of {counted(len(found.tasks), 'task')}", loc="center")


def _kinds(found: Benchmark, one: Agreement, axes: Axes) -> None:
    """Draw each way's mean rank over the text cells of these pairs against that over the image cells."""
    sides = [found.ranks[:, sorted({k for pair in one.pairs for k in pair[side]})].mean(axis=1) for side in (0, 1)]
    (x, y), (across, up) = (side[0] for side in sides), map(ends, sides)
    for k, way in enumerate(found.ways):
        look = _look(way)
        axes.plot(across[:, k], [y[k]] * 2, [x[k]] * 2, up[:, k], color=look["color"], linewidth=1.0, alpha=0.6)
        axes.plot(x[k], y[k], **look, markersize=6, label=way, zorder=3, linestyle="none")
    whole = (0.7, len(found.ways) + 0.3)
    axes.plot(whole, whole, color=style.MUTED, linestyle=":", linewidth=1)
    axes.set(xlim=whole, ylim=whole, xlabel="mean rank on text", ylabel="mean rank on images")
    axes.set_title(f"{one.name[0].upper()}{one.name[1:]}: rho {one.rho[0]:+.2f}")
    canvas.legend(axes, columns=4)
