"""The benchmark of ways to prune (benchmark.toml): mean ranks over tasks and compressions, text beside images.

Ranks are of complete blocks alone: a task, compression and seed with a finished run of every way that is ranked.
As long as runs are missing, the ways are those with which the most runs stand in complete blocks.
"""

import math
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from Utils import load, settings
from Utils.study.ranks import Friedman, agreement_p, friedman, ranked, standard
from Utils.study.runs import Run
from Utils.study.statistics import CONFIDENCE, resampled
from Utils.study.tasks import Task, encoded, ideal_settings, stated

CHOSEN = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
SEEDS = [f"{seed}" for seed in range(1, CHOSEN["seeds"] + 1)]
DENSE = "dense"
WAYS: dict[str, dict[str, Any]] = {way["name"]: way for way in CHOSEN["way"]}
GROUPS = ("text with images, one network", "text with images", "text with text", "images with images")


@dataclass(frozen=True)
class Cell:
    """A task at one compression, with its runs by way and seed; DENSE is a way, too."""

    task: str
    image: bool  # not text
    model: str
    chance: float
    compression: float
    seeds: int  # planned
    runs: Mapping[str, Mapping[str, Run]]  # of planned seeds

    def values(self, ways: Sequence[str]) -> np.ndarray:
        """Return the metric less chance in each complete block, [seeds, ways], NaN for a seed without one."""
        runs = [[self.runs[way].get(seed) for way in ways] for seed in SEEDS]
        return np.array([[r.figures["metric"] - self.chance if r and all(of) else np.nan for r in of] for of in runs])

    def blocks(self, ways: Sequence[str]) -> int:
        """Return the number of complete blocks."""
        return sum(not math.isnan(values[0]) for values in self.values(ways)) if ways else 0


@dataclass(frozen=True)
class Agreement:
    """The mean rank correlation (Spearman's) of some pairs of tasks."""

    name: str
    pairs: Sequence[tuple[list[int], list[int]]]  # numbers of the cells of either task
    rho: np.ndarray  # its value, and behind it those of a bootstrap over seeds
    p: float | None  # None where a task stands on both sides


@dataclass(frozen=True)
class Benchmark:
    """The planned cells and the ways that are ranked."""

    planned: Sequence[Cell]
    ways: Sequence[str]

    @cached_property
    def cells(self) -> list[Cell]:
        """Return the cells with a complete block."""
        return [cell for cell in self.planned if cell.blocks(self.ways)]

    @cached_property
    def tasks(self) -> dict[str, list[int]]:
        """Return the numbers of the cells by task."""
        return {cell.task: [k for k, other in enumerate(self.cells) if other.task == cell.task] for cell in self.cells}

    @cached_property
    def ranks(self) -> np.ndarray:
        """Return the mean ranks over seeds, [1, cells, ways], 1 the best; behind them those of a bootstrap over seeds.

        A seed is drawn for all tasks and compressions alike, for its runs share initial weights and the order of data.
        """
        values = np.array([cell.values(self.ways) for cell in self.cells]).swapaxes(0, 1)
        ranks = np.where(np.isnan(values), np.nan, ranked(values)).reshape(len(values), -1)
        return np.concatenate([[np.nanmean(ranks, axis=0)], resampled(ranks)]).reshape(-1, *values.shape[1:])

    @cached_property
    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Return each way's mean rank over all cells, [ways], and both ends of its 95 % interval, [2, ways]."""
        return self.ranks[0].mean(axis=0), ends(self.ranks.mean(axis=1))

    @cached_property
    def test(self) -> Friedman:
        """Return the test whether all ways are alike."""
        return friedman([self.ranks[0, numbers] for numbers in self.tasks.values()])

    def agreements(self) -> list[Agreement]:
        """Return the rank correlations of text with images and within either, then those of each pair of tasks.

        A pair is compared at the compressions that both have. In a pair of text and images, the text stands first.
        """
        groups: dict[str, list[tuple[list[int], list[int]]]] = {name: [] for name in GROUPS}
        for pair in combinations(self.tasks.items(), 2):
            (first, some), (second, others) = sorted(pair, key=lambda task: self.cells[task[1][0]].image)
            both = [(a, b) for a in some for b in others if self.cells[a].compression == self.cells[b].compression]
            if both:
                a, b = self.cells[some[0]], self.cells[others[0]]
                kind = GROUPS[1] if a.image != b.image else GROUPS[2 + a.image]
                for name in (kind, f"{first}; {second}", *GROUPS[: kind == GROUPS[1] and a.model == b.model]):
                    groups.setdefault(name, []).append(([a for a, _ in both], [b for _, b in both]))
        return [self._agreement(name, pairs) for name, pairs in groups.items() if pairs]

    def _agreement(self, name: str, pairs: Sequence[tuple[list[int], list[int]]]) -> Agreement:
        sides = [[self.ranks[:, numbers].mean(axis=1) for numbers in pair] for pair in pairs]
        rho = np.mean([np.sum(standard(first) * standard(second), axis=-1) for first, second in sides], axis=0)
        apart = {k for first, _ in pairs for k in first}.isdisjoint(k for _, second in pairs for k in second)
        p = agreement_p([(first[0], second[0]) for first, second in sides]) if apart else None
        return Agreement(name, pairs, rho, p)


def ends(drawn: np.ndarray) -> np.ndarray:
    """Return both ends of the 95 % interval of what was computed of `Benchmark.ranks`, by percentiles."""
    return np.quantile(drawn[1:], [(1.0 - CONFIDENCE) / 2.0, (1.0 + CONFIDENCE) / 2.0], axis=0)


def of(tasks: Sequence[Task]) -> Benchmark:
    """Return the benchmark as far as these tasks have its runs."""
    cells = []
    for plan in CHOSEN["task"]:
        task = next((task for task in tasks if task.record == plan["of"]), None)
        kind, seeds = load.dataset(plan["of"]["dataset"]).kind, plan.get("seeds", len(SEEDS))
        for c in plan.get("compressions", CHOSEN["compressions"]):
            runs = {name: _found(task, plan, way, c) for name, way in WAYS.items()}
            runs[DENSE] = _found(task, plan, {}, 0.0)
            runs = {way: {seed: of[seed] for seed in SEEDS[:seeds] if seed in of} for way, of in runs.items()}
            chance = task.chance if task else 0.0
            cells.append(Cell(plan["name"], kind == "image", plan["of"]["model"], chance, c, seeds, runs))
    each = [[seed in cell.runs[way] for way in WAYS] for cell in cells for seed in SEEDS]
    there = Counter(sum(1 << k for k, has in enumerate(block) if has) for block in each)

    def size(chosen: int) -> tuple[int, int]:
        blocks = sum(count for ways, count in there.items() if ways & chosen == chosen)
        return blocks * chosen.bit_count(), chosen.bit_count()

    best = max((chosen for chosen in range(1 << len(WAYS)) if chosen.bit_count() > 1), key=size)
    return Benchmark(cells, [way for k, way in enumerate(WAYS) if best >> k & 1 and size(best)[0]])


def _found(task: Task | None, plan: Mapping[str, Any], way: Mapping[str, Any], compression: float) -> dict[str, Run]:
    """Return the runs by seed with the settings of the plan and the way, and all else by default; dense of any way."""
    given = plan.get("settings", {}) | way.get("settings", {})
    wanted = {name: encoded(value) for name, value in given.items() if name not in plan.get("idle", ())}
    acting, found = settings.acting_when_dense, {}
    for run, variant in ((member.run, member.variant) for member in (task.members if task else ())):
        if run.compression == compression and run.pruner == way.get("pruner", run.pruner):
            has, usual = stated(run), ideal_settings(plan["of"]["dataset"])
            alike = has == wanted if compression else acting(has) == acting(wanted)
            if alike and all(name in usual for name, _ in variant):  # the same data, initial weights and the like
                found[run.seed] = run
    return found
