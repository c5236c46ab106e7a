"""Worker processes on this machine. They make runs in parallel and are replaced when they die."""

import collections
import contextlib
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
from Utils.store.provenance import cores

ROOT = Path(__file__).resolve().parent.parent.parent
TRIES = 3  # attempts at a run whose worker dies
PATIENCE = 20.0  # seconds that a stopped worker has to delete partial files
SHOWN = 1 << 16  # bytes of a run's output that are read


@dataclass(frozen=True)
class Ended:
    """The end of a run."""

    error: str | None  # None if the run went well
    output: str  # what the run printed


def share(workers: int, asked: int | None, wanted: int) -> int | None:
    """Return torch's number of threads for a run that would use `wanted` (0: all) if it were alone; None: unchanged.

    asked: the value of --threads, which applies for any number of workers.
    """
    if asked is not None or workers == 1:
        return asked
    each = max(1, cores() // workers)
    return min(wanted, each) if wanted else each


class Worker:
    """A worker process in its own session. So Ctrl-C at the terminal reaches only the sweep, which stops the worker."""

    def __init__(self, module: str = "Experiments.sweeping.worker") -> None:
        receive, send = os.pipe()
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-P", "-m", module, str(send)],
            stdin=subprocess.PIPE, stdout=self.log, stderr=subprocess.STDOUT, encoding="utf-8",
            pass_fds=[send], start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))},
        )  # fmt: skip
        os.close(send)
        assert self.process.stdin is not None  # a pipe, as asked for
        self.commands = self.process.stdin
        self.replies = os.fdopen(receive, encoding="utf-8")
        self.job: int | None = None
        self.ready = False

    def begin(self, job: int, command: Sequence[str]) -> None:
        """Start a run in the process; `job` is the caller's number for it."""
        self.job = job
        os.lseek(self.log.fileno(), 0, os.SEEK_SET)  # the process shares this open file
        os.ftruncate(self.log.fileno(), 0)
        with contextlib.suppress(BrokenPipeError):  # it has died: its replies end, and another worker gets the run
            self.commands.write(json.dumps(list(command)) + "\n")
            self.commands.flush()

    def output(self) -> str:
        """Return the end of what the run has printed so far."""
        size = os.fstat(self.log.fileno()).st_size
        return os.pread(self.log.fileno(), SHOWN, max(0, size - SHOWN)).decode(errors="replace")

    def reply(self) -> dict | None:
        """Wait for the next reply and return it; None if the process has died."""
        line = self.replies.readline()
        return json.loads(line) if line.endswith("\n") else None

    def death(self) -> str:
        """Return how the process died."""
        code = self.process.wait()
        if code >= 0:
            return f"exit code {code}"
        return f"killed by {signal.Signals(-code).name}" + (", out of memory?" if code == -signal.SIGKILL else "")

    def release(self) -> None:
        """Give the process no more runs, so that it ends.

        In the middle of a run it ends at once and deletes partial files.
        """
        with contextlib.suppress(BrokenPipeError):
            self.commands.close()

    def stop(self) -> None:
        """Release the process and wait for its end; kill it if that takes long."""
        self.release()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.replies.close()
        self.log.close()


def outcomes(
    commands: Sequence[Sequence[str]],
    workers: int,
    allows: Callable[[int], bool] = lambda number: True,
    **options: str,
) -> Generator[tuple[int, Ended], None, None]:
    """Make all runs; yield (number of the command, how it ended) as they end, in any order.

    allows: says whether the run of that number may begin now; it is asked whenever a worker is free. The first in order
    that is allowed begins. If none is allowed, the worker ends. Runs that are never allowed are not yielded.
    If a worker dies, its run is repeated after all others, by a new worker. At the third death the run has failed.
    options: of `Worker`.
    Raises UserError if a worker cannot start at all. No worker is left afterwards, however this ends.
    """
    waiting = list(range(len(commands)))
    tries: collections.Counter[int] = collections.Counter()
    living: list[Worker] = []
    with selectors.DefaultSelector() as selector:

        def hire() -> None:
            living.append(Worker(**options))
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
                    if number is not None:  # its outcome may decide what is allowed next
                        yield number, Ended(reply.get("error"), output)
                    feed(worker)
        finally:
            for worker in living:  # release all before waiting for the first
                worker.release()
            for worker in living:
                worker.stop()
