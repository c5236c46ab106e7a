"""Grouping of runs that may be averaged: into tasks, and within a task by settings that differ from the main ones.

A task is a data set with a model. Within a task, runs are averaged over seeds only if all other settings are equal.
Each setting has a main value in a task. It is the default, which is the paper's, if a run has it. Otherwise it is the
most frequent value, among the runs that are nearest to the defaults and whose training has a dense run, because nothing
can be said about runs without one. A run's *variant* is the set of its settings that differ from the main ones. The
empty variant is the main one.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from Utils import load, settings
from Utils.errors import UserError
from Utils.quality import ACCURACY, Metric
from Utils.study import runs as stored
from Utils.study.runs import Run
from Utils.study.statistics import paired

Setting = tuple[str, str]  # name, value as JSON
Variant = tuple[Setting, ...]
Side = tuple[str, float] | tuple[str, float, Variant]  # (pruner, compression), in the main variant or another
MAIN: Variant = ()

HASHES = {"data_key": "data files", "pretrained": "pretrained", "masks": "masks"}  # settings by content, in words
ROUNDS = "prune_epochs"  # each pruner has its own main value


def encoded(value: Any) -> str:
    """Return a value as JSON."""
    return json.dumps(value, sort_keys=True)


def _part(run: Run, pruning: bool) -> Variant:
    axes, of_pruning = {row.name for row in settings.ROWS if row.axis}, settings.of_pruning()
    return tuple(
        (key, encoded(value))
        for key, value in stored.settings(run)
        if key not in axes and (key in of_pruning) == pruning and value is not None
    )


def _rounds(run: Run) -> Variant:
    return tuple(setting for setting in _part(run, True) if setting[0] == ROUNDS)


def _without_rounds(run: Run) -> Variant:
    return tuple(setting for setting in _part(run, True) if setting[0] != ROUNDS)


def _differing(part: Variant, main: Variant) -> Variant:
    """Return the settings of `part` that differ from `main`; a setting that only `main` has counts as null."""
    mine, theirs = dict(part), dict(main)
    return tuple((key, mine.get(key, "null")) for key in sorted(mine | theirs) if mine.get(key) != theirs.get(key))


def _choose(parts: Iterable[Variant], ideal: Mapping[str, str]) -> Variant:
    """Return the part that agrees with `ideal`, if any; else the most frequent, and of equals the nearest to it."""
    counts = Counter(parts)

    def order(part: Variant) -> tuple:
        away = len(_away(part, ideal))
        return away > 0, -counts[part], away, part

    return min(counts, key=order, default=())


def _away(part: Variant, ideal: Mapping[str, str]) -> Variant:
    """Return the settings of `part` for which `ideal` has another value."""
    return tuple((key, value) for key, value in part if key in ideal and ideal[key] != value)


def ideal_settings(dataset: str) -> dict[str, str]:
    """Return the defaults, which are the assignment's and the paper's, as JSON."""
    try:
        usual = settings.defaults(load.dataset(dataset).defaults)
    except UserError:  # an unknown data set
        usual = settings.defaults({})
    return {key: encoded(value) for key, value in usual.items() if value is not None}


def stated(run: Run) -> dict[str, str]:
    """Return the settings of a run that differ from the defaults of its data set and pruner, as JSON."""
    ideal = _own(ideal_settings(run.settings["dataset"]), run.pruner)
    return dict(_away(_part(run, False) + _part(run, True), ideal))


def _own(ideal: Mapping[str, str], pruner: str) -> dict[str, str]:
    """Return the defaults with the number of rounds that this pruner has."""
    return {**ideal, ROUNDS: encoded(load.ROUNDS.get(pruner, json.loads(ideal[ROUNDS])))}


def plain(variant: Variant) -> Variant:
    """Return the variant with the same training and main pruning settings."""
    of_pruning = settings.of_pruning()
    return tuple((key, value) for key, value in variant if key not in of_pruning)


def label(variant: Variant) -> str:
    """Return a variant in words: "mask scope local, shuffle"."""
    words = []
    for key, value in variant:
        name = key.replace("_", " ")
        if key in HASHES and value != "null":
            words.append(f"{HASHES[key]} {value.strip(chr(34))[:6]}")
        elif value in ("true", "false", "null"):
            words.append({"true": name, "false": f"no {name}", "null": f"no {name}"}[value])
        else:
            words.append(f"{name} {value.strip(chr(34))}")
    return ", ".join(words) or "main"


def pruner_title(pruner: str) -> str:
    """Return the pruner's name as it is written: GraSP, not grasp."""
    return load.PRUNERS[pruner].partition(":")[2] if pruner in load.PRUNERS else pruner


def in_order(pruners: Iterable[str]) -> list[str]:
    """Return each pruner once, in the order of the registry; unknown ones come last."""
    order = list(load.PRUNERS)
    return sorted(set(pruners), key=lambda name: (order.index(name) if name in order else len(order), name))


@dataclass(frozen=True)
class Member:
    """A run of a task, with its variant."""

    run: Run
    variant: Variant


class Task:
    """A data set with a model, and all its runs, each with its variant."""

    def __init__(self, runs: list[Run]) -> None:
        first = runs[0]
        self.dataset, self.model = first.settings["dataset"], first.settings["model"]
        self.metric: Metric = first.metric
        self.chance = self.metric.chance(first.classes)
        self.source = first.result["source"]
        try:
            data = load.dataset(self.dataset)
            self.data_title, self.kind = data.title, data.kind
            if self.source == "real" and self.metric is ACCURACY:
                self.chance = max(self.chance, data.commonest, first.result["data"].get("commonest", 0.0))
        except UserError:
            self.data_title, self.kind = self.dataset, ""
        self.title = f"{self.data_title}{'' if self.source == 'real' else ' SAMPLE'}, {self.model}"
        parts = [self.dataset, self.model] if self.source == "real" else [self.dataset, self.source, self.model]
        self.name = re.sub(r"[^\w.-]+", "-", "-".join(parts))
        self._compare(runs)

    @property
    def record(self) -> dict[str, str]:
        """Return the entries that name the task in a table's line of plain values."""
        return {"dataset": self.dataset, "model": self.model}

    def _compare(self, runs: list[Run]) -> None:
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
            self.rounds[pruner] = _choose((_rounds(run) for run in pruned if run.pruner == pruner), _own(ideal, pruner))
        parts = [_without_rounds(run) for run in pruned]
        least = min(len(_away(part, ideal)) for part in parts)
        self.pruning = _choose((part for part in parts if len(_away(part, ideal)) == least), ideal)
        away = _away(self.training + self.pruning, ideal)
        unusual = {name: _away(rounds, _own(ideal, name)) for name, rounds in self.rounds.items()}
        more = {name: label(rounds) for name, rounds in unusual.items() if rounds}
        words = [label(away) if away else "", *(f"{pruner_title(name)} {more[name]}" for name in in_order(more))]
        self.unlike_paper = ", ".join(filter(None, words))
        self.members = [Member(run, self._variant(run)) for run in runs]

    def _variant(self, run: Run) -> Variant:
        training = _differing(_part(run, False), self.training)
        pruning = _differing(_without_rounds(run), self.pruning)
        if run.compression == 0.0:
            acting = settings.acting_when_dense(dict(pruning))
            return tuple(sorted(training + tuple(acting.items())))
        rounds = _differing(_rounds(run), self.rounds.get(run.pruner, _rounds(run)))
        return tuple(sorted(training + pruning + rounds))

    @cached_property
    def variants(self) -> list[Variant]:
        """Return the variants, the main one first, then by label."""
        return sorted({member.variant for member in self.members} | {MAIN}, key=lambda v: (v != MAIN, label(v)))

    def pruners(self, variant: Variant = MAIN) -> list[str]:
        """Return the pruners that have a pruned run, in the order of the registry."""
        names = {m.run.pruner for m in self.members if m.variant == variant and m.run.compression > 0.0}
        return in_order(names)

    def compressions(self, variant: Variant = MAIN, pruner: str | None = None) -> list[float]:
        """Return the compressions above 0 at which this pruner (None: any pruner) has a run."""
        runs = [m.run for m in self.members if m.variant == variant and (pruner is None or m.run.pruner == pruner)]
        return sorted({run.compression for run in runs if run.compression > 0.0})

    def runs(self, pruner: str, compression: float, variant: Variant = MAIN) -> dict[str, Run]:
        """Return the runs by seed. At compression 0 these are all dense runs, each seed once, of any pruner."""
        if compression > 0.0:
            wanted = [m.run for m in self.members if m.variant == variant and m.run.compression == compression]
            return {run.seed: run for run in _by_seed(wanted) if run.pruner == pruner}
        training = plain(variant)
        dense: dict[tuple, Run] = {}
        for run in _by_seed(m.run for m in self.members if m.variant == training and m.run.compression == 0.0):
            dense.setdefault((run.settings["init_seed"], run.settings["data_seed"]), run)
        return {run.seed: run for run in dense.values()}

    def values(
        self, pruner: str, compression: float, variant: Variant = MAIN, figure: str = "metric"
    ) -> dict[str, float]:
        """Return a figure of Run.figures by seed, for the runs that have it."""
        runs = self.runs(pruner, compression, variant)
        return {seed: run.figures[figure] for seed, run in runs.items() if figure in run.figures}

    def paired(self, first: Side, second: Side) -> tuple[dict[str, float], list[Run]]:
        """Return the metric of one side less that of the other by seed, for the seeds that both have, and the runs."""
        by_seed = paired(self.values(*first), self.values(*second))
        return by_seed, [self.runs(*side)[seed] for seed in by_seed for side in (first, second)]


def _by_seed(runs: Iterable[Run]) -> list[Run]:
    """Sort the runs by seed, with seed 2 before seed 10."""
    return sorted(runs, key=lambda run: (len(run.seed), run.seed, run.name))


def group(runs: Iterable[Run]) -> list[Task]:
    """Return the tasks of these runs, in the order of the registry: data sets, then models."""
    by_task: dict[tuple, list[Run]] = {}
    for run in runs:
        key = (run.settings["dataset"], run.settings["model"])
        by_task.setdefault(key, []).append(run)
    order = list(load.DATASETS)

    def position(key: tuple) -> tuple:
        return order.index(key[0]) if key[0] in order else len(order), key

    return [Task(by_task[key]) for key in sorted(by_task, key=position)]
