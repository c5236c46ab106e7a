"""Make a grid of singleshots, from sweep files or flags, side by side."""

import argparse
import contextlib
import re
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from Experiments.singleshot import GROUPS
from Experiments.sweeping import grid
from Utils import console, load
from Utils.commandline import arguments
from Utils.commandline.kinds import count, non_negative, path, positive, positive_count, switch
from Utils.commandline.parser import Parser
from Utils.errors import UserError
from Utils.wording import counted

# Modules that find and make runs are imported in `run`, after the flags have been checked; torch only in workers.


OWN = ("expid", "force", "verbose", "workers")  # flags with another meaning for a sweep than for a run


def flags(top: Parser) -> None:
    """Add the flags of a singleshot, which apply to every run of the grid, and those of the sweep."""
    group = top.add_argument_group("sweep", "the grid: files, these lists, or both; flags go before the files")
    top.add_settings(*GROUPS, without=OWN)
    add = group.add_argument
    add("--expid", help=argparse.SUPPRESS)
    add(
        "--sweep-file", type=path, nargs="+", action="extend", metavar="FILE",
        help="a grid in TOML: [settings] of all runs, [[grid]]s of lists to cross; of several the first goes first",
    )  # fmt: skip
    for key, kind, text in (("pruner", str, "P"), ("compression", non_negative, "C"), ("seed", count, "N")):
        add(f"--{key}-list", nargs="+", type=kind, metavar=text, help=f"the values of --{key} to cross with the others")
    add_making(group)


def add_making(group: Any) -> None:
    """Add the flags that say how a list of runs is made."""
    add = group.add_argument
    add(
        "--workers", type=positive_count, default=1, metavar="N",
        help="processes that make runs side by side, not threads of the loader as for a single run; torch's threads "
        "are divided among them unless --threads is given (default: 1)",
    )  # fmt: skip
    for name, text in (
        ("--force", "make all runs again, and replace what is stored of them"),
        ("--verbose", "show what each run printed when it ends, the loss every 64 batches in it"),
    ):
        add(name, nargs="?", const=True, default=False, type=switch, metavar="BOOL", help=text)
    add("--dry-run", action="store_true", help="list the runs, what is done of them and how long the rest may take")
    add(
        "--time-limit", type=positive, metavar="SECONDS",
        help="begin no run after so long, nor one that will not have ended by then, as far as finished runs of its "
        "kind tell; those that are under way are finished (default: none)",
    )  # fmt: skip
    add("--retry-failed", action="store_true", help="make runs again of which a failure is recorded")
    add("--scheduler", metavar="tcp://HOST:PORT", help="send the runs to this Dask cluster, which shares the disk")


def check(args: Namespace) -> Namespace:
    """Check every run of the grid before anything is executed; `args.cells` then holds the runs."""
    if args.expid:
        raise UserError("--expid names one run; the runs of a sweep have the names that their settings give them")
    check_making(args)
    given: dict[str, list[Any]] = {key: [vars(args)[key]] for key in grid.of_runs() if vars(args)[key] is not None}
    for key in grid.LISTS:
        listed = getattr(args, f"{key}_list")
        if listed and key in given:
            raise UserError(f"--{key} and --{key}-list are both there; choose one")
        if listed:
            given[key] = list(dict.fromkeys(listed))
    if not args.sweep_file and not any(getattr(args, f"{key}_list") for key in grid.LISTS):
        raise UserError("a sweep needs a --sweep-file or one of --pruner-list, --compression-list, --seed-list")
    order = [*(key for key in given if key not in grid.LISTS), *(key for key in grid.LISTS if key in given)]
    args.cells = grid.cells(args.sweep_file or [], {key: given[key] for key in order})
    return args


def check_making(args: Namespace) -> None:
    """Raise UserError if the flags of `add_making` contradict each other or exceed this machine."""
    if args.scheduler and args.workers != 1:
        raise UserError("--workers are processes of this machine; a --scheduler has its own: leave one of them out")
    if args.scheduler and not re.fullmatch(r"tcp://[^/\s]+:\d+", args.scheduler):
        raise UserError(f"--scheduler {args.scheduler}: not of the form tcp://HOST:PORT, as a scheduler shows its own")
    arguments.limit("workers", args.workers, 4)


def run(args: Namespace) -> int:
    """Make the runs that are not stored; return the exit code, 1 if a run of the grid has failed now or before."""
    from Experiments.sweeping import plan

    return Sweep(args, plan.plan(args.cells, Path(args.data_dir), args.result_dir, args.force)).run()


class Sweep:
    """A list of runs: those that are stored, those that have failed, by name with the reason, and those to be made.

    lengths: estimated seconds of runs, by name, for those that no finished run tells of.
    A stored run that is damaged is made again, and replaced when the new one is complete.
    """

    def __init__(self, args: Namespace, runs: list, lengths: Mapping[str, float] | None = None) -> None:
        from Experiments.sweeping.failures import Failures
        from Experiments.sweeping.limit import TimeLimit

        self.args, self.runs, self.lengths = args, runs, lengths or {}
        self.limit = TimeLimit(args.time_limit) if args.time_limit else None
        self.failures = Failures(args.result_dir)
        self.done = {run.name for run in runs if not (args.force or run.again) and run.directory.whole() is not None}
        before = {} if args.retry_failed or args.force else {run.name: self.failures.message(run.name) for run in runs}
        self.failed = {name: why for name, why in before.items() if why is not None and name not in self.done}
        to_do = [run for run in runs if run.name not in self.done and run.name not in self.failed]
        self.to_do = [replace(run, again=run.again or run.directory.path.exists()) for run in to_do]

    @cached_property
    def expected(self) -> Any:
        """Return an estimate from the stored runs; with a time limit, only from those made on this kind of device.

        The machines of a cluster are not known here, so with a cluster all runs count.
        """
        from Experiments.sweeping.estimate import Estimate

        args = self.args
        here = args.time_limit and not args.scheduler
        return Estimate(Path(args.result_dir), load.device(args.gpu, args.no_cuda).type if here else None)

    def run(self) -> int:
        """Make the runs that are to be made, or list all of them; return the exit code, 1 if a run has failed."""
        if self.args.dry_run:
            self.show()
            return 0
        if self.failed:
            again = "--retry-failed makes them again"
            console.note(f"left out, failed before: {counted(len(self.failed), 'run')}; {again}")
        for name in self.done:
            self.failures.forget(name)  # another process has made it
        self.make()
        failed = len(self.failed)
        left = len(self.runs) - len(self.done) - failed
        rest = f", {left} left for want of time" if left else ""
        total = counted(len(self.runs), "run")
        print(f"{total}: {len(self.done)} done, {failed} failed{rest}; results in {self.runs[0].directory.path.parent}")
        if failed:
            have = "has" if len(self.runs) == 1 else "have"
            print(f"error: {failed} of {total} {have} failed; why is in {self.failures.folder}", file=sys.stderr)
        return 1 if failed else 0

    def make(self) -> None:
        """Make runs as far as the time limit allows, with a bar and one line per run; each gets `done` or `failed`."""
        from tqdm import tqdm

        from Experiments.sweeping.sharing import Sharing

        sharing = Sharing(self.to_do, self.args.force)
        waiting = sharing.arranged(self.to_do)
        bar = tqdm(total=len(self.runs), initial=len(self.runs) - len(waiting), unit="run", disable=None)
        with bar, contextlib.closing(self.outcomes(waiting)) as outcomes:
            for run, ended in outcomes:
                if self.args.verbose:
                    tqdm.write(ended.output.rstrip("\n"))
                tqdm.write(f"{run.name}: {self.settle(run, ended)}")
                sharing.ended(run)
                bar.update()

    def outcomes(self, waiting: list):
        """Yield (run, how it ended) for each run."""
        from Experiments.sweeping import cluster, pool

        if self.args.scheduler:
            yield from cluster.outcomes(self.args.scheduler, waiting, self.args, self.allows if self.limit else None)
            return
        commands = [
            run.command(self.args, pool.share(self.args.workers, self.args.threads, run.args.threads))
            for run in waiting
        ]
        made = pool.outcomes(commands, self.args.workers, lambda number: self.allows(waiting[number]))
        with contextlib.closing(made) as outcomes:
            for number, ended in outcomes:
                yield waiting[number], ended

    def allows(self, run: Any) -> bool:
        """Return whether the remaining time is enough for a run."""
        if self.limit is None:
            return True
        length = self.expected.of(run.directory.config)
        return self.limit.allows(self.lengths.get(run.name) if length is None else length)

    def settle(self, run: Any, ended: Any) -> str:
        """Record how a run has ended; return the line about it."""
        from Experiments.sweeping import plan

        result = None if ended.error else run.directory.whole()
        if result is not None:
            self.done.add(run.name)
            self.failures.forget(run.name)
            if self.limit is not None:
                self.expected.add(run.directory.config, plan.spent(result))
            return plan.figure(result)
        error = ended.error or f"it went well, but its result is not in {run.directory.path}"
        self.failed[run.name] = error
        self.failures.record(run.name, error, run.words, ended.output)
        return f"failed: {error}"

    def show(self) -> None:
        """Print the runs with their states, the time that the rest will take, and what the time limit allows of it."""
        from Experiments.sweeping import plan

        limit, workers = self.limit, self.args.workers
        lengths = [self.lengths.get(run.name) or self.expected.of(run.directory.config) for run in self.to_do]
        begins = limit.foresee(lengths, workers) if limit else [True] * len(lengths)
        planned = zip(self.to_do, lengths, begins, strict=True)
        left = {run.name: (run.again, length, fits) for run, length, fits in planned}
        for run in self.runs:
            if run.name in self.done:
                state = f"done: {plan.figure(run.directory.whole())}"
            elif run.name in self.failed:
                state = f"failed before: {self.failed[run.name]}"
            else:
                again, length, fits = left[run.name]
                state = ("to do again" if again else "to do") if fits else "no time"
                state += f", about {plan.duration(length)}" if length is not None else ""
            print(f"{run.name}: {state}")
        known = [seconds for seconds in lengths if seconds is not None]
        hours = f"about {plan.duration(sum(known) / min(workers, len(known)))}" if known else "of unknown length"
        unknown = f", {len(left) - len(known)} of them of unknown length" if known and len(known) < len(left) else ""
        rest = f", {hours} for {workers} at a time{unknown}" if left else ""
        if left and limit:
            fit = sum(fits for _, length, fits in left.values() if length is not None)
            time = plan.duration(limit.seconds)
            of_known = f"in {time} there is time for {fit} of the {len(known)} of known length"
            rest += f"; {of_known if known else f'as many begin as {time} leave time for'}"
        done, failed = len(self.done), len(self.failed)
        print(f"{counted(len(self.runs), 'run')}: {done} done, {failed} failed before, {len(left)} to do{rest}")
