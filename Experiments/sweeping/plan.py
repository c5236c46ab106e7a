"""The runs of a grid, and those of them that are stored. This module needs no torch."""

from argparse import Namespace
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from Experiments import runs
from Experiments.sweeping.grid import Cell
from Utils import console, load, quality, settings
from Utils.data import corpus
from Utils.store import files
from Utils.store import run as store


@dataclass(frozen=True)
class PlannedRun:
    """A singleshot to be made."""

    words: tuple[str, ...]  # its command line
    args: Namespace
    located: corpus.Located  # its data
    directory: store.RunDirectory  # in the store
    shares: bool = False  # stores its training before pruning for others, or starts from a stored one
    again: bool = False  # replaces the stored run

    @property
    def name(self) -> str:
        """Return the name of its directory."""
        return self.directory.path.name

    def command(self, sweep: Namespace, threads: int | None) -> list[str]:
        """Return its command line, with the sweep's words on where and how to run."""
        words = [
            *self.words,
            f"--source={self.located.source}",
            f"--data-dir={Path(sweep.data_dir).resolve()}",
            f"--result-dir={Path(sweep.result_dir).resolve()}",
            f"--gpu={sweep.gpu}",
            *(f"--{flag.replace('_', '-')}" for flag in ("no_cuda", "verbose") if getattr(sweep, flag)),
            *([f"--dataset={self.args.data_path}"] if self.args.data_path else []),  # wherever the run is made
            *([f"--model={self.args.model_path}"] if self.args.model_path else []),
            *(["--force"] if sweep.force or self.again else []),
            *(["--share-pretraining"] if self.shares else []),
        ]
        return words if threads is None else [*words, f"--threads={threads}"]


class Planner:
    """Planning of runs. Each data set is located once, because hashing a corpus's files takes time."""

    def __init__(self, data_dir: Path, result_dir: str) -> None:
        self.data_dir, self.result_dir = data_dir, result_dir
        self.located: dict[tuple, corpus.Located] = {}

    def run(self, words: tuple[str, ...], args: Namespace) -> PlannedRun:
        """Return the run of a command line, stored or not; args: its values."""
        data = load.configured(args)
        key = data.name, repr(data.preparation), args.source, args.data_path
        if key not in self.located:
            self.located[key] = corpus.locate(data, self.data_dir, args.source)
        args.result_dir = self.result_dir
        return PlannedRun(words, args, self.located[key], runs.find(args, self.located[key]))


def plan(cells: Iterable[Cell], data_dir: Path, result_dir: str, force: bool = False) -> list[PlannedRun]:
    """Return the runs of these cells, each once, in order. Missing data are downloaded, as the runs would do.

    force: stored runs will be made again, so no run with other settings replaces one of these.
    """
    planned: dict[str, PlannedRun] = {}
    planner = Planner(data_dir, result_dir)
    for cell in cells:
        run = planner.run(cell.words, cell.args)
        planned.setdefault(run.name, run)
    return one_dense(list(planned.values()), force)


def one_dense(planned: list[PlannedRun], force: bool) -> list[PlannedRun]:
    """Replace all dense runs that would have the same bits by one of them: a stored one, else the first."""
    groups: dict[str, list[PlannedRun]] = {}
    for run in planned:
        if run.args.compression == 0:
            groups.setdefault(_acting(run.directory.config), []).append(run)
    elsewhere = _dense_of_store(planned[0].directory.path.parent) if groups and not force else {}
    for_all: dict[str, PlannedRun] = {}
    for key, group in groups.items():
        chosen = next((run for run in group if run.directory.whole()), None)
        if chosen is None:
            held = elsewhere.get(key)
            chosen = replace(group[0], directory=held) if held and held.whole() else group[0]
        for_all |= {run.name: chosen for run in group}
    if others := for_all.keys() - {run.name for run in for_all.values()}:
        pruners = ", ".join(dict.fromkeys(run.directory.config["pruner"] for run in for_all.values()))
        console.note(
            f"dense runs: those of {pruners} stand for {len(others)} more; at compression 0 nothing is pruned, and all "
            f"would be the same"
        )
    return list({run.name: run for run in (for_all.get(run.name, run) for run in planned)}.values())


def _acting(config: Mapping[str, Any]) -> str:
    """Return a key that is equal for dense runs with the same bits."""
    return store.digest(settings.acting_when_dense(config))


def _dense_of_store(singleshots: Path) -> dict[str, store.RunDirectory]:
    """Return the stored dense runs in this directory, by `_acting`; of equal ones the first by name."""
    dense: dict[str, store.RunDirectory] = {}
    for path in sorted(singleshots.glob("*-c0-*/config.json")):
        config = files.read_table(path)  # one that cannot be read is not needed
        if config and path.parent.name.endswith(f"-{store.digest(config)}"):  # its name matches its settings
            dense.setdefault(_acting(config), store.RunDirectory(str(singleshots.parent), singleshots.name, config))
    return dense


def figure(result: Mapping[str, Any]) -> str:
    """Return the main figure of a run's result and its seconds, in words."""
    final = result.get("final")
    words = f"{quality.of(final).key} {final[quality.of(final).key]:.2f}" if final else "no final figure"
    return f"{words}, {spent(result):.1f} s"


def spent(result: Mapping[str, Any]) -> float:
    """Return the seconds that a run has taken."""
    return sum(result["seconds"].values())


def duration(seconds: float) -> str:
    """Return seconds in words: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
