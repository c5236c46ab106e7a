"""The runs that the handout's cells need: those that are stored, and the reasons why others are missing."""

from argparse import Namespace
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from Experiments.handout.questions import PRECISIONS, Cell, Column, Network, Profile
from Experiments.sweeping import grid, plan
from Experiments.sweeping.failures import Failures
from Utils.commandline import arguments
from Utils.store import run as store
from Utils.study.runs import Run

NOT_RUN, DAMAGED = "not run yet", "its files are damaged"


@dataclass(frozen=True)
class Found:
    """The stored runs of a cell, one per seed, all in one precision."""

    cell: Cell
    runs: tuple[Run, ...]  # of the seeds that are asked for, then of all others
    missing: int  # how many of the seeds that are asked for
    amp: str  # precision of all runs
    why: str = ""  # why some are missing; "" if none is


class Holdings:
    """A lookup of runs, first in --result-dir, then in the other stores. A run's settings give its directory's name."""

    def __init__(self, args: Namespace, profile: Profile) -> None:
        self.args, self.profile = args, profile
        self.source = args.source or profile.source
        self.parser = arguments.parser()
        self.failures = Failures(args.result_dir)
        self.planner = plan.Planner(Path(args.data_dir), args.result_dir)
        self.known: dict[tuple, plan.PlannedRun] = {}
        self.looked: dict[Cell, Found] = {}

    def look_again(self) -> None:
        """Forget all lookups, because runs have been made since."""
        self.looked.clear()

    def singleshot(self, cell: Cell, seed: int, amp: str) -> plan.PlannedRun:
        """Return the run of a cell with this seed and precision, stored or not."""
        key = cell, seed, amp
        if key not in self.known:
            chosen = {name: getattr(cell.network, name) for name in ("dataset", "model_class", "model")}
            chosen |= {name: getattr(cell, name) for name in ("pruner", "compression", "pre_epochs", "post_epochs")}
            chosen |= {} if amp == "off" else {"amp": amp}
            chosen |= {"seed": seed, "source": self.source}
            words = tuple(word for name, value in chosen.items() for word in grid.spelled(name, value))
            args = arguments.resolve(self.parser.parse_args(words))
            args.experiment = "singleshot"
            self.known[key] = self.planner.run(words, args)
        return self.known[key]

    def _stored(self, run: plan.PlannedRun) -> Run | str:
        """Return the stored run, or the reason why it is missing."""
        damaged = False
        first = run.directory
        configs = (first.config, first.config | {"sparse_convolutions": True})  # which differ by rounding
        places = (self.args.result_dir, *self.args.store)
        others = (store.RunDirectory(place, "singleshot", config) for config in configs for place in places)
        for held in (first, *(other for other in others if other.path != first.path)):
            if (result := held.whole()) is None:
                damaged |= held.path.exists()
                continue
            found = Run(held.path, held.config, result)
            try:
                found.check()
            except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError):
                return DAMAGED
            return found
        if damaged:
            return DAMAGED
        failure = self.failures.message(run.name)
        return NOT_RUN if failure is None else f"run failed: {failure}"

    def _other_seeds(self, cell: Cell, amp: str) -> list[int]:
        """Return the seeds that are not asked for, but that names of stored runs have, in ascending order."""
        asked = self.args.seed_list
        start = self.singleshot(cell, asked[0], amp).name.rpartition("-")[0].removesuffix(str(asked[0]))
        folders = [Path(place, "singleshot") for place in (self.args.result_dir, *self.args.store)]
        names = (path.name.removeprefix(start) for folder in folders for path in folder.glob(f"{start}*"))
        seeds = {int(number) for number in (name.partition("-")[0] for name in names) if number.isdecimal()}
        return sorted(seeds.difference(asked))

    def _in_precision(self, cell: Cell, amp: str) -> Found:
        each = [self._stored(self.singleshot(cell, seed, amp)) for seed in self.args.seed_list]
        reasons = [run for run in each if isinstance(run, str)]
        each += [self._stored(self.singleshot(cell, seed, amp)) for seed in self._other_seeds(cell, amp)]
        there = tuple(run for run in each if isinstance(run, Run))
        return Found(cell, there, len(reasons), amp, "; ".join(dict.fromkeys(reasons)))

    def of(self, cell: Cell) -> Found:
        """Return the stored runs of a cell, in its precision, or else in the one that most of the asked seeds have.

        Of two precisions with equally many, the one of the command line is taken. Precisions are never mixed.
        """
        if cell not in self.looked:
            self.looked[cell] = self._look(cell)
        return self.looked[cell]

    def row(self, network: Network, compression: float, untrained: bool = False) -> list[tuple[Column, Found]]:
        """Return each column of Profile.columns with its runs of a network at a compression."""
        columns = self.profile.columns(untrained)
        return [(column, self.of(self.profile.cell(network, column, compression))) for column in columns]

    def _look(self, cell: Cell) -> Found:
        if cell.amp is not None:
            return self._in_precision(cell, cell.amp)
        asked = self.args.amp
        order = [asked, *(amp for amp in PRECISIONS if amp != asked)]
        return min((self._in_precision(cell, amp) for amp in order), key=lambda found: found.missing)

    def wanted(self, cells: Iterable[Cell], again: Container[Path] = ()) -> list[plan.PlannedRun]:
        """Return the runs to have, each once, in this order. Runs that other stores hold are not made again.

        again: directories of stored runs that are made again.
        """
        planned: dict[str, plan.PlannedRun] = {}
        for cell in cells:
            held = self.of(cell)
            amp = cell.amp or self.args.amp if held.missing else held.amp
            for seed in self.args.seed_list:
                run = self.singleshot(cell, seed, amp)
                run = replace(run, again=run.directory.path in again)
                if self.args.force or run.directory.path.exists() or not isinstance(self._stored(run), Run):
                    planned.setdefault(run.name, run)
        return list(planned.values())
