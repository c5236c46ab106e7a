"""Runs on an existing Dask cluster, whose workers share this machine's disk with it."""

from __future__ import annotations

import contextlib
import logging
import uuid
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from Experiments.sweeping import remote
from Experiments.sweeping.plan import Run
from Experiments.sweeping.pool import ROOT, Ended
from Utils import console, files, store
from Utils.errors import UserError

ANSWER = 10  # seconds within which a scheduler answers
FIRST = 120  # seconds within which it has a worker


def outcomes(address: str, runs: Sequence[Run], place: Namespace) -> Iterator[tuple[Run, Ended]]:
    """Make all runs; yields each with how it ended, in any order. What they result in is in the shared directory.

    Dask gives a run whose worker is lost to another, a few times (its setting distributed.scheduler.allowed-failures).
    place: the arguments that say where and how. Raises UserError where there is no such cluster, or a worker of it does
    not see the same source, data and results.
    """
    if not runs:
        return
    with _connect(address) as client:
        _check(client, runs, place)
        futures, make = {}, remote.maker()
        for k, run in enumerate(runs):
            command = run.command(place, place.threads)
            key = f"{run.name}-{store.digest({'command': command})}"
            futures[client.submit(make, str(ROOT), str(Path.cwd()), command, key=key, priority=-k)] = run
        try:
            yield from _gather(client, address, futures)
        finally:
            if any(not future.done() for future in futures):
                console.note("runs that the cluster's workers are in the middle of go on there to their end")
                client.cancel(list(futures), force=True)


def _gather(client: Any, address: str, futures: dict[Any, Run]) -> Iterator[tuple[Run, Ended]]:
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    for future in as_completed(list(futures), loop=client.loop):
        run = futures[future]
        if future.status == "finished":
            reply = future.result()
            yield run, Ended(reply.get("error"), reply["output"])
        elif future.status == "error":
            error = future.exception()
            lost = "every worker that was given this run was lost: " if isinstance(error, KilledWorker) else ""
            yield run, Ended(f"{lost}{error}".partition("\n")[0], str(error))
        else:
            raise UserError(f"--scheduler {address} is gone; the same command makes what is not done yet")


@contextlib.contextmanager
def _connect(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError(f"--scheduler needs {error.name}; pip install -r requirements-cluster.txt") from error
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # it tells in a traceback what we say in a line
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


def _check(client: Any, runs: Sequence[Run], place: Namespace) -> None:
    """Raises UserError unless every worker sees this source, these data files, and what is written to the results."""
    results, data = Path(place.result_dir).resolve(), Path(place.data_dir).resolve()
    text = uuid.uuid4().hex
    token = results / f".shared-{text}"
    wanted = {"code": remote.digester()(str(ROOT)), "token": text, "data": []}
    whole = [path for located in {run.located.entry: run.located for run in runs}.values() for path in _files(located)]
    sizes = {str(path.resolve()): path.stat().st_size for path in whole}
    files.write_bytes(token, text.encode())
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
    """What a corpus is read from; nothing for the sample, which is generated."""
    if located.source == "sample":
        return []
    raw = [path for path in located.paths.values() if path.is_file()]
    return raw if len(raw) == len(located.paths) else [located.entry / "meta.json"]
