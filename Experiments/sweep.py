"""Make a grid of singleshots, from a sweep file or flags, side by side."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from Experiments.sweeping import grid
from Utils import console, settings
from Utils.errors import UserError
from Utils.flags import Parser, add_data, add_pruning, add_run, add_training, count, non_negative, positive_count

# What finds runs and makes them is imported in `run`, after the flags have been checked; torch only in the workers.


def flags(top: Parser) -> None:
    """Those of a singleshot, which hold for every run of the grid, and the sweep's own.

    What a run may be told has no default here, so that it is known what the command line says.
    """
    for add_group in (add_run, add_data, add_training, add_pruning):
        add_group(top)
    own = grid.own_settings(top)
    for action in top._actions:
        if action.dest in own:
            action.default = argparse.SUPPRESS
    options = {action.dest: action for action in top._actions}
    options["expid"].help = argparse.SUPPRESS
    options["verbose"].help = "show what each run printed when it ends, the loss every 64 batches in it"
    options["force"].help = "make all runs again, and replace what is stored of them"
    options["workers"].type, options["workers"].default = positive_count, 1
    options["workers"].help = (
        "processes that make runs side by side, torch's threads divided among them unless --threads is given; "
        "batches are put together without threads of their own (default: 1)"
    )
    group = top.add_argument_group("sweep", "the grid: a file, these lists, or both; flags go before the file")
    add = group.add_argument
    add("--sweep-file", metavar="FILE", help="a grid in TOML: [settings] of all runs, [[grid]]s of lists to cross")
    for key, kind, text in (("pruner", str, "P"), ("compression", non_negative, "C"), ("seed", count, "N")):
        add(f"--{key}-list", nargs="+", type=kind, metavar=text, help=f"the values of --{key} to cross with the others")
    add("--dry-run", action="store_true", help="list the runs, what is done of them and how long the rest may take")
    add("--retry-failed", action="store_true", help="make runs again of which a failure is recorded")
    add("--scheduler", metavar="tcp://HOST:PORT", help="send the runs to this Dask cluster, which shares the disk")


def check(args: Namespace) -> Namespace:
    """Every run of the grid is checked before anything happens; `args.cells` then holds them."""
    if args.expid:
        raise UserError("--expid names one run; the runs of a sweep have the names that their settings give them")
    if args.scheduler and args.workers != 1:
        raise UserError("--workers are processes of this machine; a --scheduler has its own: leave one of them out")
    if args.scheduler and not re.fullmatch(r"tcp://[^/\s]+:\d+", args.scheduler):
        raise UserError(f"--scheduler {args.scheduler}: not of the form tcp://HOST:PORT, as a scheduler shows its own")
    settings.limit("workers", args.workers, 4)
    known = grid.own_settings(settings.parser())
    given: dict[str, list[Any]] = {key: [getattr(args, key)] for key in known if key in vars(args)}
    for key in grid.LISTS:
        listed = getattr(args, f"{key}_list")
        if listed and key in given:
            raise UserError(f"--{key} and --{key}-list are both there; choose one")
        if listed:
            given[key] = list(dict.fromkeys(listed))
    if args.sweep_file is None and not any(getattr(args, f"{key}_list") for key in grid.LISTS):
        raise UserError("a sweep needs a --sweep-file or one of --pruner-list, --compression-list, --seed-list")
    order = [*(key for key in given if key not in grid.LISTS), *(key for key in grid.LISTS if key in given)]
    args.cells = grid.cells(args.sweep_file, {key: given[key] for key in order})
    return args


def run(args: Namespace) -> int:
    """Make what is not done yet; the exit code, 1 if a run of the grid has failed now or before."""
    from Experiments.sweeping import plan
    from Experiments.sweeping.failures import Failures

    runs = plan.plan(args.cells, Path(args.data_dir), args.result_dir, args.force)
    failures = Failures(args.result_dir)
    done = {run.name for run in runs if not args.force and run.place.stored() is not None}
    failed = {} if args.retry_failed or args.force else {run.name: failures.message(run.name) for run in runs}
    failed = {name: why for name, why in failed.items() if why is not None and name not in done}
    waiting = [run for run in runs if run.name not in done and run.name not in failed]
    if args.dry_run:
        show(args, runs, done, failed)
        return 0
    if failed:
        console.note(f"{len(failed)} runs have failed before and are left out; --retry-failed makes them again")
    for name in done:
        failures.forget(name)  # made meanwhile by other means
    Sweep(args, runs, done, failed, failures).make(waiting)
    print(f"{len(runs)} runs: {len(done)} done, {len(failed)} failed; results in {runs[0].place.path.parent}")
    if failed:
        print(f"error: {len(failed)} of {len(runs)} runs have failed; why is in {failures.folder}", file=sys.stderr)
    return 1 if failed else 0


class Sweep:
    """The runs that are to be made, as they end: the bar, a line each, the record of failures."""

    def __init__(self, args: Namespace, runs: list, done: set[str], failed: dict[str, str], failures: Any) -> None:
        self.args, self.runs, self.done, self.failed, self.failures = args, runs, done, failed, failures

    def make(self, waiting: list) -> None:
        """Make these runs; each moves its name into `done` or `failed`."""
        from tqdm import tqdm

        bar = tqdm(total=len(self.runs), initial=len(self.runs) - len(waiting), unit="run", disable=None)
        with bar, contextlib.closing(self.outcomes(waiting)) as outcomes:
            for run, ended in outcomes:
                if self.args.verbose:
                    tqdm.write(ended.output.rstrip("\n"))
                tqdm.write(f"{run.name}: {self.settle(run, ended)}")
                bar.update()

    def outcomes(self, waiting: list):
        """(run, how it ended) of each."""
        from Experiments.sweeping import cluster, pool

        if self.args.scheduler:
            yield from cluster.outcomes(self.args.scheduler, waiting, self.args)
            return
        commands = [
            run.command(self.args, pool.share(self.args.workers, self.args.threads, run.args.threads))
            for run in waiting
        ]
        with contextlib.closing(pool.outcomes(commands, self.args.workers)) as outcomes:
            for number, ended in outcomes:
                yield waiting[number], ended

    def settle(self, run: Any, ended: Any) -> str:
        """Put down how a run has ended; its line."""
        from Experiments.sweeping import plan

        result = None if ended.error else run.place.stored()
        if result is not None:
            self.done.add(run.name)
            self.failures.forget(run.name)
            return plan.figure(result)
        error = ended.error or f"it went well, but its result is not in {run.place.path}"
        self.failed[run.name] = error
        self.failures.record(run.name, error, run.words, ended.output)
        return f"failed: {error}"


def show(args: Namespace, runs: list, done: set[str], failed: dict[str, str]) -> None:
    """The list of runs with what is known of each, and how long the rest may take."""
    from Experiments.sweeping import plan
    from Experiments.sweeping.estimate import Estimate

    estimate = Estimate(Path(args.result_dir))
    left: list[float | None] = []
    for run in runs:
        if run.name in done:
            state = f"done: {plan.figure(run.place.stored())}"
        elif run.name in failed:
            state = f"failed before: {failed[run.name]}"
        else:
            left.append(estimate.of(run.place.config))
            state = "to do" if left[-1] is None else f"to do, about {plan.duration(left[-1])}"
        print(f"{run.name}: {state}")
    known = [seconds for seconds in left if seconds is not None]
    total = f"about {plan.duration(sum(known) / min(args.workers, len(known)))}" if known else "of unknown length"
    unknown = f", {len(left) - len(known)} of them of unknown length" if known and len(known) < len(left) else ""
    rest = f", {total} for {args.workers} at a time{unknown}" if left else ""
    print(f"{len(runs)} runs: {len(done)} done, {len(failed)} failed before, {len(left)} to do{rest}")
