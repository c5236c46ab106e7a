"""Runs on an existing Dask cluster, whose workers share a disk with this machine."""

import contextlib
import logging
import uuid
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from Experiments.sweeping import remote
from Experiments.sweeping.plan import PlannedRun
from Experiments.sweeping.pool import ROOT, Ended
from Utils import console
from Utils.errors import UserError
from Utils.store import files
from Utils.store import run as store

ANSWER = 10  # seconds within which a scheduler answers
FIRST = 120  # seconds within which it has a worker


def outcomes(
    address: str, runs: Sequence[PlannedRun], sweep: Namespace, allows: Callable[[PlannedRun], bool] | None = None
) -> Iterator[tuple[PlannedRun, Ended]]:
    """Make all runs; yield each with how it ended, in any order. Their results are written to the shared directory.

    sweep: the sweep's arguments; those that say where and how to run are passed on.
    allows: says whether a run may begin now. If it is given, the scheduler gets a run only when a worker is free: the
    first in order that is allowed. Runs that are never allowed are not yielded. Otherwise the scheduler gets all runs
    at once.
    If a worker is lost, Dask gives its run to another one, a few times (Dask's setting
    distributed.scheduler.allowed-failures). Raises UserError if there is no such cluster, or if a worker does not see
    the same source, data and results.
    """
    if not runs or (allows is not None and not any(map(allows, runs))):
        return
    with _connect(address) as client:
        _check(client, runs, sweep)
        futures: dict[Any, PlannedRun] = {}
        waiting, make = dict(enumerate(runs)), remote.maker()

        def submit() -> list[Any]:
            """Send what may be sent; the futures."""
            sent = []
            while waiting:
                number: int | None = next(iter(waiting))
                if allows is not None:
                    busy = sum(not future.done() for future in futures)
                    free = max(1, _size(client, address)) - busy  # if no worker is left, one run waits for the next one
                    number = next((k for k, run in waiting.items() if allows(run)), None) if free > 0 else None
                if number is None:
                    break
                run = waiting.pop(number)
                command = run.command(sweep, sweep.threads)
                key = f"{run.name}-{store.digest({'command': command})}"
                sent.append(client.submit(make, str(ROOT), str(Path.cwd()), command, key=key, priority=-number))
                futures[sent[-1]] = run
            return sent

        try:
            yield from _gather(client, address, futures, submit)
        finally:
            if any(not future.done() for future in futures):
                console.note("runs that the cluster's workers are in the middle of go on there to their end")
                client.cancel(list(futures), force=True)


def _gather(
    client: Any, address: str, futures: dict[Any, PlannedRun], submit: Callable[[], list[Any]]
) -> Iterator[tuple[PlannedRun, Ended]]:
    """Yield the runs as they end.

    submit: sends more runs, at the beginning and after each.
    """
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    ending = as_completed(submit(), loop=client.loop)
    for future in ending:
        run = futures[future]
        if future.status == "finished":
            reply = future.result()
            yield run, Ended(reply.get("error"), reply["output"])
        elif future.status == "error":
            error = future.exception()
            lost = "every worker that was given this run was lost: " if isinstance(error, KilledWorker) else ""
            yield run, Ended(f"{lost}{error}".partition("\n")[0], str(error))
        else:
            raise _gone(address)
        ending.update(submit())


def _size(client: Any, address: str) -> int:
    """Return how many runs the cluster's workers make at once."""
    try:
        return sum(client.nthreads().values())
    except OSError as error:
        raise _gone(address) from error


def _gone(address: str) -> UserError:
    return UserError(f"--scheduler {address} is gone; the same command makes what is not done yet")


@contextlib.contextmanager
def _connect(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError(f"--scheduler needs {error.name}; pip install -r requirements-cluster.txt") from error
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # it prints a traceback where one line is enough
    try:
        client = Client(address, timeout=ANSWER, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(f"--scheduler {address}: no scheduler answers there; start one: `dask scheduler`") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=FIRST)
        except TimeoutError as error:
            raise UserError(f"--scheduler {address} has no worker after {FIRST} s; start some") from error
        yield client


def _check(client: Any, runs: Sequence[PlannedRun], sweep: Namespace) -> None:
    """Raise UserError unless every worker sees this source, these data files, and files written to the results."""
    results, data = Path(sweep.result_dir).resolve(), Path(sweep.data_dir).resolve()
    text = uuid.uuid4().hex
    token = results / f".shared-{text}"
    wanted: dict[str, Any] = {"code": remote.digester()(str(ROOT)), "token": text, "data": []}
    whole = [path for located in {run.located.entry: run.located for run in runs}.values() for path in _files(located)]
    sizes = {str(path.resolve()): path.stat().st_size for path in whole}
    files.save_text(token, text)
    try:
        seen = client.run(remote.prober(), str(ROOT), str(token), sizes)
    finally:
        token.unlink(missing_ok=True)
    what = {
        "token": f"the result directory {results}: what is written there is not to be read there",
        "data": f"the data directory {data}: files of it are missing there, or are others",
        "code": f"the source in {ROOT}: it is missing there, or is another",
    }
    for worker, found in seen.items():
        for key, sentence in what.items():
            if found[key] != wanted[key]:
                raise UserError(f"the worker {worker} does not share {sentence}")
        if found["slots"] != 1:
            raise UserError(
                f"the worker {worker} makes {found['slots']} runs at once in one process, which would draw from the "
                f"same random numbers; start it with --nthreads 1 (and --nworkers)"
            )


def _files(located: Any) -> list[Path]:
    """Return the files that a corpus is read from; none for the sample, which is generated."""
    if located.source == "sample":
        return []
    raw = [path for path in located.paths.values() if path.is_file()]
    return raw if len(raw) == len(located.paths) else [located.entry / "meta.json"]
