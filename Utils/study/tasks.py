"""Which runs may be averaged: tasks, and within a task the settings that differ from its main ones.

A task is a data set with a model. Within it, runs are averaged over seeds only where all other settings are equal.
One value of each setting is the task's main one: the default, which is the paper's, where a run has it, else the most
numerous, among runs that are no ablation and of a training that has a dense run, without which nothing can be said of
the others. A run's *variant* is what it has other than that; the empty variant is the main one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from Utils import load, settings
from Utils.errors import UserError
from Utils.study import runs as stored
from Utils.study.quality import Metric
from Utils.study.runs import Run

Setting = tuple[str, str]  # name, value as JSON
Variant = tuple[Setting, ...]
MAIN: Variant = ()

ROUNDS = "prune_epochs"  # each pruner has its own main value


def encoded(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _part(run: Run, pruning: bool) -> Variant:
    axes = {row.name for row in settings.ROWS if row.axis}
    return tuple(
        (key, encoded(value))
        for key, value in stored.settings(run)
        if key not in axes and settings.is_pruning(key) == pruning and value is not None
    )


def _rounds(run: Run) -> Variant:
    return tuple(setting for setting in _part(run, True) if setting[0] == ROUNDS)


def _without_rounds(run: Run) -> Variant:
    return tuple(setting for setting in _part(run, True) if setting[0] != ROUNDS)


def _differing(part: Variant, main: Variant) -> Variant:
    """What `part` has other than `main`; a setting that only `main` has counts as null."""
    mine, theirs = dict(part), dict(main)
    return tuple((key, mine.get(key, "null")) for key in sorted(mine | theirs) if mine.get(key) != theirs.get(key))


def _choose(parts: Iterable[Variant], ideal: Mapping[str, str]) -> Variant:
    """The part that agrees with `ideal` as far as that goes; else the most numerous, of those the nearest to it."""
    counts = Counter(parts)

    def order(part: Variant) -> tuple:
        away = len(_away(part, ideal))
        return away > 0, -counts[part], away, part

    return min(counts, key=order, default=())


def _away(part: Variant, ideal: Mapping[str, str]) -> Variant:
    """Settings of `part` that `ideal` knows and has otherwise."""
    return tuple((key, value) for key, value in part if key in ideal and ideal[key] != value)


def ideal_settings(dataset: str) -> dict[str, str]:
    """Return the defaults, which are the assignment's and the paper's, as JSON."""
    try:
        found = settings.defaults(load.dataset(dataset).defaults)
    except UserError:  # a data set of someone else's
        found = settings.defaults({})
    return {key: encoded(value) for key, value in found.items() if value is not None}


def plain(variant: Variant) -> Variant:
    """The same training, nothing else done to the pruned network."""
    return tuple((key, value) for key, value in variant if not settings.is_pruning(key))


def label(variant: Variant) -> str:
    """In words: "mask scope local, shuffle"."""
    words = []
    for key, value in variant:
        name = key.replace("_", " ")
        if key == "data_key":
            words.append(f"data files {value.strip(chr(34))[:6]}")
        elif value in ("true", "false", "null"):
            words.append({"true": name, "false": f"no {name}", "null": f"no {name}"}[value])
        else:
            words.append(f"{name} {value.strip(chr(34))}")
    return ", ".join(words) or "main"


def pruner_title(pruner: str) -> str:
    """The pruner's name as it is written: GraSP, not grasp."""
    return load.PRUNERS[pruner].partition(":")[2] if pruner in load.PRUNERS else pruner


def in_order(pruners: Iterable[str]) -> list[str]:
    """Each once, in the order of the registry; those that are not there at the end."""
    order = list(load.PRUNERS)
    return sorted(set(pruners), key=lambda name: (order.index(name) if name in order else len(order), name))


@dataclass(frozen=True)
class Placed:
    """A run with its variant."""

    run: Run
    variant: Variant


class Task:
    """All runs of a data set with a model, each in its place."""

    def __init__(self, runs: list[Run]) -> None:
        first = runs[0]
        self.dataset, self.model = first.settings["dataset"], first.settings["model"]
        self.metric: Metric = first.metric
        self.chance = self.metric.chance(first.classes)
        self.source = first.result["source"]
        try:
            data = load.dataset(self.dataset)
            self.data_title, self.kind = data.title, data.kind
        except UserError:
            self.data_title, self.kind = self.dataset, ""
        self.title = f"{self.data_title}{'' if self.source == 'real' else ' SAMPLE'}, {self.model}"
        parts = [self.dataset, self.model] if self.source == "real" else [self.dataset, self.source, self.model]
        self.name = re.sub(r"[^\w.-]+", "-", "-".join(parts))
        self._place(runs)

    def _place(self, runs: list[Run]) -> None:
        ideal = ideal_settings(self.dataset)
        away_of = {run.path: len(_away(_without_rounds(run), ideal)) for run in runs if run.compression > 0.0}
        nearest = min(away_of.values(), default=0)  # above 0 where all were made before a setting had its default
        unablated = [run for run in runs if away_of.get(run.path, nearest) == nearest]
        trainings = [_part(run, False) for run in unablated or runs]
        dense = {_part(run, False) for run in runs if run.compression == 0.0}
        self.training = _choose([part for part in trainings if part in dense] or trainings, ideal)
        at_home = [run for run in runs if run.compression > 0.0 and _part(run, False) == self.training]
        pruned = at_home or [run for run in runs if run.compression > 0.0] or runs
        self.rounds = {}
        for pruner in {run.pruner for run in pruned}:
            self.rounds[pruner] = _choose((_rounds(run) for run in pruned if run.pruner == pruner), ideal)
        parts = [_without_rounds(run) for run in pruned]
        least = min(len(_away(part, ideal)) for part in parts)
        self.pruning = _choose((part for part in parts if len(_away(part, ideal)) == least), ideal)
        self.unlike_paper = ""
        if away := _away(self.training + self.pruning, ideal):
            self.unlike_paper = label(away)
        more = {name: label(_away(rounds, ideal)) for name, rounds in self.rounds.items() if _away(rounds, ideal)}
        words = [self.unlike_paper, *(f"{pruner_title(name)} {more[name]}" for name in in_order(more))]
        self.unlike_paper = ", ".join(filter(None, words))
        self.placed = [Placed(run, self._variant(run)) for run in runs]

    def _variant(self, run: Run) -> Variant:
        found = _differing(_part(run, False), self.training)
        pruning = _differing(_without_rounds(run), self.pruning)
        if run.compression == 0.0:
            acting = settings.acting_when_dense(dict(pruning))
            return tuple(sorted(found + tuple(acting.items())))
        rounds = _differing(_rounds(run), self.rounds.get(run.pruner, _rounds(run)))
        return tuple(sorted(found + pruning + rounds))

    @cached_property
    def variants(self) -> list[Variant]:
        """The main one first, then by label."""
        return sorted({placed.variant for placed in self.placed} | {MAIN}, key=lambda v: (v != MAIN, label(v)))

    def pruners(self, variant: Variant = MAIN) -> list[str]:
        """In the order of the registry; those with a pruned run."""
        found = {p.run.pruner for p in self.placed if p.variant == variant and p.run.compression > 0.0}
        return in_order(found)

    def compressions(self, variant: Variant = MAIN, pruner: str | None = None) -> list[float]:
        """Those above 0 at which a run exists, of this pruner or of any."""
        found = [p.run for p in self.placed if p.variant == variant and (pruner is None or p.run.pruner == pruner)]
        return sorted({run.compression for run in found if run.compression > 0.0})

    def runs(self, pruner: str, compression: float, variant: Variant = MAIN) -> dict[str, Run]:
        """By seed. At compression 0: the dense runs of whatever pruner and pruning settings, each seed once."""
        if compression > 0.0:
            wanted = [p.run for p in self.placed if p.variant == variant and p.run.compression == compression]
            return {run.seed: run for run in _by_seed(wanted) if run.pruner == pruner}
        training = plain(variant)
        dense: dict[tuple, Run] = {}
        for run in _by_seed(p.run for p in self.placed if p.variant == training and p.run.compression == 0.0):
            dense.setdefault((run.settings["init_seed"], run.settings["data_seed"]), run)
        return {run.seed: run for run in dense.values()}

    def values(
        self, pruner: str, compression: float, variant: Variant = MAIN, figure: str = "metric"
    ) -> dict[str, float]:
        """A figure of Run.figures by seed, of the runs that have it."""
        found = self.runs(pruner, compression, variant)
        return {seed: run.figures[figure] for seed, run in found.items() if figure in run.figures}


def _by_seed(runs: Iterable[Run]) -> list[Run]:
    """Seed 2 before seed 10."""
    return sorted(runs, key=lambda run: (len(run.seed), run.seed, run.name))


def group(runs: Iterable[Run]) -> list[Task]:
    """The tasks of these runs, in the order of the registry: data sets, then models."""
    by_task: dict[tuple, list[Run]] = {}
    for run in runs:
        key = (run.settings["dataset"], run.settings["model"])
        by_task.setdefault(key, []).append(run)
    order = list(load.DATASETS)

    def place(key: tuple) -> tuple:
        return order.index(key[0]) if key[0] in order else len(order), key

    return [Task(by_task[key]) for key in sorted(by_task, key=place)]
