"""A child process that holds a candidate, boxed or not: its connection, its output, and its end."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from Experiments.candidate import wire
from Experiments.grading.remote import Fault

ROOT = Path(__file__).resolve().parent.parent.parent
PRINTED = 20_000  # bytes of the output that are kept


class Child:
    """The process, as remote.Process describes it, in a session of its own. before: words before Python's."""

    fault = ""

    def __init__(
        self,
        before: Sequence[str],
        more: Sequence[str],
        directory: str,
        environment: Mapping[str, str],
        handles: Sequence[int] = (),
    ) -> None:
        self.sock, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-u", "-P", "-m", "Experiments.candidate", str(theirs.fileno()), *more],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(), *handles), cwd=directory, env=environment,
                start_new_session=True,  # a process group, ended together with all processes that the class has started
            )  # fmt: skip
        self.drain = _Drain(self.process)

    def ready(self, until: float) -> None:
        """Wait for the process's greeting. Raises Fault if none comes: no code of the class has run yet."""
        while (words := self.gone()) is None and wire.silent(self.sock) and time.monotonic() < until:
            time.sleep(0.01)
        try:
            wire.receive(self.sock, 0, until)
        except wire.Broken as error:
            self.close()
            last = (self.output().strip().splitlines() or [words or str(error)])[-1]
            raise Fault(f"no process for the class could be started: {last}") from None

    def gone(self) -> str | None:
        """Return how the process has ended, in words; None if it runs."""
        if (code := self.process.poll()) is None:
            return None
        if code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        return f"its process ended with exit code {code}"

    def kill(self) -> None:
        """End the process and its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process with all that it has started."""
        self.kill()
        self.process.wait()
        self.sock.close()
        self.drain.stop()

    def output(self) -> str:
        """Return the beginning of what the process has printed."""
        return self.drain.text()


class _Drain(threading.Thread):
    """A thread that reads what a process prints, so that it never waits, and keeps the beginning."""

    def __init__(self, process: subprocess.Popen) -> None:
        super().__init__(daemon=True)
        assert process.stdout is not None  # a pipe
        self.pipe, self.kept = process.stdout, bytearray()
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while part := os.read(self.pipe.fileno(), 1 << 16):
                self.kept += part[: PRINTED - len(self.kept)]

    def stop(self) -> None:
        """Stop reading, also where a process that is left holds the other end."""
        self.join(1.0)
        if not self.is_alive():
            self.pipe.close()

    def text(self) -> str:
        """Return the beginning of the output, without characters that move a terminal's cursor."""
        words = bytes(self.kept).decode(errors="replace")
        return "".join(c for c in words if c.isprintable() or c in "\n\t")
