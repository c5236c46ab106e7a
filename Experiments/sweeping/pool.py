"""Worker processes on this machine, that make runs side by side and are replaced when they die."""

from __future__ import annotations

import collections
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from Utils.errors import UserError

ROOT = Path(__file__).resolve().parent.parent.parent
TRIES = 3  # of a run whose worker dies under it
PATIENCE = 20.0  # seconds that a worker has to clear up when it is stopped
SHOWN = 1 << 16  # bytes of a run's output that are looked at


@dataclass(frozen=True)
class Ended:
    """How a run ended: what it printed, and its error, None where it went well."""

    error: str | None
    output: str


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share(workers: int, asked: int | None, wanted: int) -> int | None:
    """Threads of torch for a run that would take `wanted` (0: all) if it were alone; None: as it would.

    asked: what --threads says, which holds whatever the number of workers.
    """
    if asked is not None or workers == 1:
        return asked
    each = max(1, cores() // workers)
    return min(wanted, each) if wanted else each


class Worker:
    """One process. It has a session of its own: a Ctrl-C at the terminal reaches the sweep, which stops it."""

    def __init__(self) -> None:
        receive, send = os.pipe()
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-P", "-m", "Experiments.sweeping.worker", str(send)],
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            pass_fds=[send],
            start_new_session=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))},
        )
        os.close(send)
        assert self.process.stdin is not None  # a pipe, as asked for
        self.commands = self.process.stdin
        self.replies = os.fdopen(receive)
        self.job: int | None = None
        self.ready = False

    def begin(self, job: int, command: Sequence[str]) -> None:
        """Give it a run; `job` is the caller's number for it."""
        self.job = job
        os.lseek(self.log.fileno(), 0, os.SEEK_SET)  # for the process too: the open file is one
        os.ftruncate(self.log.fileno(), 0)
        try:
            self.commands.write(json.dumps(list(command)) + "\n")
            self.commands.flush()
        except BrokenPipeError:
            pass  # it has died: its replies end, and the run is given to another

    def output(self) -> str:
        """The end of what the run has printed so far."""
        size = os.fstat(self.log.fileno()).st_size
        return os.pread(self.log.fileno(), SHOWN, max(0, size - SHOWN)).decode(errors="replace")

    def reply(self) -> dict | None:
        """The next, waited for; None if the process has died."""
        line = self.replies.readline()
        return json.loads(line) if line.endswith("\n") else None

    def death(self) -> str:
        """What it died of."""
        code = self.process.wait()
        if code >= 0:
            return f"exit code {code}"
        return f"killed by {signal.Signals(-code).name}" + (", out of memory?" if code == -signal.SIGKILL else "")

    def release(self) -> None:
        """No more runs for it. It ends; in the middle of a run at once, and clears away what it has half made."""
        try:
            self.commands.close()
        except BrokenPipeError:
            pass

    def stop(self) -> None:
        """Release it and wait for its end; bring that about if it takes long."""
        self.release()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.replies.close()
        self.log.close()


def outcomes(
    commands: Sequence[Sequence[str]], workers: int, allows: Callable[[int], bool] = lambda number: True
) -> Generator[tuple[int, Ended], None, None]:
    """Make all runs; yields (number of the command, how it ended) as they end, in any order.

    allows: asked whenever a worker is free, says whether the run of that number may begin now. The first in order that
    may is begun, and where none may the worker goes; runs that never may are not yielded.

    A run whose worker dies is made again by a new one, after all others; the third time it has failed. Raises UserError
    if a worker cannot even start. However this ends, no worker is left.
    """
    waiting = list(range(len(commands)))
    tries: collections.Counter[int] = collections.Counter()
    living: list[Worker] = []
    with selectors.DefaultSelector() as selector:

        def hire() -> None:
            living.append(Worker())
            selector.register(living[-1].replies, selectors.EVENT_READ, living[-1])

        def dismiss(worker: Worker) -> None:
            selector.unregister(worker.replies)
            living.remove(worker)
            worker.stop()

        def feed(worker: Worker) -> None:
            number = next(filter(allows, waiting), None)
            if number is None:
                dismiss(worker)
            else:
                waiting.remove(number)
                worker.begin(number, commands[number])

        try:
            for _ in range(min(workers, sum(map(allows, waiting)))):
                hire()
            while living:
                for key, _ in selector.select():
                    worker: Worker = key.data
                    reply, number, output = worker.reply(), worker.job, worker.output()
                    if reply is None and not worker.ready:
                        last = (output.splitlines() or ["it says nothing"])[-1]
                        raise UserError(f"a worker process does not start ({worker.death()}): {last}")
                    if reply is None:
                        assert number is not None  # a worker that is ready has a run
                        death = worker.death()
                        dismiss(worker)
                        tries[number] += 1
                        lost = tries[number] == TRIES
                        if not lost:
                            waiting.append(number)
                        if any(map(allows, waiting)):
                            hire()
                        if lost:
                            yield number, Ended(f"its worker died {TRIES} times, at last {death}", output)
                        continue
                    worker.ready, worker.job = True, None
                    if number is not None:  # its outcome may decide on what is allowed next
                        yield number, Ended(reply.get("error"), output)
                    feed(worker)
        finally:
            for worker in living:  # all are told before the first is waited for
                worker.release()
            for worker in living:
                worker.stop()
