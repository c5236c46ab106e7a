"""The runs of a grid, and those of them that are stored. This module needs no torch."""

import json
from argparse import Namespace
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from Experiments import runs
from Experiments.sweeping.grid import Cell
from Utils import console, load, quality, settings
from Utils.data import corpus
from Utils.store import run as store


@dataclass(frozen=True)
class Run:
    """A singleshot to be made."""

    words: tuple[str, ...]  # its command line
    args: Namespace
    located: corpus.Located  # its data
    place: store.Run  # its directory in the store
    shares: bool = False  # stores its training before pruning for others, or starts from a stored one

    @property
    def name(self) -> str:
        """Return the name of its directory."""
        return self.place.path.name

    def command(self, place: Namespace, threads: int | None) -> list[str]:
        """Return its command line, including the words that say where and how to run."""
        words = [
            *self.words,
            f"--source={self.located.source}",
            f"--data-dir={Path(place.data_dir).resolve()}",
            f"--result-dir={Path(place.result_dir).resolve()}",
            f"--gpu={place.gpu}",
            *(f"--{flag.replace('_', '-')}" for flag in ("no_cuda", "force", "verbose") if getattr(place, flag)),
            *(["--share-pretraining"] if self.shares else []),
        ]
        return words if threads is None else [*words, f"--threads={threads}"]


def plan(cells: Iterable[Cell], data_dir: Path, result_dir: str, force: bool = False) -> list[Run]:
    """Return the runs of these cells, each once, in order. Missing data are downloaded, as the runs would do.

    force: stored runs will be made again, so no run with other settings replaces one of these.
    """
    planned: dict[str, Run] = {}
    known: dict[tuple, corpus.Located] = {}  # hashing a corpus's files takes time
    for cell in cells:
        args, data = cell.args, load.configured(cell.args)
        key = data.name, repr(data.preparation), args.source
        if key not in known:
            known[key] = corpus.locate(data, data_dir, args.source)
        args.result_dir = result_dir
        run = Run(cell.words, args, known[key], runs.find(args, known[key]))
        planned.setdefault(run.name, run)
    return one_dense(list(planned.values()), force)


def one_dense(planned: list[Run], force: bool) -> list[Run]:
    """Replace all dense runs that would have the same bits by one of them: a stored one, else the first."""
    groups: dict[str, list[Run]] = {}
    for run in planned:
        if run.args.compression == 0:
            groups.setdefault(_acting(run.place.config), []).append(run)
    elsewhere = _dense_of_store(planned[0].place.path.parent) if groups and not force else {}
    for_all: dict[str, Run] = {}
    for key, group in groups.items():
        chosen = next((run for run in group if run.place.whole()), None)
        if chosen is None:
            place = elsewhere.get(key)
            chosen = replace(group[0], place=place) if place and place.whole() else group[0]
        for_all |= {run.name: chosen for run in group}
    if others := for_all.keys() - {run.name for run in for_all.values()}:
        pruners = ", ".join(dict.fromkeys(run.place.config["pruner"] for run in for_all.values()))
        console.note(
            f"dense runs: those of {pruners} stand for {len(others)} more; at compression 0 nothing is pruned, and all "
            f"would be the same"
        )
    return list({run.name: run for run in (for_all.get(run.name, run) for run in planned)}.values())


def _acting(config: Mapping[str, Any]) -> str:
    """Return a key that is equal for dense runs with the same bits."""
    return store.digest(settings.acting_when_dense(config))


def _dense_of_store(singleshots: Path) -> dict[str, store.Run]:
    """Return the stored dense runs in this directory, by `_acting`; of equal ones the first by name."""
    dense: dict[str, store.Run] = {}
    for path in sorted(singleshots.glob("*-c0-*/config.json")):
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # the sweep does not need it
            continue
        if path.parent.name.endswith(f"-{store.digest(config)}"):  # its name matches its settings
            dense.setdefault(_acting(config), store.Run(str(singleshots.parent), singleshots.name, config))
    return dense


def figure(result: Mapping[str, Any]) -> str:
    """Return the main figure of a run's result and its seconds, in words."""
    key = quality.of(result["final"]).key
    return f"{key} {result['final'][key]:.2f}, {spent(result):.1f} s"


def spent(result: Mapping[str, Any]) -> float:
    """Return the seconds that a run has taken."""
    return sum(result["seconds"].values())


def duration(seconds: float) -> str:
    """Return seconds in words: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
