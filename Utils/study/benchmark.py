"""The benchmark of ways to prune (benchmark.toml): mean ranks over tasks and compressions, text beside images.

Ranks are of complete blocks alone: a task, compression and seed with a finished run of every way that is ranked.
As long as runs are missing, the ways are those with which the most runs stand in complete blocks.
"""

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
from Utils.commandline import acting
from Utils.study import runs as stored
from Utils.study.ranks import Friedman, agreement_p, friedman, ranked, standard
from Utils.study.runs import Run
from Utils.study.statistics import ends, resampled
from Utils.study.tasks import Task, encoded

CHOSEN = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
GROUPS = ("text with images, one network", "text with images", "text with text", "images with images")
WAYS: dict[str, dict[str, Any]] = {way["name"]: way for way in CHOSEN["way"]}


@dataclass(frozen=True)
class Cell:
    """A task at one compression: its runs by way and seed, and the dense ones by seed."""

    task: str
    image: bool  # not text
    model: str
    chance: float
    compression: float
    seeds: Sequence[str]  # planned
    runs: Mapping[str, Mapping[str, Run]]
    dense: Mapping[str, Run]

    def complete(self, ways: Sequence[str]) -> list[str]:
        """Return the planned seeds that every one of these ways has a run of."""
        return [seed for seed in self.seeds if all(seed in self.runs[way] for way in ways)]

    def retained(self, way: str, seeds: Sequence[str]) -> list[float]:
        """Return (metric - chance) / (dense - chance) in percent for each of these seeds that has a dense run."""
        both = [(self.runs[way][seed], self.dense[seed]) for seed in seeds if seed in self.dense]
        return [100.0 * (run.figures["metric"] - self.chance) / (of.figures["metric"] - self.chance) for run, of in both]


@dataclass(frozen=True)
class Agreement:
    """The mean rank correlation (Spearman's) of some pairs of tasks, with its 95 % interval over seeds."""

    name: str
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]]  # cells of either task, by their numbers in `Benchmark.cells`
    mean: float
    low: float
    high: float
    p: float | None  # None where a task stands on both sides


@dataclass(frozen=True)
class Benchmark:
    """The planned cells, those that enter the ranks, and the ways that are ranked."""

    planned: Sequence[Cell]
    ways: Sequence[str]

    @cached_property
    def cells(self) -> list[Cell]:
        """Return the cells with a complete block."""
        return [cell for cell in self.planned if self.ways and cell.complete(self.ways)]

    @cached_property
    def runs(self) -> list[list[Run]]:
        """Return the ranked runs of each cell of `cells`."""
        return [[cell.runs[way][seed] for way in self.ways for seed in cell.complete(self.ways)] for cell in self.cells]

    @cached_property
    def tasks(self) -> dict[str, list[int]]:
        """Return the numbers of the cells by task."""
        return {cell.task: [k for k, other in enumerate(self.cells) if other.task == cell.task] for cell in self.cells}

    @cached_property
    def _by_seed(self) -> list[dict[str, np.ndarray]]:
        found = []
        for cell in self.cells:
            blocks = {seed: [cell.runs[way][seed].figures["metric"] for way in self.ways] for seed in cell.complete(self.ways)}
            found.append({seed: ranked(np.array(values)) for seed, values in blocks.items()})
        return found

    @cached_property
    def ranks(self) -> np.ndarray:
        """Return the mean ranks over seeds, [cells, ways]; 1 is the best."""
        return np.array([np.mean([*by_seed.values()], axis=0) for by_seed in self._by_seed])

    @cached_property
    def drawn(self) -> np.ndarray:
        """Return such ranks by bootstrap over the seeds of each task, [draws, cells, ways]."""
        found = []
        for key, numbers in enumerate(self.tasks.values()):
            seeds = {seed: None for k in numbers for seed in self._by_seed[k]}
            missing = np.full(len(self.ways), np.nan)
            table = np.array([[self._by_seed[k].get(seed, missing) for k in numbers] for seed in seeds])
            flat = resampled(table.reshape(len(seeds), -1), self.ranks[numbers].ravel(), key)
            found.append(flat.reshape(len(flat), *table.shape[1:]))
        return np.concatenate(found, axis=1)  # cells of a task stand together, as planned

    def means(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return each way's mean rank over these cells and both ends of its 95 % interval, [ways] each."""
        return self.ranks[numbers].mean(axis=0), *ends(self.drawn[:, numbers].mean(axis=1))

    def test(self) -> Friedman:
        """Return the test over all cells, which are exchanged by task."""
        return friedman([self.ranks[numbers] for numbers in self.tasks.values()])

    def agreements(self) -> list[Agreement]:
        """Return the rank correlations of text with images and within either, then those of each pair of tasks.

        A pair is compared at the compressions that both have. In a pair of text and images, the text stands first.
        """
        pairs = {}
        for pair in combinations(self.tasks, 2):
            first, second = sorted(pair, key=lambda task: self.cells[self.tasks[task][0]].image)
            at = [{self.cells[k].compression: k for k in self.tasks[task]} for task in (first, second)]
            if common := [c for c in at[0] if c in at[1]]:
                pairs[first, second] = [at[0][c] for c in common], [at[1][c] for c in common]
        groups: dict[str, list[tuple[str, str]]] = {}
        for names, sides in pairs.items():
            cells = [self.cells[side[0]] for side in sides]
            kinds = ["images" if cell.image else "text" for cell in cells]
            if kinds[0] != kinds[1] and cells[0].model == cells[1].model:
                groups.setdefault(GROUPS[0], []).append(names)
            groups.setdefault(" with ".join(kinds), []).append(names)
        groups = {name: groups[name] for name in GROUPS if name in groups} | {"; ".join(of): [of] for of in pairs}
        return [self._agreement(name, [pairs[of] for of in names]) for name, names in groups.items()]

    def _agreement(self, name: str, pairs: Sequence[tuple[list[int], list[int]]]) -> Agreement:
        seen, drawn = (
            np.mean(
                [np.sum(np.prod([standard(of[..., side, :].mean(-2)) for side in pair], axis=0), -1) for pair in pairs],
                axis=0,
            )
            for of in (self.ranks, self.drawn)
        )
        low, high = ends(drawn)
        apart = {k for first, _ in pairs for k in first}.isdisjoint(k for _, second in pairs for k in second)
        sides = [tuple(self.ranks[side].mean(axis=0) for side in pair) for pair in pairs]
        return Agreement(name, pairs, float(seen), float(low), float(high), agreement_p(sides) if apart else None)


def of(tasks: Sequence[Task]) -> Benchmark:
    """Return the benchmark as far as these tasks have its runs."""
    cells = []
    for plan in CHOSEN["task"]:
        task = next((task for task in tasks if task.record == plan["of"]), None)
        seeds = [str(seed) for seed in range(1, plan.get("seeds", CHOSEN["seeds"]) + 1)]
        image = load.dataset(plan["of"]["dataset"]).kind == "image"
        for c in plan.get("compressions", CHOSEN["compressions"]):
            runs = {name: _found(task, plan, way, c) if task else {} for name, way in WAYS.items()}
            dense = _found(task, plan, {"pruner": "rand"}, 0.0) if task else {}
            chance = task.chance if task else 0.0
            cells.append(Cell(plan["name"], image, plan["of"]["model"], chance, c, seeds, runs, dense))
    return Benchmark(cells, _ranked(cells))


def _found(task: Task, plan: Mapping[str, Any], way: Mapping[str, Any], compression: float) -> dict[str, Run]:
    """Return the runs by seed that have the settings of the plan and the way, and for all else the defaults."""
    data = load.dataset(task.dataset)
    usual = settings.defaults(data.defaults) | {"model": task.model, "pruner": way["pruner"]}
    usual["model_class"] = load.model_names(data, plan.get("settings", {}).get("model_class"), task.model)[0]
    usual["prune_epochs"] = load.ROUNDS.get(way["pruner"], usual["prune_epochs"])
    stated = plan.get("settings", {}) | way.get("settings", {})
    values = usual | stated
    values |= {name: usual[name] for name in acting.idle(values, usual)}
    aside = {row.name for row in settings.ROWS if row.axis or row.operational}
    wanted = {name: encoded(value) for name, value in values.items() if name not in aside and value is not None}
    if not compression:
        wanted = settings.acting_when_dense(wanted)
    found = {}
    for run, variant in ((member.run, member.variant) for member in task.members):
        if run.compression != compression or (compression and run.pruner != way["pruner"]):
            continue
        has = {name: encoded(value) for name, value in stored.settings(run) if value is not None}
        alike = all(has.get(name, None if name in stated else value) == value for name, value in wanted.items())
        if alike and all(name in wanted for name, _ in variant):
            found[run.seed] = run
    return found


def _ranked(cells: Sequence[Cell]) -> list[str]:
    """Return the ways with which the most runs stand in complete blocks, and of equals the most ways."""
    there = Counter(
        sum(1 << k for k, way in enumerate(WAYS) if seed in cell.runs[way]) for cell in cells for seed in cell.seeds
    )

    def size(chosen: int) -> tuple[int, int]:
        blocks = sum(count for ways, count in there.items() if ways & chosen == chosen)
        return blocks * chosen.bit_count(), chosen.bit_count()

    best = max((chosen for chosen in range(1 << len(WAYS)) if chosen.bit_count() > 1), key=size)
    return [way for k, way in enumerate(WAYS) if best >> k & 1] if size(best)[0] else []
